"""Reading the protocol, and arguments; no I/O."""

import asyncio
import threading

import pytest

from aurora_sql.errors import ConfigurationError, UsageError
from aurora_sql.local import FaultProxy, faults
from aurora_sql.local._wire_postgresql import PostgresConversation


def message(letter, body=b""):
    return letter.encode() + (len(body) + 4).to_bytes(4, "big") + body


def opening(code, body=b""):
    return (len(body) + 8).to_bytes(4, "big") + code.to_bytes(4, "big") + body


STARTUP = opening(196608, b"user\0me\0\0")
SSL, CANCEL = opening(80877103), opening(80877102, b"12345678")
EXTENDED = (
    message("P", b"s1\0UPDATE t SET a = $1\0\0\0")
    + message("B", b"p1\0s1\0\0\0\0\0\0\0")
    + message("D", b"Ss1\0")
    + message("E", b"p1\0\0\0\0\0")
    + message("S")
)
CLIENT = STARTUP + message("p", b"secret\0") + message("Q", b"BEGIN\0") + EXTENDED + message("X")
SERVER = (
    message("R", bytes(4))
    + message("Z", b"I")
    + message("C", b"BEGIN\0")
    + message("Z", b"T")
    + message("1")
    + message("D", b"y" * 9000)
    + message("Z", b"T")
)


def fed(feed, data, size):
    return [p for at in range(0, len(data), size) for p in feed(data[at : at + size])]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100, 100_000])
def test_any_slicing_gives_the_same_messages_and_every_byte(size):
    talk = PostgresConversation()
    pieces = fed(talk.from_client, CLIENT, size)
    assert b"".join(p.data for p in pieces) == CLIENT
    update = "UPDATE t SET a = $1"
    assert [(p.message, p.sql, p.cycle) for p in pieces if p.message] == [
        ("p", None, 1),
        ("Q", "BEGIN", 1),
        ("P", update, 2),
        ("B", update, 2),
        ("D", update, 2),
        ("E", update, 2),
        ("S", None, 2),
        ("X", None, 3),
    ]
    pieces = fed(talk.from_server, SERVER, size)
    assert b"".join(p.data for p in pieces) == SERVER
    assert [(p.message, p.cycle) for p in pieces if p.message] == [
        ("R", 0),
        ("Z", 0),
        ("C", 1),
        ("Z", 1),
        ("1", 2),
        ("D", 2),
        ("Z", 2),
    ]
    # What continues a message belongs to its cycle.
    of_the_row = [p.cycle for p in pieces if not p.message and b"y" in p.data]
    assert set(of_the_row) <= {2}


@pytest.mark.parametrize("answer", [b"S", b"G"])
def test_what_is_encrypted_is_passed_on_unread(answer):
    talk = PostgresConversation()
    assert [p.data for p in talk.from_client(SSL)] == [SSL]
    assert [p.data for p in talk.from_server(answer)] == [answer]
    noise = message("Q", b"COMMIT\0")
    assert list(talk.from_client(noise)) == [(noise, "", None, 0)]
    assert list(talk.from_server(noise)) == [(noise, "", None, 0)]
    assert talk.opaque


def test_a_server_without_encryption_is_read_on():
    talk = PostgresConversation()
    list(talk.from_client(SSL))
    list(talk.from_server(b"N"))
    pieces = list(talk.from_client(STARTUP + message("Q", b"COMMIT\0")))
    assert pieces[-1].sql == "COMMIT"


@pytest.mark.parametrize(
    "data", [CANCEL, b"GET / HTTP/1.1\r\n\r\n", STARTUP + b"Q\0\0\0\1rest"], ids=len
)
def test_what_is_not_the_protocol_is_passed_on(data):
    talk = PostgresConversation()
    pieces = fed(talk.from_client, data, 6)
    assert b"".join(p.data for p in pieces) + talk.rest()[0] == data


def test_a_long_statement_is_read_at_its_beginning_and_not_held_back():
    talk = PostgresConversation()
    list(talk.from_client(STARTUP))
    data = message("Q", b"COMMIT " + b"x" * 100_000 + b"\0")
    pieces = list(talk.from_client(data[:5000]))
    assert sum(len(p.data) for p in pieces) == 5000
    assert pieces[0].sql.startswith("COMMIT x")


