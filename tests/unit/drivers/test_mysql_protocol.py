"""The parts of the MySQL driver that need no server."""

import enum
import gc
import itertools
import struct
import weakref
from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_sql import errors
from aurora_sql.drivers import ConnectOptions
from aurora_sql.drivers import _mysql_errors as mysql_errors
from aurora_sql.drivers import _mysql_protocol as p
from aurora_sql.drivers import _mysql_session as session_sql
from aurora_sql.drivers._mysql_answers import Answer, BinaryRows, Prepared, Results, TextRows
from aurora_sql.drivers._mysql_login import choose
from aurora_sql.drivers._mysql_parameters import NO_INTEGERS, agree, encode, integers


@given(st.integers(0, 2**64 - 1))
def test_lengths(value):
    data = b"x" + p.length_encoded(value)
    assert p.read_length(data, 1) == (value, len(data))


@pytest.mark.parametrize("size", [0, 1, 2**24 - 2, 2**24 - 1, 2**24, 2 * (2**24 - 1)])
def test_frames(size):
    framed = p.frame(b"x" * size)
    sizes, sequences, pos = [], [], 0
    while pos < len(framed):
        sizes.append(int.from_bytes(framed[pos : pos + 3], "little"))
        sequences.append(framed[pos + 3])
        pos += 4 + sizes[-1]
    assert pos == len(framed)
    assert sum(sizes) == size
    assert sizes[-1] < p.MAX_PAYLOAD
    assert sequences == list(range(len(sizes)))


CODECS = [choose(name).codec for name in ("aiomysql", "asyncmy") if find_spec(name)]


def packet(payload, sequence=1):
    return p.frame(payload, sequence)


def column(name, kind, *, charset=45, flags=0):
    text = b"".join(
        p.length_encoded(len(part)) + part
        for part in (b"def", b"db", b"t", b"t", name.encode(), name.encode())
    )
    tail = charset.to_bytes(2, "little") + (80).to_bytes(4, "little") + bytes([kind])
    return text + b"\x0c" + tail + flags.to_bytes(2, "little") + b"\0\0\0"


def eof(status=2):
    return b"\xfe\0\0" + status.to_bytes(2, "little")


ANSWER = b"".join(
    packet(part, n)
    for n, part in enumerate(
        [
            b"\x02",
            column("id", p.LONGLONG),
            column("name", p.VAR_STRING),
            eof(),
            b"\0\0" + (7).to_bytes(8, "little") + b"\x03abc",
            b"\0\x08" + (8).to_bytes(8, "little"),
            eof(3),
        ],
        1,
    )
)


@given(st.lists(st.integers(0, len(ANSWER)), max_size=8), st.booleans(), st.sampled_from(CODECS))
def test_an_answer_may_come_in_any_pieces(cuts, known, codec):
    layout = None
    if known:
        first = BinaryRows(None, tuple, 0, codec)
        assert first.feed(ANSWER, 0) == len(ANSWER)
        layout = first.layout
    answer = BinaryRows(layout, tuple, 0, codec)
    buffer = bytearray()
    edges = [0, *sorted(cuts), len(ANSWER)]
    for start, stop in itertools.pairwise(edges):
        buffer += ANSWER[start:stop]
        del buffer[: answer.feed(buffer, 0)]
    assert answer.done
    assert answer.rows == [(7, "abc"), (8, None)]
    assert answer.status == 3
    if known:
        assert answer.layout is layout


def test_known_columns_are_not_read_again(monkeypatch):
    first = BinaryRows(None, tuple)
    first.feed(ANSWER, 0)
    again = BinaryRows(first.layout, tuple)
    monkeypatch.delattr(Results, "_column")
    again.feed(ANSWER, 0)
    assert again.rows == first.rows


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_no_more_rows_than_asked(codec, limit):
    first = BinaryRows(None, tuple, limit, codec)
    first.feed(ANSWER, 0)
    again = BinaryRows(first.layout, tuple, limit, codec)
    again.feed(ANSWER, 0)
    assert first.rows == again.rows == [(7, "abc"), (8, None)][:limit]
    assert again.status == 3


