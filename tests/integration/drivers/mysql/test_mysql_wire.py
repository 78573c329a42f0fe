"""The socket of a session: what is written past the transport, and what the transport must do."""

import asyncio
import select
import socket
import ssl

import pytest

from aurora_sql.drivers._mysql_answers import Answer
from aurora_sql.drivers._mysql_wire import Wire, straight

LIMIT = 30
LARGE = bytes(range(256)) * 4 * 4096
OK = b"\7\0\0\1\0\0\0\2\0\0\0"


@pytest.fixture(autouse=True)
def driver():
    """No driver is at work here."""


@pytest.fixture
async def pair():
    """A transport and the socket at its other end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    far.settimeout(0)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
    with far:
        yield transport, far
        transport.abort()
        await asyncio.sleep(0)


class Counting:
    """A transport that counts what is written by way of it."""

    def __init__(self, transport):
        self._transport = transport
        self.written = 0

    def __getattr__(self, name):
        return getattr(self._transport, name)

    def write(self, data):
        self.written += len(data)
        self._transport.write(data)


async def received(far, size):
    loop = asyncio.get_running_loop()
    data = bytearray()
    async with asyncio.timeout(LIMIT):
        while len(data) < size:
            data += await loop.sock_recv(far, 1 << 16)
    return bytes(data)


async def test_what_the_socket_takes_does_not_go_by_way_of_the_transport(pair):
    transport, far = pair
    counting = Counting(transport)
    straight(counting)(b"short")
    assert await received(far, 5) == b"short"
    assert counting.written == 0


async def test_what_the_socket_does_not_take_comes_in_order(pair):
    transport, far = pair
    counting = Counting(transport)
    write = straight(counting)
    write(LARGE)
    rest = counting.written
    assert 0 < rest < len(LARGE)
    # The socket takes more, and the transport has not been told yet.
    read, number = 0, transport.get_extra_info("socket").fileno()
    while True:
        readable, writable, _ = select.select([far], [number], [], LIMIT)
        if writable:
            break
        assert readable
        read += len(far.recv(1 << 20))
    write(b"second")
    assert counting.written == rest + 6
    assert await received(far, len(LARGE) + 6 - read) == (LARGE + b"second")[read:]
    async with asyncio.timeout(LIMIT):
        while transport.get_write_buffer_size():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0)
    write(b"third")
    assert await received(far, 5) == b"third"
    assert counting.written == rest + 6


async def test_a_socket_that_takes_nothing(pair):
    transport, far = pair
    counting = Counting(transport)
    write = straight(counting)
    number, sent = transport.get_extra_info("socket").fileno(), 0
    with socket.socket(fileno=number) as sock:
        try:
            while True:
                sent += sock.send(LARGE)
        except BlockingIOError:
            pass
        finally:
            sock.detach()
    write(b"later")
    assert counting.written == 5
    assert (await received(far, sent + 5))[-5:] == b"later"


async def test_a_socket_that_is_broken_ends_the_connection(pair):
    transport, _ = pair
    wire = Wire(transport, asyncio.get_running_loop(), None, 0)
    with socket.socket(fileno=transport.get_extra_info("socket").fileno()) as sock:
        sock.shutdown(socket.SHUT_WR)
        sock.detach()
    waiter = wire.send(b"command", Answer())
    async with asyncio.timeout(LIMIT):
        with pytest.raises(BrokenPipeError):
            await waiter
    assert isinstance(wire.lost, BrokenPipeError)
    with pytest.raises(BrokenPipeError):
        wire.send(b"command", Answer())


async def test_nothing_is_written_after_the_end(pair):
    transport, far = pair
    wire = Wire(transport, asyncio.get_running_loop(), None, 0)
    answer = Answer()
    waiter = wire.send(b"command", answer)
    assert await received(far, 7) == b"command"
    await asyncio.get_running_loop().sock_sendall(far, OK)
    async with asyncio.timeout(LIMIT):
        await waiter
    assert answer.done
    wire.abort()
    with pytest.raises(ConnectionError):
        wire.send(b"more", Answer())
    wire.post(b"more")
    async with asyncio.timeout(LIMIT):
        assert await asyncio.get_running_loop().sock_recv(far, 9) == b""


async def test_tls_is_the_transports(certificate, trusting):
    class Far(asyncio.Protocol):
        def data_received(self, data):
            self.data.set_result(data)

    loop = asyncio.get_running_loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    protocol = Far()
    protocol.data = loop.create_future()
    context.load_cert_chain(certificate / "server.crt", certificate / "server.key")
    listening = await loop.create_server(lambda: protocol, "127.0.0.1", 0, ssl=context)
    async with listening:
        address = listening.sockets[0].getsockname()
        transport, _ = await loop.create_connection(asyncio.Protocol, *address, ssl=trusting)
        straight(transport)(b"secret")
        async with asyncio.timeout(LIMIT):
            assert await protocol.data == b"secret"
        transport.abort()
