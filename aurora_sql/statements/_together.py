"""One text for the calls of many callers: ``coalesce: on``.

On PostgreSQL each parameter becomes an array with one value for each caller, and the statement runs
once for each of their positions::

    SELECT k.ord, q.* FROM ROWS FROM (unnest($1::int4[])) WITH ORDINALITY AS k (p1, ord)
    CROSS JOIN LATERAL (SELECT … WHERE id = k.p1) AS q

An INSERT of one row becomes one of many rows in the same way. Other writes keep their text, and are
sent once for each caller, with its number in each row that they return.
"""

from __future__ import annotations

import dataclasses
import math
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from aurora_sql.statements._dialects import dialect_of
from aurora_sql.statements._source import Source
from aurora_sql.statements._statement import Piece
from aurora_sql.statements._tokens import BLOCK, COMMENT, PARAMETER, WORD
from aurora_sql.types import Cardinality

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aurora_sql.statements._statement import Statement, Variant
    from aurora_sql.statements._tokens import Token
    from aurora_sql.types import ParameterType

_POINTS: Final = frozenset({"line", "lseg", "box", "path", "polygon", "point", "circle"})
_PSEUDO: Final = frozenset({"record", "void", "refcursor"})
"""Arrays of the first would take a value for a further dimension; of these there are none. A list
as a JSON value is seen to when it comes."""


def unfit_type(name: str, parameter: ParameterType) -> str | None:
    """Say why a parameter of this type cannot stand in an array; None if it can."""
    if parameter.kind != "scalar":
        return f"parameter {name!r} is of type {parameter.type_name}, which is no single value"
    if parameter.type_name in _POINTS or parameter.type_name in _PSEUDO:
        return f"parameter {name!r} is of type {parameter.type_name}, whose values can be lists"
    return None


def widen(variant: Variant, parameters: Sequence[ParameterType]) -> Statement:
    """Make the statement that runs a variant for many callers.

    Args:
        variant: A read with parameters.
        parameters: What the server takes for each, from the prepared original.

    Returns:
        A statement with the same parameters, each of them a list with one value for each caller.
        Its rows have the caller's number, from 1, in front.
    """
    keys, rows = _free_names(variant, "aurora_sql_k", "aurora_sql_q")
    inner = variant.pieces
    start, end = inner[0].offset, inner[-1].offset + len(inner[-1].text)
    columns = ", ".join(_columns(variant))
    pieces = [
        Piece(start, f"SELECT {keys}.ord, {rows}.* FROM ", ""),
        *_arrays(variant, start),
        Piece(start, f" WITH ORDINALITY AS {keys} ({columns}, ord) CROSS JOIN LATERAL (\n", ""),
        *_of_one(variant, inner, keys),
        Piece(end, f"\n) AS {rows}", ""),
    ]
    types = _array_types(variant, parameters)
    return _for_many(variant, variant.parameters, pieces, types, Cardinality.MANY, repeatable=True)


def widen_insert(variant: Variant, parameters: Sequence[ParameterType]) -> Statement | None:
    """Make the INSERT that inserts the rows of many callers, without a result.

    Args:
        variant: A write with parameters.
        parameters: What the server takes for each, from the prepared original.

    Returns:
        None where the statement is more than ``INSERT … VALUES (…)``, or where a value may not
        stand in an array.
    """
    if any(unfit_type("", one) is not None for one in parameters):
        return None
    found = _only_row(_tokens(variant))
    if found is None:
        return None
    before, row, after = _cut(variant.pieces, found)
    (keys,) = _free_names(variant, "aurora_sql_k")
    start = row[0].offset
    pieces = [
        *before,
        Piece(start, "SELECT ", ""),
        *_of_one(variant, row, keys),
        Piece(start, " FROM ", ""),
        *_arrays(variant, start),
        # WHERE: what follows may begin with ON.
        Piece(start, f" AS {keys} ({', '.join(_columns(variant))}) WHERE true", ""),
        *after,
    ]
    types = _array_types(variant, parameters)
    return _for_many(variant, variant.parameters, pieces, types, Cardinality.EXEC)


