"""The shop's tables as classes of SQLAlchemy, with the columns that the rows read or write."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLAlchemy reads the annotations
from decimal import Decimal  # noqa: TC003 - the same
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, ForeignKey, Integer, Numeric, Text
from sqlalchemy.dialects.mysql import DATETIME
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

_Json = JSON().with_variant(JSONB(), "postgresql")
_Moment = DateTime(timezone=True).with_variant(DATETIME(fsp=6), "mysql", "mariadb")
_Money = Numeric(12, 2)


class Base(DeclarativeBase):
    """All of them."""


class User(Base):
    """Who signs in."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    email: Mapped[str] = mapped_column(Text)
    full_name: Mapped[str] = mapped_column(Text)
    login_count: Mapped[int] = mapped_column(Integer)
    last_login_at: Mapped[datetime | None] = mapped_column(_Moment)


class Customer(Base):
    """Who buys."""

    __tablename__ = "customers"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    email: Mapped[str] = mapped_column(Text)
    full_name: Mapped[str] = mapped_column(Text)
    tier: Mapped[str] = mapped_column(Text)
    account: Mapped[User | None] = relationship()


class Product(Base):
    """What is sold."""

    __tablename__ = "products"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    price: Mapped[Decimal] = mapped_column(_Money)
    stock: Mapped[int] = mapped_column(Integer)
    version: Mapped[int] = mapped_column(Integer)


class Order(Base):
    """What a customer has ordered."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"))
    status: Mapped[str] = mapped_column(Text)
    total_amount: Mapped[Decimal] = mapped_column(_Money)
    # The server's default: not sent.
    created_at: Mapped[datetime] = mapped_column(_Moment, server_default="now")
    customer: Mapped[Customer] = relationship()
    items: Mapped[list[OrderItem]] = relationship()


class OrderItem(Base):
    """One product of an order."""

    __tablename__ = "order_items"

    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"), primary_key=True)
    quantity: Mapped[int] = mapped_column(Integer)
    unit_price: Mapped[Decimal] = mapped_column(_Money)
    product: Mapped[Product] = relationship()


class Event(Base):
    """What happened."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    subject_id: Mapped[int | None] = mapped_column(BigInteger)
    payload: Mapped[dict[str, Any]] = mapped_column(_Json)
    recorded_at: Mapped[datetime] = mapped_column(_Moment, server_default="now")


class World(Base):
    """A row of the table that the web rows read and change."""

    __tablename__ = "world"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    random_number: Mapped[int] = mapped_column(Integer)


class Fortune(Base):
    """A row of the table that the web rows show."""

    __tablename__ = "fortune"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    message: Mapped[str] = mapped_column(Text)
