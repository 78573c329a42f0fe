"""From tokens to a statement: what is checked of each before anything is sent."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aurora_sql.statements._classify import Facts
from aurora_sql.statements._conditions import Conditions, cut_segments, make_pieces, parse_marker
from aurora_sql.statements._dialects import Dialect, dialect_of
from aurora_sql.statements._directives import Directives, none_given
from aurora_sql.statements._files import Header, RawStatement
from aurora_sql.statements._names import listed
from aurora_sql.statements._source import Source
from aurora_sql.statements._statement import Statement
from aurora_sql.statements._together_mysql import why_apart
from aurora_sql.statements._tokens import (
    BLOCK,
    COMMENT,
    EXECUTABLE,
    PARAMETER,
    POSITIONAL,
    PUNCTUATION,
    Token,
)
from aurora_sql.types import Access, Cardinality, Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ROWS: Final = frozenset({Cardinality.ONE, Cardinality.MAYBE, Cardinality.MANY, Cardinality.SCALAR})
_PAIRS: Final = {")": "(", "]": "["}
_CHANGING: Final = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE"})


def build_ad_hoc(
    text: str,
    dialect: str,
    *,
    name: str,
    cardinality: Cardinality,
    returns: type[Any] | None = None,
) -> Statement:
    """As :meth:`Statement.from_sql`."""
    source = Source(text)
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise source.error("the text holds a lone surrogate, which is no UTF-8", exc.start) from exc
    tokens = dialect_of(dialect).tokenize(source)
    at = 0
    while at < len(tokens) and (
        tokens[at][0] == COMMENT or (tokens[at][0] == BLOCK and not tokens[at][1].startswith("/*+"))
    ):
        at += 1
    offset = tokens[at][2] if at < len(tokens) else 0
    header = Header(name, cardinality, offset, is_aiosql=True, declared=None)
    said = none_given() if returns is None else Directives(returns=returns)
    raw = RawStatement(source, header, "", said, tokens[at:])
    statement = build(raw, name, dialect)
    # Frozen from here on; a model has no place among the directives of a text.
    object.__setattr__(statement, "returns", returns)
    return statement


def build(raw: RawStatement, name: str, dialect: str) -> Statement:
    """Prove a statement and make it.

    Args:
        raw: What the parser found.
        name: Its full name.
        dialect: The dialect it is for.

    Raises:
        StatementFileError: It cannot be a statement; the error names line and column.
    """
    source, header, directives = raw.source, raw.header, raw.directives
    grammar = dialect_of(dialect)
    body = _scan(source, raw.tokens)
    code = body.code
    if not code:
        raise source.error(f"{header.name!r} is empty: no SQL follows its header", header.offset)
    if header.cardinality is Cardinality.SCRIPT:
        return _build_script(raw, name, grammar, body)
    if body.has_semicolons:
        _refuse_second(source, header, grammar.split(code))
    grammar.refuse_bookkeeping(source, code)
    facts = grammar.classify(code)
    _check_promises(source, header, directives, facts)
    bound, lists = _check_parameters(source, body, directives, grammar)
    _check_apart(raw, body, lists, grammar)
    if lists and header.cardinality is Cardinality.BATCH:
        raise source.error(f"a :batch cannot have a list, here is IN (:{lists[0]})", header.offset)
    start, end = _extent(raw.tokens, code)
    conditions = None
    if body.has_comments:
        segments = cut_segments(source, raw.tokens, code, start, end)
        if segments:
            if header.cardinality is Cardinality.BATCH:
                raise source.error("a :batch cannot have conditional lines", header.offset)
            if any(token[0] == EXECUTABLE for token in code):
                raise source.error(
                    "a statement with executable comments cannot have conditional lines",
                    header.offset,
                )
            conditions = Conditions(source, segments, header.offset)
    names = bound if conditions is None else _all_names(source, raw.tokens)
    _check_declared(source, header, directives, names)
    statement = _make(
        raw,
        name,
        grammar,
        facts,
        parameters=names,
        required=bound if conditions is None else conditions.required(),
        lists=lists,
        commits=grammar.commits_implicitly(code),
        conditions=conditions,
    )
    if conditions is None:
        statement._settle(tuple(make_pieces(source, code, start, end)))  # noqa: SLF001 - the builder
    return statement


def _refuse_second(source: Source, header: Header, parts: Sequence[Sequence[Token]]) -> None:
    if len(parts) > 1:
        raise source.error(
            f"a second statement under the header of {header.name!r}: give it a header of its "
            "own, or make it a :script",
            parts[1][0][2],
        )


def _build_script(raw: RawStatement, name: str, grammar: Dialect, body: _Body) -> Statement:
    source, code = raw.source, body.code
    if body.parameters:
        _, text, offset = code[body.parameters[0]]
        raise source.error(f"a :script takes no parameters, here is :{text}", offset)
    for token in raw.tokens:
        if token[0] == COMMENT and parse_marker(source, token) is not None:
            raise source.error("a :script cannot have conditional lines", token[2])
    parts = grammar.split(code)
    for part in parts:
        grammar.refuse_bookkeeping(source, part)
    each = [grammar.classify(part) for part in parts]
    facts = Facts(
        command="OTHER",
        writes=any(one.writes for one in each),
        functions=frozenset().union(*(one.functions for one in each)),
        identifiers=frozenset().union(*(one.identifiers for one in each)),
        returns_rows=None,
    )
    _check_promises(source, raw.header, raw.directives, facts)
    _check_declared(source, raw.header, raw.directives, [])
    statement = _make(
        raw,
        name,
        grammar,
        facts,
        parameters=[],
        required=[],
        commits=any(map(grammar.commits_implicitly, parts)),
    )
    start, end = _extent(raw.tokens, code)
    statement._settle(tuple(make_pieces(source, (), start, end)))  # noqa: SLF001 - the builder
    return statement


def _make(
    raw: RawStatement,
    name: str,
    grammar: Dialect,
    facts: Facts,
    *,
    parameters: Iterable[str],
    required: Iterable[str],
    lists: Iterable[str] = (),
    commits: bool = False,
    conditions: Conditions | None = None,
) -> Statement:
    said = raw.directives
    for parameter, type_name in said.param_types.items():
        problem = grammar.refuse_type(type_name)
        if problem is not None:
            raise raw.source.error(
                f"directive 'param: {parameter} {type_name}': {problem}", said.offsets["param"]
            )
    proven = facts.writes
    access = Access.WRITE if proven or facts.functions else Access.READ
    if said.access is not None:
        access = said.access
        proven = access is Access.WRITE
    return Statement(
        name=name,
        dialect=grammar.name,
        cardinality=raw.header.cardinality,
        source=raw.source,
        line=raw.source.line(raw.header.offset),
        doc=raw.doc,
        parameters=tuple(parameters),
        required=tuple(required),
        access=access,
        proven_write=proven,
        access_declared=said.access is not None,
        role=said.role,
        timeout=said.timeout,
        returns=said.returns,
        retry=said.retry,
        session_clean=said.session_clean,
        cache=said.cache,
        invalidates=said.invalidates,
        param_types=said.param_types,
        column_nullability=said.column_nullability,
        command=facts.command,
        functions=facts.functions,
        identifiers=facts.identifiers,
        is_aiosql=raw.header.is_aiosql,
        lists=frozenset(lists),
        commits_implicitly=commits,
        coalesce=said.coalesce,
        conditions=conditions,
    )


def _extent(tokens: Sequence[Token], code: Sequence[Token]) -> tuple[int, int]:
    """Where the text to send begins and ends.

    It begins with a hint (``/*+ … */``) where one stands before the code, and ends with the last
    token of code: final semicolons and comments after it are not sent.
    """
    start = min(tokens[0][2], code[0][2])
    kind, text, offset = code[-1]
    return start, offset + len(text) + (kind == PARAMETER)


def _all_names(source: Source, tokens: Iterable[Token]) -> list[str]:
    """Every name that code or a condition uses, in order."""
    names: dict[str, None] = {}
    for token in tokens:
        if token[0] == PARAMETER:
            names[token[1]] = None
        elif token[0] == COMMENT:
            condition = parse_marker(source, token)
            if condition is not None:
                names[condition.parameter] = None
    return list(names)


class _Body(NamedTuple):
    """The code of a statement, and what one walk over it tells.

    Attributes:
        code: Its tokens without comments and final semicolons.
        parameters: Where in it parameters stand.
        has_semicolons: A semicolon stands inside.
        has_comments: A line comment stands among its tokens, perhaps a condition.
    """

    code: list[Token]
    parameters: list[int]
    has_semicolons: bool
    has_comments: bool


def _scan(source: Source, tokens: Iterable[Token]) -> _Body:  # noqa: C901 - one walk; a call per token would double its cost
    """Sort a statement's tokens in one walk, and see that its brackets match."""
    code: list[Token] = []
    parameters: list[int] = []
    opened: list[Token] = []
    semicolons = 0
    has_comments = False
    for token in tokens:
        kind = token[0]
        if kind == PUNCTUATION:
            text = token[1]
            if text in ("(", "["):
                opened.append(token)
            elif text in (")", "]"):
                if not opened or opened.pop()[1] != _PAIRS[text]:
                    raise source.error(f"{text!r} closes no bracket", token[2])
            elif text == ";":
                semicolons += 1
        elif kind == PARAMETER:
            parameters.append(len(code))
        elif kind == COMMENT:
            has_comments = True
            continue
        elif kind == BLOCK:
            continue
        elif kind == POSITIONAL:
            raise source.error(
                f"{token[1]}: parameters are written by name, as in :id; the placeholders are "
                "given when the statement is sent",
                token[2],
            )
        code.append(token)
    if opened:
        raise source.error(f"{opened[-1][1]!r} is never closed", opened[-1][2])
    while code and code[-1][1] == ";" and code[-1][0] == PUNCTUATION:
        del code[-1]
        semicolons -= 1
    return _Body(code, parameters, semicolons > 0, has_comments)


