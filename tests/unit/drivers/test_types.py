import asyncpg
import pytest

from aurora_sql.drivers import _asyncpg_types as types
from aurora_sql.rows import Row


@pytest.mark.parametrize(
    ("tag", "count"),
    [
        (b"INSERT 0 5", 5),
        (b"UPDATE 0", 0),
        (b"SELECT 12", 12),
        (b"COPY 7", 7),
        (b"MERGE 1", 1),
        (b"CREATE TABLE", -1),
        (b"BEGIN", -1),
        (b"", -1),
        (None, -1),
    ],
)
def test_affected(tag, count):
    assert types.affected(tag) == count


def test_quote():
    assert types.quote(["a.b", 'say "x"']) == '"a.b"."say ""x"""'


def test_one_class_of_rows_per_base():
    assert types.record_class(None) is asyncpg.Record
    made = types.record_class(Row)
    assert made is types.record_class(Row)
    assert issubclass(made, Row)
    assert issubclass(made, asyncpg.Record)
    assert made.__slots__ == ()


@pytest.mark.parametrize(("seconds", "ms"), [(1.5, 1500), (0.0001, 1), (60, 60000)])
def test_milliseconds(seconds, ms):
    assert types.milliseconds(seconds) == ms
