"""The shop that is measured: where its files are, its statements and its size."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from aurora_sql.errors import ConfigurationError
from aurora_sql.types import Engine

_CUSTOMERS = 10_000
_PRODUCTS = 1_000
_ORDERS = 50_000
_RETURNS = re.compile(r"^--[ \t]*returns:.*$", re.MULTILINE)

PREFIX = "aurora_bench_"
"""Of the names of databases that a run makes for itself."""

COMMENT = "Made by the aurora_sql benchmarks, which drop it when they end."
"""Marks them, so that nobody else's database of such a name is ever dropped."""

TABLES = ("users", "customers", "products", "orders", "order_items", "events")
"""What the migrations create, in an order in which it can be filled."""


@dataclass(frozen=True, slots=True)
class ShopFiles:
    """Where the shop's files are.

    Attributes:
        sql: Folder of the statements.
        migrations: Folder of the schema.
    """

    sql: Path
    migrations: Path


def shop_files(folder: Path | None = None, engine: Engine = Engine.POSTGRESQL) -> ShopFiles:
    """Find the shop's statements and schema.

    Args:
        folder: Holds ``sql`` and ``migrations``; by default this package's own ``shop`` folder
            (as installed), or the checkout around it.
        engine: Whose schema.

    Raises:
        ConfigurationError: They are not there.
    """
    here = Path(__file__).resolve().parent
    places = [folder] if folder is not None else [here / "shop", here.parent]
    for place in places:
        files = ShopFiles(place / "sql", place / "migrations" / engine.value)
        if (files.sql / "users.sql").is_file() and files.migrations.is_dir():
            return files
    raise ConfigurationError(
        f"the shop's sql and migrations/{engine.value} folders are not in {places[-1]}: give the"
        " folder that holds them as --shop"
    )


def without_models(source: Path, target: Path) -> None:
    """Copy the statements without their models.

    The floors hand out plain records. What is compared with them does the same work: the same
    statements with plain rows. Lines are emptied rather than removed, so that errors still
    name the right one.
    """
    for path in sorted(source.rglob("*.sql")):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(_RETURNS.sub("--", path.read_text(encoding="utf-8")), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Size:
    """How many rows the tables have at the beginning. Ids go from 1 without a gap."""

    customers: int
    products: int
    orders: int

    @classmethod
    def of(cls, scale: float) -> Size:
        """The size at a scale; 1.0 is 10,000 customers, 1,000 products and 50,000 orders.

        Raises:
            ConfigurationError: The scale is not positive.
        """
        if not scale > 0:
            raise ConfigurationError(f"--scale must be more than 0, not {scale}")
        return cls(
            customers=max(int(_CUSTOMERS * scale), 10),
            products=max(int(_PRODUCTS * scale), 10),
            orders=max(int(_ORDERS * scale), 10),
        )
