"""A statement as the rest of the library sees it: what it promises, and its texts to send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aurora_sql.errors import ParameterError
from aurora_sql.statements._names import close_to, listed
from aurora_sql.types import Access, Cardinality

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from aurora_sql.statements._conditions import Conditions
    from aurora_sql.statements._source import Source
    from aurora_sql.types import Role


class Piece(NamedTuple):
    """A stretch of a statement's text: code as it stands in the file, or one parameter.

    Attributes:
        offset: Where it begins in the source.
        text: The code; empty for a parameter.
        parameter: Name of the parameter; empty for code.
    """

    offset: int
    text: str
    parameter: str


class Variant:
    """One text of a statement, as it is prepared and sent. Compared by identity.

    Attributes:
        statement: The statement it belongs to.
        sql: The text with ``$1``, ``$2``, … in place of the names.
        parameters: The names in the order of their numbers.
        label: What tells it from its siblings, such as ``status, sort='newest'``; empty for the
            only one.
    """

    __slots__ = (
        "__weakref__",  # what is known of a variant elsewhere goes when it goes
        "_accepts",
        "_pick",
        "_pieces",
        "label",
        "parameters",
        "sql",
        "statement",
    )

    def __init__(self, statement: Statement, pieces: tuple[Piece, ...], label: str = "") -> None:
        self.statement = statement
        self.label = label
        self._pieces = pieces
        numbers: dict[str, int] = {}
        texts = []
        for _, text, parameter in pieces:
            if parameter:
                number = numbers.setdefault(parameter, len(numbers) + 1)
                texts.append(_placeholder(number, statement.param_types.get(parameter)))
            else:
                texts.append(text)
        # A variant whose last line is left out ends with the line break before it.
        self.sql = "".join(texts).rstrip()
        self.parameters = tuple(numbers)
        self._pick = picker(self.parameters)
        self._accepts = frozenset(numbers)

    def __repr__(self) -> str:
        label = f"[{self.label}]" if self.label else ""
        text = " ".join(self.sql.split())
        if len(text) > _SHOWN:
            text = text[: _SHOWN - 1] + "…"
        return f"<Variant {self.statement.name}{label} {text}>"

    def locate(self, position: int) -> tuple[int, int]:
        """Line and column in the source, both from 1, of a character of the text that was sent.

        Args:
            position: Number of the character, from 1, as the server reports it. One beyond the
                text stands for its end.
        """
        left = max(position - 1, 0)
        offset = 0
        types = self.statement.param_types
        for start, text, parameter in self._pieces:
            if parameter:
                number = self.parameters.index(parameter) + 1
                length = len(_placeholder(number, types.get(parameter)))
                offset = start
                if left < length:
                    break
            else:
                length = len(text)
                offset = start + min(left, length)
                if left < length:
                    break
            left -= length
        # A line that was left out may have taken the text's end with it: what stands for its line
        # break lies beyond.
        source = self.statement.source
        return source.place(min(offset, len(source.text)))

    def place(self, position: int) -> str:
        """The same as text, such as ``sql/users.sql:12:8``."""
        line, column = self.locate(position)
        return f"{self.statement.path or self.statement.name}:{line}:{column}"


_SHOWN: Final = 60


def _placeholder(number: int, type_name: str | None) -> str:
    # The extended protocol knows a parameter's type by a cast alone (the drivers pass no OIDs);
    # brackets keep it one operand whatever follows.
    return f"${number}" if type_name is None else f"(${number}::{type_name})"


def _nothing(_params: Mapping[str, Any]) -> tuple[Any, ...]:
    return ()


def picker(names: Sequence[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """A function that takes the named values out of a mapping, in order, as fast as can be."""
    if not names:
        return _nothing
    if len(names) == 1:
        name = names[0]
        return lambda params: (params[name],)
    return itemgetter(*names)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Statement:
    """One SQL statement with all that was found out about it when it was loaded.

    Attributes:
        name: Full name, such as ``users.get_by_email``.
        dialect: ``postgresql`` or ``mysql``.
        cardinality: What it promises about its result.
        source: The text it was read from.
        path: The file, None for ad hoc SQL.
        line: Line of its header (of its first word for ad hoc SQL), from 1.
        doc: Its documentation, from the comments under the header.
        parameters: Every name a call may give, in order of their first appearance.
        required: Those that a call must give whatever else it gives.
        access: Whether it may change anything. ``write`` also where only a function that is not
            known (see ``functions``) makes it one; then ``proven_write`` is False.
        proven_write: Its text, or its ``access:`` directive, says that it writes.
        access_declared: ``access`` comes from a directive.
        role: The role it is to run on, from ``role:``; None where nothing is said.
        timeout: Its limit in seconds, from ``timeout:``; None where nothing is said.
        returns: Dotted path of the model for its rows, from ``returns:``; the model itself for
            ad hoc SQL.
        retry: ``never`` or ``exactly_once`` where ``retry:`` says so, else None.
        session_clean: ``session: clean``: it leaves the session as it was.
        param_types: Types of parameters, from ``param:``; they are sent as casts.
        column_nullability: For columns named by ``column:``, True where NULL may come.
        command: SELECT, INSERT, UPDATE, DELETE, MERGE or OTHER.
        functions: Functions it calls that are not on the vetted list, lower case, qualified
            where the text qualifies them.
        identifiers: Every name in the text that could be a table, a view or a column.
        is_aiosql: Its header has aiosql's form.
    """

    name: str
    dialect: str
    cardinality: Cardinality
    source: Source
    line: int
    doc: str
    parameters: tuple[str, ...]
    required: tuple[str, ...]
    access: Access
    proven_write: bool
    access_declared: bool
    role: Role | None
    timeout: float | None
    returns: str | type[Any] | None
    retry: str | None
    session_clean: bool
    param_types: Mapping[str, str]
    column_nullability: Mapping[str, bool]
    command: str
    functions: frozenset[str]
    identifiers: frozenset[str]
    is_aiosql: bool
    conditions: Conditions | None = field(default=None)
    # The fast way of bind(): the only variant, how many parameters it takes (-1 sends every call
    # the long way round) and what takes them out of the mapping.
    _only: Variant | None = field(default=None, init=False)
    _count: int = field(default=-1, init=False)
    _pick: Callable[[Mapping[str, Any]], tuple[Any, ...]] = field(default=_nothing, init=False)

    @classmethod
    def from_sql(
        cls,
        text: str,
        dialect: str = "postgresql",
        *,
        name: str = "<ad hoc>",
        cardinality: Cardinality = Cardinality.MANY,
        returns: type[Any] | None = None,
    ) -> Statement:
        """Make a statement of SQL that stands in no file; parameters are written ``:name``.

        Args:
            text: One statement.
            dialect: ``postgresql`` or ``mysql``.
            name: What errors call it.
            cardinality: What it promises about its result.
            returns: The model for its rows.

        Raises:
            StatementFileError: The text cannot be a statement; it names line and column.
            ConfigurationError: The dialect is unknown or not built.
        """
        from aurora_sql.statements._build import build_ad_hoc  # noqa: PLC0415 - it builds this class

        return build_ad_hoc(text, dialect, name=name, cardinality=cardinality, returns=returns)

    def __repr__(self) -> str:
        return f"<Statement {self.name} :{self.cardinality.value} {self.access.value} {self.place}>"

    @property
    def path(self) -> Path | None:
        """The file, None for ad hoc SQL."""
        return self.source.path

    @property
    def place(self) -> str:
        """File and line, such as ``sql/users.sql:12``."""
        return f"{self.path}:{self.line}" if self.path is not None else f"line {self.line}"

    @property
    def where(self) -> str:
        """Name and place, as messages give them: ``users.get (sql/users.sql:12)``."""
        return f"{self.name} ({self.place})" if self.path is not None else self.name

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Every text that can be sent. The same objects at each call."""
        if self.conditions is not None:
            return self.conditions.all_variants(self)
        return () if self._only is None else (self._only,)

    def bind(self, params: Mapping[str, Any]) -> tuple[Variant, Sequence[Any]]:
        """Choose the text for these parameters and put their values in its order.

        Args:
            params: Values by name. Those that only conditional lines use may be left out or None.

        Returns:
            The variant to send and the values for ``$1``, ``$2``, ….

        Raises:
            ParameterError: One is missing or unknown, or has no value that a line allows.
        """
        if len(params) == self._count:
            try:
                return self._only, self._pick(params)  # type: ignore[return-value]  # a count is set with _only
            except (KeyError, TypeError):
                pass  # a name is missing, or it is no mapping at all
        return self._bind_with_care(params)

    def bind_many(self, sets: Iterable[Mapping[str, Any]]) -> tuple[Variant, list[Sequence[Any]]]:
        """Put many sets of parameters in order for one text (cardinality ``batch``).

        Raises:
            ParameterError: A set misses or has too many; it names the number of the set, from 0.
        """
        variant = self._only
        if variant is None:
            raise ParameterError(f"{self.where}: a statement with conditional lines has no batch")
        count, pick = self._count, self._pick
        bound: list[Sequence[Any]] = []
        for number, params in enumerate(sets):
            try:
                values = pick(params)
            except (KeyError, TypeError):
                raise self._misfit(params, number) from None
            if len(params) != count:
                raise self._misfit(params, number)
            bound.append(values)
        return variant, bound

    def _bind_with_care(self, params: Mapping[str, Any]) -> tuple[Variant, Sequence[Any]]:
        if self.conditions is None:
            raise self._misfit(params)
        return self.conditions.bind(self, params)

    def _misfit(self, params: object, number: int | None = None) -> ParameterError:
        return ParameterError(misfit_message(self, params, number))

    def _settle(self, pieces: tuple[Piece, ...]) -> None:
        """Make the only variant; called once by the builder."""
        variant = Variant(self, pieces)
        set_attribute = object.__setattr__
        set_attribute(self, "_only", variant)
        set_attribute(self, "_count", len(variant.parameters))
        set_attribute(self, "_pick", variant._pick)  # noqa: SLF001 - the two are one unit


def misfit_message(statement: Statement, params: object, number: int | None = None) -> str:
    """Say what is wrong with the names of a call's parameters."""
    where = statement.where if number is None else f"{statement.where}: set {number}"
    if not isinstance(params, Mapping):
        return f"{where}: parameters are given by name, not as {type(params).__name__}"
    known = statement.parameters
    takes = f"it takes {listed(known)}" if known else "it takes none"
    unknown = [name for name in params if name not in known]
    missing = [name for name in statement.required if name not in params]
    parts = []
    if missing:
        parts.append(f"missing parameter{'s' if len(missing) > 1 else ''} {listed(missing)}")
    for name in unknown:
        hint = close_to(str(name), [n for n in known if n not in params])
        parts.append(f"unknown parameter {name!r}{hint}")
    return f"{where}: {'; '.join(parts)}; {takes}"
