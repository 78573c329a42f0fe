"""The parser of SQL files: it finds the statements and what their headers and comments say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from aurora_sql.errors import StatementFileError
from aurora_sql.statements._dialects import dialect_of
from aurora_sql.statements._directives import (
    Directives,
    none_given,
    read_directive,
    refuse_misplaced,
)
from aurora_sql.statements._names import close_to, name_problem, one_edit
from aurora_sql.statements._source import Source
from aurora_sql.statements._tokens import (
    BLOCK,
    COMMENT,
    Token,
    Tokenizer,
    swallowed_header,
)
from aurora_sql.types import Cardinality

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_HEADER = re.compile(r"--[ \t]*name[ \t]*:[ \t]*(.*?)[ \t]*\Z")
_LOOKS_LIKE_HEADER = re.compile(r"^[ \t]*--[ \t]*name[ \t]*:", re.MULTILINE)
_OWN = re.compile(r"(\S+?)[ \t]*:[ \t]*(\w+)\Z")
_AIOSQL = re.compile(
    r"(?P<name>[\w-]+)[ \t]*(?:\((?P<parameters>[^()]*)\))?[ \t]*(?P<mark>\^|\$|<!|\*!|!|#|)\Z"
)
_ODD_HEADER = re.compile(r"--[ \t]*(\w+)[ \t]*:[ \t]*\w+[ \t]*:(\w+)[ \t]*\Z")
_CARDINALITIES: Final = {cardinality.value: cardinality for cardinality in Cardinality}
# What aiosql's adapters give back: a row or None for ^ and <!, the number of rows for !.
_MARKS: Final = {
    "": Cardinality.MANY,
    "^": Cardinality.MAYBE,
    "$": Cardinality.SCALAR,
    "!": Cardinality.AFFECTED,
    "<!": Cardinality.MAYBE,
    "*!": Cardinality.BATCH,
    "#": Cardinality.SCRIPT,
}
_FORMS: Final = "write '-- name: NAME :CARDINALITY', such as '-- name: get_user :maybe'"


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a statement.

    Attributes:
        name: Its name inside its namespace.
        cardinality: What it promises about its result.
        offset: Where the header stands.
        is_aiosql: It has aiosql's form, so that the comments under it are never directives.
        declared: The parameters that aiosql's form lists, None where it lists none.
    """

    name: str
    cardinality: Cardinality
    offset: int
    is_aiosql: bool
    declared: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class RawStatement:
    """A statement as it was found in a file, before anything is proven about it.

    Attributes:
        source: The file.
        header: Its first line.
        doc: Its documentation.
        directives: What its directives say.
        tokens: Its text, from the first word to the next header, comments included.
    """

    source: Source
    header: Header
    doc: str
    directives: Directives
    tokens: Sequence[Token]


