"""What faults look like on the socket itself, in front of a server that echoes."""

import asyncio
import socket
import struct
import sys
import time

import pytest

from aurora_sql.local import FaultProxy
from aurora_sql.local.faults import (
    BlackHole,
    ByteLimit,
    Close,
    Direction,
    HalfClose,
    Reset,
    Slices,
    SlowClose,
)

HELLO = b"hello, hello, hello"
"""Long enough for the proxy to see that this is not PostgreSQL's protocol."""
_DATA_SEGMENTS_IN = 152
"""Offset of that counter in Linux's struct tcp_info."""


@pytest.fixture
async def echo():
    """A proxy in front of a server that sends back what it gets, and a way to connect."""

    async def serve(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    writers = []

    async def connect():
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        writers.append(writer)
        return reader, writer

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, FaultProxy(*server.sockets[0].getsockname()) as proxy:
        proxy.connect = connect
        yield proxy
        for writer in writers:
            writer.transport.abort()
    await asyncio.sleep(0.01)


async def echoed(reader, writer, data=HELLO):
    writer.write(data)
    return await reader.readexactly(len(data))


async def test_a_reset_is_a_reset_and_a_close_is_none(echo):
    for fault, gives in ((Reset(), ConnectionResetError), (Close(), None)):
        reader, writer = await echo.connect()
        assert await echoed(reader, writer) == HELLO
        echo.inject(fault, on="open")
        if gives is None:
            assert await reader.read() == b""
        else:
            with pytest.raises(gives):
                await reader.read()


async def test_half_a_close_leaves_the_other_way_open(echo):
    reader, writer = await echo.connect()
    assert await echoed(reader, writer) == HELLO
    echo.inject(HalfClose(Direction.TO_CLIENT))
    assert await reader.read() == b""
    before = echo.stats.bytes_to_server
    writer.write(b"more")
    async with asyncio.timeout(5):
        while echo.stats.bytes_to_server == before:  # noqa: ASYNC110 - polls another thread
            await asyncio.sleep(0.005)
    assert echo.stats.open == 1


async def test_half_a_close_of_the_client_is_passed_on(echo):
    reader, writer = await echo.connect()
    writer.write(b"x" * 300_000)
    writer.write_eof()
    assert await reader.read() == b"x" * 300_000


async def test_a_slow_close(echo):
    echo.inject(SlowClose(0.3))
    reader, writer = await echo.connect()
    assert await echoed(reader, writer) == HELLO
    told = time.monotonic()
    writer.write_eof()
    assert await reader.read() == b""
    # Once on the way there, and once on the way back.
    assert time.monotonic() - told > 0.5


async def test_healing_resets_new_connections_that_fell_into_a_black_hole(echo):
    echo.inject(BlackHole(), on="new")
    reader, writer = await echo.connect()
    writer.write(HELLO)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await reader.read(1)
    silent, _ = await echo.connect()
    async with asyncio.timeout(5):
        while echo.stats.open < 2:  # noqa: ASYNC110 - polls another thread
            await asyncio.sleep(0.005)
    echo.heal()
    for each in (reader, silent):
        with pytest.raises(ConnectionResetError):
            await each.read()
    reader, writer = await echo.connect()
    assert await echoed(reader, writer) == HELLO


async def test_the_end_of_a_connection_is_held_too(echo):
    reader, writer = await echo.connect()
    assert await echoed(reader, writer) == HELLO
    echo.inject(BlackHole(keep=True))
    writer.write_eof()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await reader.read()
    assert echo.stats.open == 1
    echo.heal()
    assert await reader.read() == b""


async def test_a_limit_of_bytes_is_exact_and_its_end_can_be_chosen(echo):
    for then in (Close(), HalfClose()):
        reader, writer = await echo.connect()
        assert await echoed(reader, writer) == HELLO
        echo.inject(ByteLimit(1000, direction=Direction.TO_CLIENT, then=then), on="open")
        writer.write(b"x" * 5000)
        assert await reader.read() == b"x" * 1000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's tcp_info")
async def test_slices_arrive_as_segments_of_their_own(echo):
    def segments(writer):
        info = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        return struct.unpack_from("I", info, _DATA_SEGMENTS_IN)[0]

    reader, writer = await echo.connect()
    assert await echoed(reader, writer, b"x" * 2000) == b"x" * 2000
    plain = segments(writer)
    echo.inject(Slices(1, direction=Direction.TO_CLIENT))
    assert await echoed(reader, writer, b"x" * 2000) == b"x" * 2000
    assert plain < 20
    assert segments(writer) - plain > 100  # a busy machine joins some of them
