"""Realistic data for the shop, by the million, the same for the same seed.

What makes it realistic is what a database notices: few customers place most of the orders
(Zipf's law), few products are in most of the carts, business grows from year to year and
differs by season, weekday and hour, young orders are open and old ones are closed. Orders are
made in the order of their time, so that ids and dates rise together, as in a real table.

Everything is a generator of plain tuples. What is kept in memory is a number for each customer
and product and the orders of one day.
"""

from __future__ import annotations

import random
from array import array
from bisect import bisect
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from examples.shop import _calendar, _catalogue, _people

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS: dict[str, tuple[str, ...]] = {
    "users": (
        "id", "email", "full_name", "login_count", "last_login_at", "created_at",
    ),
    "customers": (
        "id", "user_id", "email", "full_name", "tier", "address", "created_at",
    ),
    "products": (
        "id", "sku", "name", "category", "price", "stock", "attributes", "created_at",
    ),
    "orders": ("id", "customer_id", "status", "total_amount", "created_at"),
    "order_items": ("order_id", "product_id", "quantity", "unit_price"),
}  # fmt: skip  # one table to a line
"""The columns of the tuples that :class:`ShopData` yields, by table, parents first."""

Row = tuple[Any, ...]

END = date(2026, 1, 1)
"""The day after the last one with orders. A fixed date: the same data tomorrow as today."""

MAX_LINES = 6
_LINE_COUNTS = range(1, MAX_LINES + 1)
_LINE_CUM_WEIGHTS = tuple(accumulate((52, 24, 12, 6, 4, 2)))
_QUANTITIES = (1, 2, 3, 4, 6, 10)
_QUANTITY_CUM_WEIGHTS = tuple(accumulate((78, 13, 4, 3, 1, 1)))
_PRICE_VARIANTS = (100, 100, 100, 100, 100, 100, 90, 75)
"""Percent of the catalogue price that was paid: a quarter of the items are reduced."""

_ZIPF_EXPONENT = 0.8
_GUESTS = 0.12
_NO_ADDRESS = 0.04
_GOLD = 0.02
_SILVER = 0.12
_NEVER_SIGNED_IN = 0.08
_DAYS_BEFORE_FIRST_ORDER = 120


