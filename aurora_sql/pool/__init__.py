"""One pool of connections, for every driver."""

from __future__ import annotations

from aurora_sql.pool._decide import copy_error
from aurora_sql.pool._options import PoolOptions
from aurora_sql.pool._pool import Pool
from aurora_sql.pool._pooled import Pooled, State

__all__ = ["Pool", "PoolOptions", "Pooled", "State", "copy_error"]
