"""Whether a peer does what the library does: the same answers, and the same rows left behind."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from aurora_sql.errors import AuroraError, OperationalError
from benchmarks._coalesced import PLAIN_OF
from benchmarks._library import Library
from benchmarks._results import OURS
from benchmarks._suite import DifferentAnswers, SelfMeasured, plain, work_of
from benchmarks.peers._base import Peer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks._rows import Operation
    from benchmarks._shop import Size
    from benchmarks._sides import Admin, Subject
    from benchmarks._target import Target
    from benchmarks._work import Work

_TRIED = 3
_TRIED_TOGETHER = 40
# Without ids and times: those are the server's own, and go on counting.
_EFFECTS = {
    "write": ("SELECT kind, subject_id, payload FROM events ORDER BY id",),
    "bulk": ("SELECT kind, subject_id, payload, recorded_at FROM events ORDER BY id",),
    "transaction": (
        "SELECT customer_id, status, total_amount FROM orders WHERE id > {orders} ORDER BY id",
        (
            "SELECT product_id, quantity, unit_price FROM order_items WHERE order_id > {orders}"
            " ORDER BY order_id"
        ),
        "SELECT id, stock, version FROM products ORDER BY id",
    ),
}
_PUT_BACK = "UPDATE products SET stock = 1000000000, version = 1 WHERE version <> 1"


async def same_work(
    target: Target,
    operation: Operation,
    work: Work,
    subjects: Sequence[Subject],
    size: Size,
) -> None:
    """Let each subject make a few calls of a row, and compare what comes of them.

    Args:
        target: Servers with the shop's data.
        operation: The row.
        work: Its work.
        subjects: The library first; those that bring a load generator are left out.
        size: Of the data.

    Raises:
        DifferentAnswers: A subject answers otherwise, or leaves other rows behind.
        OperationalError: A call of a peer failed.
    """
    expected: Any = None
    async with target.connect() as admin:
        for subject in subjects:
            if isinstance(subject, SelfMeasured):
                continue
            if operation.writes:
                await _clean(target, admin, size)
            try:
                await subject.open()
                found = await _outcome(operation, work, subject, admin, size)
            except AuroraError:
                raise
            except Exception as error:
                # Foreign errors have no common base; whoever reads it has to know whose it is.
                raise OperationalError(
                    f"{operation.title}, {subject.name}: {type(error).__name__}: {error}"
                ) from error
            finally:
                await subject.close()
            if expected is None:
                expected = found
            elif found != expected:
                raise DifferentAnswers(
                    f"{operation.title}: {OURS} gives {_first(expected, found)!r}, {subject.name}"
                    f" {_first(found, expected)!r}"
                )
        if operation.writes:
            await _clean(target, admin, size)


async def _clean(target: Target, admin: Admin, size: Size) -> None:
    for command in (*target.side.reset(size), _PUT_BACK):
        await admin.execute(command)


async def _outcome(
    operation: Operation, work: Work, subject: Subject, admin: Admin, size: Size
) -> list[Any]:
    """What a few calls answered, or what they left behind."""
    coalesced = operation.name in PLAIN_OF
    call = (await subject.calls())[0]
    read = subject.plain if isinstance(subject, Peer) else plain
    found: list[Any] = []
    values = work_of(subject, work).values[: _TRIED_TOGETHER if coalesced else _TRIED]
    if coalesced and isinstance(subject, Library):
        # Alone they would travel alone: at once, as in the measurement.
        answers = await asyncio.gather(*(call(value) for value in values))
    else:
        answers = [await call(value) for value in values]
    if work.comparable:
        found += [_same(read(answer)) for answer in answers]
    for query in _EFFECTS.get(operation.name.removeprefix("coalesced-"), ()):
        rows = await admin.fetch(query.format(orders=size.orders))
        plain_rows = [_same(list(row)) for row in rows]
        # Calls that travel together are written in an order of their own.
        found.append(sorted(plain_rows, key=repr) if coalesced else plain_rows)
    return found


def _same(value: Any) -> Any:
    """Equal values as equal: a driver may hand out a whole number as a decimal."""
    if isinstance(value, (list, tuple)):
        return [_same(one) for one in value]
    if isinstance(value, dict):
        return {name: _same(one) for name, one in value.items()}
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    return value


def _first(one: list[Any], other: list[Any]) -> Any:
    """The first part of one that the other has not."""
    for mine, others in zip(one, other, strict=False):
        if mine != others:
            if isinstance(mine, list) and isinstance(others, list):
                return _first(mine, others)
            return mine
    return one
