"""Settings from a connection URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from aurora_sql.errors import ConfigurationError

from ._sources import Origin, Sourced, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

SHAPE: Final = "postgresql://user:password@host:port/database?sslmode=…&read=…"
_SCHEMES: Final = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mysql": "mysql",
}
_QUERY: Final = {
    "sslmode": "ssl_mode",
    "sslrootcert": "ssl_root_cert",
    "read": "read_endpoint",
    "connect_timeout": "connection_timeout",
}
_OWN_PLACE: Final = frozenset(
    {"engine", "write_endpoint", "port", "database", "username", "password", "token_secret"}
)


def read_url(url: str, fields: Mapping[str, object]) -> tuple[dict[str, Sourced], Origin]:
    """Read the values that a URL gives, by field name.

    Raises:
        ConfigurationError: It is no such URL. The message never repeats it: it holds a password.
    """
    parts = _split(url)
    values = {"engine": Sourced(_SCHEMES[parts.scheme], "the URL's scheme")}
    login, _, place = parts.netloc.rpartition("@")
    username, colon, password = login.partition(":")
    if username:
        values["username"] = Sourced(unquote(username), "the URL's user")
    if colon and password:
        values["password"] = Sourced(unquote(password), "the URL's password")
    place = unquote(place)
    if "," in place:
        raise ConfigurationError(
            "The URL names several hosts: write the writer's alone before the database, and the "
            "readers as ?read=host1,host2"
        )
    if place:
        values["write_endpoint"] = Sourced(place, "the URL's host")
    if database := unquote(parts.path.removeprefix("/")):
        values["database"] = Sourced(database, "the URL's database")
    values.update(_query(parts.query, fields))
    names = {
        "write_endpoint": "the URL's host",
        "username": "the URL's user",
        "database": "the URL's database",
        **{name: f"the URL's {key}" for key, name in _QUERY.items()},
    }
    return values, Origin(
        spell=lambda name: names.get(name, f"the URL's {name}"), known=lambda name: name
    )


def _split(url: str) -> SplitResult:
    parts: SplitResult | None = None
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        # Its message quotes the part of the URL that has the password.
        parts = None
    if parts is None:
        raise ConfigurationError(f"The URL cannot be read: it must look like {SHAPE}")
    if parts.scheme not in _SCHEMES:
        allowed = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        raise ConfigurationError(f"The URL must begin with one of {allowed} and look like {SHAPE}")
    if not url.strip()[len(parts.scheme) :].startswith("://"):
        raise ConfigurationError(f"The URL must look like {SHAPE}")
    if parts.fragment or url.rstrip().endswith("#"):
        raise ConfigurationError("The URL has a '#': write %23 for one in a user or password")
    if "@" in parts.path + parts.query:
        # Either a '/' or '?' of the password ended the host too early, or this is a stray '@'.
        raise ConfigurationError(
            "The URL has an '@' after its host: in user, password and all the rest write %2F for "
            "'/', %3F for '?' and %40 for '@'"
        )
    return parts


def _query(query: str, fields: Mapping[str, object]) -> dict[str, Sourced]:
    found: dict[str, Sourced] = {}
    allowed = {**{name: name for name in fields if name not in _OWN_PLACE}, **_QUERY}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key in _OWN_PLACE:
            raise ConfigurationError(
                f"The URL must not give {key} after the '?': it must look like {SHAPE}"
            )
        name = allowed.get(key)
        if name is None:
            raise ConfigurationError(
                f"The URL gives an unknown {key!r} after the '?'" + did_you_mean(key, allowed)
            )
        if name in found:
            raise ConfigurationError(f"The URL gives {key!r} twice")
        found[name] = Sourced(value, f"the URL's {key}")
    return found