@pytest.mark.parametrize("known", [False, True])
def test_an_answer_is_gone_when_it_has_been_read(known):
    first = BinaryRows(None, tuple)
    first.feed(ANSWER, 0)
    gc.disable()
    try:
        answer = BinaryRows(first.layout if known else None, tuple)
        answer.feed(ANSWER, 0)
        seen = weakref.ref(answer)
        del answer
        assert seen() is None
    finally:
        gc.enable()


def test_an_error_instead_of_rows():
    err = b"\xff" + (1062).to_bytes(2, "little") + b"#23000Duplicate entry"
    for make in (Answer, TextRows, Prepared, lambda: BinaryRows(None, tuple)):
        answer = make()
        answer.feed(packet(err), 0)
        assert answer.done
        assert answer.error == p.Err(1062, "23000", "Duplicate entry")
        assert answer.status is None


@pytest.mark.parametrize("junk", [b"", b"\x05", b"\xfe" + b"x" * 20])
def test_what_cannot_follow(junk):
    with pytest.raises(p.ProtocolError):
        Answer().feed(packet(junk), 0)


def test_nulls_and_types():
    types, payload = encode((None, 1, "é", b"\0"))
    assert types == bytes((6, 0, 8, 0, 253, 0, 252, 0))
    assert payload == b"\x01\x01" + types + (1).to_bytes(8, "little") + b"\x02\xc3\xa9" + b"\x01\0"
    nine, _ = encode((None,) * 9)
    assert len(nine) == 18


def test_types_agree():
    one, text, null = bytes((8, 0)), bytes((253, 0)), bytes((6, 0))
    assert agree(one + null, null + text) == one + text
    assert agree(one, text) is None
    assert agree(null, null) == null


class Number(enum.IntEnum):
    ONE = 1


INTEGERS_OF_64_BITS = st.integers(-(2**63), 2**63 - 1)
INTEGERS = st.lists(INTEGERS_OF_64_BITS | st.booleans(), max_size=12)


@given(INTEGERS, st.data())
def test_integers_are_put_into_the_packet_of_those_before(first, data):
    head = p.execute_head(7, p.NO_CURSOR)
    kinds = tuple(map(type, first))
    types, payload = encode(first)
    wanted, make = integers(first, types, p.frame_after(head, payload))
    assert wanted == kinds
    next_ = [data.draw(st.booleans() if kind is bool else INTEGERS_OF_64_BITS) for kind in kinds]
    assert make(*next_) == p.frame_after(head, encode(next_)[1])
    for number in range(len(first)):
        for bad in (2**63, -(2**63) - 1):
            with pytest.raises(struct.error):
                make(*next_[:number], bad, *next_[number + 1 :])


@pytest.mark.parametrize(
    "values", [(None,), (1, None), (2**63,), (1.5,), ("x", 1), (Number.ONE,), (1,) * 101]
)
def test_other_values_are_encoded_each_time(values):
    types, payload = encode(values)
    assert integers(values, types, p.frame_after(b"head", payload)) is NO_INTEGERS
    # No values have the types that it wants.
    assert NO_INTEGERS[0] not in ((), tuple(map(type, values)))


OPTIONS = ConnectOptions("h", 1, "d", "u", lambda: None)


def test_the_settings_of_a_session():
    sql = session_sql.settings(OPTIONS, mariadb=False)
    assert "max_execution_time = 60000" in sql
    assert "autocommit = 1" in sql
    assert "max_statement_time = 60.000" in session_sql.settings(OPTIONS, mariadb=True)


@pytest.mark.parametrize(
    ("text", "version", "mariadb"),
    [
        ("8.0.36", (8, 0, 36), False),
        ("9.7.4-2", (9, 7, 4), False),
        ("5.5.5-10.11.6-MariaDB-0+deb12u1", (10, 11, 6), True),
        ("11.4.2-MariaDB-log", (11, 4, 2), True),
        ("5.7.mysql_aurora.2.11.1", (5, 7, 0), False),
    ],
)
def test_versions(text, version, mariadb):
    assert session_sql.parse_version(text) == (version, mariadb)


