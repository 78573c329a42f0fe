import hashlib
import os
import subprocess
import sys
import tracemalloc
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from random import Random
from statistics import mean, median

import pytest

from examples.shop import _calendar, _catalogue, _people
from examples.shop.data import COLUMNS, END, MAX_LINES, ShopData, ShopSize

ROOT = Path(__file__).resolve().parents[3]
SIZE = ShopSize(customers=3_000, orders=20_000, products=400)


@pytest.fixture(scope="module")
def data():
    return ShopData(SIZE, seed=7)


@pytest.fixture(scope="module")
def tables(data):
    """All rows as mappings, by table."""
    return {
        table: [dict(zip(columns, row, strict=True)) for row in getattr(data, table)()]
        for table, columns in COLUMNS.items()
    }


def digest(data: ShopData) -> str:
    """One number for everything that a shop consists of."""
    digest = hashlib.sha256()
    for table in COLUMNS:
        for row in getattr(data, table)():
            digest.update(repr(row).encode())
    return digest.hexdigest()


class TestDeterminism:
    SMALL = ShopSize(customers=200, orders=500, products=50)

    def test_the_same_seed_gives_the_same_shop(self):
        assert digest(ShopData(self.SMALL, seed=3)) == digest(ShopData(self.SMALL, seed=3))

    def test_another_seed_gives_another_shop(self):
        assert digest(ShopData(self.SMALL, seed=3)) != digest(ShopData(self.SMALL, seed=4))

    def test_another_process_with_another_hash_seed_gives_the_same_shop(self):
        code = (
            "import sys; sys.path.insert(0, sys.argv[1])\n"
            "import hashlib\n"
            "from examples.shop.data import COLUMNS, ShopData, ShopSize\n"
            "data = ShopData(ShopSize(200, 500, 50), seed=3)\n"
            "digest = hashlib.sha256()\n"
            "for table in COLUMNS:\n"
            "    for row in getattr(data, table)():\n"
            "        digest.update(repr(row).encode())\n"
            "print(digest.hexdigest())\n"
        )
        for hash_seed in ("1", "2"):
            answer = subprocess.run(
                [sys.executable, "-c", code, str(ROOT)],
                env={**os.environ, "PYTHONHASHSEED": hash_seed},
                check=True,
                capture_output=True,
                text=True,
            )
            assert answer.stdout.strip() == digest(ShopData(self.SMALL, seed=3))

    def test_no_table_depends_on_which_were_made_before(self):
        data = ShopData(self.SMALL, seed=3)
        list(data.orders())
        interrupted = data.customers()
        next(interrupted)
        assert list(data.users()) == list(ShopData(self.SMALL, seed=3).users())
        assert list(islice(data.orders(), 9)) == list(islice(data.orders(), 9))

    def test_orders_and_items_are_those_of_the_days(self):
        data = ShopData(self.SMALL, seed=3)
        days = list(data.days_of_orders())
        assert [row for orders, _ in days for row in orders] == list(data.orders())
        assert [row for _, items in days for row in items] == list(data.order_items())


class TestIntegrity:
    """What the constraints of the schema will ask for."""

    @pytest.mark.parametrize("table", ["users", "customers", "products", "orders"])
    def test_ids_go_up_without_a_gap(self, tables, table):
        assert [row["id"] for row in tables[table]] == list(range(1, len(tables[table]) + 1))

    def test_sizes_are_exact(self, tables):
        assert len(tables["customers"]) == SIZE.customers
        assert len(tables["orders"]) == SIZE.orders
        assert len(tables["products"]) == SIZE.products

    def test_emails_and_skus_are_unique_in_any_case(self, tables):
        for table in ("users", "customers"):
            emails = [row["email"].lower() for row in tables[table]]
            assert len(set(emails)) == len(emails)
        assert len({row["sku"] for row in tables["products"]}) == SIZE.products
        assert len({row["name"] for row in tables["products"]}) == SIZE.products

    def test_a_customer_with_an_account_has_the_account_s_name_and_email(self, tables):
        users = {row["id"]: row for row in tables["users"]}
        accounts = [row for row in tables["customers"] if row["user_id"] is not None]
        assert len(accounts) == len(users)
        for customer in accounts:
            user = users[customer["user_id"]]
            assert (user["email"], user["full_name"]) == (customer["email"], customer["full_name"])

    def test_nobody_orders_before_having_come(self, tables):
        since = {row["id"]: row["created_at"] for row in tables["customers"]}
        assert all(since[row["customer_id"]] < row["created_at"] for row in tables["orders"])

    def test_nothing_is_sold_before_it_exists(self, tables):
        first = tables["orders"][0]["created_at"]
        assert all(row["created_at"] < first for row in tables["products"])

    def test_each_order_has_items_of_products_that_exist_each_once(self, tables):
        lines = defaultdict(list)
        for item in tables["order_items"]:
            lines[item["order_id"]].append(item["product_id"])
        assert set(lines) == {row["id"] for row in tables["orders"]}
        for products in lines.values():
            assert 1 <= len(products) <= MAX_LINES
            assert len(set(products)) == len(products)
            assert all(1 <= product <= SIZE.products for product in products)

    def test_totals_are_the_sums_of_the_items(self, tables):
        sums = Counter()
        for item in tables["order_items"]:
            sums[item["order_id"]] += item["quantity"] * item["unit_price"]
        assert all(row["total_amount"] == sums[row["id"]] for row in tables["orders"])

    def test_money_has_two_places(self, tables):
        values = [row["price"] for row in tables["products"]]
        values += [row["unit_price"] for row in tables["order_items"]]
        values += [row["total_amount"] for row in tables["orders"]]
        assert all(type(value) is Decimal for value in values)
        assert {value.as_tuple().exponent for value in values} == {-2}
        assert min(values) > 0

    def test_moments_ascend_and_stay_in_the_history(self, data, tables):
        moments = [row["created_at"] for row in tables["orders"]]
        assert moments == sorted(moments)
        assert _calendar.midnight(data.first_day) <= moments[0]
        assert moments[-1] < _calendar.midnight(data.end)
        assert all(moment.tzinfo is UTC for moment in moments)

    def test_sign_ins_lie_between_joining_and_the_end(self, tables):
        closing = _calendar.midnight(END)
        for user in tables["users"]:
            if user["login_count"] == 0:
                assert user["last_login_at"] is None
            else:
                assert user["created_at"] <= user["last_login_at"] <= closing


