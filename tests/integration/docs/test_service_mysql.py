"""The example service on MySQL and MariaDB: by settings alone."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from aurora_sql import Aurora, AuroraError, migrations
from aurora_sql.local import LocalCluster
from examples.service import Service
from examples.shop import load_shop

ROOT = Path(__file__).resolve().parents[3]


async def readers_have_caught_up(db):
    """Wait for the last row that was loaded: replicas show it a while after the writer."""
    newest = "SELECT max(id) FROM orders"
    expected = await db.writer.fetch_value(newest)
    async with asyncio.timeout(60):
        while True:
            with suppress(AuroraError):  # the table itself arrives by replication
                if await db.reader.fetch_value(newest) == expected:
                    return
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def settings(server):
    if server.engine != "mysql":
        pytest.skip("test_service has the service on PostgreSQL")
    with LocalCluster(engine="mysql", bin_dir=server.bin_dir, readers=1) as cluster:
        settings = cluster.settings()

        async def build():
            await migrations.apply(settings, ROOT / "migrations" / "mysql")
            async with Aurora(settings, sql=ROOT / "sql") as db:
                await load_shop(db, customers=50, orders=200, products=40)
                await readers_have_caught_up(db)

        # In a loop of its own: the fixture outlives the loop of any test.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: asyncio.run(build())).result()
        yield settings


async def test_every_path_answers_as_on_postgresql(settings, client_for):
    client = client_for(Service(settings))
    assert await client.start() == {"type": "lifespan.startup.complete"}
    answer = await client.request("GET", "/health")
    assert answer.status == 200
    assert [one["role"] for one in json.loads(answer.body)["instances"]] == ["writer", "reader"]

    answer = await client.request("GET", "/products", query="sort=dearest&max_price=500&limit=3")
    products = json.loads(answer.body)
    assert answer.status == 200
    assert 0 < len(products) <= 3

    answer = await client.request("GET", "/customers/1")
    assert answer.status == 200
    assert json.loads(answer.body)["customer"]["id"] == 1
    assert (await client.request("GET", "/customers/999999")).status == 404

    wishes = [{"product_id": products[0]["id"], "quantity": 1}]
    body = json.dumps({"customer_id": 1, "wishes": wishes}).encode()
    answer = await client.request("POST", "/orders", body)
    assert answer.status == 201
    placed = json.loads(answer.body)
    answer = await client.request("GET", f"/orders/{placed['id']}")
    assert answer.status == 200
    assert [one["product_id"] for one in json.loads(answer.body)["items"]] == [products[0]["id"]]

    wishes[0]["quantity"] = 10_000_000
    body = json.dumps({"customer_id": 1, "wishes": wishes}).encode()
    assert (await client.request("POST", "/orders", body)).status == 409
    assert await client.stop() == {"type": "lifespan.shutdown.complete"}
