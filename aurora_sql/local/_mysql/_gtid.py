"""How far a server is: global transaction identifiers as MySQL and MariaDB write them.

All instances of a cluster follow one history, of which each has a beginning. So how many
transactions one has says all there is to know, and two positions compare as numbers.
"""

from __future__ import annotations


def executed(text: str) -> int:
    """How many transactions a set of MySQL's identifiers holds.

    ``3e11fa47-…:1-5:8, 2174b383-…:1-3`` holds nine. From MySQL 8.3 a tag may stand before numbers
    (``uuid:1-5:tag:1-2``). Source: MySQL manual, "GTID Format and Storage".
    """
    count = 0
    for part in text.split(","):
        for piece in part.strip().split(":")[1:]:
            first, _, last = piece.strip().partition("-")
            if first.isdecimal():
                count += int(last or first) - int(first) + 1
    return count


def position(text: str) -> int:
    """How many transactions a position of MariaDB's stands for: ``0-1-17`` is the 17th.

    The number goes on when another server becomes the writer. Source: MariaDB documentation,
    "Global Transaction ID".
    """
    return sum(int(part.strip().rsplit("-", 1)[1]) for part in text.split(",") if part.strip())