def _check_parameters(
    source: Source, body: _Body, said: Directives, grammar: Dialect
) -> tuple[list[str], list[str]]:
    """The names in order, and those that take lists; refuses what no call could give."""
    lists: dict[str, bool] = {}
    code = body.code
    for index in body.parameters:
        _, name, offset = code[index]
        is_list = grammar.takes_list(source, code, index, said.param_types)
        if name not in lists:
            lists[name] = is_list
            if not name.isascii():
                _check_name(source, name, offset)
        elif lists[name] is not is_list:
            raise source.error(
                f":{name} stands in IN (:{name}) as a list and elsewhere as one value: give the "
                "two different names",
                offset,
            )
    count = len(lists) if grammar.name == "postgresql" else len(body.parameters)
    if count > grammar.max_parameters:
        raise source.error(f"{count} parameters, more than {grammar.max_parameters}", code[0][2])
    return list(lists), [name for name, is_list in lists.items() if is_list]


def _check_name(source: Source, name: str, offset: int) -> None:
    """Refuse a name that the server's lexer takes and Python's would not, or would change."""
    if name.isidentifier() and unicodedata.normalize("NFKC", name) == name:
        return
    odd = next((c for c in name if not c.isalnum() and c != "_"), "")
    hint = f" (it holds U+{ord(odd):04X})" if odd else ""
    raise source.error(f":{name} cannot be a Python identifier{hint}", offset)