def decode(data: bytes, path: Path) -> str:
    """The text of a file, without the byte order mark that some editors put first.

    Raises:
        StatementFileError: It is not UTF-8; the error names the line.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        hint = " (it looks like UTF-16)" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise StatementFileError(
            f"the file is not UTF-8{hint}: byte 0x{data[exc.start]:02x}; save it as UTF-8",
            path=path,
            line=line,
        ) from None


def parse_file(data: bytes, path: Path, dialect: str) -> list[RawStatement]:
    """Find the statements of a file.

    Raises:
        StatementFileError: The file cannot be read as statements; it names line and column.
    """
    source = Source(decode(data, path), path)
    tokenize = dialect_of(dialect).tokenize
    try:
        tokens = tokenize(source)
    except StatementFileError:
        _blame_open_quote(source, tokenize)
        raise
    headers = [
        index
        for index, (kind, text, offset) in enumerate(tokens)
        if kind == COMMENT and _is_header(source, text, offset)
    ]
    if len(_LOOKS_LIKE_HEADER.findall(source.text)) > len(headers):
        at = swallowed_header(tokens)
        if at is not None:
            raise source.error("this quote runs over the header of the next statement", at)
    first = headers[0] if headers else len(tokens)
    for kind, _, offset in tokens[:first]:
        if kind not in (COMMENT, BLOCK):
            raise source.error(f"SQL before the first header: {_FORMS}", offset)
    headers.append(len(tokens))
    found = [
        _raw_statement(source, tokens[start], tokens[start + 1 : end])
        for start, end in pairwise(headers)
    ]
    _refuse_twins(source, found)
    return found


def _blame_open_quote(source: Source, lex: Tokenizer) -> None:
    """Point at the quote that was left open, not at the last one of the file.

    One forgotten apostrophe turns all later strings inside out, and the lexer notices at the end
    of the file only. The text up to the next header tells where it really was.
    """
    start = 0
    for found in _LOOKS_LIKE_HEADER.finditer(source.text):
        try:
            lex(source.part(start, found.start()))
        except StatementFileError as exc:
            # Dollar quotes and comments may hold such a line; a plain quote never does.
            if "this string" in exc.message or "this quoted identifier" in exc.message:
                raise
        start = found.start()


def _is_header(source: Source, comment: str, offset: int) -> bool:
    """Whether a comment is a header: it begins with ``name:`` and nothing stands before it."""
    line = source.text.rfind("\n", 0, offset) + 1
    if source.text[line:offset].strip():
        return False
    if _HEADER.match(comment):
        return True
    odd = _ODD_HEADER.match(comment)
    if odd and odd[2] in _CARDINALITIES and one_edit(odd[1].lower(), "name"):
        raise source.error(f"{odd[1]!r} is no header, did you mean 'name'? {_FORMS}", offset)
    if odd and odd[1].lower() == "name":
        raise source.error(f"the header begins with 'name' in lower case: {_FORMS}", offset)
    return False


def parse_header(source: Source, comment: str, offset: int) -> Header:
    """Read a header of our own form or of aiosql's.

    Raises:
        StatementFileError: It is neither, or the name cannot be used.
    """
    found = _HEADER.match(comment)
    rest = found[1] if found else ""
    own = _OWN.match(rest)
    if own:
        name, word = own.groups()
        cardinality = _CARDINALITIES.get(word)
        if cardinality is None:
            raise source.error(
                f"unknown cardinality ':{word}'{close_to(word, _CARDINALITIES)}; it is one of "
                + ", ".join(f":{known}" for known in _CARDINALITIES),
                offset,
            )
        is_aiosql, declared = False, None
    else:
        old = _AIOSQL.match(rest)
        if old is None:
            raise source.error(f"the header {rest!r} is not understood: {_FORMS}", offset)
        name, cardinality = old["name"].replace("-", "_"), _MARKS[old["mark"]]
        is_aiosql, declared = True, None
        if old["parameters"] is not None:
            words = [word.strip() for word in old["parameters"].split(",")]
            declared = () if words == [""] else tuple(words)
    problem = name_problem(name)
    if problem is not None:
        hint = f"; write {name.replace('-', '_')!r}" if "-" in name else ""
        raise source.error(f"a statement cannot be called so: {problem}{hint}", offset)
    return Header(name, cardinality, offset, is_aiosql, declared)


def _raw_statement(source: Source, first: Token, tokens: list[Token]) -> RawStatement:
    header = parse_header(source, first[1], first[2])
    at, doc, directives = 0, [], none_given()
    while at < len(tokens):
        kind, text, offset = tokens[at]
        if kind == COMMENT:
            if not header.is_aiosql:
                if directives is none_given():
                    directives = Directives()
                if read_directive(source, text, offset, directives):
                    at += 1
                    continue
            doc.append(text.lstrip("-").removeprefix(" ").rstrip())
        elif kind == BLOCK and not text.startswith("/*+"):
            doc.extend(line.strip(" \t*") for line in text[2:-2].strip().splitlines())
        else:
            break
        at += 1
    body = tokens[at:]
    if not header.is_aiosql:
        for kind, text, offset in body:
            if kind == COMMENT and ":" in text and _stands_alone(source, offset):
                refuse_misplaced(source, text, offset)
    return RawStatement(source, header, "\n".join(doc).strip("\n"), directives, body)


def _stands_alone(source: Source, offset: int) -> bool:
    line = source.text.rfind("\n", 0, offset) + 1
    return not source.text[line:offset].strip()


def _refuse_twins(source: Source, found: list[RawStatement]) -> None:
    seen: dict[str, Header] = {}
    for raw in found:
        header = raw.header
        twin = seen.setdefault(header.name, header)
        if twin is not header:
            raise source.error(
                f"{header.name!r} stands twice: also at {source.path}:{source.line(twin.offset)}",
                header.offset,
            )