def test_a_closed_statement_is_forgotten():
    talk = PostgresConversation()
    list(talk.from_client(STARTUP + EXTENDED + message("C", b"Ss1\0") + message("C", b"Pp1\0")))
    found = list(talk.from_client(message("B", b"p\0s1\0") + message("E", b"p1\0\0\0\0\0")))
    assert [p.sql for p in found] == [None, None]


@pytest.mark.parametrize("moment", [faults.Request, faults.Reply])
def test_which_messages_are_meant(moment):
    commit = moment("commit")
    assert commit.matches("Q", "  COMMIT")
    assert commit.matches("E", "Commit;")
    assert not commit.matches("P", "COMMIT")
    assert not commit.matches("Q", "SELECT 'COMMIT'")
    assert not commit.matches("E", None)
    assert moment().matches("E", None)
    assert moment(message="S").matches("S", None)
    assert not moment(message="S").matches("Q", "x")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: faults.Latency(-1), "seconds=-1"),
        (lambda: faults.Latency(1, jitter=float("nan")), "jitter=nan"),
        (lambda: faults.Bandwidth(0), "bytes_per_second=0"),
        (lambda: faults.Slices(0), "size=0"),
        (lambda: faults.ByteLimit(-1), "size=-1"),
        (lambda: faults.SlowClose(-0.1), "seconds=-0.1"),
        (lambda: faults.Request("("), r"sql='\('"),
        (lambda: faults.Reply(message="ZZ"), "message='ZZ'"),
        (lambda: faults.Reply(message="Z"), "message='Z'"),
        (lambda: FaultProxy("h", 0), "port=0"),
        (lambda: FaultProxy("h", 5432, listen_port=65536), "listen_port=65536"),
    ],
)
def test_arguments_that_cannot_work(make, says):
    with pytest.raises(ConfigurationError, match=says):
        make()


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"on": "some"}, "on='some'"),
        ({"times": 0, "at": faults.Request()}, "times=0"),
        ({"times": 3}, "needs at="),
        ({"fault": faults.Unanswered(), "on": "open"}, "Unanswered"),
        ({"fault": faults.Unanswered(), "at": faults.Request()}, "Unanswered"),
    ],
)
def test_combinations_that_cannot_work(how, says):
    with FaultProxy("127.0.0.1", 1) as proxy, pytest.raises(ConfigurationError, match=says):
        proxy.inject(**{"fault": faults.Reset(), **how})


def test_before_the_start_and_twice():
    proxy = FaultProxy("127.0.0.1", 1)
    assert "not running" in repr(proxy)
    with pytest.raises(UsageError, match="not running"):
        proxy.heal()
    with proxy, pytest.raises(UsageError, match="runs already"):
        proxy.__enter__()


def test_a_second_run_knows_nothing_of_the_first():
    proxy = FaultProxy("127.0.0.1", 1)
    proxy.start()
    proxy.inject(faults.Reset(), on="new")
    proxy.inject(faults.Reset(), at=faults.Request())
    proxy.stop()
    proxy.stop()
    with pytest.raises(UsageError, match="not running"):
        proxy.heal()
    proxy.start()
    assert "no fault waits" in repr(proxy)
    proxy.stop()


async def test_a_caller_cancelled_at_the_end_leaves_no_thread():
    async def use():
        async with proxy:
            task.cancel()

    proxy = FaultProxy("127.0.0.1", 1)
    task = asyncio.create_task(use())
    with pytest.raises(asyncio.CancelledError):
        await task
    for thread in threading.enumerate():
        if thread.name == "aurora-sql fault proxy":
            thread.join(5)
            assert not thread.is_alive()


def test_a_port_that_is_taken():
    from aurora_sql.errors import OperationalError

    with FaultProxy("127.0.0.1", 1) as first:
        second = FaultProxy("127.0.0.1", 1, listen_port=first.port)
        with pytest.raises(OperationalError, match="cannot listen"):
            second.__enter__()


def test_the_names_that_are_public():
    assert sorted(faults.__all__) == faults.__all__
    assert all(hasattr(faults, name) for name in faults.__all__)
