"""From tokens to a statement: what is checked of each before anything is sent."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aurora_sql.statements._classify import (
    CHANGING,
    Facts,
    classify,
    refuse_bookkeeping,
    split_statements,
)
from aurora_sql.statements._conditions import Conditions, cut_segments, make_pieces, parse_marker
from aurora_sql.statements._directives import Directives, none_given
from aurora_sql.statements._files import Header, RawStatement
from aurora_sql.statements._names import listed
from aurora_sql.statements._source import Source
from aurora_sql.statements._statement import Statement
from aurora_sql.statements._tokens import (
    BLOCK,
    COMMENT,
    PARAMETER,
    PUNCTUATION,
    WORD,
    Token,
    tokenizer,
)
from aurora_sql.types import Access, Cardinality, Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ROWS: Final = frozenset({Cardinality.ONE, Cardinality.MAYBE, Cardinality.MANY, Cardinality.SCALAR})
_PAIRS: Final = {")": "(", "]": "["}
_MAX_PARAMETERS: Final = 32767  # the protocol counts them in a signed 16-bit number at the driver


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
    tokens = tokenizer(dialect)(source)
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
    body = _scan(source, raw.tokens)
    code = body.code
    if not code:
        raise source.error(f"{header.name!r} is empty: no SQL follows its header", header.offset)
    if header.cardinality is Cardinality.SCRIPT:
        return _build_script(raw, name, dialect, body)
    if body.has_semicolons:
        _refuse_second(source, header, code)
    refuse_bookkeeping(source, code)
    facts = classify(code)
    _check_promises(source, header, directives, facts)
    bound = _check_parameters(source, body, directives)
    start, end = _extent(raw.tokens, code)
    conditions = None
    if body.has_comments:
        segments = cut_segments(source, raw.tokens, code, start, end)
        if segments:
            if header.cardinality is Cardinality.BATCH:
                raise source.error("a :batch cannot have conditional lines", header.offset)
            conditions = Conditions(source, segments, header.offset)
    names = bound if conditions is None else _all_names(source, raw.tokens)
    _check_declared(source, header, directives, names)
    statement = _make(
        raw,
        name,
        dialect,
        facts,
        parameters=names,
        required=bound if conditions is None else conditions.required(),
        conditions=conditions,
    )
    if conditions is None:
        statement._settle(tuple(make_pieces(source, code, start, end)))  # noqa: SLF001 - the builder
    return statement


def _refuse_second(source: Source, header: Header, code: Sequence[Token]) -> None:
    parts = split_statements(code)
    if len(parts) > 1:
        raise source.error(
            f"a second statement under the header of {header.name!r}: give it a header of its "
            "own, or make it a :script",
            parts[1][0][2],
        )


def _build_script(raw: RawStatement, name: str, dialect: str, body: _Body) -> Statement:
    source, code = raw.source, body.code
    if body.parameters:
        _, text, offset = code[body.parameters[0]]
        raise source.error(f"a :script takes no parameters, here is :{text}", offset)
    for token in raw.tokens:
        if token[0] == COMMENT and parse_marker(source, token) is not None:
            raise source.error("a :script cannot have conditional lines", token[2])
    parts = split_statements(code)
    for part in parts:
        refuse_bookkeeping(source, part)
    each = [classify(part) for part in parts]
    facts = Facts(
        command="OTHER",
        writes=any(one.writes for one in each),
        functions=frozenset().union(*(one.functions for one in each)),
        identifiers=frozenset().union(*(one.identifiers for one in each)),
        returns_rows=None,
    )
    _check_promises(source, raw.header, raw.directives, facts)
    _check_declared(source, raw.header, raw.directives, [])
    statement = _make(raw, name, dialect, facts, parameters=[], required=[], conditions=None)
    start, end = _extent(raw.tokens, code)
    statement._settle(tuple(make_pieces(source, (), start, end)))  # noqa: SLF001 - the builder
    return statement


def _make(
    raw: RawStatement,
    name: str,
    dialect: str,
    facts: Facts,
    *,
    parameters: Iterable[str],
    required: Iterable[str],
    conditions: Conditions | None,
) -> Statement:
    said = raw.directives
    proven = facts.writes
    access = Access.WRITE if proven or facts.functions else Access.READ
    if said.access is not None:
        access = said.access
        proven = access is Access.WRITE
    return Statement(
        name=name,
        dialect=dialect,
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
        param_types=said.param_types,
        column_nullability=said.column_nullability,
        command=facts.command,
        functions=facts.functions,
        identifiers=facts.identifiers,
        is_aiosql=raw.header.is_aiosql,
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
        code.append(token)
    if opened:
        raise source.error(f"{opened[-1][1]!r} is never closed", opened[-1][2])
    while code and code[-1][1] == ";" and code[-1][0] == PUNCTUATION:
        del code[-1]
        semicolons -= 1
    return _Body(code, parameters, semicolons > 0, has_comments)


def _check_parameters(source: Source, body: _Body, said: Directives) -> list[str]:
    """The names in order; refuses those no call could give, and lists PostgreSQL cannot take."""
    names: dict[str, None] = {}
    code = body.code
    for index in body.parameters:
        _, name, offset = code[index]
        if name not in names:
            names[name] = None
            if not name.isascii():
                _check_name(source, name, offset)
        _refuse_list(source, code, index, said)
    if len(names) > _MAX_PARAMETERS:
        raise source.error(f"{len(names)} parameters, more than {_MAX_PARAMETERS}", code[0][2])
    return list(names)


def _check_name(source: Source, name: str, offset: int) -> None:
    """Refuse a name that the server's lexer takes and Python's would not, or would change."""
    if name.isidentifier() and unicodedata.normalize("NFKC", name) == name:
        return
    odd = next((c for c in name if not c.isalnum() and c != "_"), "")
    hint = f" (it holds U+{ord(odd):04X})" if odd else ""
    raise source.error(f":{name} cannot be a Python identifier{hint}", offset)


def _refuse_list(source: Source, code: Sequence[Token], index: int, said: Directives) -> None:
    """Refuse ``IN (:ids)``: one placeholder takes one value on PostgreSQL, never a list."""
    _, name, offset = code[index]
    before = code[index - 1][1] if index else ""
    alone = before == "(" and index + 1 < len(code) and code[index + 1][1] == ")"
    at = index - 2 if alone else index - 1
    if at < 0 or code[at][0] != WORD or code[at][1].lower() != "in":
        return
    type_name = said.param_types.get(name, "[]")
    if alone and not type_name.endswith("]"):
        return  # declared to be one value
    negated = at > 0 and code[at - 1][1].lower() == "not"
    write = f"<> ALL(:{name})" if negated else f"= ANY(:{name})"
    raise source.error(
        f"IN (:{name}) takes a single value on PostgreSQL; write '{write}' for a list", offset
    )


def _check_promises(source: Source, header: Header, said: Directives, facts: Facts) -> None:
    """Refuse what a header or a directive promises and the text cannot keep."""
    if not header.is_aiosql and header.cardinality in _ROWS and facts.returns_rows is False:
        raise source.error(
            f":{header.cardinality.value} promises rows, but this {facts.command} has no "
            "RETURNING; write :exec or :affected",
            header.offset,
        )
    if said.access is Access.READ and facts.command.lower() in CHANGING:
        raise source.error(
            f"'access: read', but the statement is an {facts.command}", said.offsets["access"]
        )
    writes = facts.writes if said.access is None else said.access is Access.WRITE
    if said.role is Role.READER and writes:
        raise source.error(
            "'role: reader', but the statement writes (if it does not, say 'access: read')",
            said.offsets["role"],
        )
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


def _check_declared(source: Source, header: Header, said: Directives, names: Sequence[str]) -> None:
    """Refuse a type or a declaration for a parameter that the text does not have."""
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
