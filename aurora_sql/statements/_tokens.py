"""The lexer: which characters of a SQL text are code, and which of the code are parameters.

A lexer for each dialect turns text into tokens; nothing else in the package looks at raw SQL.
The one for PostgreSQL follows the server's own ``scan.l``. Text between two tokens is white
space, so tokens and gaps together are the text again.

A colon right after an operand inside square brackets is the colon of a slice, since no
parameter can stand there: ``a[1:2]`` and ``a[lo:hi]`` are slices of columns, and a parameter as
upper bound is written ``a[1: :hi]``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from aurora_sql.statements._source import Source

# A plain tuple (kind, text, offset): making one costs a tenth of any class of our own, and a
# registry of 1,000 statements has some 50,000 of them.
Token: TypeAlias = tuple[int, str, int]

# The kinds are the numbers of the groups below, so that a match tells its kind by lastindex. The
# last two are MySQL's: @x or @@x, and the edges of a comment whose code the server may run.
WORD: Final = 1
PUNCTUATION: Final = 2
OPERATOR: Final = 3
STRING: Final = 4
QUOTED: Final = 5
NUMBER: Final = 6
COMMENT: Final = 7
PARAMETER: Final = 8
BLOCK: Final = 9
DOLLAR: Final = 10
POSITIONAL: Final = 11
UNTERMINATED: Final = 12
OTHER: Final = 13
VARIABLE: Final = 14
EXECUTABLE: Final = 15

# Every character beyond ASCII may stand in an identifier, as scan.l has it for bytes >= 0x80.
_HEAD = r"[A-Za-z_\x80-\U0010ffff]"
_TAIL = r"[A-Za-z0-9_$\x80-\U0010ffff]"
_NAME_TAIL = r"[A-Za-z0-9_\x80-\U0010ffff]"
# A string goes on after a line break: 'a'<newline>'b'. Only for E'' does it matter that the second
# piece belongs to the first, since its backslashes count too.
_GAP = r"(?:[ \t\f\v]|--[^\n\r]*+)*+[\n\r](?:[ \t\n\r\f\v]++|--[^\n\r]*+[\n\r])*+"
_ESCAPED = r"'[^'\\]*+(?:(?:''|\\.)[^'\\]*+)*+'"

# What begins a string or a quoted identifier with a prefix is no word: E'', B'', X'', N'', U&''.
_WORD = (
    rf"(?:[ac-df-mo-tv-wyzAC-DF-MO-TV-WYZ_\x80-\U0010ffff]|[bBeEnNxX](?!')|[uU](?!&['\"])){_TAIL}*+"
)

_POSTGRESQL = re.compile(
    rf"""[ \t\n\r\f\v]*+(?:
      ({_WORD})
    | ([(),;\[\].]|::|:=)
    | ((?:[~!@\#^&|`?+*%<>=]|-(?!-)|/(?!\*))++)
    | ((?:[bBxXnN]|[uU]&)?'[^']*+(?:''[^']*+)*+'|[eE]{_ESCAPED}(?:{_GAP}{_ESCAPED})*+)
    | ((?:[uU]&)?"[^"]*+(?:""[^"]*+)*+")
    | (0[xX][0-9A-Fa-f_]++|0[oO][0-7_]++|0[bB][01_]++
       |(?:[0-9][0-9_]*+(?:\.(?!\.)[0-9_]*+)?)(?:[eE][+-]?[0-9]++)?)
    | (--[^\n\r]*+)
    | :({_HEAD}{_NAME_TAIL}*+)
    | (/\*)
    | (\$(?:{_HEAD}{_NAME_TAIL}*+)?\$)
    | (\$[0-9]++)
    | ([bBeEnNxX]?'|(?:[uU]&)?"|[uU]&')
    | (.)
    | \Z)
    """,
    re.VERBOSE | re.DOTALL,
)

_COMMENT_EDGE = re.compile(r"/\*|\*/")
_HEADER_INSIDE = re.compile(r"^[ \t]*--[ \t]*name[ \t]*:", re.MULTILINE)
_OPERANDS: Final = frozenset({STRING, QUOTED, WORD, PARAMETER, NUMBER, DOLLAR})
_KIND_NAMES: Final = {"'": "string", '"': "quoted identifier"}


def _block_end(source: Source, start: int) -> int:
    """Offset after the comment that starts at ``start``; comments nest."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(source.text, start):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    raise source.error("this comment is never closed: */ is missing", start)


class _Brackets:
    """The innermost open bracket at a token, found without reading any token twice."""

    __slots__ = ("_open", "_read")

    def __init__(self) -> None:
        self._read = 0
        self._open: list[str] = []

    def innermost(self, tokens: list[Token]) -> str:
        for kind, text, _ in tokens[self._read :]:
            if kind == PUNCTUATION:
                if text in "([":
                    self._open.append(text)
                elif text in ")]" and self._open:
                    self._open.pop()
        self._read = len(tokens)
        return self._open[-1] if self._open else ""


def _is_slice(source: Source, tokens: list[Token], brackets: _Brackets, start: int) -> bool:
    """Whether the colon before a name is a slice's; refuses names glued to what is before."""
    kind, text, at = tokens[-1]
    if text == "::":
        raise source.error("a parameter cannot stand for the type of a cast", start)
    glued = at + len(text) + (kind == PARAMETER) == start
    if not glued:
        return False
    if (kind in _OPERANDS or text in (")", "]")) and brackets.innermost(tokens) == "[":
        return True
    if kind in (WORD, NUMBER):
        raise source.error(
            f"the parameter is glued to {text!r} before it: put a space or an operator between",
            start,
        )
    return False


def tokenize_postgresql(source: Source) -> list[Token]:
    """Split a text into tokens as PostgreSQL does (with ``standard_conforming_strings = on``).

    The text of a parameter's token is its name without the colon; its offset is the colon's.

    Raises:
        StatementFileError: A literal or comment is never closed, ``$1`` stands in the text, or a
            character cannot be part of any SQL.
    """
    tokens: list[Token] = []
    brackets = _Brackets()
    position: int | None = 0
    while position is not None:
        position = _tokenize_from(source, position, tokens, brackets)
    return tokens


def _tokenize_from(
    source: Source, position: int, tokens: list[Token], brackets: _Brackets
) -> int | None:
    """Add tokens until one whose end no regular expression can tell; where to go on after it."""
    append = tokens.append
    for found in _POSTGRESQL.finditer(source.text, position):
        kind = found.lastindex
        if kind is None:
            return None
        start = found.start(kind)
        if kind < PARAMETER:
            append((kind, found[kind], start))
        elif kind == PARAMETER:
            start -= 1
            if tokens and _is_slice(source, tokens, brackets, start):
                append((PUNCTUATION, ":", start))
                return start + 1
            append((PARAMETER, found[kind], start))
            if source.text.startswith("$", found.end()):
                raise source.error("a parameter's name holds no $", found.end())
        elif kind in (BLOCK, DOLLAR):
            ends = _block_end if kind == BLOCK else _dollar_end
            end = ends(source, start)
            append((kind, source.text[start:end], start))
            return end
        else:
            append(_odd(source, kind, found[kind], start))
    return None


def _dollar_end(source: Source, start: int) -> int:
    """Offset after the dollar-quoted string that starts at ``start``."""
    text = source.text
    opened = text.index("$", start + 1) + 1
    quote = text[start:opened]
    end = text.find(quote, opened)
    if end < 0:
        raise source.error(f"the string opened by {quote} is never closed", start)
    return end + len(quote)


def _odd(source: Source, kind: int, text: str, start: int) -> Token:
    """Refuse what no statement can hold; anything else is the server's to judge."""
    if kind == UNTERMINATED:
        raise source.error(f"this {_KIND_NAMES[text[-1]]} is never closed", start)
    if kind == POSITIONAL:
        raise source.error(
            f"{text}: parameters are written by name, as in :id; the numbers are given when the "
            "statement is sent",
            start,
        )
    if text == "$":
        raise source.error("a stray $", start)
    if text == "\0":
        raise source.error("a NUL character, which no SQL text may hold", start)
    return OTHER, text, start


def swallowed_header(tokens: list[Token]) -> int | None:
    """Offset of the first quote that holds a ``-- name:`` line, the mark of one never closed."""
    for kind, text, start in tokens:
        if kind in (STRING, QUOTED) and "\n" in text and _HEADER_INSIDE.search(text):
            return start
    return None


Tokenizer: TypeAlias = "Callable[[Source], list[Token]]"
