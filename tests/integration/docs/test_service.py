"""The example service, on a real cluster."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import asyncpg
import pytest

from aurora_sql import StatementFinished
from examples.service import Service


@pytest.fixture
async def outside(shop_settings):
    host, port = shop_settings.writer_address()
    connection = await asyncpg.connect(
        host=host,
        port=port,
        user=shop_settings.username,
        password=shop_settings.password.get_secret_value(),
        database=shop_settings.database,
    )
    yield connection
    await connection.close()


@pytest.fixture
def events():
    return []


@pytest.fixture
def serving(shop_settings, events, client_for):
    """Start the service, and stop it after the block."""

    @asynccontextmanager
    async def start(time_limit=5.0, **changes):
        settings = shop_settings.replace(changes)
        client = client_for(Service(settings, time_limit=time_limit, observers=(events.append,)))
        assert await client.start() == {"type": "lifespan.startup.complete"}
        yield client
        assert await client.stop() == {"type": "lifespan.shutdown.complete"}

    return start


@pytest.fixture
async def client(serving):
    async with serving() as client:
        yield client


def ran(events, statement):
    return [
        one for one in events if isinstance(one, StatementFinished) and one.statement == statement
    ]


def order_of(product_id, quantity=1, customer_id=1):
    wishes = [{"product_id": product_id, "quantity": quantity}]
    return json.dumps({"customer_id": customer_id, "wishes": wishes}).encode()


# --- start and stop ------------------------------------------------------------------------


async def test_stopping_closes_every_connection(serving, outside):
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    async with serving() as client:
        assert (await client.request("GET", "/products")).status == 200
        assert await outside.fetchval(count) > 1
    for _ in range(500):  # the server takes a moment to see it
        if await outside.fetchval(count) == 1:
            break
        await asyncio.sleep(0.01)
    assert await outside.fetchval(count) == 1
    assert (await client.request("GET", "/products")).status == 503


async def test_a_writer_that_cannot_be_reached_fails_the_start(shop_settings, client_for):
    settings = shop_settings.replace({"write_endpoint": "127.0.0.1:1", "read_endpoint": None})
    client = client_for(Service(settings))
    message = await client.start()
    assert message["type"] == "lifespan.startup.failed"
    assert "127.0.0.1:1" in message["message"]
    await client._task


async def test_settings_come_from_the_environment(page_run, client_for):
    client = client_for(Service())  # page_run has set the variables
    assert (await client.start())["type"] == "lifespan.startup.complete"
    assert (await client.request("GET", "/health")).status == 200
    await client.stop()


async def test_it_speaks_http_only(client):
    with pytest.raises(NotImplementedError, match="websocket"):
        await client.app({"type": "websocket"}, None, None)


# --- health --------------------------------------------------------------------------------


async def test_health_names_the_instances(client):
    answer = await client.request("GET", "/health")
    body = json.loads(answer.body)
    assert answer.status == 200
    assert [one["role"] for one in body["instances"]] == ["writer", "reader", "reader"]
    assert body["ok"]
    assert body["can_write"]


async def test_without_a_reader_orders_are_still_placed(serving):
    async with serving(read_endpoint="127.0.0.1:1") as client:
        answer = await client.request("GET", "/health")
        body = json.loads(answer.body)
        assert (answer.status, body["ok"], body["can_write"]) == (200, False, True)
        assert (await client.request("GET", "/products")).status == 200


# --- reading -------------------------------------------------------------------------------


async def test_searches_run_on_readers_with_any_filters(client, events, shop_settings):
    answer = await client.request(
        "GET", "/products", query="category=books&max_price=50&sort=dearest&limit=3"
    )
    found = json.loads(answer.body)
    assert answer.status == 200
    assert 0 < len(found) <= 3
    assert all(one["category"] == "books" and float(one["price"]) <= 50 for one in found)
    prices = [float(one["price"]) for one in found]
    assert prices == sorted(prices, reverse=True)
    readers = {f"{host}:{port}" for host, port in shop_settings.reader_addresses()}
    assert {one.instance for one in ran(events, "products.search")} <= readers


async def test_a_search_that_makes_no_sense_is_refused(client, events):
    for query in (
        "limit=0",
        "limit=x",
        "sort=random",
        "colour=red",
        "max_price=nan",
        "min_stock=1e99",
    ):
        answer = await client.request("GET", "/products", query=query)
        assert answer.status == 422, query
        assert json.loads(answer.body)["errors"], query
    assert ran(events, "products.search") == []


async def test_a_page_of_a_customer(client):
    answer = await client.request("GET", "/customers/1")
    assert answer.status == 200
    assert json.loads(answer.body)["customer"]["id"] == 1


async def test_what_is_not_there(client):
    for path in ("/customers/999999", "/orders/999999", "/orders/x", "/orders/", "/nothing"):
        assert (await client.request("GET", path)).status == 404, path


async def test_a_wrong_method_is_told_the_right_one(client):
    answer = await client.request("DELETE", "/orders")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


# --- writing -------------------------------------------------------------------------------


async def test_an_order_is_placed_and_shown(client, outside):
    await outside.execute("UPDATE products SET stock = 5 WHERE id = 1")
    placed = await client.request("POST", "/orders", order_of(1, 2), chunks=3)
    assert placed.status == 201
    assert await outside.fetchval("SELECT stock FROM products WHERE id = 1") == 3
    shown = await client.request("GET", placed.headers["location"])
    assert shown.status == 200
    assert json.loads(shown.body)["item_count"] == 2


async def test_as_many_orders_as_there_are_pieces(client, outside):
    await outside.execute("UPDATE products SET stock = 7 WHERE id = 1")
    answers = await asyncio.gather(
        *(client.request("POST", "/orders", order_of(1)) for _ in range(20))
    )
    assert sorted(one.status for one in answers) == [201] * 7 + [409] * 13
    assert await outside.fetchval("SELECT stock FROM products WHERE id = 1") == 0


NO_ORDERS = (
    (order_of(999_999), 422),
    (order_of(1, quantity=0), 422),
    (b"{", 422),
    (b'{"customer_id": NaN, "wishes": []}', 422),
    (b"\xff", 422),
    (b"", 422),
    (order_of(1, customer_id=999_999), 409),
    (b" " * 65_537, 413),
)


async def test_an_order_that_cannot_be_placed_leaves_nothing(client, outside):
    await outside.execute("UPDATE products SET stock = 5 WHERE id = 1")
    before = await outside.fetchval("SELECT count(*) FROM orders")
    for body, status in NO_ORDERS:
        assert (await client.request("POST", "/orders", body)).status == status, body[:80]
    assert await outside.fetchval("SELECT count(*) FROM orders") == before
    assert await outside.fetchval("SELECT stock FROM products WHERE id = 1") == 5


ADDRESS = {"street": "Hill 1", "postcode": "1", "city": "Town", "country": "IS"}


async def test_a_customer_moves(client, outside):
    body = json.dumps(ADDRESS).encode()
    assert (await client.request("PUT", "/customers/1/address", body)).status == 200
    assert json.loads(await outside.fetchval("SELECT address FROM customers WHERE id = 1")) == (
        ADDRESS
    )
    assert (await client.request("PUT", "/customers/999999/address", body)).status == 404


# --- the deadline of a request ----------------------------------------------------------------


@asynccontextmanager
async def locked(connection, sql):
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(sql)
    try:
        async with asyncio.timeout(10):  # whoever waits for the lock without a deadline fails
            yield
    finally:
        await transaction.rollback()


async def test_an_order_out_of_time_was_not_placed(serving, outside):
    before = await outside.fetchval("SELECT count(*) FROM orders")
    async with serving(time_limit=0.3) as client:
        async with locked(outside, "SELECT FROM products WHERE id = 1 FOR UPDATE"):
            answer = await client.request("POST", "/orders", order_of(1))
        assert answer.status == 503
        assert json.loads(answer.body)["done"] is False
        assert answer.headers["retry-after"] == "1"
    assert await outside.fetchval("SELECT count(*) FROM orders") == before


async def test_a_lone_write_out_of_time_is_in_doubt(serving, outside):
    async with serving(time_limit=0.3) as client:
        async with locked(outside, "SELECT FROM customers WHERE id = 1 FOR UPDATE"):
            answer = await client.request(
                "PUT", "/customers/1/address", json.dumps(ADDRESS).encode()
            )
        assert answer.status == 504
        assert json.loads(answer.body)["done"] is None
        assert "retry-after" not in answer.headers
