"""What a statement of MySQL or MariaDB does, read off its tokens.

As for PostgreSQL every answer errs on the safe side. A stored function promises nothing that the
server enforces, so a function that is not known here makes its statement a write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aurora_sql.statements._classify import Facts, main_command
from aurora_sql.statements._functions_mysql import (
    GRAMMAR,
    HARMLESS_VOLATILE,
    NO_TABLES,
    VETTED,
    VOLATILE,
)
from aurora_sql.statements._tokens import (
    EXECUTABLE,
    PUNCTUATION,
    QUOTED,
    STRING,
    VARIABLE,
    WORD,
    Token,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aurora_sql.statements._source import Source

_READING: Final = frozenset({"select", "values", "table"})
_CHANGING: Final = frozenset({"insert", "update", "delete", "replace"})
_MAIN: Final = _READING | _CHANGING

_TRANSACTION: Final = (
    "opens or ends a transaction behind the back of the library: use db.transaction() and "
    "tx.savepoint()"
)
_PREPARED: Final = "meddles with prepared statements, which the library keeps itself"
_LOCKS: Final = (
    "takes or frees table locks, which end transactions: lock rows with SELECT … FOR UPDATE, or "
    "use GET_LOCK()"
)
_FORBIDDEN: Final[dict[str, str]] = {
    **dict.fromkeys(("begin", "commit", "rollback", "savepoint", "release", "xa"), _TRANSACTION),
    **dict.fromkeys(("prepare", "execute", "deallocate"), _PREPARED),
    **dict.fromkeys(("lock", "unlock"), _LOCKS),
    "use": "changes the database for those who use the connection next: write db.table",
    "delimiter": (
        "is a command of the mysql client, not of the server: a :script knows where the body of a "
        "routine ends without it"
    ),
}
_KEPT_VARIABLES: Final[dict[str, str]] = {
    **dict.fromkeys(("autocommit", "completion_type"), _TRANSACTION),
    **dict.fromkeys(
        (
            "names",
            "charset",
            "character",
            "character_set_client",
            "character_set_connection",
            "character_set_results",
        ),
        "changes the session's character set: texts and values are sent as utf8mb4",
    ),
}
_VARIABLE_SCOPES: Final = frozenset({"session", "local", "global", "persist", "persist_only"})

# Each ends the transaction that is open (the manual: Statements That Cause an Implicit Commit).
_COMMITTING: Final = frozenset(
    """
    alter analyze cache change check clone create drop flush grant import install load optimize
    purge rename repair reset restart revoke shutdown start stop truncate uninstall
    """.split()  # noqa: SIM905 - a list of words reads best as words
)
_ROUTINES: Final = frozenset({"procedure", "function", "trigger", "event", "package"})
_BLOCKS: Final = frozenset({"if", "loop", "while", "repeat", "for"})
_COLUMNS_FOLLOW: Final = frozenset(
    {"into", "insert", "replace", "ignore", "delayed", "low_priority", "high_priority", "as"}
)


def _words(code: Sequence[Token]) -> list[str]:
    return [token[1].lower() if token[0] == WORD else "" for token in code]


def unquote_mysql(text: str) -> str:
    """The name that backticks (or double quotes, under ``ANSI_QUOTES``) stand around."""
    return text[1:-1].replace(text[0] * 2, text[0])


def without_executable(code: Sequence[Token]) -> list[Token]:
    """The code that a server runs which skips every executable comment."""
    kept = []
    inside = False
    for token in code:
        if token[0] == EXECUTABLE:
            inside = token[1] != "*/"
        elif not inside:
            kept.append(token)
    return kept


def split_statements_mysql(code: Sequence[Token]) -> list[list[Token]]:
    """Split at the semicolons between statements; empty ones are dropped.

    In CREATE PROCEDURE, FUNCTION, TRIGGER, EVENT and PACKAGE the semicolons between BEGIN and END
    belong to the routine's body.
    """
    parts: list[list[Token]] = [[]]
    depth = 0
    for index, token in enumerate(code):
        kind, text, _ = token
        part = parts[-1]
        if kind == PUNCTUATION and text == ";" and depth <= 0:
            if part:
                parts.append([])
            depth = 0
            continue
        if kind == WORD and _in_routine(part):
            word = text.lower()
            if word in ("begin", "case"):
                depth += part[-1][1].lower() != "end"
            elif word == "end":
                following = code[index + 1][1].lower() if index + 1 < len(code) else ""
                depth -= following not in _BLOCKS
        part.append(token)
    return [part for part in parts if part]


def _in_routine(part: Sequence[Token]) -> bool:
    if not part:
        return False
    first = next((token for token in part if token[0] != EXECUTABLE), part[0])
    if first[1].lower() not in ("create", "alter"):
        return False
    return any(token[0] == WORD and token[1].lower() in _ROUTINES for token in part[:12])


def refuse_bookkeeping_mysql(source: Source, part: Sequence[Token]) -> None:
    """Refuse a command that would break what the library knows about the session.

    Raises:
        StatementFileError: It is one of BEGIN, COMMIT, PREPARE, USE, SET autocommit, ….
    """
    _refuse(source, [token for token in part if token[0] != EXECUTABLE])
    bare = without_executable(part)
    if len(bare) < len(part):
        _refuse(source, bare)


def _refuse(source: Source, part: Sequence[Token]) -> None:
    if not part or part[0][0] != WORD:
        return
    first, offset = part[0][1].lower(), part[0][2]
    words = _words(part)
    second = words[1] if len(words) > 1 else ""
    reason = _FORBIDDEN.get(first)
    if first == "start" and second == "transaction":
        reason = _TRANSACTION
    elif first == "drop" and second == "prepare":
        reason = _PREPARED
    elif first == "load" and second in ("data", "xml") and "local" in words[2:5]:
        reason = "LOCAL cannot be a statement: use db.bulk_insert()"
    if reason is not None:
        raise source.error(f"{part[0][1].upper()} {reason}", offset)
    if first == "set":
        _refuse_set(source, part, words)


def _refuse_set(source: Source, part: Sequence[Token], words: Sequence[str]) -> None:
    if "transaction" in words[1:2]:
        raise source.error(
            "SET TRANSACTION: give isolation= and read_only= to db.transaction()", part[0][2]
        )
    for index in range(1, len(part)):
        kind, text, offset = part[index]
        before = part[index - 1][1].lower()
        if kind == VARIABLE and text.startswith("@@"):
            name = text[2:].rpartition(".")[2].lower().strip("`")
        elif kind in (WORD, QUOTED) and (
            before in ("set", ",", ".", "only") or before in _VARIABLE_SCOPES
        ):
            name = words[index] or unquote_mysql(text).lower()
        else:
            continue
        reason = _KEPT_VARIABLES.get(name)
        if reason is not None and before != "=":
            raise source.error(f"SET {name} {reason}", offset)


def commits_implicitly(code: Sequence[Token]) -> bool:
    """Whether it ends the transaction that is open, by whichever code of it runs."""
    return any(
        _commits(_words(each))
        for each in (
            [token for token in code if token[0] != EXECUTABLE],
            without_executable(code),
        )
    )


def _commits(words: Sequence[str]) -> bool:
    first = words[0] if words else ""
    if first == "set":
        return "password" in words[1:2]
    if first == "load":
        return "index" in words[1:2]
    if first not in _COMMITTING:
        return False
    if first == "analyze":
        return "table" in words[1:3]
    # Temporary tables are the session's own; making and dropping them commits nothing.
    return not (first in ("create", "drop") and "temporary" in words[1:4])


def classify_mysql(code: Sequence[Token]) -> Facts:
    """Classify one statement, given its tokens without comments and final semicolon.

    One with an executable comment is a write that may do anything: which code runs is the
    server's to say.
    """
    words = _words(code)
    present = set(words)
    identifiers = present - NO_TABLES - {""}
    identifiers.update(unquote_mysql(t[1]).lower() for t in code if _names(t))
    first, names = main_command(code, words, _MAIN)
    called = _called(code, words, names)
    unknown = frozenset(called - VETTED - HARMLESS_VOLATILE)
    volatile = not called.isdisjoint(HARMLESS_VOLATILE | VOLATILE)
    command = "SELECT" if first in _READING else first.upper() or "OTHER"
    writes = volatile or command.lower() in _CHANGING
    if any(t[0] == EXECUTABLE for t in code) or _assigns(code):
        command, writes = "OTHER", True
    elif command == "OTHER":
        writes = volatile or not _only_shows(words)
    elif command == "SELECT" and "into" in present:
        command, writes = "OTHER", True
    writes = writes or _locks_or_draws(words)
    rows: bool | None = None
    if command != "OTHER":
        rows = command == "SELECT" or "returning" in present
    return Facts(command, writes, unknown, frozenset(identifiers), rows)


def _names(token: Token) -> bool:
    """Whether a token names something in quotes, if only under ``ANSI_QUOTES``."""
    return token[0] == QUOTED or (token[0] == STRING and token[1].startswith('"'))


def _assigns(code: Sequence[Token]) -> bool:
    """Whether it sets a user variable, which stays in the session: ``@n := @n + 1``."""
    return any(kind == PUNCTUATION and text == ":=" for kind, text, _ in code)


def _only_shows(words: Sequence[str]) -> bool:
    """Whether a command that is none of the five only reads."""
    first = words[0] if words else ""
    if first in ("show", "help"):
        return True
    if first not in ("explain", "describe", "desc"):
        return False
    # EXPLAIN ANALYZE runs what it explains.
    return "analyze" not in words or _CHANGING.isdisjoint(words)


def _locks_or_draws(words: Sequence[str]) -> bool:
    """Whether it locks rows, or takes a number from a sequence."""
    last = len(words) - 1
    for index, word in enumerate(words):
        following = words[index + 1] if index < last else ""
        if word == "for" and (
            following in ("update", "share") or words[index - 2 : index] == ["next", "value"]
        ):
            return True
        if word == "lock" and following == "in":
            return True
        if word == "nextval":
            return True
    return False


def _called(code: Sequence[Token], words: Sequence[str], cte_names: set[int]) -> set[str]:
    """Names of the functions that are called, lower case, qualified where they are written so."""
    called: set[str] = set()
    for index, token in enumerate(code):
        if token[1] != "(" or token[0] != PUNCTUATION or index == 0:
            continue
        at = index - 1
        name = words[at]
        if not name:
            if not _names(code[at]):
                continue
            name = unquote_mysql(code[at][1]).lower()
        elif name in GRAMMAR and (at == 0 or code[at - 1][1] != "."):
            continue
        if at in cte_names:
            continue
        while at >= 2 and code[at - 1][1] == ".":  # noqa: PLR2004 - a qualifier is a name and a dot
            at -= 2
            qualifier = words[at] or unquote_mysql(code[at][1]).lower()
            name = f"{qualifier}.{name}"
        if at and _has_columns(code, words, at):
            continue
        # With an argument it sets what the next LAST_INSERT_ID() answers.
        if name != "last_insert_id" or code[index + 1][1] != ")":
            called.add(name)
    return called


def _has_columns(code: Sequence[Token], words: Sequence[str], at: int) -> bool:
    """Whether the name at ``at`` is a table's, followed by the names of columns."""
    if words[at - 1] in _COLUMNS_FOLLOW:
        return words[at - 1] != "as" or words[at] != "select"
    # A derived table's: (SELECT …) t (a, b)
    return code[at - 1][0] == PUNCTUATION and code[at - 1][1] == ")"
