"""One text for the calls of many callers, on MySQL and MariaDB.

Where all parameters are compared with integers, dates or bytes, and the server says so, the values
of all callers are one parameter, and the statement runs once for each of its rows::

    SELECT k.ord, q.* FROM JSON_TABLE(?, '$[*]' COLUMNS (ord FOR ORDINALITY, p1 BIGINT PATH
    '$[0]' ERROR ON ERROR)) AS k JOIN LATERAL (SELECT … WHERE id = k.p1) AS q

In all other cases (text, which has a collation; a server without LATERAL, or one that does not
tell types) the statement stands there once for each caller::

    SELECT 1, q.* FROM (SELECT … WHERE email = ?) AS q UNION ALL SELECT 2, q.* FROM …

An INSERT of one row becomes one of many in the same way. There is a text for each power of two.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

import orjson

from aurora_sql.statements._lists import MAX_PLACEHOLDERS
from aurora_sql.statements._statement import Piece
from aurora_sql.statements._together import _cut, _for_many, _free_names, _only_row, _tokens
from aurora_sql.statements._tokens import VARIABLE, WORD
from aurora_sql.types import Cardinality

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from aurora_sql.statements._statement import Statement, Variant
    from aurora_sql.statements._tokens import Token
    from aurora_sql.types import ParameterType

    Sets = Sequence[Sequence[Any]]
    Bound = tuple[Statement, dict[str, Any]]

MOST_UNITED: Final = 64
"""Callers in one UNION ALL: the server plans each of its members."""

_ALL: Final = "LIMIT 18446744073709551615"
"""Without a LIMIT the ORDER BY of a derived table is dropped."""

_LONGEST_KEY: Final = 256


def _bigint(value: int) -> int | None:
    return value if -(1 << 63) <= value < 1 << 63 else None


def _unsigned(value: int) -> int | None:
    return value if 0 <= value < 1 << 64 else None


def _datetime(value: dt.datetime) -> str | None:
    return None if value.tzinfo is not None else value.isoformat(" ")


def _hex(value: bytes) -> str | None:
    return value.hex() if len(value) <= _LONGEST_KEY else None


# By the type of the parameter, as the server tells it: the column of JSON_TABLE, how the statement
# reads it, the type of Python's that it takes, and how a value of that stands in JSON.
_KEYS: Final[Mapping[str, tuple[str, str, type[Any], Callable[[Any], Any]]]] = {
    **dict.fromkeys(
        ("tinyint", "smallint", "mediumint", "int", "bigint"), ("BIGINT", "{}", int, _bigint)
    ),
    "bigint unsigned": ("BIGINT UNSIGNED", "{}", int, _unsigned),
    "datetime": ("DATETIME(6)", "{}", dt.datetime, _datetime),
    "date": ("DATE", "{}", dt.date, dt.date.isoformat),
    "varbinary": (f"VARCHAR({2 * _LONGEST_KEY})", "UNHEX({})", bytes, _hex),
}


class KeyedRead:
    """A read for many callers whose values are rows of a JSON_TABLE.

    Args:
        variant: A read with parameters.
        parameters: What the server takes for each placeholder.

    Attributes:
        statement: The statement; None where a parameter is of another type.
    """

    def __init__(self, variant: Variant, parameters: Sequence[ParameterType]) -> None:
        types: dict[str, str] = {}
        fit = not variant.statement.param_types
        for name, one in zip(variant.parameters, parameters, strict=True):
            fit &= one.type_name in _KEYS and types.setdefault(name, one.type_name) == one.type_name
        self.statement: Statement | None = None
        self._encode: list[tuple[int, type[Any], Callable[[Any], Any]]] = []
        if not fit:
            return
        keys, rows, self._name = _free_names(
            variant, "aurora_sql_k", "aurora_sql_q", "aurora_sql_values"
        )
        columns, values = [], {}
        for number, (name, type_name) in enumerate(types.items()):
            column, reads, python_type, encode = _KEYS[type_name]
            columns.append(f"p{number} {column} PATH '$[{number}]' ERROR ON ERROR")
            values[name] = reads.format(f"{keys}.p{number}")
            self._encode.append((variant.parameters.index(name), python_type, encode))
        start = variant.pieces[0].offset
        tail, is_ordered = _tail(variant)
        # A hash join could turn the order of the rows round.
        hint = "/*+ NO_BNL() */ " if is_ordered else ""
        pieces = [
            Piece(start, f"SELECT {hint}{keys}.ord, {rows}.* FROM JSON_TABLE(", ""),
            Piece(start, "", self._name),
            Piece(
                start,
                f", '$[*]' COLUMNS (ord FOR ORDINALITY, {', '.join(columns)})) AS {keys}"
                " JOIN LATERAL (\n",
                "",
            ),
            *(Piece(at, values[name] if name else text, "") for at, text, name in variant.pieces),
            Piece(start, f"{tail}\n) AS {rows}", ""),
        ]
        self.statement = _for_many(variant, (self._name,), pieces, {}, Cardinality.MANY)

    def bind(self, sets: Sets) -> Bound | None:
        """Put the values of all callers into one; None where one is not of its parameter's type."""
        if self.statement is None:
            return None
        columns = []
        for at, python_type, encode in self._encode:
            column = []
            for values in sets:
                value = values[at]
                if value is not None:
                    if type(value) is not python_type:
                        return None
                    value = encode(value)
                    if value is None:
                        return None
                column.append(value)
            columns.append(column)
        text = orjson.dumps(list(zip(*columns, strict=True))).decode()
        return self.statement, {self._name: text}