@dataclass(frozen=True, slots=True)
class ShopSize:
    """How much of everything.

    Attributes:
        customers: At least 1.
        orders: May be 0.
        products: At least 1.
    """

    customers: int = 100_000
    orders: int = 500_000
    products: int = 2_000

    def __post_init__(self) -> None:
        for name, least in (("customers", 1), ("orders", 0), ("products", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")


class ShopData:
    """One shop, determined by its size, its seed and its last day.

    Each method starts from the beginning whenever it is called, and none depends on which
    others were called before.

    Args:
        size: How many customers, orders and products.
        seed: Another seed, another shop.
        end: The day after the last one with orders.
        days: Length of the order history.
    """

    def __init__(
        self,
        size: ShopSize | None = None,
        *,
        seed: int = 1,
        end: date = END,
        days: int = 3 * 365,
    ) -> None:
        if days < 1:
            raise ValueError(f"days must be at least 1, not {days}")
        self.size = size or ShopSize()
        self.seed = seed
        self.end = end
        self.days = days

    def __repr__(self) -> str:
        return f"ShopData({self.size}, seed={self.seed}, end={self.end}, days={self.days})"

    @property
    def first_day(self) -> date:
        """The first day with orders."""
        return self.end - timedelta(days=self.days)

    def users(self) -> Iterator[Row]:
        """The accounts: one for each customer who is not a guest."""
        rng = self._rng("users")
        closing = _calendar.midnight(self.end)
        for row in self.customers():
            user_id, email, full_name, created_at = row[1], row[2], row[3], row[6]
            if user_id is None:
                continue
            if rng.random() < _NEVER_SIGNED_IN:
                yield user_id, email, full_name, 0, None, created_at
                continue
            age = (closing - created_at).total_seconds()
            quiet = min(rng.expovariate(1 / (40 * 86_400)), age)
            logins = 1 + int(rng.expovariate(1 / (2 + age / (45 * 86_400))))
            last_login_at = closing - timedelta(seconds=quiet)
            yield user_id, email, full_name, logins, last_login_at, created_at

    def customers(self) -> Iterator[Row]:
        """The customers, in the order in which they came."""
        rng = self._rng("customers")
        people = _people.People(self._rng("people"))
        ranks = self._ranks("customers", self.size.customers)
        gold = self.size.customers * _GOLD
        silver = self.size.customers * _SILVER
        user_id = 0
        number = 0
        for day, count in self._signups():
            for created_at in _calendar.moments(rng, day, count):
                name, email = people.person(number)
                rank = ranks[number]
                tier = "gold" if rank < gold else "silver" if rank < silver else "standard"
                guest = rng.random() < _GUESTS
                user_id += not guest
                number += 1
                yield (
                    number,
                    None if guest else user_id,
                    email,
                    name,
                    tier,
                    None if rng.random() < _NO_ADDRESS else _people.address(rng),
                    created_at,
                )

    def products(self) -> Iterator[Row]:
        """The catalogue. All of it is older than the first order."""
        rng = self._rng("products")
        opening = datetime(self.first_day.year - 2, 1, 1, tzinfo=UTC)
        span = (_calendar.midnight(self.first_day) - opening).total_seconds()
        for number in range(1, self.size.products + 1):
            sku, name, category, cents, stock, attributes = _catalogue.product(rng, number)
            created_at = opening + timedelta(seconds=int(rng.random() * span))
            yield number, sku, name, category, _money(cents), stock, attributes, created_at

    def orders(self) -> Iterator[Row]:
        """The orders, oldest first."""
        for orders, _ in self.days_of_orders():
            yield from orders

    def order_items(self) -> Iterator[Row]:
        """What is in the orders, in the order of :meth:`orders`."""
        for _, items in self.days_of_orders():
            yield from items

    def days_of_orders(self) -> Iterator[tuple[list[Row], list[Row]]]:
        """Orders and their items together, a day at a time: half the work of asking for each."""
        rng = self._rng("orders")
        random_ = rng.random
        buyers = self._cum_weights("customers", self.size.customers)
        popularity = self._cum_weights("products", self.size.products)
        shelf = [
            # (product id, price in cents, price) as sold: full price or reduced.
            [(row[0], cents, _money(cents)) for cents in _variants(row[4])]
            for row in self.products()
        ]
        known = _accumulated(self._signups())
        order_id = 0
        for day, count in self._order_days():
            if not count:
                continue
            # Customers are numbered as they come, so those of the days before are a prefix.
            prefix = max(1, known.get(day - timedelta(days=1), 0))
            reach = buyers[prefix - 1]
            statuses = rng.choices(
                _calendar.STATUSES,
                cum_weights=_calendar.status_cum_weights((self.end - day).days - 1),
                k=count,
            )
            line_counts = rng.choices(_LINE_COUNTS, cum_weights=_LINE_CUM_WEIGHTS, k=count)
            lines = sum(line_counts)
            sold = iter(
                zip(
                    rng.choices(shelf, cum_weights=popularity, k=lines),
                    rng.choices(range(len(_PRICE_VARIANTS)), k=lines),
                    rng.choices(_QUANTITIES, cum_weights=_QUANTITY_CUM_WEIGHTS, k=lines),
                    strict=True,
                )
            )
            orders: list[Row] = []
            items: list[Row] = []
            moments = _calendar.moments(rng, day, count)
            for status, line_count, created_at in zip(statuses, line_counts, moments, strict=True):
                order_id += 1
                customer_id = bisect(buyers, random_() * reach, 0, prefix - 1) + 1
                total = 0
                seen = []
                for _ in range(line_count):
                    variants, variant, quantity = next(sold)
                    product_id, cents, price = variants[variant]
                    # A product stands in an order once; a second draw of it makes the order
                    # one line shorter, which changes nobody's statistics.
                    if product_id not in seen:
                        seen.append(product_id)
                        total += cents * quantity
                        items.append((order_id, product_id, quantity, price))
                orders.append((order_id, customer_id, status, _money(total), created_at))
            yield orders, items

    def _rng(self, part: str) -> random.Random:
        """A generator for one part, so that no part depends on how much another drew."""
        return random.Random(f"{self.seed}/{part}")  # noqa: S311  # repeatable on purpose

    def _order_days(self) -> Iterator[tuple[date, int]]:
        """Each day of the history with its number of orders."""
        weights = _calendar.day_weights(self._rng("order days"), self.first_day, self.days)
        return self._allocated(self.size.orders, self.first_day, weights)

    def _signups(self) -> Iterator[tuple[date, int]]:
        """Each day with its number of new customers, from a while before the first order on."""
        days = _DAYS_BEFORE_FIRST_ORDER + self.days
        first = self.end - timedelta(days=days)
        weights = _calendar.day_weights(self._rng("signups"), first, days)
        # The shop opens with customers of its own: somebody has to place the first order.
        weights[0] += sum(weights) * 0.05
        return self._allocated(self.size.customers, first, weights)

    @staticmethod
    def _allocated(total: int, first: date, weights: list[float]) -> Iterator[tuple[date, int]]:
        for number, count in enumerate(_calendar.allocate(total, weights)):
            yield first + timedelta(days=number), count

    def _ranks(self, part: str, count: int) -> array[int]:
        """A rank for each of ``count`` things, 0 for the most popular, by lot."""
        ranks = array("q", range(count))
        self._rng(f"{part} ranks").shuffle(ranks)
        return ranks

    def _cum_weights(self, part: str, count: int) -> array[float]:
        """Cumulative weights by Zipf's law: the most popular fifth gets about two thirds."""
        # The offset keeps the first of all from getting more than any one thing gets in life.
        offset = 1 + count / 5000
        return array(
            "d",
            accumulate((rank + offset) ** -_ZIPF_EXPONENT for rank in self._ranks(part, count)),
        )


def _accumulated(days: Iterator[tuple[date, int]]) -> dict[date, int]:
    total = 0
    result = {}
    for day, count in days:
        total += count
        result[day] = total
    return result


def _variants(price: Decimal) -> list[int]:
    cents = int(price.scaleb(2))
    return [max(1, cents * percent // 100) for percent in _PRICE_VARIANTS]


def _money(cents: int) -> Decimal:
    return Decimal(cents).scaleb(-2)
