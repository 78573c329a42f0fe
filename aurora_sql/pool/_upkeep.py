"""What is done to a connection in the background. No pool state in here, only the I/O.

Every function keeps its own time limit and answers whether the connection may be used again;
where it may not, it is aborted already, or was closed.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aurora_sql.drivers.base import DriverConnection

__all__ = ["caller_hint", "check", "clean", "disconnect"]

_logger = logging.getLogger("aurora_sql.pool")


async def check(driver: DriverConnection, limit: float) -> bool:
    """One round trip within ``limit`` seconds."""
    try:
        async with asyncio.timeout(limit):
            await driver.ping()
    except Exception as exc:  # noqa: BLE001  whatever went wrong, the answer is the same: unusable
        _logger.info("a connection that idled is broken and is replaced: %s", _say(exc))
    except BaseException:
        driver.abort()
        raise
    else:
        if not driver.is_closed:
            return True
    driver.abort()
    return False


async def clean(driver: DriverConnection, limit: float, *, reset: bool) -> bool:
    """Settle, roll back and reset within ``limit`` seconds.

    Args:
        driver: A connection that a caller gave back.
        limit: Seconds for all of it.
        reset: A caller, or a command that was cancelled half-way, can have changed the session.
    """
    try:
        async with asyncio.timeout(limit):
            if not driver.is_settled and not await driver.settle():
                driver.abort()
                return False
            if not driver.is_ready:
                await driver.rollback()
            if reset:
                await driver.reset()
    except Exception as exc:  # noqa: BLE001  whatever went wrong, the answer is the same: unusable
        _logger.warning("a returned connection could not be cleaned and is replaced: %s", _say(exc))
    except BaseException:
        driver.abort()
        raise
    else:
        if driver.is_ready:
            return True
    driver.abort()
    return False


async def disconnect(driver: DriverConnection, limit: float) -> None:
    """Close politely within ``limit`` seconds, else at once."""
    try:
        async with asyncio.timeout(limit):
            await driver.close()
    except Exception as exc:  # noqa: BLE001  it is being thrown away: there is nobody to tell
        _logger.debug("a connection was not closed politely: %s", _say(exc))
        driver.abort()
    except BaseException:
        driver.abort()
        raise


def caller_hint() -> str:
    """File, line and function of the nearest caller outside this library."""
    frame = inspect.currentframe()
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module != "aurora_sql" and not module.startswith("aurora_sql."):
            code = frame.f_code
            return f"{code.co_filename}:{frame.f_lineno} in {code.co_name}"
        frame = frame.f_back
    return "an unknown place"


def _say(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
