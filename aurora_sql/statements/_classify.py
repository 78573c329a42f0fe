"""What a statement does, read off its tokens: its command, whether it writes, what it calls.

Every answer errs on the safe side: a statement is a read only where its text proves it, a word
before a bracket is a function unless the grammar says otherwise, and every name counts as one
the statement may touch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aurora_sql.statements._functions import (
    HARMLESS_VOLATILE,
    VETTED,
    VOLATILE,
    VOLATILE_PREFIXES,
)
from aurora_sql.statements._keywords import COLUMN_NAME, KEYWORDS, NOT_TABLES
from aurora_sql.statements._tokens import (
    NUMBER,
    PARAMETER,
    PUNCTUATION,
    QUOTED,
    STRING,
    WORD,
    Token,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aurora_sql.statements._source import Source

READING: Final = frozenset({"select", "values", "table"})
CHANGING: Final = frozenset({"insert", "update", "delete", "merge"})
_MAIN: Final = READING | CHANGING

_TRANSACTION: Final = (
    "opens or ends a transaction behind the back of the library: use db.transaction() and "
    "tx.savepoint()"
)
_PREPARED: Final = "meddles with prepared statements, which the library keeps itself"
FORBIDDEN: Final[dict[str, str]] = {
    **dict.fromkeys(
        ("begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release"),
        _TRANSACTION,
    ),
    **dict.fromkeys(("prepare", "execute", "deallocate"), _PREPARED),
    "discard": "throws away the session's prepared statements, which the library keeps itself",
}
_LOOKED_INTO: Final = frozenset({"explain", "set", "copy"})

# Words that stand between a bracket and what it belongs to, by what must come before them; a
# function of such a name elsewhere is still seen.
_BEFORE_BRACKET: Final[dict[str, frozenset[str]]] = {
    "by": frozenset({"order", "group", "partition"}),
    "zone": frozenset({"time"}),
    "set": frozenset({"update"}),
    "materialized": frozenset({"as", "not"}),
    "sets": frozenset({"grouping"}),
    "conflict": frozenset({"on"}),
    "over": frozenset({")"}),
    "filter": frozenset({")"}),
    "repeatable": frozenset({")"}),
    "insert": frozenset({"then"}),
    "rollup": frozenset({"by", ","}),
    "cube": frozenset({"by", ","}),
}
_HINTS: Final = CHANGING | {"for"}
_NO_NAMES: Final = NOT_TABLES | {""}
# Before a bracket these are the grammar's own, or built-in functions that are vetted (left, right).
_NEVER_CALLED: Final = NOT_TABLES | COLUMN_NAME


@dataclass(frozen=True, slots=True)
class Facts:
    """What the text of one statement proves.

    Attributes:
        command: SELECT, INSERT, UPDATE, DELETE, MERGE, or OTHER.
        writes: The text itself proves (or cannot rule out) that it writes.
        functions: Functions it calls that are not known to be harmless, lower case.
        identifiers: Names that a table, view or column could have.
        returns_rows: It gives rows; None where the text does not tell.
    """

    command: str
    writes: bool
    functions: frozenset[str]
    identifiers: frozenset[str]
    returns_rows: bool | None


def fold(name: str) -> str:
    """An unquoted name as the server stores it: only ASCII letters are folded."""
    if name.isascii():
        return name.lower()
    return "".join(c.lower() if c.isascii() else c for c in name)


def unquote(text: str) -> str:
    """The name that a quoted identifier stands for (``U&`` escapes are left as they are)."""
    return text[text.index('"') + 1 : -1].replace('""', '"')


def split_statements(code: Sequence[Token]) -> list[list[Token]]:
    """Split at the semicolons between statements; empty ones are dropped.

    Semicolons inside brackets (CREATE RULE) and between BEGIN ATOMIC and END (SQL-standard
    function bodies) belong to the statement, as psql has it.
    """
    parts: list[list[Token]] = [[]]
    depth = blocks = 0
    for token in code:
        kind, text, _ = token
        part = parts[-1]
        if kind == PUNCTUATION:
            depth += (text == "(") - (text == ")")
            if text == ";" and depth == 0 and blocks == 0:
                if part:
                    parts.append([])
                continue
        elif kind == WORD:
            blocks += _block_step(text.lower(), blocks, part)
        part.append(token)
    return [part for part in parts if part]


def _block_step(word: str, blocks: int, part: Sequence[Token]) -> int:
    """How a word changes the depth of blocks in the body of a routine."""
    if word == "atomic" and part and part[0][1].lower() == "create":
        return 1 if part[-1][1].lower() == "begin" else 0
    if blocks:
        return (word == "case") - (word == "end")
    return 0


def refuse_bookkeeping(source: Source, part: Sequence[Token]) -> None:
    """Refuse a command that would break what the library knows about the session.

    Raises:
        StatementFileError: It is one of BEGIN, COMMIT, PREPARE, DISCARD, COPY FROM STDIN, ….
    """
    kind, text, offset = part[0]
    if kind != WORD:
        return
    first = text.lower()
    reason = FORBIDDEN.get(first)
    if reason is not None:
        raise source.error(f"{text.upper()} {reason}", offset)
    if first not in _LOOKED_INTO:
        return
    words = [t[1].lower() for t in part if t[0] == WORD]
    if first == "explain":
        # EXPLAIN EXECUTE runs a prepared statement as EXECUTE does.
        if "execute" in words[1:4]:
            raise source.error(f"EXPLAIN EXECUTE {_PREPARED}", offset)
        return
    if first == "set" and "transaction" in words[1:2] and "snapshot" not in words:
        raise source.error(
            "SET TRANSACTION: give isolation= and read_only= to db.transaction()", offset
        )
    if first == "copy" and ("stdin" in words or "stdout" in words):
        raise source.error(
            "COPY through the connection cannot be a statement: use db.bulk_insert()", offset
        )


def classify(code: Sequence[Token]) -> Facts:
    """Classify one statement, given its tokens without comments and final semicolon."""
    words = [t[1].lower() if t[0] == WORD else "" for t in code]
    present = set(words)
    if not all(map(str.isascii, present)):
        words = [fold(t[1]) if t[0] == WORD else "" for t in code]
        present = set(words)
    identifiers = present - _NO_NAMES
    identifiers.update(unquote(t[1]) for t in code if t[0] == QUOTED)
    first, names = main_command(code, words, _MAIN)
    command = "SELECT" if first in READING else first.upper() or "OTHER"
    writes = command == "OTHER" or command.lower() in CHANGING
    if command == "OTHER":
        writes = not _harmless_other(words)
    else:
        if command == "SELECT" and "into" in present and _selects_into(words):
            command, writes = "OTHER", True
        writes = writes or (not present.isdisjoint(_HINTS) and _changes(code, words))
    called = _called(code, words, names)
    doubtful = called - VETTED
    unknown = frozenset(name for name in doubtful if not _harmless(name))
    writes = writes or any(_volatile(name) for name in doubtful)
    rows: bool | None = None
    if command != "OTHER":
        rows = command == "SELECT" or "returning" in present
    return Facts(command, writes, unknown, frozenset(identifiers), rows)


def _bare(name: str) -> str:
    return name.removeprefix("pg_catalog.")


def _harmless(name: str) -> bool:
    return _bare(name) in VETTED or _bare(name) in HARMLESS_VOLATILE


def _volatile(name: str) -> bool:
    if _bare(name) in HARMLESS_VOLATILE:
        return True
    last = name.rpartition(".")[2]
    return last in VOLATILE or last.startswith(VOLATILE_PREFIXES)


def main_command(
    code: Sequence[Token], words: Sequence[str], commands: frozenset[str]
) -> tuple[str, set[int]]:
    """The command after any WITH list, and where the names of that list stand.

    Args:
        code: The tokens of one statement.
        words: Those that are words in lower case, the others empty.
        commands: The commands that count; the answer for any other is empty.
    """
    start = 0
    while start < len(code) and code[start][1] == "(":
        start += 1
    first = words[start] if start < len(words) else ""
    if first in commands:
        return first, set()
    if first != "with":
        return "", set()
    names: set[int] = set()
    depth = 0
    expect_name = True
    for index in range(start + 1, len(code)):
        text = code[index][1]
        if text in ("(", ")"):
            depth += 1 if text == "(" else -1
        elif depth == 0:
            word = words[index]
            if text == ",":
                expect_name = True
            elif expect_name and word != "recursive":
                names.add(index)
                expect_name = False
            elif word in commands and not expect_name:
                return word, names
    return "", names


def _harmless_other(words: Sequence[str]) -> bool:
    """Whether a command that is none of the five only reads."""
    if not words:
        return False
    if words[0] == "show":
        return True
    if words[0] != "explain":
        return False
    # EXPLAIN ANALYZE runs what it explains.
    return not any(word in CHANGING or word in ("analyze", "analyse", "create") for word in words)


def _selects_into(words: Sequence[str]) -> bool:
    """Whether a SELECT makes a table: INTO that follows neither INSERT nor MERGE."""
    return any(
        word == "into" and (index == 0 or words[index - 1] not in ("insert", "merge"))
        for index, word in enumerate(words)
    )


def _changes(code: Sequence[Token], words: Sequence[str]) -> bool:
    """Whether a data-modifying CTE or a locking clause stands anywhere in it."""
    last = len(words) - 1
    for index, word in enumerate(words):
        following = words[index + 1] if index < last else ""
        if word == "for":
            if following in ("update", "share", "no", "key"):
                return True
        elif word in CHANGING:
            if index and code[index - 1][1] == ".":
                continue
            if word == "update":
                named = index < last and code[index + 1][0] in (WORD, QUOTED)
                if named and following not in ("as", "from"):
                    return True
            elif following == ("from" if word == "delete" else "into"):
                return True
    return False


def _called(code: Sequence[Token], words: Sequence[str], cte_names: set[int]) -> set[str]:
    """Names of the functions that are called, qualified where they are written so."""
    called: set[str] = set()
    # After these a closing bracket may be followed by a call; elsewhere what follows is an alias.
    call_after_bracket = "distinct" in words or "operator" in words
    openings = [index for index, token in enumerate(code) if token[1] == "("]
    for index in openings:
        at = index - 1
        if at < 0:
            continue
        kind, text, _ = code[at]
        if kind == WORD:
            name = words[at]
            if name in _NEVER_CALLED and (at == 0 or code[at - 1][1] != "."):
                continue
        elif kind == QUOTED:
            name = unquote(text)
        else:
            continue
        if at in cte_names:
            continue
        while at >= 2 and code[at - 1][1] == "." and code[at - 2][0] in (WORD, QUOTED):  # noqa: PLR2004 - a qualifier is a name and a dot
            at -= 2
            qualifier = words[at] or unquote(code[at][1])
            name = f"{qualifier}.{name}"
        if not _is_alias_list(code, words, at, name, call_after_bracket=call_after_bracket):
            called.add(name)
    return called


def _is_alias_list(
    code: Sequence[Token],
    words: Sequence[str],
    at: int,
    name: str,
    *,
    call_after_bracket: bool,
) -> bool:
    """Whether the name at ``at`` is followed by columns or a type's size, not by arguments."""
    if at == 0:
        return False
    kind, text, _ = code[at - 1]
    before = words[at - 1]
    if name in _BEFORE_BRACKET and (before or text) in _BEFORE_BRACKET[name]:
        return True
    if kind == WORD:
        return before in ("into", "as", "ordinality") or before not in KEYWORDS
    if kind in (QUOTED, STRING, NUMBER, PARAMETER):
        return True
    return text == "::" or (text == ")" and not call_after_bracket)