class UnitedRead:
    """A read for many callers that stands there once for each of them.

    Args:
        variant: A read with parameters.

    Attributes:
        most: Callers in one text.
    """

    def __init__(self, variant: Variant) -> None:
        self._variant = variant
        self._statements: dict[int, Statement] = {}
        (self._rows,) = _free_names(variant, "aurora_sql_q")
        self._tail, _ = _tail(variant)
        self.most = _most(variant, MOST_UNITED)

    def statement(self, size: int) -> Statement:
        """The text for so many callers, a power of two."""
        made = self._statements.get(size)
        if made is None:
            start = self._variant.pieces[0].offset
            pieces: list[Piece] = []
            for number in range(size):
                union = "\nUNION ALL " if number else ""
                pieces += [
                    Piece(start, f"{union}(SELECT {number + 1}, {self._rows}.* FROM (\n", ""),
                    *_numbered(self._variant.pieces, number),
                    Piece(start, f"{self._tail}\n) AS {self._rows})", ""),
                ]
            made = self._statements[size] = _repeated(self._variant, pieces, size, Cardinality.MANY)
        return made

    def bind(self, sets: Sets) -> Bound:
        """The text for these callers; the last stands there again until it is a power of two."""
        size = 1 << (len(sets) - 1).bit_length()
        padded = [*sets, *[sets[-1]] * (size - len(sets))]
        return self.statement(size), _by_name(self._variant, padded)


class WideInsert:
    """An INSERT of one row, for the rows of many callers.

    Args:
        variant: ``INSERT … VALUES (…)``, as :func:`why_apart` lets it through.

    Attributes:
        most: Callers in one text.
    """

    def __init__(self, variant: Variant) -> None:
        found = _only_row(_tokens(variant))
        self._variant = variant
        self._before, self._row, self._after = _cut(variant.pieces, found or (0, 0, 0))
        self._statements: dict[int, Statement] = {}
        self.most = _most(variant, 1 << 16)

    def statement(self, size: int) -> Statement:
        """The text for so many callers, a power of two."""
        made = self._statements.get(size)
        if made is None:
            start = self._variant.pieces[0].offset
            pieces = [*self._before]
            for number in range(size):
                pieces += [
                    Piece(start, ", (" if number else "VALUES (", ""),
                    *_numbered(self._row, number),
                    Piece(start, "\n)", ""),
                ]
            pieces += self._after
            made = self._statements[size] = _repeated(self._variant, pieces, size, Cardinality.EXEC)
        return made

    def bind(self, sets: Sets) -> Bound:
        """The text for these callers, of whom there is a power of two."""
        return self.statement(len(sets)), _by_name(self._variant, sets)


