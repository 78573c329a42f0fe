"""Reading MySQL's protocol; no I/O."""

import pytest

from aurora_sql.errors import ConfigurationError
from aurora_sql.local import FaultProxy
from aurora_sql.local._wire_mysql import MySQLConversation


def packet(body, number=0):
    return len(body).to_bytes(3, "little") + bytes([number]) + body


def ok(number=1, status=2, affected=b"\0"):
    return packet(b"\0" + affected + b"\0" + status.to_bytes(2, "little") + b"\0\0", number)


def eof(number, status=2):
    return packet(b"\xfe\0\0" + status.to_bytes(2, "little"), number)


def login(flags=0x0FA685):
    return packet(flags.to_bytes(4, "little") + bytes(28) + b"me\0", 1)


COLUMN = b"\3def" + b"x" * 300
EXECUTE = b"\x17" + (7).to_bytes(4, "little") + b"\0\1\0\0\0"
FETCH = b"\x1c" + (7).to_bytes(4, "little") + (10).to_bytes(4, "little")
UPDATE = "UPDATE t SET a = ?"
# What the client sends, what the server answers, and what is seen of both.
TALK = [
    (login() + packet(b"scrambled", 3), packet(b"\x0a9.7.0\0", 0), [], []),
    (b"", packet(b"\1\3", 4) + ok(5), [], []),
    (packet(b"\3BEGIN"), ok(status=3), [("Q", "BEGIN", 0)], [("Z", 0)]),
    (
        packet(b"\x16" + UPDATE.encode()),
        packet(b"\0\7\0\0\0\1\0\1\0\0\0\0", 1)
        + packet(COLUMN, 2) + eof(3) + packet(COLUMN, 4) + eof(5),
        [("P", UPDATE, 1)],
        [("D", 1)] * 4 + [("Z", 1)],
    ),
    (packet(EXECUTE), ok(affected=b"\xfc\0\1"), [("E", UPDATE, 2)], [("Z", 2)]),
    # Rows at a cursor, and some of them.
    (
        packet(EXECUTE),
        packet(b"\1", 1) + packet(COLUMN, 2) + eof(3, 2 | 64),
        [("E", UPDATE, 3)],
        [("D", 3), ("D", 3), ("Z", 3)],
    ),
    (
        packet(FETCH),
        packet(b"\0" + b"r" * 9000, 1) + eof(2, 2 | 128),
        [("E", UPDATE, 4)],
        [("D", 4), ("Z", 4)],
    ),
    # Two results, of which the second is an error.
    (
        packet(b"\3SELECT 1; SELECT"),
        packet(b"\1", 1) + packet(COLUMN, 2) + eof(3) + packet(b"\0011", 4) + eof(5, 2 | 8)
        + packet(b"\xff\x28\x04#42000no", 6),
        [("Q", "SELECT 1; SELECT", 5)],
        [("D", 5)] * 5 + [("Z", 5)],
    ),
    # A file is asked for, and its packets are no commands although their numbers begin again.
    (packet(b"\3LOAD DATA"), packet(b"\xfbfile", 1), [("Q", "LOAD DATA", 6)], [("G", 6)]),
    (packet(b"\3COMMIT", 0) + packet(b"", 1), ok(2), [], [("Z", 6)]),
    (packet(b"\x19" + (7).to_bytes(4, "little")), b"", [("C", UPDATE, 7)], []),
    (packet(EXECUTE), packet(b"\xff\x10\x04", 1), [("E", None, 7)], [("Z", 7)]),
    (packet(b"\x0e"), ok(), [("", None, 8)], [("Z", 8)]),
    (packet(b"\1"), b"", [("X", None, 9)], []),
]  # fmt: skip


def fed(feed, data, size):
    return [p for at in range(0, len(data), size) for p in feed(data[at : at + size])]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100, 100_000])
def test_any_slicing_gives_the_same_messages_and_every_byte(size):
    talk = MySQLConversation()
    for sent, answer, commands, answers in TALK:
        pieces = fed(talk.from_client, sent, size)
        assert b"".join(p.data for p in pieces) == sent
        seen = [(p.message, p.sql, p.cycle) for p in pieces if p.message]
        assert seen == [one for one in commands if one[0]]
        pieces = fed(talk.from_server, answer, size)
        assert b"".join(p.data for p in pieces) == answer
        assert [(p.message, p.cycle) for p in pieces if p.message] == answers
        # What continues a packet belongs to its answer.
        assert {p.cycle for p in pieces if b"rr" in p.data} <= {4}
    assert talk.rest() == (b"", b"")


@pytest.mark.parametrize("flag", [1 << 5, 1 << 11, 1 << 26], ids=["zlib", "tls", "zstd"])
def test_what_is_encrypted_or_compressed_is_passed_on_unread(flag):
    talk = MySQLConversation()
    list(talk.from_server(packet(b"\x0a9.7.0\0", 0)))
    assert b"".join(p.data for p in talk.from_client(login(flag))) == login(flag)
    assert talk.opaque
    noise = packet(b"\3COMMIT")
    assert list(talk.from_client(noise)) == [(noise, "", None, 0)]
    assert list(talk.from_server(noise)) == [(noise, "", None, 0)]


def logged_in(flags=0x0FA685):
    talk = MySQLConversation()
    list(talk.from_client(login(flags)))
    list(talk.from_server(ok(2)))
    return talk


def test_a_client_that_wants_no_eof_packets():
    talk = logged_in(1 << 24)
    list(talk.from_client(packet(b"\3SELECT 1") + packet(b"\3COMMIT")))
    end = packet(b"\xfe\0\0\2\0\0\0" + b"x" * 20, 4)
    pieces = list(
        talk.from_server(packet(b"\1", 1) + packet(COLUMN, 2) + packet(b"\0011", 3) + end + ok())
    )
    assert [p.message for p in pieces if p.message] == ["D", "D", "D", "Z", "Z"]


def test_packets_that_are_continued():
    """16 MiB and more: what follows in further packets is no command and no answer."""
    talk, size = logged_in(), (1 << 24) - 1
    sql = b"\3COMMIT" + b"x" * (size - 7)
    pieces = list(talk.from_client(packet(sql) + packet(b"\3ROLLBACK", 1) + packet(b"\x0e")))
    assert [p.sql[:7] for p in pieces if p.message] == ["COMMITx"]
    rows = packet(b"\1", 1) + packet(COLUMN, 2) + eof(3)
    row = packet(b"\xfd" + b"r" * (size - 1), 4) + packet(b"\xfe", 5) + eof(6)
    pieces = list(talk.from_server(rows + row + ok()))
    assert [(p.message, p.cycle) for p in pieces if p.message] == [("D", 0)] * 4 + [
        ("Z", 0),
        ("Z", 1),
    ]


def test_what_comes_unasked_is_no_answer():
    talk = logged_in()
    assert [p.message for p in talk.from_server(packet(b"\xff\x85\x07killed", 0))] == [""]


def test_an_engine_that_there_is_not():
    with pytest.raises(ConfigurationError, match="engine='oracle'"):
        FaultProxy("h", 1, engine="oracle")
