"""What asyncpg returns for each type, the codec of JSON, and the class of rows."""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import ipaddress
import math
import uuid
from typing import TYPE_CHECKING, Any, cast

import asyncpg
import orjson

from aurora_sql.drivers import _asyncpg_private as private
from aurora_sql.drivers._json import dumps
from aurora_sql.types import Column, ParameterType

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

# OIDs from here on are made by users: enums and types of extensions, which travel as text
# unless asyncpg knows better.
_FIRST_USER_OID = 16384

_PYTHON_TYPES: dict[str, type[Any]] = {
    "bool": bool,
    "int2": int,
    "int4": int,
    "int8": int,
    "oid": int,
    "xid": int,
    "cid": int,
    "xid8": int,
    "float4": float,
    "float8": float,
    "numeric": decimal.Decimal,
    "text": str,
    "varchar": str,
    "bpchar": str,
    "name": str,
    "xml": str,
    "money": str,
    "tsvector": str,
    "tsquery": str,
    "macaddr": str,
    "macaddr8": str,
    "pg_lsn": int,
    "regclass": str,
    "regtype": str,
    "regproc": str,
    "jsonpath": str,
    "char": bytes,
    "bytea": bytes,
    "uuid": uuid.UUID,
    "date": dt.date,
    "time": dt.time,
    "timetz": dt.time,
    "timestamp": dt.datetime,
    "timestamptz": dt.datetime,
    "interval": dt.timedelta,
    "tid": tuple,
    "bit": asyncpg.BitString,
    "varbit": asyncpg.BitString,
    "point": asyncpg.Point,
    "box": asyncpg.Box,
    "line": asyncpg.Line,
    "lseg": asyncpg.LineSegment,
    "path": asyncpg.Path,
    "polygon": asyncpg.Polygon,
    "circle": asyncpg.Circle,
    "void": type(None),
}
# json, jsonb, inet and cidr are left out on purpose: the type of their values varies.
_BY_KIND: dict[str, type[Any]] = {
    "array": list,
    "composite": asyncpg.Record,
    "range": asyncpg.Range,
    "multirange": list,
}
# Some values of an inet are networks: only the common base says nothing wrong.
_VARYING = {"inet": object, "cidr": ipaddress._BaseNetwork}  # noqa: SLF001 - the only common base


def python_type(kind: asyncpg.Type) -> type[Any]:
    """What the driver returns for a value of this type; ``object`` when it varies."""
    by_kind = _BY_KIND.get(kind.kind)
    if by_kind is not None:
        return by_kind
    if kind.schema == "pg_catalog":
        return _PYTHON_TYPES.get(kind.name) or _VARYING.get(kind.name, object)
    return str if kind.oid >= _FIRST_USER_OID and kind.kind == "scalar" else object


def columns_of(state: private.StatementState) -> tuple[Column, ...]:
    """The columns of a statement's result."""
    return tuple(
        Column(a.name, a.type.name, python_type(a.type), a.type.oid)
        for a in state._get_attributes()  # noqa: SLF001 - see _asyncpg_private
    )


def parameters_of(state: private.StatementState) -> tuple[ParameterType, ...]:
    """The types that the server inferred for a statement's placeholders."""
    return tuple(
        ParameterType(t.name, t.oid, t.schema, t.kind)
        for t in state._get_parameters()  # noqa: SLF001 - see _asyncpg_private
    )


def _decode_jsonb(data: bytes) -> Any:
    # One version byte precedes the text; a view spares a copy of the rest.
    return orjson.loads(memoryview(data)[1:])


def encode_json(value: Any) -> bytes:
    return dumps(value)


def encode_jsonb(value: Any) -> bytes:
    return b"\x01" + dumps(value)


def install_json(wire: private.WireProtocol) -> None:
    """Let orjson read and write json and jsonb on this connection, arrays of them included."""
    private.set_codec(wire, private.JSON_OID, "json", encode_json, orjson.loads)
    private.set_codec(wire, private.JSONB_OID, "jsonb", encode_jsonb, _decode_jsonb)


def record_class(base: type[Any] | None) -> type[asyncpg.Record]:
    """The class of rows: the driver's record with the methods of ``base``, at no cost per row."""
    # mypy does not see that a class is hashable.
    return asyncpg.Record if base is None else _combined(cast("Hashable", base))


@functools.cache
def _combined(base: Any) -> type[asyncpg.Record]:
    """Made once per base, so that the rows of all connections have one class."""
    return type("PgRow", (base, asyncpg.Record), {"__slots__": (), "__doc__": "One row."})


def subclass(rows: type[Any]) -> type[Any]:
    """A class of rows that behaves as another, for somebody to add to."""
    return type(rows.__name__, (rows,), {"__slots__": (), "__doc__": rows.__doc__})


def affected(tag: bytes | None) -> int:
    """The row count at the end of a command tag, -1 where the command has none."""
    if tag is None:
        return -1
    count = tag.rpartition(b" ")[2]
    return int(count) if count.isdigit() else -1


def quote(names: Sequence[str]) -> str:
    """A name, or schema and name, quoted."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def milliseconds(seconds: float) -> int:
    """A duration as the server takes it; never 0, which would mean no limit."""
    return 0 if seconds == math.inf else max(1, round(seconds * 1000))