def _check_promises(source: Source, header: Header, said: Directives, facts: Facts) -> None:
    """Refuse what a header or a directive promises and the text cannot keep."""
    if not header.is_aiosql and header.cardinality in _ROWS and facts.returns_rows is False:
        raise source.error(
            f":{header.cardinality.value} promises rows, but this {facts.command} has no "
            "RETURNING; write :exec or :affected",
            header.offset,
        )
    if said.access is Access.READ and facts.command in _CHANGING:
        raise source.error(
            f"'access: read', but the statement is an {facts.command}", said.offsets["access"]
        )
    writes = facts.writes if said.access is None else said.access is Access.WRITE
    if said.role is Role.READER and writes:
        raise source.error(
            "'role: reader', but the statement writes (if it does not, say 'access: read')",
            said.offsets["role"],
        )
    if said.cache is not None:
        _check_cached(source, header, said, facts, writes=writes)
    if said.invalidates and not (writes or (said.access is None and facts.functions)):
        raise source.error(
            "'invalidates', but the statement writes nothing (if it does, say 'access: write')",
            said.offsets["invalidates"],
        )
    if said.coalesce:
        _check_coalescing(source, header, said, facts)
    if said.retry == "exactly_once":
        if header.cardinality in {Cardinality.BATCH, Cardinality.SCRIPT}:
            raise source.error(
                f"'retry: exactly_once' is for one statement, not a :{header.cardinality.value}",
                said.offsets["retry"],
            )
        if not writes:
            raise source.error(
                "'retry: exactly_once', but the statement writes nothing (if it does, say"
                " 'access: write')",
                said.offsets["retry"],
            )