def number_rows(variant: Variant, *, returning: bool) -> Statement:
    """Make the write whose rows say whose they are.

    Args:
        variant: A write.
        returning: It has a RETURNING clause.

    Returns:
        A statement with one more value, the number of the caller, which is the last column of each
        row that it writes.
    """
    (number,) = _free_names(variant, "aurora_sql_ord")
    last = variant.pieces[-1]
    end = last.offset + len(last.text)
    pieces = [
        *variant.pieces,
        Piece(end, ", " if returning else " RETURNING ", ""),
        Piece(end, "", number),
    ]
    types = {**variant.statement.param_types, number: "int4"}
    names = (*variant.parameters, number)
    return _for_many(variant, names, pieces, types, Cardinality.MANY)


def target_table(statement: Statement) -> str:
    """The table that a write changes, lower case and without its schema."""
    tokens = _tokens(statement.variants[0])
    words = _words(tokens)
    changing = (
        i
        for i, word in enumerate(words)
        # FOR UPDATE, FOR NO KEY UPDATE of a SELECT in front
        if word in _CHANGING and (i == 0 or words[i - 1] not in {"for", "key"})
    )
    at = next(changing, 0) + 1
    while at < len(tokens) and words[at] in _BEFORE_TABLE:
        at += 1
    while at + 2 < len(tokens) and tokens[at + 1][1] == ".":
        at += 2
    return tokens[at][1].strip('"`').lower() if at < len(tokens) else ""


def lock_order(variant: Variant) -> tuple[int, ...]:
    """The numbers of a write's parameters: those that find its rows first.

    Writes sorted by them lock rows in one order, so that two batches do not wait for each other.
    """
    tokens = _tokens(variant)
    words = _words(tokens)
    finding = _of_conflict(tokens, words)
    if not finding:
        depths = list(accumulate({"(": 1, ")": -1}.get(token[1], 0) for token in tokens))
        outside = (i for i, word in enumerate(words) if word == "where" and not depths[i])
        where = max(outside, default=len(tokens))
        finding = [token[1] for token in tokens[where:] if token[0] == PARAMETER]
    names = dict.fromkeys([*finding, *variant.parameters])
    return tuple(variant.parameters.index(name) for name in names)


def _of_conflict(tokens: Sequence[Token], words: Sequence[str]) -> list[str]:
    """The parameters of ``INSERT INTO t (…) VALUES (…) ON CONFLICT (…)`` that are its key."""
    if words[:1] != ["insert"] or not {"values", "conflict"} <= set(words):
        return []
    opening = {words[at - 1]: at for at, token in enumerate(tokens) if token[1] == "("}
    values = words.index("values")
    columns = next((at for at, token in enumerate(tokens[:values]) if token[1] == "("), None)
    if columns is None or "conflict" not in opening or "values" not in opening:
        return []
    row = dict(
        zip(
            (_name(item) for item in _items(tokens, columns)),
            _items(tokens, opening["values"]),
            strict=False,
        )
    )
    key = [row.get(_name(item), ()) for item in _items(tokens, opening["conflict"])]
    return [token[1] for item in key for token in item if token[0] == PARAMETER]


def _items(tokens: Sequence[Token], opening: int) -> list[list[Token]]:
    """What stands between the commas of a bracket."""
    items: list[list[Token]] = [[]]
    depth = 0
    for token in tokens[opening + 1 :]:
        depth += {"(": 1, ")": -1}.get(token[1], 0)
        if depth < 0:
            break
        if token[1] == "," and not depth:
            items.append([])
        else:
            items[-1].append(token)
    return items


def _name(item: Sequence[Token]) -> str:
    return item[0][1].strip('"').lower() if item else ""


def _words(tokens: Sequence[Token]) -> list[str]:
    return [token[1].lower() if token[0] == WORD else "" for token in tokens]


_CHANGING: Final = frozenset({"insert", "update", "delete", "merge"})
_BEFORE_TABLE: Final = frozenset(
    {"into", "from", "only", "ignore", "delayed", "low_priority", "high_priority"}
)


def _tokens(variant: Variant) -> list[Token]:
    """The code of a variant, parameters by name."""
    text = "".join(_written(piece) for piece in variant.pieces)
    tokens = dialect_of(variant.statement.dialect).tokenize(Source(text))
    return [token for token in tokens if token[0] not in (COMMENT, BLOCK)]


