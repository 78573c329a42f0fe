"""SQLAlchemy, asynchronous: Core and ORM, on asyncpg or aiomysql.

Statements that stand alone run in its driver-level autocommit without a reset on return, which
spares two round trips of each. The join and the transaction of Core run the library's own texts;
the ORM loads and writes objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import JSON, URL, bindparam, insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import joinedload, selectinload

from aurora_sql.types import Engine
from benchmarks._work import Bulk, PlaceOrder, Single
from benchmarks.peers._base import APPLICATION, Peer, by_name, named, with_values
from benchmarks.peers._models import Customer, Event, Order, OrderItem, Product, User

if TYPE_CHECKING:
    from benchmarks._sides import Call
    from benchmarks._target import Target
    from benchmarks._work import Purchase, Work

_READS = ("users.get", "users.get_on_reader", "coalesced.read", "coalesced.read_on_reader")
_READS_BY_TEXT = ("coalesced.alone_by_email", "coalesced.read_by_email")
_WRITES = ("events.record", "coalesced.insert")
_SESSION = "SET time_zone = '+00:00'"


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()


def open_engine(
    target: Target, options: dict[str, Any], size: int, *, autocommit: bool
) -> AsyncEngine:
    """An engine with a pool of so many connections; it opens them on first use.

    Args:
        target: Of which engine.
        options: What the driver takes for one server.
        size: Of the pool.
        autocommit: Each statement commits by itself, and a connection goes back as it is.
    """
    given = dict(options)
    if target.settings.engine is Engine.MYSQL:
        # Where to connect to is all that the URL has room for; the driver is given the rest.
        place = {"username": given.pop("user"), "password": given.pop("password")}
        given |= {"charset": "utf8mb4", "init_command": _SESSION}
        url = URL.create("mysql+aiomysql", **place)
    else:
        given |= {"server_settings": {"application_name": APPLICATION}}
        url = URL.create("postgresql+asyncpg")
    extra: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"} if autocommit else {}
    if autocommit:
        extra["pool_reset_on_return"] = None
    return create_async_engine(
        url,
        connect_args=given,
        pool_size=size,
        max_overflow=0,
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
        **extra,
    )


class SqlalchemyCore(Peer):
    """Core: its expressions, or texts."""

    name = "SQLAlchemy Core"

    def adapted(self, work: Work) -> Work:
        """Parameters by name."""
        if isinstance(work, Single):
            tables = _single(work) is not None
            return with_values(work, lambda one: one.named if tables else by_name(one.args))
        if isinstance(work, Bulk):
            return with_values(
                work, lambda rows: [dict(zip(work.columns, row, strict=True)) for row in rows]
            )
        return work

    async def open_pool(self, options: dict[str, Any], size: int) -> Any:
        """Make an engine for one server."""
        single = isinstance(self.work, Single)
        return open_engine(self.target, options, size, autocommit=single)

    async def close_pool(self, pool: AsyncEngine) -> None:
        """Close it."""
        await pool.dispose()

    def floor(self, pool: AsyncEngine) -> Any:
        """What makes the calls on an engine."""
        return _Core(pool)


class SqlalchemyOrm(SqlalchemyCore):
    """The ORM: a session for each call."""

    name = "SQLAlchemy ORM"

    def plain(self, answer: Any) -> Any:
        """Of objects, in the order of the library's columns."""
        if isinstance(answer, User):
            return [getattr(answer, name) for name in _USER]
        if isinstance(answer, Order):
            return _order(answer)
        return super().plain(answer)

    def floor(self, pool: AsyncEngine) -> Any:
        """What makes the calls on an engine."""
        return _Orm(pool)


_USER = ("id", "email", "full_name", "login_count", "last_login_at")


def _order(order: Order) -> list[Any]:
    customer, items = order.customer, sorted(order.items, key=lambda item: item.product_id)
    account = customer.account
    return [
        *(order.id, order.status, order.total_amount, order.created_at),
        *(customer.id, customer.email, customer.full_name, customer.tier),
        *(
            (None, None, None)
            if account is None
            else (account.id, account.login_count, account.last_login_at)
        ),
        sum(item.quantity for item in items),
        [
            {
                "product_id": item.product_id,
                "name": item.product.name,
                "quantity": item.quantity,
                "unit_price": str(item.unit_price),
            }
            for item in items
        ],
    ]


