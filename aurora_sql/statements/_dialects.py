"""What is different for each dialect, in one table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aurora_sql.errors import ConfigurationError
from aurora_sql.statements import _classify as postgresql
from aurora_sql.statements import _classify_mysql as mysql
from aurora_sql.statements._lists import MAX_PLACEHOLDERS
from aurora_sql.statements._tokens import PARAMETER, WORD, Token, Tokenizer, tokenize_postgresql
from aurora_sql.statements._tokens_mysql import tokenize_mysql

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aurora_sql.statements._classify import Facts
    from aurora_sql.statements._source import Source

    Splitter = Callable[[Sequence[Token]], list[list[Token]]]
    ListFinder = Callable[[Source, Sequence[Token], int, Mapping[str, str]], bool]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one dialect reads a statement.

    Attributes:
        name: Its name, as in ``users.mysql.sql``.
        tokenize: Its lexer.
        split: Cuts code at the semicolons between statements.
        refuse_bookkeeping: Refuses what would break the library's books.
        classify: Tells what a statement does.
        commits_implicitly: Tells whether a statement ends the open transaction.
        takes_list: Whether the parameter at an index of the code takes a list, one placeholder
            for each value; refuses forms of a list that the dialect does not have.
        refuse_type: Why a type cannot stand in ``param:``; None where it can.
        max_parameters: Most placeholders of one statement.
    """

    name: str
    tokenize: Tokenizer
    split: Splitter
    refuse_bookkeeping: Callable[[Source, Sequence[Token]], None]
    classify: Callable[[Sequence[Token]], Facts]
    commits_implicitly: Callable[[Sequence[Token]], bool]
    takes_list: ListFinder
    refuse_type: Callable[[str], str | None]
    max_parameters: int


def _words_before(code: Sequence[Token], index: int) -> tuple[str, str, bool]:
    """The two words before a parameter or its brackets, and whether it is alone in them."""
    opened = index > 0 and code[index - 1][1] == "("
    alone = opened and index + 1 < len(code) and code[index + 1][1] == ")"
    at = index - 2 if alone else index - 1
    found = [code[i][1].lower() if i >= 0 and code[i][0] == WORD else "" for i in (at, at - 1)]
    return found[0], found[1], alone


def _no_list(source: Source, code: Sequence[Token], index: int, types: Mapping[str, str]) -> bool:
    """Refuse ``IN (:ids)``: one placeholder takes one value on PostgreSQL, never a list."""
    _, name, offset = code[index]
    word, before, alone = _words_before(code, index)
    if word != "in" or (alone and not types.get(name, "[]").endswith("]")):
        return False  # declared to be one value
    write = f"<> ALL(:{name})" if before == "not" else f"= ANY(:{name})"
    raise source.error(
        f"IN (:{name}) takes a single value on PostgreSQL; write '{write}' for a list", offset
    )


def _takes_list(
    source: Source, code: Sequence[Token], index: int, types: Mapping[str, str]
) -> bool:
    """Find ``IN (:ids)``; refuse ``= ANY(:ids)``, as there are no arrays on MySQL."""
    kind, name, offset = code[index]
    if kind != PARAMETER:
        return False
    word, _, alone = _words_before(code, index)
    if alone and word in ("any", "some", "all"):
        operator = code[index - 3][1] if index > 2 else ""  # noqa: PLR2004 - operator, word, bracket
        write = f"NOT IN (:{name})" if word == "all" and operator != "=" else f"IN (:{name})"
        where = ""
        path = source.path
        if path is not None and not path.stem.partition(".")[2]:
            twin = f"{path.stem}.mysql.sql"
            where = f"; put that form into {twin}, which wins over {path.name} on MySQL"
        raise source.error(
            f"{word.upper()}(:{name}) takes no list on MySQL; write '{write}'{where}", offset
        )
    if word != "in":
        return False
    if not alone:
        if code[index - 1][1] == "(":
            return False
        raise source.error(f"IN :{name} has no brackets; write IN (:{name})", offset)
    return name not in types


_TYPES: Final = (
    "signed",
    "unsigned",
    "decimal(p,s)",
    "double",
    "float",
    "char(n)",
    "binary(n)",
    "date",
    "time(p)",
    "datetime(p)",
    "year",
    "json",
)
_CAST_TYPE = re.compile(
    r"(?:(?:un)?signed(?: integer)?|decimal ?(?:\([0-9]+(?:, ?[0-9]+)?\))?|double|float|date|year"
    r"|json|(?:char|binary|time|datetime) ?(?:\([0-9]+\))?)\Z",
    re.IGNORECASE,
)
_NEAREST: Final = {
    **dict.fromkeys(("bigint", "int", "integer", "smallint", "tinyint", "mediumint"), "signed"),
    **dict.fromkeys(("text", "varchar", "longtext", "uuid"), "char"),
    **dict.fromkeys(("blob", "bytea", "varbinary"), "binary"),
    **dict.fromkeys(("numeric", "dec"), "decimal"),
    **dict.fromkeys(("timestamp", "timestamptz"), "datetime"),
    **dict.fromkeys(("bool", "boolean"), "unsigned"),
    **dict.fromkeys(("real", "float4", "float8"), "double"),
    "jsonb": "json",
}


def _any_type(_type_name: str) -> None:
    """PostgreSQL casts to any type; the server knows them."""


def _cast_type(type_name: str) -> str | None:
    if _CAST_TYPE.match(type_name):
        return None
    if type_name.endswith("]"):
        return "MySQL has no arrays; a list goes into IN (:name) and needs no type"
    nearest = _NEAREST.get(re.split(r"[ (]", type_name.lower(), maxsplit=1)[0])
    hint = f", did you mean {nearest!r}?" if nearest else ""
    return f"CAST of MySQL knows no type {type_name!r}{hint}; it is one of {', '.join(_TYPES)}"


def _commits_nothing(_code: Sequence[Token]) -> bool:
    return False


_DIALECTS: Final = {
    "postgresql": Dialect(
        name="postgresql",
        tokenize=tokenize_postgresql,
        split=postgresql.split_statements,
        refuse_bookkeeping=postgresql.refuse_bookkeeping,
        classify=postgresql.classify,
        commits_implicitly=_commits_nothing,
        takes_list=_no_list,
        refuse_type=_any_type,
        # The protocol counts them in a signed 16-bit number at the driver.
        max_parameters=32_767,
    ),
    "mysql": Dialect(
        name="mysql",
        tokenize=tokenize_mysql,
        split=mysql.split_statements_mysql,
        refuse_bookkeeping=mysql.refuse_bookkeeping_mysql,
        classify=mysql.classify_mysql,
        commits_implicitly=mysql.commits_implicitly,
        takes_list=_takes_list,
        refuse_type=_cast_type,
        max_parameters=MAX_PLACEHOLDERS,
    ),
}
DIALECTS: Final = tuple(_DIALECTS)


def dialect_of(name: str) -> Dialect:
    """The dialect of this name.

    Raises:
        ConfigurationError: There is no such dialect.
    """
    try:
        return _DIALECTS[name]
    except KeyError:
        raise ConfigurationError(
            f"unknown dialect {name!r}; it is one of {', '.join(DIALECTS)}"
        ) from None