def _written(piece: Piece) -> str:
    return f":{piece.parameter}" if piece.parameter else piece.text


def _only_row(tokens: Sequence[Token]) -> tuple[int, int, int] | None:
    """Where VALUES, what is in its brackets, and what follows begin; None if it is more."""
    words = _words(tokens)
    if words[:1] != ["insert"]:
        return None
    depth, first, last = 0, 0, 0
    for at, token in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token[1], 0)
        if depth == 0:
            if first and not last:
                last = at
            elif words[at] == "values" and not first:  # in brackets it is a column's name
                first = at + 1
    if not last or not {"default", "select"}.isdisjoint(words[first:last]):
        return None
    rest = words[last + 1 :]
    # DO UPDATE may not meet one row twice in a statement, RETURNING has rows.
    if tokens[last + 1 :] and (rest[:2] != ["on", "conflict"] or rest[-2:] != ["do", "nothing"]):
        return None
    if any(token[0] == PARAMETER for token in tokens[last + 1 :]):
        return None
    return tokens[first - 1][2], tokens[first][2] + 1, tokens[last][2]


def _cut(
    pieces: Sequence[Piece], places: tuple[int, int, int]
) -> tuple[list[Piece], list[Piece], list[Piece]]:
    """What stands before VALUES, in its brackets, and after them."""
    values, opening, closing = places
    before: list[Piece] = []
    row: list[Piece] = []
    after: list[Piece] = []
    at = 0
    for piece in pieces:
        text = _written(piece)
        for into, start, end in (
            (before, 0, values),
            (row, opening, closing),
            (after, closing + 1, math.inf),
        ):
            left, right = max(start, at), min(end, at + len(text))
            if left >= right:
                continue
            if piece.parameter:
                into.append(piece)
            else:
                cut = piece.text[left - at : int(right) - at]
                into.append(Piece(piece.offset + left - at, cut, ""))
        at += len(text)
    return before, row, after


def _columns(variant: Variant) -> list[str]:
    return [f"p{number}" for number, _ in enumerate(variant.parameters, 1)]


def _arrays(variant: Variant, offset: int) -> list[Piece]:
    """The arrays side by side."""
    pieces = []
    for number, name in enumerate(variant.parameters):
        before = "ROWS FROM (pg_catalog.unnest(" if number == 0 else "), pg_catalog.unnest("
        pieces += [Piece(offset, before, ""), Piece(offset, "", name)]
    return [*pieces, Piece(offset, "))", "")]


def _of_one(variant: Variant, pieces: Sequence[Piece], keys: str) -> list[Piece]:
    """Code with one caller's values in place of the parameters."""
    column = dict(zip(variant.parameters, _columns(variant), strict=True))
    made = []
    for offset, text, parameter in pieces:
        if not parameter:
            made.append(Piece(offset, text, ""))
            continue
        # A cast by directive may also cut a value to its length.
        declared = variant.statement.param_types.get(parameter)
        value = f"{keys}.{column[parameter]}"
        made.append(Piece(offset, value if declared is None else f"({value}::{declared})", ""))
    return made


def _array_types(variant: Variant, parameters: Sequence[ParameterType]) -> dict[str, str]:
    return {
        name: f"{_quoted(one.schema)}.{_quoted(one.type_name)}[]"
        for name, one in zip(variant.parameters, parameters, strict=True)
    }


def _for_many(
    variant: Variant,
    names: tuple[str, ...],
    pieces: Sequence[Piece],
    types: Mapping[str, str],
    cardinality: Cardinality,
    *,
    repeatable: bool = False,
) -> Statement:
    made = dataclasses.replace(
        variant.statement,
        cardinality=cardinality,
        parameters=names,
        required=names,
        returns=None,
        param_types=types,
        column_nullability={},
        coalesce=False,
        repeatable=repeatable,
        conditions=None,
    )
    made._settle(tuple(pieces))  # noqa: SLF001 - the builder of statements does the same
    return made


def _free_names(variant: Variant, *names: str) -> tuple[str, ...]:
    """The names, or longer ones where the statement has such a name itself."""
    known = variant.statement.identifiers.union(variant.parameters)
    suffix = ""
    while any(name + suffix in known for name in names):
        suffix += "_"
    return tuple(name + suffix for name in names)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
