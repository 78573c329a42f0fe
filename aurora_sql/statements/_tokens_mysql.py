"""The lexer of MySQL and MariaDB, after the servers' own ``sql_lex.cc``.

Where a token ends does not depend on the session's ``sql_mode``: a string holds no backslash
before its own kind of quote, the one form that ``NO_BACKSLASH_ESCAPES`` (and ``ANSI_QUOTES`` for
``"…"``) would end elsewhere, so no parameter is ever found inside a string or missed outside
one. What a token means is told for a session without those two modes: ``"…"`` is a string.

Comments do not nest; ``--`` begins one only before white space. The code in an executable
comment (``/*! … */``, MariaDB's ``/*M! … */``) runs or not by the server's version: its tokens
come between two of kind ``EXECUTABLE``, and nothing stands there that would change how many
parameters or statements the text has.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aurora_sql.statements._tokens import (
    BLOCK,
    COMMENT,
    EXECUTABLE,
    NUMBER,
    OPERATOR,
    PARAMETER,
    POSITIONAL,
    PUNCTUATION,
    UNTERMINATED,
    VARIABLE,
    WORD,
    Token,
)

if TYPE_CHECKING:
    from aurora_sql.statements._source import Source

_HEAD = r"[A-Za-z_\x80-\U0010ffff]"
_TAIL = r"[A-Za-z0-9_$\x80-\U0010ffff]"
_NAME_TAIL = r"[A-Za-z0-9_\x80-\U0010ffff]"
_SINGLE = r"'[^'\\]*+(?:(?:''|\\[^'])[^'\\]*+)*+'"
_DOUBLE = r'"[^"\\]*+(?:(?:""|\\[^"])[^"\\]*+)*+"'
_BACKTICK = "`[^`]*+(?:``[^`]*+)*+`"
# my_isspace() or my_iscntrl(): what must follow the two dashes of a comment.
_BLANK = r"[\x00-\x20\x7f]"

# The groups have the numbers of the kinds in _tokens; the tenth stands for none here.
_MYSQL = re.compile(
    rf"""[ \t\n\r\f\v]*+(?:
      ((?:[ac-mo-wyzAC-MO-WYZ_$\x80-\U0010ffff]|[bnxBNX](?!')){_TAIL}*+
       |(?![0-9]++[eE][+-]?[0-9]|(?:0x[0-9A-Fa-f]++|0b[01]++)(?!{_TAIL}))
        [0-9]++[A-Za-z_$\x80-\U0010ffff]{_TAIL}*+)
    | ([(),;\[\].]|:=)
    | ((?:[~!^&|+*%<>=]|-(?!-(?:{_BLANK}|\Z))|/(?!\*))++)
    | ([bnxBNX]?{_SINGLE}|{_DOUBLE})
    | ({_BACKTICK})
    | (0x[0-9A-Fa-f]++|0b[01]++|[0-9]++(?:\.[0-9]*+)?(?:[eE][+-]?[0-9]++)?)
    | (--(?={_BLANK}|\Z)[^\n]*+|\#[^\n]*+)
    | :({_HEAD}{_NAME_TAIL}*+)
    | (/\*)
    | ((?!))
    | (\?)
    | ([bnxBNX]?['"`])
    | ([^@])
    | (@@?+(?:{_SINGLE}|{_DOUBLE}|{_BACKTICK}|{_TAIL}++(?:\.{_TAIL}++)*+)?)
    | \Z)
    """,
    re.VERBOSE | re.DOTALL,
)

_EXECUTABLE = re.compile(r"/\*M?!([0-9]*+)")
_IDENTIFIER = re.compile(_TAIL)
# A comment of PostgreSQL's that is none here: a header, directive or condition without a space.
_GLUED_COMMENT = re.compile(r"--([A-Za-z_]+)[ \t]*:(?!=)|--(when)[ \t]+:")
_KIND_NAMES: Final = {"'": "string", '"': "string", "`": "quoted identifier"}
_REFUSED_INSIDE: Final = {
    PARAMETER: "a parameter",
    COMMENT: "a comment",
    BLOCK: "a comment",
    POSITIONAL: "a placeholder",
}
_PAIRS: Final = {")": "(", "]": "["}


def tokenize_mysql(source: Source) -> list[Token]:
    """Split a text into tokens as MySQL and MariaDB do.

    The text of a parameter's token is its name without the colon; its offset is the colon's. A
    literal ``?`` is a token of kind ``POSITIONAL``, for the builder to refuse: a statement of a
    shared file that has a form of its own for MySQL may hold one.

    Raises:
        StatementFileError: A literal or comment is never closed, a string has a backslash before
            a quote, an executable comment holds what would change the statement's form, or there
            is a NUL, at which the server stops reading.
    """
    nul = source.text.find("\0")
    if nul >= 0:
        raise source.error("a NUL character, which no SQL text may hold", nul)
    return _tokenize(source, 0, len(source.text))


def _tokenize(source: Source, start: int, end: int) -> list[Token]:
    tokens: list[Token] = []
    position: int | None = start
    while position is not None:
        position = _tokenize_from(source, position, end, tokens)
    return tokens


def _tokenize_from(source: Source, position: int, end: int, tokens: list[Token]) -> int | None:
    """Add tokens until one whose end the expression cannot tell; where to go on after it."""
    append = tokens.append
    for found in _MYSQL.finditer(source.text, position, end):
        kind = found.lastindex
        if kind is None:
            return None
        start = found.start(kind)
        if kind < PARAMETER:
            text = found[kind]
            if kind == OPERATOR and "--" in text:
                _refuse_glued_comment(source, start, text)
            append((kind, text, start))
        elif kind == PARAMETER:
            start -= 1
            if tokens:
                _refuse_glued(source, tokens[-1], start)
            append((PARAMETER, found[kind], start))
            if source.text.startswith("$", found.end()):
                raise source.error("a parameter's name holds no $", found.end())
        elif kind == BLOCK:
            return _block(source, start, end, tokens)
        elif kind == UNTERMINATED:
            raise _never_closed(source, found[kind], start)
        else:
            append((kind, found[kind], start))
    return None


def _block(source: Source, start: int, end: int, tokens: list[Token]) -> int:
    """Take in the comment that starts at ``start``; the offset after it."""
    text = source.text
    close = text.find("*/", start + 2, end)
    if close < 0:
        raise source.error("this comment is never closed: */ is missing", start)
    after = close + 2
    opening = _EXECUTABLE.match(text, start, close)
    if opening is None:
        tokens.append((BLOCK, text[start:after], start))
        return after
    version = opening[1]
    glued = version and _IDENTIFIER.match(text, opening.end(), close)
    if glued or len(version) not in (0, 5, 6):
        raise source.error(
            "the version of an executable comment is 5 or 6 digits and a space, as in /*!80019",
            start,
        )
    inside = _tokenize(source, opening.end(), close)
    _check_inside(source, inside, start)
    tokens.append((EXECUTABLE, opening[0], start))
    tokens.extend(inside)
    tokens.append((EXECUTABLE, "*/", close))
    return after


def _check_inside(source: Source, inside: list[Token], start: int) -> None:
    """Refuse what makes another statement of the text when the comment's code is left out."""
    opened: list[str] = []
    for kind, text, offset in inside:
        what = _REFUSED_INSIDE.get(kind)
        if kind == PUNCTUATION:
            if text in ("(", "["):
                opened.append(text)
            elif text in _PAIRS and (not opened or opened.pop() != _PAIRS[text]):
                what = f"a {text} that closes nothing"
            elif text == ";":
                what = "a semicolon"
        if what is not None:
            raise source.error(
                f"{what} in an executable comment: its code runs or not by the server's version",
                offset,
            )
    if opened:
        raise source.error(f"this executable comment leaves a {opened[-1]} open", start)


def _refuse_glued(source: Source, before: Token, start: int) -> None:
    kind, text, at = before
    if kind in (WORD, NUMBER, VARIABLE) and at + len(text) == start:
        raise source.error(
            f"the parameter is glued to {text!r} before it: put a space or an operator between",
            start,
        )


def _refuse_glued_comment(source: Source, start: int, text: str) -> None:
    found = _GLUED_COMMENT.match(source.text, start + text.index("--"))
    if found is not None:
        word = found[1] or found[2]
        raise source.error(
            f"a comment of MySQL's has a space after its dashes: write '-- {word}'", found.start()
        )


def _never_closed(source: Source, opening: str, start: int) -> Exception:
    """The error of a quote that has no end."""
    quote = opening[-1]
    begin = start + len(opening)
    escaped = re.compile(rf"[^{quote}\\]*+(?:(?:{quote}{quote}|\\[^{quote}])[^{quote}\\]*+)*+\\")
    found = None if quote == "`" else escaped.match(source.text, begin)
    if found is not None and source.text.startswith(quote, found.end()):
        return source.error(
            f"a backslash before a quote ends this string or not by the session's sql_mode: "
            f"write {quote * 2} for a quote inside it",
            found.end() - 1,
        )
    return source.error(f"this {_KIND_NAMES[quote]} is never closed", start)
