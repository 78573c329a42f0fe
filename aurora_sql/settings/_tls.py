"""TLS contexts with libpq's meaning of each mode."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from aurora_sql.errors import ConfigurationError

from ._checks import SYSTEM_ROOTS
from ._values import SslMode


@dataclass(frozen=True, slots=True)
class TlsPlan:
    """How connections to one host are protected.

    Attributes:
        mode: The mode, the default for the host where none was set.
        context: What a TLS handshake uses; None where TLS is never tried.
        optional: Plain text is accepted too (``prefer`` and ``allow``).
        only_if_required: Plain text is tried first (``allow``).
    """

    mode: SslMode
    context: ssl.SSLContext | None
    optional: bool = False
    only_if_required: bool = False


def plan(mode: SslMode, root_cert: str | None, key: str) -> TlsPlan:
    """Build the plan for a mode; reads the file of certificates.

    Args:
        mode: The mode.
        root_cert: File of certificates in PEM, ``system``, or None.
        key: How to name ``root_cert`` in an error.

    Raises:
        ConfigurationError: The file is missing, unreadable or not PEM.
    """
    if mode is SslMode.DISABLE:
        return TlsPlan(mode, None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # As in libpq, a given root turns ``require`` into ``verify-ca``; the optional modes never
    # verify, since whoever is in the way could ask for plain text anyway.
    verify = mode in {SslMode.VERIFY_CA, SslMode.VERIFY_FULL} or (
        mode is SslMode.REQUIRE and root_cert is not None
    )
    # The order matters: verify_mode cannot be CERT_NONE while host names are checked.
    context.check_hostname = mode is SslMode.VERIFY_FULL
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    if verify:
        _trust(context, root_cert, key)
    return TlsPlan(
        mode,
        context,
        optional=mode in {SslMode.PREFER, SslMode.ALLOW},
        only_if_required=mode is SslMode.ALLOW,
    )


def _trust(context: ssl.SSLContext, root_cert: str | None, key: str) -> None:
    if root_cert is None or root_cert == SYSTEM_ROOTS:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return
    path = Path(root_cert).expanduser()
    try:
        # Read here rather than by the context, whose error would not tell a missing file from
        # one that may not be read.
        data = path.read_bytes()
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        raise ConfigurationError(
            f"{key}: {root_cert} cannot be read ({reason}); give a file of certificates in PEM, "
            f'or "{SYSTEM_ROOTS}"'
        ) from exc
    try:
        context.load_verify_locations(cadata=data.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError) as exc:
        raise ConfigurationError(
            f"{key}: {root_cert} holds no certificate in PEM (a text with BEGIN CERTIFICATE)"
        ) from exc
    if not context.get_ca_certs():
        raise ConfigurationError(
            f"{key}: {root_cert} holds no certificate of an authority, only others"
        )