def test_names_and_literals():
    assert session_sql.quote(("a`b", "c")) == "`a``b`.`c`"
    assert session_sql.literal("12.5") == "12.5"
    assert session_sql.literal("a'b\\") == "_utf8mb4 X'6127625c'"
    assert session_sql.holds_several("a; b")
    assert not session_sql.holds_several("a; ")


@pytest.mark.parametrize(
    ("code", "state", "message", "kind", "names"),
    [
        (
            1062,
            "23000",
            "Duplicate entry 'x' for key 't.uq'",
            errors.UniqueViolation,
            ("uq", "t", None),
        ),
        (
            1062,
            "23000",
            "Duplicate entry 'for key ''' for key 'uq'",
            errors.UniqueViolation,
            ("uq", None, None),
        ),
        (
            1452,
            "23000",
            "Cannot add or update a child row: a foreign key constraint fails (`d`.`c`, CONSTRAINT `fk` FOREIGN KEY (`a`) REFERENCES `p` (`id`))",
            errors.ForeignKeyViolation,
            ("fk", "c", None),
        ),
        (
            3819,
            "HY000",
            "Check constraint 'ck' is violated.",
            errors.CheckViolation,
            ("ck", None, None),
        ),
        (
            4025,
            "23000",
            "CONSTRAINT `ck` failed for `d`.`t`",
            errors.CheckViolation,
            ("ck", "t", None),
        ),
        (1048, "23000", "Column 'a' cannot be null", errors.NotNullViolation, (None, None, "a")),
        (
            1364,
            "HY000",
            "Field 'a' doesn't have a default value",
            errors.NotNullViolation,
            (None, None, "a"),
        ),
        (1213, "40001", "Deadlock found", errors.Deadlock, (None, None, None)),
        (1205, "HY000", "Lock wait timeout exceeded", errors.LockTimeout, (None, None, None)),
        (
            1054,
            "42S22",
            "Unknown column 'x' in 'SELECT'",
            errors.ProgrammingError,
            (None, None, "x"),
        ),
        (1365, "22012", "Division by 0", errors.DataError, (None, None, None)),
        (
            1265,
            "01000",
            "Data truncated for column 'e' at row 1",
            errors.DataError,
            (None, None, "e"),
        ),
        (1411, "HY000", "Incorrect datetime value: 'x'", errors.DataError, (None, None, None)),
        (
            1526,
            "HY000",
            "Table has no partition for value 9",
            errors.CheckViolation,
            (None, None, None),
        ),
    ],
)
def test_errors(code, state, message, kind, names):
    error = mysql_errors.from_server(p.Err(code, state, message), where="h:1")
    assert type(error) is kind
    assert (error.constraint, error.table, error.column_name) == names
    assert error.code == str(code)


def test_read_only_is_not_every_option():
    read_only = p.Err(1290, "HY000", "The MySQL server is running with the --read-only option")
    assert type(mysql_errors.from_server(read_only, where="")) is errors.ReadOnlyInstance
    other = p.Err(1290, "HY000", "The MySQL server is running with the --secure-file-priv option")
    assert type(mysql_errors.from_server(other, where="")) is errors.ProgrammingError


@pytest.mark.parametrize("code", [1053, 1180, 1927, 3032, 3169])
def test_a_server_that_goes(code):
    error = mysql_errors.from_server(p.Err(code, "08S01", "Server shutdown"), where="h:1")
    assert type(error) is errors.ConnectionLost
    assert (error.retry_safe, error.outcome_unknown) == (False, True)


def test_a_server_that_has_gone_before():
    error = mysql_errors.from_server(p.Err(4031, "HY000", "inactivity"), where="h:1")
    assert type(error) is errors.ConnectionLost
    assert (error.retry_safe, error.outcome_unknown) == (True, False)
