"""What the shop's rows become: the models that ``returns:`` names in ``sql/``.

The columns of a statement are checked against its model once, when it is prepared: names,
types, and whether NULL is allowed. They are ordinary pydantic models, without a base class of
the library's.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

OrderStatus = Literal["pending", "paid", "shipped", "delivered", "cancelled", "returned"]
Tier = Literal["standard", "silver", "gold"]


class Model(BaseModel):
    """A row is a fact of the moment it was read: it does not change."""

    model_config = ConfigDict(frozen=True)


class User(Model):
    """An account."""

    id: int
    email: str
    full_name: str
    login_count: int
    last_login_at: datetime | None


class VersionedUser(User):
    """An account as read for a change: the version proves that nobody came in between."""

    version: int


class Address(Model):
    """Where parcels go; lives in a jsonb column."""

    street: str
    postcode: str
    city: str
    country: str


class Customer(Model):
    """Somebody who buys; ``user_id`` is None for a guest."""

    id: int
    user_id: int | None
    email: str
    full_name: str
    tier: Tier
    address: Address | None
    created_at: datetime


class CustomerLabel(Model):
    """As much of a customer as other pages show."""

    id: int
    email: str
    full_name: str
    tier: Tier


class Account(Model):
    """As much of a user as a customer's page shows."""

    id: int
    login_count: int
    last_login_at: datetime | None


class CustomerSummary(Model):
    """The head of the customer page; ``account`` is None for a guest."""

    customer: CustomerLabel
    account: Account | None
    order_count: int
    total_spent: Decimal
    last_order_at: datetime | None


class Product(Model):
    """Something for sale."""

    id: int
    sku: str
    name: str
    category: str
    price: Decimal
    stock: int
    attributes: dict[str, Any]
    version: int


class Reservation(Model):
    """Pieces taken from stock: the price that they were taken at, and how many are left."""

    id: int
    price: Decimal
    stock: int


class StockLevel(Model):
    """A product that runs out."""

    id: int
    sku: str
    name: str
    stock: int


class Order(Model):
    """The head of an order."""

    id: int
    customer_id: int
    status: OrderStatus
    total_amount: Decimal
    created_at: datetime


class OrderItem(Model):
    """One product of an order, as the table has it."""

    order_id: int
    product_id: int
    quantity: int
    unit_price: Decimal


class OrderLine(Model):
    """One product of an order, as its page shows it; built as JSON on the server."""

    product_id: int
    name: str
    quantity: int
    unit_price: Decimal


class OrderWithItems(Order):
    """An order with all its lines."""

    items: list[OrderLine]


class OrderDetails(Model):
    """The order page."""

    id: int
    status: OrderStatus
    total_amount: Decimal
    created_at: datetime
    customer: CustomerLabel
    account: Account | None
    item_count: int
    items: list[OrderLine]


class Event(Model):
    """Something that happened."""

    id: int
    kind: str
    subject_id: int | None
    payload: dict[str, Any]
    recorded_at: datetime


class DailySales(Model):
    """One day of ``reports.sales_by_day``."""

    day: date
    orders: int
    customers: int
    revenue: Decimal


class BestSeller(Model):
    """One line of ``reports.best_sellers``."""

    category: str
    place: int
    product_id: int
    name: str
    pieces: int
    revenue: Decimal


class TopCustomer(Model):
    """One line of ``reports.top_customers``."""

    customer: CustomerLabel
    order_count: int
    amount: Decimal


class StatusCount(Model):
    """One line of ``reports.orders_by_status``."""

    status: OrderStatus
    orders: int
    amount: Decimal


class Wish(Model):
    """One product that a customer wants."""

    product_id: int
    quantity: int = Field(gt=0)


class NewOrder(Model):
    """What a customer sends off: input of :func:`examples.shop.scenarios.place_order`."""

    customer_id: int
    wishes: tuple[Wish, ...] = Field(min_length=1)