def _single(work: Single) -> Any:
    """The statement as an expression; None for what is run as text."""
    (name,) = work.statements
    if name in _READS or name in _READS_BY_TEXT:
        users = User.__table__.c
        key = "id" if name in _READS else "email"
        return select(*(users[column] for column in _USER)).where(users[key] == bindparam(key))
    if name in _WRITES:
        # Inline: nobody asks for the new id.
        return insert(Event.__table__).inline()
    return None


class _Core:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def single(self, work: Single) -> Call:
        connect, statement = self._engine.connect, _single(work)
        if statement is None:
            statement = text(named(work.sql))
            if work.json_columns:
                statement = statement.columns(**dict.fromkeys(work.json_columns, JSON))

        async def fetch_one(value: Any) -> Any:
            async with connect() as connection:
                return (await connection.execute(statement, value)).one()

        async def fetch_all(value: Any) -> Any:
            async with connect() as connection:
                return (await connection.execute(statement, value)).all()

        async def execute(value: Any) -> None:
            async with connect() as connection:
                await connection.execute(statement, value)

        if work.rowless:
            return execute
        return fetch_one if work.one_row else fetch_all

    async def bulk(self, work: Bulk) -> Call:
        begin, statement = self._engine.begin, insert(Event.__table__)
        del work

        async def add(rows: Any) -> None:
            async with begin() as connection:
                await connection.execute(statement, rows)

        return add

    async def place_order(self, work: PlaceOrder) -> Call:
        begin = self._engine.begin
        reserve, add, add_item = (text(named(sql)) for sql in work.texts)
        # PostgreSQL's is an UPDATE, MySQL's calls a function.
        first = "$1" in work.reserve

        async def place(value: Purchase) -> Any:
            taken = (value.quantity, value.product) if first else (value.product, value.quantity)
            async with begin() as connection:
                execute = connection.execute
                product = (await execute(reserve, by_name(taken))).one()
                order = (await execute(add, by_name((value.customer, value.total)))).one()
                await execute(
                    add_item,
                    by_name((order.id, product.id, value.quantity, product.price)),
                )
                return order

        return place


class _Orm:
    def __init__(self, engine: AsyncEngine) -> None:
        self._session = async_sessionmaker(engine, expire_on_commit=False)

    async def single(self, work: Single) -> Call:
        session = self._session
        (name,) = work.statements
        details = select(Order).options(
            joinedload(Order.customer).joinedload(Customer.account),
            selectinload(Order.items).joinedload(OrderItem.product),
        )

        async def get_user(value: Any) -> Any:
            async with session() as own:
                return await own.get_one(User, value["id"])

        async def find_user(value: Any) -> Any:
            async with session() as own:
                found = await own.execute(select(User).where(User.email == value["email"]))
                return found.scalar_one()

        async def add_event(value: Any) -> None:
            async with session() as own:
                own.add(Event(**value))
                await own.commit()

        async def get_order(value: Any) -> Any:
            async with session() as own:
                found = await own.execute(details.where(Order.id == value["p1"]))
                return found.scalar_one()

        if name in _WRITES:
            return add_event
        if name in _READS_BY_TEXT:
            return find_user
        return get_order if name == "orders.with_details" else get_user

    async def bulk(self, work: Bulk) -> Call:
        session, statement = self._session, insert(Event)
        del work

        async def add(rows: Any) -> None:
            async with session() as own:
                await own.execute(statement, rows)
                await own.commit()

        return add

    async def place_order(self, work: PlaceOrder) -> Call:
        session = self._session
        del work

        async def place(value: Purchase) -> Any:
            async with session() as own:
                product = await own.get_one(Product, value.product, with_for_update=True)
                product.stock -= value.quantity
                product.version += 1
                order = Order(
                    customer_id=value.customer, status="pending", total_amount=value.total
                )
                order.items.append(
                    OrderItem(
                        product_id=product.id, quantity=value.quantity, unit_price=product.price
                    )
                )
                own.add(order)
                await own.commit()
                return order

        return place