def _check_cached(
    source: Source, header: Header, said: Directives, facts: Facts, *, writes: bool
) -> None:
    """Refuse to keep the answers of what is no plain read."""
    offset = said.offsets["cache"]
    if header.cardinality not in _ROWS:
        raise source.error(
            f"'cache' is for :one, :maybe, :many and :scalar, not :{header.cardinality.value}",
            offset,
        )
    if writes:
        raise source.error(
            "'cache', but the statement writes, or locks (if it does not, say 'access: read')",
            offset,
        )
    if said.access is None and facts.functions:
        raise source.error(
            f"'cache', but nobody knows whether {listed(sorted(facts.functions))} writes (if not,"
            " say 'access: read')",
            offset,
        )


def _check_coalescing(source: Source, header: Header, said: Directives, facts: Facts) -> None:
    """Refuse to send calls together that must each have a statement of their own."""
    problem = None
    if header.cardinality in {Cardinality.BATCH, Cardinality.SCRIPT}:
        problem = f"a :{header.cardinality.value} is no call of a single statement"
    elif facts.command == "OTHER":
        problem = "the statement is none of SELECT, INSERT, UPDATE, DELETE and MERGE"
    elif facts.command == "SELECT" and facts.writes:
        problem = (
            "the statement locks rows, changes them, or has another answer at each call (random())"
        )
    if problem is not None:
        raise source.error(f"'coalesce: on', but {problem}", said.offsets["coalesce"])


def _check_apart(raw: RawStatement, body: _Body, lists: Sequence[str], grammar: Dialect) -> None:
    """Refuse to send calls together whose answers could be others than alone on MySQL."""
    if not raw.directives.coalesce or grammar.name != "mysql":
        return
    is_exec = raw.header.cardinality is Cardinality.EXEC
    found = why_apart(body.code, body.parameters, lists, is_exec=is_exec)
    if found is not None:
        raise raw.source.error(f"'coalesce: on', but {found[0]}", found[1])


def _check_declared(source: Source, header: Header, said: Directives, names: Sequence[str]) -> None:
    """Refuse what asks for a parameter that the text does not have."""
    if said.coalesce and not names:
        raise source.error(
            "'coalesce: on', but there is no parameter to tell the calls apart",
            said.offsets["coalesce"],
        )
    strange = [name for name in said.param_types if name not in names]
    if strange:
        raise source.error(
            f"directive 'param': the statement has no parameter {strange[0]!r}",
            said.offsets["param"],
        )
    if header.declared is None or set(header.declared) == set(names):
        return
    takes = f"takes {listed(names)}" if names else "takes none"
    raise source.error(
        f"the header declares ({', '.join(header.declared)}), but the statement {takes}",
        header.offset,
    )
