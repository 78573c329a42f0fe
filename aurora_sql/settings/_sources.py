"""Where settings come from, in order of precedence, and how each source spells them.

From strongest to weakest: values given in the call or in a URL, ``AURORA_*`` variables, the
``.env`` file, a JSON file, the defaults. Each value travels with the spelling of its source up
to validation, so that a problem names ``AURORA_MAX_POOL_SIZE`` or ``"MaxPoolSize"`` and not
only the field.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pydantic_settings import (
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
)

from ._values import fold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pydantic.fields import FieldInfo

PREFIX: Final = "AURORA_"
ORIGIN: Final = "_origin"
"""Name under which a :class:`Given` goes in, and the :class:`Origin` on to validation."""

_PASCAL: Final = {
    "use_ssl": "UseSSL",
    "ssl_mode": "SSLMode",
    "ssl_root_cert": "SSLRootCert",
    "use_iam_authentication": "UseIAMAuthentication",
    "iam_role_arn": "IAMRoleArn",
}


@dataclass(frozen=True, slots=True)
class Sourced:
    """A raw value and how its source spells the key. The value may be secret: it is in no repr.

    Attributes:
        value: As the source gave it.
        key: The key as the source spells it, with the source's name where that helps.
        weak: Environment variables win over it.
    """

    value: Any = field(repr=False)
    key: str
    weak: bool = False


@dataclass(frozen=True, slots=True)
class Origin:
    """What reads the settings: which names it speaks, and whether the environment is read.

    Attributes:
        spell: How the main source spells a field.
        known: The same, for the message about an unknown key; by default ``spell``.
        environment: Whether ``AURORA_*`` variables and ``.env`` are read too.
    """

    spell: Callable[[str], str]
    known: Callable[[str], str]
    environment: bool = True


@dataclass(frozen=True, slots=True)
class Given:
    """What one of the ``from_…`` constructors read.

    The values go in inside this one argument, so that no key of a file can be taken for an
    option of the base class's constructor (``_env_file``).

    Attributes:
        values: By field name, unknown keys among them.
        origin: How to speak of them.
    """

    values: Mapping[str, object] = field(repr=False)
    origin: Origin


def variable(name: str) -> str:
    """The environment variable of a field."""
    return PREFIX + name.upper()


def pascal(name: str) -> str:
    """The JSON key of a field."""
    return _PASCAL.get(name) or "".join(part.capitalize() for part in name.split("_"))


def plain(name: str) -> str:
    """The field's own name."""
    return name


CALL: Final = Origin(spell=plain, known=plain)
ENVIRONMENT: Final = Origin(spell=variable, known=variable)
VALUES_ONLY: Final = Origin(spell=plain, known=plain, environment=False)


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known spelling that an unknown one was probably meant to be, or None."""
    folded = {fold(candidate): candidate for candidate in known}
    found = difflib.get_close_matches(fold(name), folded, n=1, cutoff=0.8)
    return folded[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean X?``, or nothing where no known name is close."""
    near = closest(name, known)
    return f"; did you mean {near}?" if near else ""


class MergedSource(PydanticBaseSettingsSource):
    """All sources in one, each value with its spelling.

    The merging is done here rather than by the base class because that hands on bare values,
    which no longer tell where they came from.
    """

    def __init__(
        self,
        settings_cls: Any,
        init: PydanticBaseSettingsSource,
        environment: PydanticBaseSettingsSource,
        dotenv: PydanticBaseSettingsSource,
    ) -> None:
        super().__init__(settings_cls)
        self._init = dict(init.init_kwargs) if isinstance(init, InitSettingsSource) else {}
        self._environment = environment
        self._dotenv = dotenv

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Not used: :meth:`__call__` gives all values at once."""
        raise NotImplementedError

    def __call__(self) -> dict[str, Any]:
        """Return the strongest value of each field, and the origin."""
        given = self._init.get(ORIGIN)
        if not isinstance(given, Given):
            given = Given(self._init, CALL if self._init else ENVIRONMENT)
        origin = given.origin
        merged: dict[str, Any] = {ORIGIN: origin}
        strong: dict[str, Any] = {}
        for key, value in given.values.items():
            # A key that happens to have that name is unknown like any other.
            name = f"{key} " if key == ORIGIN else key
            if isinstance(value, Sourced) and value.weak:
                merged[name] = value
            else:
                strong[name] = value if isinstance(value, Sourced) else Sourced(value, name)
        if origin.environment:
            fields = self.settings_cls.model_fields
            merged.update(_variables(_texts(self._dotenv), fields, " in the .env file"))
            merged.update(_variables(_texts(self._environment), fields, ""))
        merged.update(strong)
        return merged


def _texts(source: PydanticBaseSettingsSource) -> Mapping[str, str | None]:
    # DotEnvSettingsSource derives from EnvSettingsSource; both keep what they read, in lower case.
    return source.env_vars if isinstance(source, (EnvSettingsSource, DotEnvSettingsSource)) else {}


def _variables(
    texts: Mapping[str, str | None], fields: Mapping[str, object], place: str
) -> dict[str, Sourced]:
    """Take the variables that are ours.

    The environment is shared with others, whose variables may begin with ``AURORA_`` too (service
    links of an orchestrator do). So an unknown one is a problem only where it is nearly a known
    one; it is then kept under its own name, and validation reports it.
    """
    found: dict[str, Sourced] = {}
    for key, text in texts.items():
        name = key.lower().removeprefix(PREFIX.lower())
        if name == key.lower() or text is None or not text:
            continue
        if name in fields or closest(name, fields):
            found[name] = Sourced(text, variable(name) + place)
    return found
