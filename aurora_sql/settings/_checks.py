"""What no single setting can tell: values that contradict each other, and features to come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aurora_sql.types import Engine

from ._values import (
    MysqlDriver,
    ReaderSelection,
    SslMode,
    TopologyMode,
    is_loopback,
    is_socket,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._model import AuroraSettings
    from ._report import Keys

SYSTEM_ROOTS: Final = "system"
"""Value of ``ssl_root_cert`` that means the certificate authorities of the machine."""

_NO_IAM: Final = "logging in with IAM is not built yet: use username and password"
_NO_REGION: Final = "only logging in with IAM and secrets need it, and neither is built yet"

NOT_BUILT: Final[tuple[tuple[str, frozenset[Any], str], ...]] = (
    # setting, the values that work, why the others are refused
    ("use_iam_authentication", frozenset({False}), _NO_IAM),
    ("iam_role_arn", frozenset({None}), _NO_IAM),
    ("region", frozenset({None}), _NO_REGION),
    ("secret_id", frozenset({None}), "reading a secret is not built yet: give username, password"),
    ("proxy_mode", frozenset({False}), "working behind a proxy is not built yet"),
)
"""Settings whose feature is still to come; building one deletes its line."""

_TLS_ONLY: Final = frozenset({SslMode.REQUIRE, SslMode.VERIFY_CA, SslMode.VERIFY_FULL})


def contradictions(settings: AuroraSettings, keys: Keys) -> Iterator[str]:
    """Yield one line for each problem with valid values: not built yet, or not together."""
    for name, works, reason in NOT_BUILT:
        if getattr(settings, name) not in works:
            yield f"{keys[name]} is refused: {reason}"
    if settings.min_pool_size > settings.max_pool_size:
        yield (
            f"{keys['min_pool_size']} ({settings.min_pool_size}) must not be more than "
            f"{keys['max_pool_size']} ({settings.max_pool_size})"
        )
    if settings.mysql_driver is not MysqlDriver.AUTO and settings.engine is not Engine.MYSQL:
        yield f"{keys['mysql_driver']} is of no use with {keys['engine']} {settings.engine.value}"
    if settings.topology is TopologyMode.STATIC and settings.instance_endpoints is not None:
        yield (
            f"{keys['instance_endpoints']} is of no use with {keys['topology']} static, where the"
            " endpoints are the instances: leave one of the two out"
        )
    weighted = settings.reader_selection is ReaderSelection.WEIGHTED
    if weighted is not (settings.reader_weights is not None):
        yield (
            f"{keys['reader_weights']} and {keys['reader_selection']} weighted need each other:"
            f" {'say the weights' if weighted else 'set both or neither'}"
        )
    yield from _ssl(settings, keys)


def _ssl(settings: AuroraSettings, keys: Keys) -> Iterator[str]:
    use, mode = keys["use_ssl"], keys["ssl_mode"]
    if settings.ssl_mode is not None:
        name = settings.ssl_mode.value
        if settings.use_ssl is True and settings.ssl_mode not in _TLS_ONLY:
            yield (
                f"{use} (true) contradicts {mode} ({name}), which may go without TLS: use "
                "require, verify-ca or verify-full"
            )
        elif settings.use_ssl is False and settings.ssl_mode is not SslMode.DISABLE:
            yield f"{use} (false) contradicts {mode} ({name}): leave one of the two out"
    elif settings.use_ssl is False:
        addresses = (settings.writer_address(), *settings.reader_addresses())
        remote = [host for host, _ in addresses if not (is_socket(host) or is_loopback(host))]
        if remote:
            yield (
                f"{use} (false) would send passwords and data to {remote[0]} in the clear: set "
                f"{mode} to disable if that is meant"
            )
    if settings.ssl_root_cert == SYSTEM_ROOTS and settings.ssl_mode not in {
        None,
        SslMode.VERIFY_FULL,
        SslMode.DISABLE,
    }:
        yield (
            f"{keys['ssl_root_cert']} ({SYSTEM_ROOTS}) needs {mode} verify-full: anybody can have "
            "a certificate from a public authority"
        )
    elif settings.ssl_mode is SslMode.VERIFY_CA and settings.ssl_root_cert is None:
        yield (
            f"{mode} (verify-ca) needs {keys['ssl_root_cert']}: anybody can have a certificate "
            "from a public authority"
        )
