"""Reads that take long, and those that wait for a lane behind them."""

import asyncio

from aurora_sql import Aurora


async def test_slow_calls_hold_up_nobody_for_long(aurora_settings, tmp_path):
    (tmp_path / "t.sql").write_text(
        "-- name: wait :scalar\n-- coalesce: on\n-- access: read\nSELECT held_for(:seconds);\n",
        "utf-8",
    )
    async with Aurora(aurora_settings, sql=tmp_path) as db:
        await db.execute(
            "CREATE FUNCTION held_for(seconds float8) RETURNS float8 LANGUAGE plpgsql STABLE AS"
            " $$ BEGIN PERFORM pg_sleep(seconds); RETURN seconds; END $$"
        )
        assert await db.sql.t.wait(seconds=0.0) == 0.0
        # As many as go alone.
        slow = [asyncio.create_task(db.sql.t.wait(seconds=30.0)) for _ in range(4)]
        await asyncio.sleep(0.05)
        try:
            async with asyncio.timeout(20):
                assert (
                    await asyncio.gather(*(db.sql.t.wait(seconds=0.0) for _ in range(20)))
                    == [0.0] * 20
                )
            assert not any(task.done() for task in slow)
        finally:
            for task in slow:
                task.cancel()
            await asyncio.wait(slow)
