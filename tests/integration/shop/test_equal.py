"""Written once, run on both engines: the same rows from PostgreSQL, MySQL and MariaDB.

Each statement of the shop runs in every variant, in a transaction that is undone, over the same
generated shop; what it answers with is compared row by row with what PostgreSQL answers. Then the
scenarios run on each, and give the same tables.
"""

import asyncio
import importlib.util
import io
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import chain, combinations, product
from pathlib import Path

import pytest
from pydantic import BaseModel

from aurora_sql import Aurora, Row, StatementRegistry, migrations
from aurora_sql.local import LocalCluster
from aurora_sql.types import Cardinality
from examples.shop import load_shop, scenarios
from tests.conftest import ONLY_MYSQL

ROOT = Path(__file__).resolve().parents[3]
SQL = ROOT / "sql"
SIZE = {"customers": 400, "orders": 2_000, "products": 120, "seed": 11}
# Scripts answer with nothing; how keys are taken away and brought back is each engine's own.
NOT_COMPARED = {
    "maintenance.foreign_keys",
    "maintenance.after_load",
    "maintenance.after_commit",
    "maintenance.clear",
}


def calls():
    """The parameters that the tests of statements have for each."""
    name = "shop_test_statements"
    if name not in sys.modules:
        path = Path(__file__).with_name("test_statements.py")
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name].CALLS


def variants(optional):
    """Every combination of the parameters that switch lines on."""
    for chosen in chain.from_iterable(
        combinations(optional, count) for count in range(len(optional) + 1)
    ):
        # A choice is a list of its values.
        values = [
            [(name, one) for one in optional[name]] if name == "sort" else [(name, optional[name])]
            for name in chosen
        ]
        yield from (dict(picked) for picked in product(*values))


def plain(value):
    """What the engines must agree on: moments as UTC, and what was made just now as that."""
    if isinstance(value, datetime):
        moment = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return "now" if abs(datetime.now(UTC) - moment) < timedelta(hours=1) else moment
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Row):
        return {name: plain(one) for name, one in zip(value.keys(), value, strict=True)}
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


class Undo(Exception):
    """Ends a transaction without a trace."""


async def answers(db, registry):
    """What each statement answers with, by its name and what was switched on."""
    found = {}
    for name, (needed, optional) in sorted(calls().items()):
        if name in NOT_COMPARED:
            continue
        namespace, _, short = name.rpartition(".")
        for given in variants(optional):
            result = None
            try:
                async with db.transaction() as tx:
                    call = getattr(getattr(tx.sql, namespace), short)
                    if registry[name].cardinality is Cardinality.BATCH:
                        result = await call(needed)
                    else:
                        result = await call(**needed, **given)
                    raise Undo  # noqa: TRY301 - the way out of a transaction
            except Undo:
                found[name, str(given)] = plain(result)
    return found


async def day(db):
    """The tables of the four scenarios."""
    out = io.StringIO()
    tables = [
        *await scenarios.place_orders(db),
        await scenarios.customer_pages(db),
        await scenarios.search_shop(db),
        await scenarios.export_orders(db, scenarios.CLOSING - timedelta(days=30), out),
        *await scenarios.daily_report(db),
        await scenarios.restock_and_ship(db),
    ]
    return {table.title: plain(table.rows) for table in tables}


async def everything(settings, engine):
    await migrations.apply(settings, ROOT / "migrations" / engine)
    registry = StatementRegistry.load(SQL, dialect=engine)
    async with Aurora(settings.replace({"min_pool_size": 0}), sql=registry) as db:
        report = await load_shop(db, **SIZE)
        return report.rows, await answers(db, registry), await day(db)


@pytest.fixture(scope="module")
def on_postgresql(aurora_cluster):
    name = f"equal_{os.getpid()}"

    async def run():
        await aurora_cluster.create_database(name)
        try:
            return await everything(aurora_cluster.settings(name), "postgresql")
        finally:
            await aurora_cluster.drop_database(name)

    # In a loop of its own: the fixture outlives the loop of any test.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(run())).result()


@ONLY_MYSQL  # PostgreSQL is what the others are compared with
async def test_all_rows_are_equal(server, on_postgresql):
    async with LocalCluster(engine=server.engine, readers=1, bin_dir=server.bin_dir) as cluster:
        rows, found, tables = await everything(cluster.settings(), "mysql")
    wanted_rows, wanted, wanted_tables = on_postgresql
    assert rows == wanted_rows
    assert found.keys() == wanted.keys()
    assert len(found) > 100
    different = {key: (found[key], wanted[key]) for key in wanted if found[key] != wanted[key]}
    assert different == {}
    assert tables == wanted_tables
