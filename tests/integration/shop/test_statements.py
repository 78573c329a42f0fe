"""Every statement of ``sql/`` runs, in every variant, and answers with its model."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import chain, combinations, pairwise
from pathlib import Path

import pytest

from aurora_sql import ParameterError, RowNotFound, StatementRegistry
from aurora_sql.types import Access, Cardinality
from examples.shop import models

ROOT = Path(__file__).resolve().parents[3]
REGISTRY = StatementRegistry.load(ROOT / "sql")
SINCE = datetime(2023, 1, 1, tzinfo=UTC)
ADDRESS = {"street": "Mill Lane 1", "postcode": "10115", "city": "Berlin", "country": "DE"}

# What to call each with: parameters that it needs, and those that switch lines on.
CALLS = {
    "customers.add": (
        {"user_id": None, "email": "x@example.com", "full_name": "X Y", "address": ADDRESS},
        {},
    ),
    "customers.get": ({"id": 1}, {}),
    "customers.get_by_ids": ({"ids": [1, 2]}, {}),
    "customers.move": ({"id": 1, "address": ADDRESS}, {}),
    "customers.order_history": ({"customer_id": 1, "limit": 5}, {}),
    "customers.search": (
        {"limit": 5},
        {"name": "A", "tier": "standard", "city": "Berlin", "after_id": 1},
    ),
    "customers.summary": ({"id": 1}, {}),
    "events.latest": ({"subject_id": 1, "limit": 5}, {"kind": "order.placed"}),
    "events.record": ({"kind": "test", "subject_id": None, "payload": {"a": [1]}}, {}),
    "events.record_many": ([{"kind": "test", "subject_id": 1, "payload": {}}], {}),
    "maintenance.after_load": ({}, {}),
    "maintenance.after_commit": ({}, {}),
    "maintenance.clear": ({}, {}),
    "maintenance.foreign_keys": ({}, {}),
    "maintenance.is_empty": ({}, {}),
    "orders.add": ({"customer_id": 1, "total_amount": Decimal("9.99")}, {}),
    "orders.add_item": (
        {"order_id": 1, "product_id": 120, "quantity": 1, "unit_price": Decimal("1.00")},
        {},
    ),
    "orders.add_items": (
        {"order_id": 1, "product_ids": [119], "quantities": [1], "unit_prices": [Decimal(1)]},
        {},
    ),
    "orders.cancel": ({"id": 2000, "reason": "changed my mind"}, {}),
    "orders.export": ({"since": SINCE}, {}),
    "orders.get": ({"id": 1}, {}),
    "orders.items": ({"order_id": 1}, {}),
    "orders.place_single": ({"customer_id": 1, "product_id": 1, "quantity": 1}, {}),
    "orders.search": (
        {"customer_id": 1, "limit": 5},
        {"status": "delivered", "since": SINCE, "sort": ["newest", "largest"]},
    ),
    "orders.set_status": ({"id": 1, "status": "returned", "from_status": "delivered"}, {}),
    "orders.ship_next": ({"limit": 3}, {}),
    "orders.with_details": ({"id": 1}, {}),
    "products.change_price": ({"id": 1, "version": 1, "price": Decimal("5.00")}, {}),
    "products.get": ({"id": 1}, {}),
    "products.get_by_sku": ({"sku": "none"}, {}),
    "products.lock": ({"id": 1}, {}),
    "products.lock_many": ({"ids": [2, 1]}, {}),
    "products.low_stock": ({"threshold": 50, "limit": 5}, {}),
    "products.reserve": ({"id": 1, "quantity": 1}, {}),
    "products.reserve_many": ({"ids": [1, 2], "quantities": [1, 1]}, {}),
    "products.restock": ([{"id": 1, "quantity": 5}], {}),
    "products.search": (
        {"limit": 5},
        {
            "category": "books",
            "max_price": Decimal(30),
            "attributes": {"binding": "hardcover"},
            "min_stock": 1,
            "sort": ["cheapest", "dearest", "newest"],
        },
    ),
    "reports.best_sellers": ({"since": SINCE, "per_category": 2}, {}),
    "reports.orders_by_status": ({}, {"since": SINCE}),
    "reports.sales_by_day": ({"since": SINCE}, {}),
    "reports.top_customers": ({"limit": 3}, {}),
    "users.add": ({"email": "u@example.com", "full_name": "U V"}, {}),
    "users.count": ({}, {}),
    "users.get": ({"id": 1}, {}),
    "users.get_by_email": ({"email": "nobody@example.com"}, {}),
    "users.get_by_ids": ({"ids": [1, 2]}, {}),
    "users.get_for_update": ({"id": 1}, {}),
    "users.get_on_reader": ({"id": 1}, {}),
    "users.remove": ({"id": 1}, {}),
    "users.rename": ({"id": 1, "version": 1, "full_name": "New Name"}, {}),
    "users.touch": ({"id": 1}, {}),
}


def choices(optional):
    """Each combination of the parameters that switch lines on."""
    names = list(optional)
    for given in chain.from_iterable(combinations(names, n) for n in range(len(names) + 1)):
        sets = [{}]
        for name in given:
            values = optional[name] if isinstance(optional[name], list) else [optional[name]]
            sets = [{**one, name: value} for one in sets for value in values]
        yield from sets


def test_all_statements_are_called_here():
    assert set(CALLS) == set(REGISTRY)


async def test_every_variant_runs_and_answers_with_its_model(db):
    # One database for all: what changes rows comes last, what removes them after that.
    def order(name):
        access = REGISTRY[name].access
        last = ["users.remove", "maintenance.clear"]
        return (last.index(name) + 1 if name in last else 0, access is Access.WRITE, name)

    for name in sorted(CALLS, key=order):
        statement = REGISTRY[name]
        needed, optional = CALLS[name]
        call = db.sql[name]
        variants = set()
        if statement.cardinality is Cardinality.BATCH:
            assert await call(needed) is None
            continue
        for chosen in choices(optional):
            variants.add(statement.bind({**needed, **chosen})[0].sql)
            answer = await call(**needed, **chosen)
            check(statement, answer)
        assert len(variants) == len(statement.variants), name


def check(statement, answer):
    model = statement.returns and getattr(models, statement.returns.rpartition(".")[2])
    match statement.cardinality:
        case Cardinality.EXEC | Cardinality.SCRIPT:
            assert answer is None, statement.name
        case Cardinality.AFFECTED:
            assert answer == 1, statement.name
        case Cardinality.SCALAR:
            assert answer is not None, statement.name
        case Cardinality.MANY:
            assert isinstance(answer, list), statement.name
            assert all(model is None or type(row) is model for row in answer), statement.name
        case Cardinality.ONE:
            assert type(answer) is model, statement.name
        case Cardinality.MAYBE:
            assert answer is None or type(answer) is model, statement.name


class TestUsers:
    async def test_email_is_found_whatever_its_case(self, db):
        user = await db.sql.users.get(id=3)
        assert await db.sql.users.get_by_email(email=user.email.upper()) == user
        assert await db.sql.users.get_by_email(email="no" + user.email) is None

    async def test_touch_counts_and_says_when(self, db):
        before = await db.sql.users.get(id=3)
        assert await db.sql.users.touch(id=3) == 1
        after = await db.sql.users.get(id=3)
        assert after.login_count == before.login_count + 1
        assert datetime.now(UTC) - after.last_login_at < timedelta(minutes=5)
        assert await db.sql.users.touch(id=-1) == 0

    async def test_rename_refuses_a_version_that_is_gone(self, db):
        mine = await db.sql.users.get_for_update(id=3)
        theirs = await db.sql.users.rename(id=3, version=mine.version, full_name="They")
        assert theirs.version == mine.version + 1
        assert await db.sql.users.rename(id=3, version=mine.version, full_name="Me") is None
        assert (await db.sql.users.get(id=3)).full_name == "They"

    async def test_none_is_an_error_where_one_is_promised(self, db):
        with pytest.raises(RowNotFound, match=r"users\.get"):
            await db.sql.users.get(id=-1)

    async def test_removal_leaves_a_guest(self, db):
        customer = next(
            one for one in await db.sql.customers.search(limit=50) if one.user_id is not None
        )
        assert await db.sql.users.remove(id=customer.user_id) == 1
        assert (await db.sql.customers.get(id=customer.id)).user_id is None


class TestCustomers:
    async def test_address_is_a_model_or_none(self, db):
        everyone = await db.writer.sql.customers.search(limit=400)
        assert {type(one.address) for one in everyone} == {models.Address, type(None)}
        await db.sql.customers.move(id=1, address=ADDRESS)
        assert (await db.sql.customers.get(id=1)).address == models.Address(**ADDRESS)

    async def test_pages_by_key_meet_everybody_once(self, db):
        seen, after = [], None
        while page := await db.writer.sql.customers.search(limit=150, after_id=after):
            seen += [one.id for one in page]
            after = page[-1].id
        assert seen == list(range(1, 401))

    async def test_filters_filter(self, db):
        all_ = await db.writer.sql.customers.search(limit=400)
        name = all_[0].full_name[:3]
        found = await db.writer.sql.customers.search(limit=400, name=name.upper(), tier="standard")
        assert found == [
            one for one in all_ if one.full_name.startswith(name) and one.tier == "standard"
        ]
        city = next(one.address.city for one in all_ if one.address)
        found = await db.writer.sql.customers.search(limit=400, city=city)
        assert found == [one for one in all_ if one.address and one.address.city == city]

    async def test_summary_adds_up_what_was_kept(self, db):
        (best,) = await db.sql.reports.top_customers(limit=1)
        summary = await db.sql.customers.summary(id=best.customer.id)
        orders = await db.sql.orders.search(customer_id=best.customer.id, limit=10_000)
        kept = [order for order in orders if order.status not in {"cancelled", "returned"}]
        assert summary.order_count == best.order_count == len(kept)
        assert summary.total_spent == best.amount == sum(order.total_amount for order in kept)
        assert summary.last_order_at == max(order.created_at for order in kept)

    async def test_a_guest_has_no_account(self, db):
        everyone = await db.writer.sql.customers.search(limit=400)
        guest = next(one for one in everyone if one.user_id is None)
        member = next(one for one in everyone if one.user_id is not None)
        assert (await db.sql.customers.summary(id=guest.id)).account is None
        assert (await db.sql.customers.summary(id=member.id)).account.id == member.user_id

    async def test_history_has_each_order_with_its_items(self, db):
        (best,) = await db.sql.reports.top_customers(limit=1)
        history = await db.sql.customers.order_history(customer_id=best.customer.id, limit=20)
        assert len(history) == 20
        for order in history:
            items = await db.sql.orders.items(order_id=order.id)
            assert [(line.product_id, line.quantity, line.unit_price) for line in order.items] == [
                (item.product_id, item.quantity, item.unit_price) for item in items
            ]
            assert all(line.unit_price.as_tuple().exponent == -2 for line in order.items)
            total = sum(line.quantity * line.unit_price for line in order.items)
            assert total == order.total_amount


class TestProducts:
    async def test_sorts_and_refuses_other_sorts(self, db):
        sql = db.sql.products
        cheap = await sql.search(limit=120)
        assert [one.price for one in cheap] == sorted(one.price for one in cheap)
        dear = await sql.search(limit=120, sort="dearest")
        assert [one.price for one in dear] == sorted((one.price for one in dear), reverse=True)
        with pytest.raises(ParameterError, match="sort"):
            await sql.search(limit=1, sort="prettiest")

    async def test_attributes_match_by_containment(self, db):
        found = await db.sql.products.search(limit=120, attributes={"binding": "hardcover"})
        assert found
        assert all(one.attributes["binding"] == "hardcover" for one in found)

    async def test_reserve_takes_what_is_there_and_no_more(self, db):
        product = await db.sql.products.get(id=1)
        left = await db.sql.products.reserve(id=1, quantity=product.stock)
        assert (left.stock, left.price) == (0, product.price)
        assert await db.sql.products.reserve(id=1, quantity=1) is None
        assert (await db.sql.products.get(id=1)).version == product.version + 1

    async def test_restock_is_all_or_nothing(self, db):
        before = await db.sql.products.get(id=1)
        await db.sql.products.restock([{"id": 1, "quantity": 3}, {"id": 1, "quantity": 4}])
        assert (await db.sql.products.get(id=1)).stock == before.stock + 7
        with pytest.raises(Exception, match="products_stock_check"):
            await db.sql.products.restock(
                [{"id": 1, "quantity": 3}, {"id": 2, "quantity": -1_000_000}]
            )
        assert (await db.sql.products.get(id=1)).stock == before.stock + 7

    async def test_change_price_refuses_a_version_that_is_gone(self, db):
        product = await db.sql.products.get(id=1)
        changed = await db.sql.products.change_price(id=1, version=product.version, price=7)
        assert (changed.price, changed.version) == (Decimal("7.00"), product.version + 1)
        assert await db.sql.products.change_price(id=1, version=product.version, price=8) is None


class TestOrders:
    async def test_details_are_those_of_the_tables(self, db):
        for id_ in (1, 777, 2000):
            details = await db.sql.orders.with_details(id=id_)
            order = await db.sql.orders.get(id=id_)
            customer = await db.sql.customers.get(id=order.customer_id)
            items = await db.sql.orders.items(order_id=id_)
            assert details.customer.email == customer.email
            assert (details.account and details.account.id) == customer.user_id
            assert details.item_count == sum(item.quantity for item in items)
            assert [line.product_id for line in details.items] == [i.product_id for i in items]

    async def test_an_order_without_items_has_an_empty_list(self, db):
        order = await db.sql.orders.add(customer_id=1, total_amount=0)
        details = await db.sql.orders.with_details(id=order.id)
        assert (details.items, details.item_count) == ([], 0)

    async def test_single_order_writes_three_tables_or_none(self, db):
        product = await db.sql.products.get(id=1)
        order = await db.sql.orders.place_single(customer_id=1, product_id=1, quantity=2)
        assert order.total_amount == 2 * product.price
        assert await db.sql.orders.items(order_id=order.id) == [
            models.OrderItem(order_id=order.id, product_id=1, quantity=2, unit_price=product.price)
        ]
        left = (await db.sql.products.get(id=1)).stock
        assert left == product.stock - 2
        too_many = await db.sql.orders.place_single(customer_id=1, product_id=1, quantity=left + 1)
        assert too_many is None
        assert (await db.sql.products.get(id=1)).stock == left

    async def test_cancelling_gives_back_and_says_why_once(self, db):
        product = await db.sql.products.get(id=1)
        order = await db.sql.orders.place_single(customer_id=1, product_id=1, quantity=2)
        cancelled = await db.sql.orders.cancel(id=order.id, reason="too late")
        assert cancelled.status == "cancelled"
        assert (await db.sql.products.get(id=1)).stock == product.stock
        (event,) = await db.sql.events.latest(subject_id=order.id, kind="order.cancelled", limit=5)
        assert event.payload == {"reason": "too late"}
        assert await db.sql.orders.cancel(id=order.id, reason="again") is None
        assert (await db.sql.products.get(id=1)).stock == product.stock

    async def test_two_warehouses_ship_different_orders(self, db):
        await db.execute("UPDATE orders SET status = 'paid' WHERE id <= 10")
        async with db.transaction() as one, db.transaction() as two:
            first = await one.sql.orders.ship_next(limit=4)
            second = await two.sql.orders.ship_next(limit=4)
        shipped = [order.id for order in first + second]
        assert len(set(shipped)) == 8
        assert {order.status for order in first + second} == {"shipped"}

    async def test_export_streams_everything_since_in_order(self, db):
        since = datetime(2025, 1, 1, tzinfo=UTC)
        rows = [row async for row in db.sql.orders.export.stream(since=since, batch_size=100)]
        assert len(rows) == await db.fetch_value(
            "SELECT count(*) FROM orders WHERE created_at >= :since", {"since": since}
        )
        moments = [row.created_at for row in rows]
        assert moments == sorted(moments)
        assert moments[0] >= since

    async def test_items_from_lists(self, db):
        order = await db.sql.orders.add(customer_id=1, total_amount=0)
        added = await db.sql.orders.add_items(
            order_id=order.id,
            product_ids=[3, 1],
            quantities=[2, 5],
            unit_prices=[Decimal("1.10"), Decimal("2.20")],
        )
        assert added == 2
        items = await db.sql.orders.items(order_id=order.id)
        assert [(i.product_id, i.quantity, str(i.unit_price)) for i in items] == [
            (1, 5, "2.20"),
            (3, 2, "1.10"),
        ]


class TestReports:
    async def test_days_add_up_to_the_orders_that_were_kept(self, db):
        lines = await db.sql.reports.sales_by_day(since=SINCE)
        statuses = await db.sql.reports.orders_by_status(since=SINCE)
        kept = [line for line in statuses if line.status not in {"cancelled", "returned"}]
        assert sum(line.orders for line in lines) == sum(line.orders for line in kept)
        assert sum(line.revenue for line in lines) == sum(line.amount for line in kept)
        days = [line.day for line in lines]
        assert days == sorted(set(days))
        assert all(type(day) is date for day in days)

    async def test_a_plain_day_is_a_moment_too(self, db):
        lines = await db.reader.sql.reports.sales_by_day(since=date(2025, 12, 1))
        assert lines[0].day >= date(2025, 11, 30)

    async def test_best_sellers_are_ranked_within_their_category(self, db):
        lines = await db.sql.reports.best_sellers(since=SINCE, per_category=2)
        places = [(line.category, line.place) for line in lines]
        assert places == sorted(places)
        assert {place for _, place in places} == {1, 2}
        for one, two in pairwise(lines):
            if one.category == two.category:
                assert one.revenue >= two.revenue