class TestDistributions:
    def test_a_fifth_of_the_customers_place_most_of_the_orders(self, tables):
        orders = Counter(row["customer_id"] for row in tables["orders"])
        counts = sorted(orders.values(), reverse=True)
        share = sum(counts[: SIZE.customers // 5]) / SIZE.orders
        assert 0.55 < share < 0.85
        assert counts[0] < SIZE.orders * 0.05

    def test_a_fifth_of_the_products_make_most_of_the_sales(self, tables):
        sold = Counter(row["product_id"] for row in tables["order_items"])
        counts = sorted(sold.values(), reverse=True)
        assert 0.45 < sum(counts[: SIZE.products // 5]) / sum(counts) < 0.85

    def test_the_large_customers_are_not_the_first_ones(self, tables):
        orders = Counter(row["customer_id"] for row in tables["orders"])
        best = [customer for customer, _ in orders.most_common(50)]
        assert max(best) > SIZE.customers / 3

    def test_gold_goes_to_those_who_buy_most(self, tables):
        orders = Counter(row["customer_id"] for row in tables["orders"])
        by_tier = defaultdict(list)
        for row in tables["customers"]:
            by_tier[row["tier"]].append(orders[row["id"]])
        assert mean(by_tier["gold"]) > 2 * mean(by_tier["silver"])
        assert mean(by_tier["silver"]) > 2 * mean(by_tier["standard"])
        assert 0.015 < len(by_tier["gold"]) / SIZE.customers < 0.025

    def test_some_are_guests_and_some_have_no_address(self, tables):
        customers = tables["customers"]
        assert 0.09 < mean(row["user_id"] is None for row in customers) < 0.15
        assert 0.02 < mean(row["address"] is None for row in customers) < 0.06

    def test_business_grows(self, data, tables):
        def orders_since(days: int) -> int:
            begin = _calendar.midnight(data.end - timedelta(days=days))
            end = begin + timedelta(days=365)
            return sum(begin <= row["created_at"] < end for row in tables["orders"])

        assert 1.2 < orders_since(365) / orders_since(730) < 1.5
        assert 1.2 < orders_since(730) / orders_since(1095) < 1.5

    def test_december_is_busy_and_august_is_not(self, tables):
        months = Counter(row["created_at"].month for row in tables["orders"])
        assert months[12] > 1.4 * months[8]

    def test_mondays_are_busier_than_saturdays(self, tables):
        weekdays = Counter(row["created_at"].weekday() for row in tables["orders"])
        assert weekdays[0] > 1.2 * weekdays[5]

    def test_evenings_are_busier_than_nights(self, tables):
        hours = Counter(row["created_at"].hour for row in tables["orders"])
        assert hours[20] > 20 * hours[3]

    def test_old_orders_are_closed_and_new_ones_are_open(self, data, tables):
        closing = _calendar.midnight(data.end)
        old = Counter()
        new = Counter()
        for row in tables["orders"]:
            age = closing - row["created_at"]
            if age > timedelta(days=30):
                old[row["status"]] += 1
            elif age < timedelta(days=1):
                new[row["status"]] += 1
        assert set(old) == {"delivered", "cancelled", "returned"}
        assert 0.8 < old["delivered"] / old.total() < 0.95
        assert set(new) <= {"pending", "paid", "cancelled"}
        assert new["pending"] + new["paid"] > 0.8 * new.total()

    def test_most_orders_are_small(self, tables):
        items = Counter(row["order_id"] for row in tables["order_items"])
        sizes = Counter(items.values())
        assert sizes[1] > sizes[2] > sizes[3] > sizes[4]
        assert 1.7 < mean(items.values()) < 2.1

    def test_prices_are_log_normal_around_the_median_of_their_category(self):
        rng = Random(5)
        for category in _catalogue.CATEGORIES:
            prices = sorted(_catalogue.price_in_cents(rng, category) for _ in range(4000))
            assert 0.85 < median(prices) / 100 / category.median_price < 1.15, category.name
            # One sigma of the logarithm below and above: skewed to the right.
            low, middle, high = prices[640], prices[2000], prices[3360]
            assert high - middle > 1.2 * (middle - low), category.name

    def test_prices_end_as_prices_do(self, tables):
        endings = {row["price"] % 1 for row in tables["products"]}
        assert endings <= {Decimal(cents) / 100 for cents in (0, 49, 90, 95, 99)}


class TestPeople:
    def test_no_two_people_share_a_name_or_an_address(self):
        people = _people.People(Random(1))
        # More than there are combinations of first and last name: the initials come in.
        persons = [people.person(number) for number in range(90_000)]
        assert len(_people.FIRST_NAMES) * len(_people.LAST_NAMES) < 80_000
        assert len({person.full_name for person in persons}) == len(persons)
        assert len({person.email for person in persons}) == len(persons)
        assert any(". " in person.full_name for person in persons)

    def test_many_rounds_later_they_still_do_not(self):
        people = _people.People(Random(1))
        names = len(_people.FIRST_NAMES) * len(_people.LAST_NAMES)
        same = [people.person(5 + round_ * names) for round_ in range(800)]
        assert len({person.email for person in same}) == 800
        assert same[26].full_name.split()[1] == "Z."
        assert same[27].full_name.split()[1] == "AA."

    def test_addresses_are_plain_ascii_at_a_reserved_domain(self):
        people = _people.People(Random(2))
        for number in range(2_000):
            local, _, domain = people.person(number).email.partition("@")
            assert local.replace(".", "").isascii()
            assert local.replace(".", "").islower()
            assert domain.endswith(("example.com", "example.org", "example.net"))

    def test_names_stay_distinct_when_folded(self):
        for names in (_people.FIRST_NAMES, _people.LAST_NAMES):
            folded = [_people.ascii_fold(name) for name in names]
            assert len(set(folded)) == len(names)
            assert all(name.isalpha() for name in folded)

    def test_neighbours_look_unrelated(self):
        people = _people.People(Random(3))
        last = [people.person(number).full_name.split()[-1] for number in range(200)]
        assert len(set(last)) > 100


class TestAllocation:
    @pytest.mark.parametrize("total", [0, 1, 7, 1000])
    def test_adds_up_exactly(self, total):
        assert sum(_calendar.allocate(total, [0.1, 3.0, 0.7, 1.0])) == total

    def test_follows_the_weights(self):
        assert _calendar.allocate(100, [1.0, 1.0, 2.0]) == [25, 25, 50]

    def test_is_never_negative(self):
        assert min(_calendar.allocate(3, [0.01] * 500)) >= 0


class TestEdges:
    def test_the_smallest_shop(self):
        data = ShopData(ShopSize(customers=1, orders=1, products=1))
        (order,) = data.orders()
        assert order[1] == 1
        assert [item[:2] for item in data.order_items()] == [(1, 1)]

    def test_one_customer_many_orders(self):
        data = ShopData(ShopSize(customers=1, orders=300, products=3))
        assert {row[1] for row in data.orders()} == {1}

    def test_no_orders(self):
        data = ShopData(ShopSize(customers=3, orders=0, products=1))
        assert list(data.orders()) == []
        assert len(list(data.customers())) == 3

    def test_another_end_and_length(self):
        data = ShopData(ShopSize(5, 50, 5), end=date(2024, 3, 1), days=2)
        days = {row[4].date() for row in data.orders()}
        assert days == {date(2024, 2, 28), date(2024, 2, 29)}
        assert data.first_day == date(2024, 2, 28)

    @pytest.mark.parametrize(
        ("size", "message"),
        [
            ({"customers": 0}, "customers must be at least 1, not 0"),
            ({"orders": -1}, "orders must be at least 0, not -1"),
            ({"products": 0}, "products must be at least 1, not 0"),
        ],
    )
    def test_impossible_sizes_are_refused(self, size, message):
        with pytest.raises(ValueError, match=message):
            ShopSize(**size)

    def test_an_empty_history_is_refused(self):
        with pytest.raises(ValueError, match="days must be at least 1"):
            ShopData(days=0)

    def test_repr_says_how_to_make_it_again(self):
        assert "seed=9" in repr(ShopData(seed=9))


def test_orders_stream_in_bounded_memory():
    data = ShopData(ShopSize(customers=100, orders=30_000, products=50), days=365)
    tracemalloc.start()
    try:
        assert sum(len(orders) for orders, _ in data.days_of_orders()) == 30_000
        streamed = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # As a list they take about 15 MB.
    assert streamed < 1_000_000


def test_moments_of_a_day_are_within_it():
    day = date(2025, 6, 1)
    moments = list(_calendar.moments(Random(1), day, 500))
    assert moments == sorted(moments)
    assert {moment.date() for moment in moments} == {day}
    assert moments[0] >= datetime(2025, 6, 1, tzinfo=UTC)
