"""Global transaction identifiers: which transactions a MySQL or MariaDB has executed.

MySQL's set names servers by UUID, each with the numbers of its transactions:
``3E11FA47-…:1-5:9, 4E11FA47-…:1-7`` (MySQL reference, "GTID Format and Storage"); a tag may stand
before the numbers. MariaDB's position names the last transaction of each domain, with the server
that made it: ``0-1-270`` (MariaDB documentation, "Global Transaction ID").
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from aurora_sql.cluster._report import fetch
from aurora_sql.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aurora_sql.drivers import DriverConnection


@dataclass(frozen=True, slots=True)
class Executed:
    """The transactions that a server has executed.

    Attributes:
        reached: By the number that stands for a history (a server's UUID and tag, or a domain),
            the last transaction up to which it has all of them.
        own: The history that the server itself writes now; None where that is not known.
        total: How many transactions there are, gaps not counted.
    """

    reached: Mapping[int, int]
    own: int | None
    total: int


def parse_mysql(text: str, own: str = "") -> Executed:
    """Read ``@@GLOBAL.gtid_executed``.

    Args:
        text: The set.
        own: The server's own UUID.
    """
    reached: dict[int, int] = {}
    total = 0
    for part in "".join(text.split()).split(","):
        if not part:
            continue
        uuid, *rest = part.split(":")
        tag = ""
        for item in rest:
            first, _, last = item.partition("-")
            if not first.isdigit():
                tag = item
                continue
            low, high = int(first), int(last or first)
            total += high - low + 1
            if low == 1:
                reached[_number(uuid, tag)] = high
    return Executed(reached, _number(own, "") if own else None, total)


def parse_mariadb(*texts: str, domain: int = 0) -> Executed:
    """Read ``@@GLOBAL.gtid_binlog_pos`` and ``@@GLOBAL.gtid_slave_pos``.

    Args:
        texts: The positions. A server that was promoted has replayed a part of what it has
            executed and written the rest.
        domain: The domain that the server itself writes.
    """
    reached: dict[int, int] = {}
    for part in ",".join(texts).split(","):
        if part.strip():
            number, _, sequence = (int(item) for item in part.split("-"))
            # 0 stands for no history.
            reached[number + 1] = max(reached.get(number + 1, 0), sequence)
    own = domain + 1
    return Executed(reached, own if own in reached else None, sum(reached.values()))


def _number(uuid: str, tag: str) -> int:
    # In a token there are four bytes for it; 0 stands for none.
    digest = sha256(f"{uuid.lower()}:{tag.lower()}".encode()).digest()
    return int.from_bytes(digest[:4]) or 1


_MYSQL: Final = "SELECT @@GLOBAL.gtid_executed, @@server_uuid"
_MARIADB: Final = "SELECT @@GLOBAL.gtid_binlog_pos, @@GLOBAL.gtid_slave_pos"


async def executed(connection: DriverConnection) -> Executed:
    """Ask a server which transactions it has executed; nothing where it keeps no such books.

    Raises:
        AuroraError: The connection broke.
    """
    try:
        if connection.is_mariadb:
            return parse_mariadb(*(text or "" for text in (await fetch(connection, _MARIADB))[0]))
        text, own = (await fetch(connection, _MYSQL))[0]
        return parse_mysql(text or "", own)
    except DatabaseError:
        return Executed({}, None, 0)
