"""A statement as the rest of the library sees it: what it promises, and its texts to send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aurora_sql.errors import ParameterError
from aurora_sql.statements._lists import Lists
from aurora_sql.statements._names import close_to, listed
from aurora_sql.statements._render import RENDER
from aurora_sql.types import Access, Cardinality

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from aurora_sql.statements._conditions import Conditions
    from aurora_sql.statements._render import Rendered
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
        sql: The text with placeholders in place of the names: ``$1``, ``$2``, … on PostgreSQL,
            ``?`` on MySQL.
        parameters: The name of each value that is sent with it, in order. PostgreSQL's numbers
            let a text use one value several times; on MySQL a name stands here once for each of
            its placeholders.
        label: What tells it from its siblings, such as ``status, sort='newest'``; empty for the
            only one.
    """

    __slots__ = (
        "__weakref__",  # what is known of a variant elsewhere goes when it goes
        "_accepts",
        "_lists",
        "_pick",
        "_pieces",
        "_sizes",
        "label",
        "parameters",
        "sql",
        "statement",
    )

    def __init__(
        self,
        statement: Statement,
        pieces: tuple[Piece, ...],
        label: str = "",
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        self.statement = statement
        self.label = label
        self._pieces = pieces
        self._sizes = sizes or {}
        texts, self.parameters = self._render()
        # A variant whose last line is left out ends with the line break before it.
        self.sql = "".join(texts).rstrip()
        self._pick = picker(self.parameters)
        self._accepts = frozenset(self.parameters)
        self._lists: Lists | None = None
        if statement.lists and sizes is None:
            names = [name for name in dict.fromkeys(self.parameters) if name in statement.lists]
            self._lists = Lists(self, names) if names else None

    def __repr__(self) -> str:
        label = f"[{self.label}]" if self.label else ""
        text = " ".join(self.sql.split())
        if len(text) > _SHOWN:
            text = text[: _SHOWN - 1] + "…"
        return f"<Variant {self.statement.name}{label} {text}>"

    def _render(self) -> Rendered:
        return RENDER[self.statement.dialect](self._pieces, self.statement.param_types, self._sizes)

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The text in pieces: code as it stands in the file, and parameters."""
        return self._pieces

    def with_sizes(self, sizes: Mapping[str, int]) -> Variant:
        """The same text with so many values in each of its lists."""
        sized = ", ".join(f"{name}*{size}" for name, size in sizes.items())
        label = f"{self.label}, {sized}" if self.label else sized
        return Variant(self.statement, self._pieces, label, sizes)

    def locate(self, position: int) -> tuple[int, int]:
        """Line and column in the source, both from 1, of a character of the text that was sent.

        Args:
            position: Number of the character, from 1, as the server reports it. One beyond the
                text stands for its end.
        """
        left = max(position - 1, 0)
        offset = 0
        texts, _ = self._render()
        for (start, _, parameter), text in zip(self._pieces, texts, strict=True):
            length = len(text)
            offset = start if parameter else start + min(left, length)
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

    def position_near(self, line: int, near: str | None = None) -> int:
        """Number of a character of the text that was sent, from what MySQL's errors tell of it.

        They say ``near '…' at line N``: the text from where the parser gave up, cut off after 80
        characters, and its line.

        Args:
            line: The line of the text that was sent, from 1.
            near: The text from there, empty where the text ends too early; without it the line's
                first character is meant.

        Returns:
            The number, from 1, for :meth:`locate` and :meth:`place`.
        """
        text = self.sql
        start = 0
        for _ in range(line - 1):
            start = text.find("\n", start) + 1
            if start == 0:
                return len(text) + 1
        if near == "":
            return len(text) + 1
        found = -1 if near is None else text.find(near, start)
        if found < 0:
            found = len(text) - len(text[start:].lstrip())
        return found + 1


_SHOWN: Final = 60


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
        cache: Seconds that an answer may be old, from ``cache:``; None: the server is asked.
        invalidates: Full names of the cached statements whose answers a write puts out of date,
            from ``invalidates:``.
        param_types: Types of parameters, from ``param:``; they are sent as casts.
        column_nullability: For columns named by ``column:``, True where NULL may come.
        command: SELECT, INSERT, UPDATE, DELETE, MERGE, REPLACE (MySQL) or OTHER.
        functions: Functions it calls that are not on the vetted list, lower case, qualified
            where the text qualifies them.
        identifiers: Every name in the text that could be a table, a view or a column.
        is_aiosql: Its header has aiosql's form.
        lists: Parameters that take a list of values, one placeholder each: those in ``IN (:ids)``
            on MySQL. None on PostgreSQL, where a list is one value.
        commits_implicitly: It ends the transaction that is open, as DDL does on MySQL.
        coalesce: ``coalesce: on``: calls that wait at the same moment travel together.
        repeatable: It is a read in the form for many callers, which may be run for its plan alone.
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
    lists: frozenset[str] = frozenset()
    commits_implicitly: bool = False
    cache: float | None = None
    invalidates: tuple[str, ...] = ()
    coalesce: bool = False
    repeatable: bool = False
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
        """Every text that can be sent, with one value in each list on MySQL; always the same."""
        if self.conditions is not None:
            return self.conditions.all_variants(self)
        return () if self._only is None else (self._only,)

    def bind(self, params: Mapping[str, Any]) -> tuple[Variant, Sequence[Any]]:
        """Choose the text for these parameters and put their values in its order.

        Args:
            params: Values by name. Those that only conditional lines use may be left out or None.

        Returns:
            The variant to send and the values for its placeholders, in order.

        Raises:
            ParameterError: One is missing or unknown, has no value that a line allows, or is no
                list where ``IN (:ids)`` takes one.
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
        if self.conditions is not None:
            bound = self.conditions.bind(self, params)
            if not self.lists:
                return bound
        elif self._only is not None and self.lists:
            bound = self._only, self._all_of(params)
        else:
            raise self._misfit(params)
        variant, values = bound
        lists = variant._lists  # noqa: SLF001 - the two are one unit
        return bound if lists is None else lists.expand(values)

    def _all_of(self, params: Mapping[str, Any]) -> Sequence[Any]:
        """The values for the only variant, its lists whole."""
        try:
            if len(params) == len(self.parameters):
                return self._only._pick(params)  # type: ignore[union-attr]  # noqa: SLF001 - the caller looked
        except (KeyError, TypeError):
            pass
        raise self._misfit(params)

    def _misfit(self, params: object, number: int | None = None) -> ParameterError:
        return ParameterError(misfit_message(self, params, number))

    def _settle(self, pieces: tuple[Piece, ...]) -> None:
        """Make the only variant; called once by the builder."""
        variant = Variant(self, pieces)
        set_attribute = object.__setattr__
        set_attribute(self, "_only", variant)
        set_attribute(self, "_count", -1 if self.lists else len(variant._accepts))  # noqa: SLF001 - the two are one unit
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
