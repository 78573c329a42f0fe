"""The six rows of the report: what they run, and what they should reach."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from benchmarks._results import OURS
from benchmarks._work import BATCH_ROWS, Bulk, BulkObjects, PlaceOrder, Purchase, Single

if TYPE_CHECKING:
    from collections.abc import Callable

    from aurora_sql.statements import StatementRegistry
    from benchmarks._shop import Size
    from benchmarks._work import Work

MODELS = f"{OURS} models"
"""The library with the shop's models: more work than the floors do, shown beside it."""

_VALUES = 4_096
_BATCHES = 8
_KINDS = ("order.placed", "order.paid", "order.shipped", "customer.moved")


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the report.

    Attributes:
        name: As ``--rows`` takes it.
        title: For people.
        unit: What one operation is counted as.
        target_throughput: Operations per second; set for a database server of 8 cores.
        target_p95: Milliseconds.
        make: Makes the work for the library and the floors.
        make_models: Makes the work for the library with models; None for the same as ``make``
            on statements that fill models.
        needs_readers: Runs on readers.
        writes: Adds rows, so that the tables are put back before each measurement.
        always_models: The variant with models is measured in a quick run too.
        callers: How many there are, whatever the run's number; None for that.
    """

    name: str
    title: str
    target_throughput: float
    target_p95: float
    make: Callable[[StatementRegistry, Size, int], Work]
    make_models: Callable[[StatementRegistry, Size, int], Work] | None = None
    unit: str = "ops"
    needs_readers: bool = False
    writes: bool = False
    always_models: bool = False
    callers: int | None = None


def _ids(most: int, seed: int) -> list[int]:
    # Not for secrets: the same seed must give the same keys to all that are compared.
    generator = random.Random(seed)  # noqa: S311 - see above
    return [generator.randint(1, most) for _ in range(_VALUES)]


def _payload(number: int) -> dict[str, Any]:
    return {"source": "web", "number": number, "tags": ["benchmark", "shop"]}


def _read(statement: str) -> Callable[[StatementRegistry, Size, int], Work]:
    def make(registry: StatementRegistry, size: Size, seed: int) -> Work:
        return Single(registry, statement, [{"id": one} for one in _ids(size.customers, seed)])

    return make


def _join(registry: StatementRegistry, size: Size, seed: int) -> Work:
    values = [{"id": one} for one in _ids(size.orders, seed)]
    return Single(registry, "orders.with_details", values, json_columns=("items",))


def _write(registry: StatementRegistry, size: Size, seed: int) -> Work:
    values = [
        {
            "kind": _KINDS[one % len(_KINDS)],
            "subject_id": one,
            "payload": _payload(one),
        }
        for one in _ids(size.orders, seed)
    ]
    return Single(registry, "events.record", values)


def _event_batches(size: Size, seed: int) -> list[list[tuple[Any, ...]]]:
    begin = datetime(2025, 1, 1, tzinfo=UTC)
    rows = [
        (
            _KINDS[number % len(_KINDS)],
            1 + (seed + number) % size.orders,
            _payload(number),
            begin + timedelta(seconds=number),
        )
        for number in range(_BATCHES * BATCH_ROWS)
    ]
    return [rows[start : start + BATCH_ROWS] for start in range(0, len(rows), BATCH_ROWS)]


def _bulk(registry: StatementRegistry, size: Size, seed: int) -> Work:  # noqa: ARG001 - one signature
    return Bulk(_event_batches(size, seed))


def _bulk_objects(registry: StatementRegistry, size: Size, seed: int) -> Work:  # noqa: ARG001 - one signature
    return BulkObjects(_event_batches(size, seed))


def _transaction(registry: StatementRegistry, size: Size, seed: int) -> Work:
    products, customers = _ids(size.products, seed), _ids(size.customers, seed + 1)
    return PlaceOrder(
        registry,
        [
            Purchase(
                product=product,
                customer=customer,
                quantity=1 + product % 3,
                total=Decimal(1_000 + product) / 100,
            )
            for product, customer in zip(products, customers, strict=True)
        ],
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="read-writer",
        title="simple read, writer",
        target_throughput=50_000,
        target_p95=2.0,
        make=_read("users.get"),
    ),
    Operation(
        name="read-readers",
        title="simple read, readers",
        target_throughput=100_000,
        target_p95=1.5,
        make=_read("users.get_on_reader"),
        needs_readers=True,
    ),
    Operation(
        name="write",
        title="simple write",
        target_throughput=10_000,
        target_p95=5.0,
        make=_write,
        writes=True,
    ),
    Operation(
        name="bulk",
        title=f"bulk insert, {BATCH_ROWS:,} rows",
        unit="batches",
        target_throughput=50,
        target_p95=200.0,
        make=_bulk,
        make_models=_bulk_objects,
        writes=True,
        always_models=True,
    ),
    Operation(
        name="join",
        title="complex join",
        target_throughput=5_000,
        target_p95=15.0,
        make=_join,
    ),
    Operation(
        name="transaction",
        title="transaction, 3 operations",
        target_throughput=5_000,
        target_p95=10.0,
        make=_transaction,
        writes=True,
    ),
)