def why_apart(
    code: Sequence[Token], parameters: Iterable[int], lists: Sequence[str], *, is_exec: bool
) -> tuple[str, int] | None:
    """Say why the calls of a statement cannot travel together, and where; None if they can.

    Args:
        code: Its tokens.
        parameters: Where in it parameters stand.
        lists: Parameters that take a list.
        is_exec: It has no result.
    """
    start = code[0][2]
    if lists:
        return f":{lists[0]} takes a list, of another length in each call", start
    for kind, text, offset in code:
        if kind == VARIABLE and not text.startswith("@@"):
            return f"{text} is a variable of the session", offset
    words = [token[1].lower() if token[0] == WORD else "" for token in code]
    if words[0] in ("insert", "replace", "update", "delete") or "returning" in words:
        return None if is_exec and _is_plain_insert(code, words) else (_ONLY_INSERTS, start)
    for name in ("sql_calc_found_rows", "found_rows"):
        if name in words:
            return f"{name.upper()} is about one call", code[words.index(name)][2]
    chosen = _in_select_list(code, words, set(parameters))
    if chosen is None:
        return None
    _, name, offset = code[chosen]
    return f"on MySQL :{name} in a select list decides the type of a column", offset


_ONLY_INSERTS: Final = (
    "on MySQL, of all writes, only an INSERT … VALUES (…) of one row without a result (:exec) "
    "gains by it"
)


def _is_plain_insert(code: Sequence[Token], words: Sequence[str]) -> bool:
    row = None if "last_insert_id" in words else _only_row(code)
    return row is not None and any(text == "(" and at == row[1] - 1 for _, text, at in code)


_CLAUSES: Final = frozenset({"from", "where", "having", "order", "group", "limit", "on", "window"})


def _in_select_list(
    code: Sequence[Token], words: Sequence[str], parameters: set[int]
) -> int | None:
    """The first parameter of which a column of a result is made."""
    inside = [False]
    for at, token in enumerate(code):
        if token[1] == "(":
            inside.append(inside[-1])
        elif token[1] == ")":
            del inside[-1:]
        elif words[at] in ("select", "values"):
            inside[-1] = True
        elif words[at] in _CLAUSES and _is_clause(code, at):
            inside[-1] = False
        elif at in parameters and inside[-1]:
            return at
    return None


def _is_clause(code: Sequence[Token], at: int) -> bool:
    """Whether the word begins a clause of its SELECT, not a part of a function's brackets."""
    depth = 0
    for token in reversed(code[:at]):
        if token[1] == ")":
            depth += 1
        elif token[1] == "(":
            if depth == 0:
                return False
            depth -= 1
        elif depth == 0 and token[0] == WORD and token[1].lower() == "select":
            return True
    return False


def _tail(variant: Variant) -> tuple[str, bool]:
    """What goes behind the statement to keep its order in brackets, and whether it has one."""
    depth, ordered, limited = 0, False, False
    for token in _tokens(variant):
        depth += {"(": 1, ")": -1}.get(token[1], 0)
        if depth or token[0] != WORD:
            continue
        word = token[1].lower()
        if word == "order":
            ordered, limited = True, False
        elif word in ("limit", "fetch"):
            limited = True
    return ("\n" + _ALL if ordered and not limited else ""), ordered


def _most(variant: Variant, most: int) -> int:
    room = max(1, MAX_PLACEHOLDERS // max(1, len(variant.parameters)))
    return min(most, 1 << (room.bit_length() - 1))


def _numbered(pieces: Iterable[Piece], number: int) -> list[Piece]:
    return [
        Piece(offset, text, _name(name, number) if name else "") for offset, text, name in pieces
    ]


def _name(name: str, number: int) -> str:
    return f"{name} {number}"  # no parameter's own name


def _by_name(variant: Variant, sets: Sets) -> dict[str, Any]:
    names = variant.parameters
    return {
        _name(name, number): value
        for number, values in enumerate(sets)
        for name, value in zip(names, values, strict=True)
    }


def _repeated(
    variant: Variant, pieces: Sequence[Piece], size: int, cardinality: Cardinality
) -> Statement:
    once = dict.fromkeys(variant.parameters)
    names = [_name(name, number) for number in range(size) for name in once]
    types = {
        _name(name, number): declared
        for number in range(size)
        for name, declared in variant.statement.param_types.items()
    }
    return _for_many(variant, tuple(names), pieces, types, cardinality)
