"""The operations: what each sends, on the library and on whatever stands beside it.

All forms of an operation are made from the same statement and the same values, so that they
send the same text with the same parameters.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from aurora_sql.errors import ConfigurationError
from aurora_sql.types import Access, Cardinality, Role

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from datetime import datetime
    from decimal import Decimal

    from aurora_sql import Aurora
    from aurora_sql.statements import StatementRegistry

    Call = Callable[[Any], Awaitable[Any]]

BATCH_ROWS = 1_000
EVENT_COLUMNS = ("kind", "subject_id", "payload", "recorded_at")


class Value(NamedTuple):
    """The parameters of one call, by name for the library and by position for the floors."""

    named: dict[str, Any]
    args: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """A row of the bulk load as an object."""

    kind: str
    subject_id: int
    payload: dict[str, Any]
    recorded_at: datetime


RunT = TypeVar("RunT")
RunT_co = TypeVar("RunT_co", covariant=True)


class Floor(Protocol[RunT_co]):
    """Makes of each kind of work what a floor runs."""

    async def single(self, work: Single) -> RunT_co:
        """One statement."""

    async def bulk(self, work: Bulk) -> RunT_co:
        """Many rows, the fastest way that the driver has."""

    async def place_order(self, work: PlaceOrder) -> RunT_co:
        """Three statements in a transaction."""


class Work(ABC):
    """One operation with its values."""

    role: Role = Role.WRITER
    comparable: bool = False
    """All forms give the same answer to the same value: it reads."""

    statements: tuple[str, ...] = ()
    """Names of the statements that it runs."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values

    def streams(self, callers: int) -> list[Iterator[Any]]:
        """Endless values, one iterator for each caller, each beginning at a place of its own."""
        step = max(len(self.values) // callers, 1)
        starts = [number * step % len(self.values) for number in range(callers)]
        return [itertools.cycle((*self.values[start:], *self.values[:start])) for start in starts]

    def fills_models(self, registry: StatementRegistry) -> bool:
        """Whether a statement of this work fills models with this registry."""
        return any(
            name in registry and registry[name].returns is not None for name in self.statements
        )

    @abstractmethod
    def ours(self, db: Aurora) -> Call:
        """The work through the library's public interface."""

    @abstractmethod
    async def on(self, floor: Floor[RunT]) -> RunT:
        """The same work without the library."""


class Single(Work):
    """One statement per operation.

    Args:
        registry: Has the statement.
        name: Of the statement.
        values: Of its parameters.
        json_columns: Columns of its result that are JSON, for floors whose drivers leave them text.
    """

    def __init__(
        self,
        registry: StatementRegistry,
        name: str,
        values: Sequence[dict[str, Any]],
        json_columns: Sequence[str] = (),
    ) -> None:
        self._name = name
        statement = registry[name]
        self.statements = (name,)
        self.comparable = statement.access == Access.READ
        self.one_row = statement.cardinality in (Cardinality.ONE, Cardinality.MAYBE)
        self.rowless = statement.cardinality in (Cardinality.EXEC, Cardinality.AFFECTED)
        self.json_columns = frozenset(json_columns)
        self.role = statement.role or Role.WRITER
        bound = [statement.bind(named) for named in values]
        self.sql = bound[0][0].sql
        super().__init__(
            [Value(named, tuple(args)) for named, (_, args) in zip(values, bound, strict=True)]
        )

    def ours(self, db: Aurora) -> Call:
        run = db.sql[self._name]
        return lambda value: run(**value.named)

    async def on(self, floor: Floor[RunT]) -> RunT:
        return await floor.single(self)


class Bulk(Work):
    """1,000 events per operation, by the fastest way that there is."""

    table = "events"
    columns = EVENT_COLUMNS

    def __init__(self, batches: Sequence[list[tuple[Any, ...]]]) -> None:
        super().__init__(batches)

    def ours(self, db: Aurora) -> Call:
        insert = db.bulk_insert
        return lambda rows: insert("events", rows, columns=EVENT_COLUMNS)

    async def on(self, floor: Floor[RunT]) -> RunT:
        return await floor.bulk(self)


class BulkObjects(Bulk):
    """The same from objects instead of tuples; the library takes the columns from them."""

    def __init__(self, batches: Sequence[list[tuple[Any, ...]]]) -> None:
        Work.__init__(self, [[Event(*row) for row in rows] for rows in batches])

    def ours(self, db: Aurora) -> Call:
        insert = db.bulk_insert
        return lambda rows: insert("events", rows)


@dataclass(frozen=True, slots=True)
class Purchase:
    """The parameters of one transaction."""

    product: int
    customer: int
    quantity: int
    total: Decimal


def _text(registry: StatementRegistry, name: str, positions: tuple[str, ...]) -> str:
    """The text that the library prepares; its parameters must be where the floors put them."""
    (variant,) = registry[name].variants
    if tuple(variant.parameters) != positions:
        raise ConfigurationError(
            f"{name} has the parameters {variant.parameters}; the benchmark's floors are written"
            f" for {positions}: bring the two together"
        )
    return variant.sql


class PlaceOrder(Work):
    """Take from stock, write the order, write its item: three statements in a transaction."""

    def __init__(self, registry: StatementRegistry, purchases: Sequence[Purchase]) -> None:
        super().__init__(purchases)
        self.statements = ("products.reserve", "orders.add", "orders.add_item")
        # PostgreSQL's is an UPDATE, MySQL's calls a function.
        reserve = ("quantity", "id") if registry.dialect == "postgresql" else ("id", "quantity")
        self.reserve = _text(registry, "products.reserve", reserve)
        self.add = _text(registry, "orders.add", ("customer_id", "total_amount"))
        self.add_item = _text(
            registry, "orders.add_item", ("order_id", "product_id", "quantity", "unit_price")
        )

    @property
    def texts(self) -> tuple[str, str, str]:
        """The three texts, in their order."""
        return self.reserve, self.add, self.add_item

    def ours(self, db: Aurora) -> Call:
        async def place(value: Purchase) -> Any:
            async with db.transaction() as tx:
                product = await tx.sql.products.reserve(id=value.product, quantity=value.quantity)
                order = await tx.sql.orders.add(
                    customer_id=value.customer, total_amount=value.total
                )
                await tx.sql.orders.add_item(
                    order_id=order.id,
                    product_id=product.id,
                    quantity=value.quantity,
                    unit_price=product.price,
                )
                return order

        return place

    async def on(self, floor: Floor[RunT]) -> RunT:
        return await floor.place_order(self)
