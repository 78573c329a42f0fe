import pytest

from aurora_sql import errors
from aurora_sql.drivers._source import AsyncSource, Source, StoppedError


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 1500])
def test_all_rows_come_in_order(count):
    source = Source((n,) for n in range(count))
    assert list(source.flat()) == [(n,) for n in range(count)]
    assert source.exhausted


@pytest.mark.parametrize("taken", [1, 2, 511, 512, 513, 1024, 1025])
def test_position_is_the_row_taken_last(taken):
    source = Source([(n,) for n in range(2000)])
    rows = source.flat()
    assert source.position == (-1, None)
    for _ in range(taken):
        next(rows)
    assert source.position == (taken - 1, (taken - 1,))
    assert not source.exhausted


def test_the_error_of_the_source_is_kept():
    def broken():
        yield (1,)
        raise LookupError

    source = Source(broken())
    with pytest.raises(LookupError) as caught:
        list(source.flat())
    assert source.error is caught.value


def test_a_source_that_is_no_iterable():
    source = Source(5)
    with pytest.raises(TypeError):
        list(source.flat())
    assert isinstance(source.error, TypeError)


def test_stop_ends_it_with_an_error():
    source = Source((n,) for n in range(2000))
    rows = source.flat()
    next(rows)
    source.stop()
    with pytest.raises(StoppedError):
        list(rows)
    assert not source.exhausted


def test_no_more_rows_are_taken_once_the_connection_is_gone():
    taken = []
    source = Source((taken.append(n) or (n,) for n in range(5000)), alive=lambda: len(taken) < 600)
    with pytest.raises(ConnectionResetError):
        list(source.flat())
    assert len(taken) <= 1024
    assert source.error is None


@pytest.mark.parametrize(
    ("rows", "row"), [([(1, 2), (1,)], 1), ([(1, 2, 3)], 0), ([(1, 2)] * 600 + [5], 600)]
)
def test_width(rows, row):
    source = Source(rows, width=2)
    with pytest.raises(errors.BulkValueError) as caught:
        list(source.flat())
    assert caught.value.row == row
    assert source.error is caught.value


async def test_async():
    async def rows():
        for n in range(3):
            yield (n,)

    source = AsyncSource(rows(), width=1, alive=lambda: True)
    taken = [row async for row in source.flat()]
    assert taken == [(0,), (1,), (2,)]
    assert source.position == (2, (2,))
    await source.close()


async def test_async_connection_gone():
    async def rows():
        while True:
            yield (1,)

    left = iter([True, True, False, False])
    source = AsyncSource(rows(), width=1, alive=lambda: next(left))
    with pytest.raises(ConnectionResetError):
        async for _ in source.flat():
            pass
    await source.close()
