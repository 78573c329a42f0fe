"""What bulk work says to a server in the words of its engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aurora_sql.bulk._names import quote, quote_mysql
from aurora_sql.types import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class Words:
    """Texts of one engine.

    Attributes:
        quote: Quotes an identifier.
        probe: A statement that writes to a table, with ``{}`` for its name: what the catalogue says
            about it holds for all that bulk work does there.
        savepoint: Commands that begin the bulk work in a caller's transaction. A load may take
            longer than a statement: its limit is the caller's deadline, and the transaction gets
            its own limit back afterwards.
        release: Commands that end it.
        undo: Commands that undo it.
        at_once: Several commands go in one round trip.
    """

    quote: Callable[[str], str]
    probe: str
    savepoint: tuple[str, ...]
    release: tuple[str, ...]
    undo: tuple[str, ...]
    at_once: bool

    def quote_all(self, names: Sequence[str], prefix: str = "") -> str:
        """Quote identifiers and put commas between them, each behind ``prefix``."""
        return ", ".join(prefix + self.quote(name) for name in names)


_POSTGRESQL: Final = Words(
    quote=quote,
    probe="INSERT INTO {} DEFAULT VALUES",
    savepoint=(
        "SAVEPOINT aurora_sql_bulk",
        (
            "SELECT pg_catalog.set_config('aurora_sql.statement_timeout',"
            " pg_catalog.current_setting('statement_timeout'), true),"
            " pg_catalog.set_config('statement_timeout', '0', true)"
        ),
    ),
    release=(
        (
            "SELECT pg_catalog.set_config('statement_timeout',"
            " pg_catalog.current_setting('aurora_sql.statement_timeout'), true)"
        ),
        "RELEASE SAVEPOINT aurora_sql_bulk",
    ),
    undo=("ROLLBACK TO SAVEPOINT aurora_sql_bulk", "RELEASE SAVEPOINT aurora_sql_bulk"),
    at_once=True,
)
# MySQL's own limit is for SELECT alone; MariaDB's, which is for all statements, the driver leaves
# to the deadline while it loads.
_MYSQL: Final = Words(
    quote=quote_mysql,
    probe="INSERT INTO {} () VALUES ()",
    savepoint=("SAVEPOINT aurora_sql_bulk",),
    release=("RELEASE SAVEPOINT aurora_sql_bulk",),
    undo=("ROLLBACK TO SAVEPOINT aurora_sql_bulk", "RELEASE SAVEPOINT aurora_sql_bulk"),
    at_once=False,
)

WORDS: Final = {Engine.POSTGRESQL: _POSTGRESQL, Engine.MYSQL: _MYSQL}
