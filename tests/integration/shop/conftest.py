"""A small loaded shop, generated once and copied for each test."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from aurora_sql import Aurora, migrations
from examples.shop import load_shop

ROOT = Path(__file__).resolve().parents[3]
SQL = ROOT / "sql"
MIGRATIONS = ROOT / "migrations" / "postgresql"

CUSTOMERS, ORDERS, PRODUCTS, SEED = 400, 2_000, 120, 11


@dataclass(frozen=True)
class Loaded:
    """The template and what loading it reported."""

    database: str
    report: object
    progress: list


def in_thread(make):
    """Run a coroutine in a loop of its own: the fixtures here outlive the loop of any test."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(make())).result()


@pytest.fixture(scope="session")
def loaded_shop(aurora_cluster):
    name = f"shop_{os.getpid()}"
    progress = []

    async def build():
        await aurora_cluster.create_database(name)
        settings = aurora_cluster.settings(name)
        await migrations.apply(settings, MIGRATIONS)
        async with Aurora(settings, sql=SQL) as db:
            report = await load_shop(
                db,
                customers=CUSTOMERS,
                orders=ORDERS,
                products=PRODUCTS,
                seed=SEED,
                progress=lambda table, rows: progress.append((table, rows)),
            )
        return Loaded(name, report, progress)

    yield in_thread(build)
    in_thread(lambda: aurora_cluster.drop_database(name))


@pytest.fixture(scope="session")
def aurora_template(loaded_shop):
    return loaded_shop.database


@pytest.fixture
async def db(aurora_settings):
    """The shop, open; the test may change anything in it."""
    async with Aurora(aurora_settings.replace({"min_pool_size": 1}), sql=SQL) as db:
        yield db


@pytest.fixture
def empty_settings(aurora_cluster):
    """Settings of a database with nothing in it."""
    name = f"empty_{os.getpid()}"
    in_thread(lambda: aurora_cluster.create_database(name))
    yield aurora_cluster.settings(name)
    in_thread(lambda: aurora_cluster.drop_database(name))
