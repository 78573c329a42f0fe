"""SQL files and what is in them: lexer, parser, binding, conditional lines, registry.

Nothing here talks to a database. :class:`StatementRegistry` loads a folder, :class:`Statement`
turns named parameters into one of its :class:`Variant` texts and the values to send with it.
"""

from __future__ import annotations

from aurora_sql.statements._copy import RESTORED, copy_texts
from aurora_sql.statements._registry import StatementRegistry, UnknownStatement
from aurora_sql.statements._statement import Statement, Variant
from aurora_sql.statements._together import (
    lock_order,
    number_rows,
    target_table,
    unfit_type,
    widen,
    widen_insert,
)
from aurora_sql.statements._together_mysql import KeyedRead, UnitedRead, WideInsert

__all__ = [
    "RESTORED",
    "KeyedRead",
    "Statement",
    "StatementRegistry",
    "UnitedRead",
    "UnknownStatement",
    "Variant",
    "WideInsert",
    "copy_texts",
    "lock_order",
    "number_rows",
    "target_table",
    "unfit_type",
    "widen",
    "widen_insert",
]
