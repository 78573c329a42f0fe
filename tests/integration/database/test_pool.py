"""What callers see of the pool."""

import asyncio

import pytest

from aurora_sql import (
    PoolExhausted,
    PoolTimeout,
)


async def test_callers_wait_in_line_and_are_turned_away_by_name(opened, at_rest):
    async with opened(max_pool_size=1, max_waiting=1, connection_timeout=0.3) as db:
        holder = asyncio.create_task(db.sql.accounts.slow(seconds=1))
        await asyncio.sleep(0.1)
        waiter = asyncio.create_task(db.sql.accounts.get(id=1))
        await asyncio.sleep(0.05)
        with pytest.raises(PoolExhausted, match="max_waiting") as raised:
            await db.sql.accounts.get(id=1)
        assert raised.value.retry_safe
        with pytest.raises(PoolTimeout):
            await waiter
        assert await holder == 1
        await at_rest(db)


async def test_2000_callers_on_4_connections_are_all_served(opened, at_rest):
    async with opened(max_pool_size=4) as db:
        await asyncio.gather(*(db.sql.accounts.deposit(id=1, amount=1) for _ in range(2000)))
        assert await db.sql.accounts.balance(id=1) == 2100
        await at_rest(db)
