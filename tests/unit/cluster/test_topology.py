"""What is believed of a report, and what counts as a change."""

import datetime as dt

import pytest

from aurora_sql.cluster._providers_postgresql import _age
from aurora_sql.cluster._report import InstanceStatus, Report
from aurora_sql.cluster._topology import changes, settle, settle_static
from aurora_sql.errors import NoWriterAvailable
from aurora_sql.types import Instance, Role, Topology

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def locate(instance_id):
    return f"{instance_id}.example.com", 5432


def writer(name, age=1.0, **more):
    return InstanceStatus(name, is_writer=True, age=age, **more)


def reader(name, age=1.0, **more):
    return InstanceStatus(name, is_writer=False, age=age, **more)


def writer_says(name, *rows):
    return Report(name, in_recovery=False, rows=rows)


def reader_says(name, *rows):
    return Report(name, in_recovery=True, rows=rows)


def names(topology):
    return topology.writer.id, [one.id for one in topology.readers]


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        pytest.param(
            writer_says("a", reader("c"), writer("a", 0.0), reader("b")),
            ("a", ["b", "c"]),
            id="the writer is asked",
        ),
        pytest.param(
            reader_says("b", writer("a"), reader("b", 0.0), reader("c")),
            ("a", ["b", "c"]),
            id="a reader is asked",
        ),
        pytest.param(writer_says("a", writer("a")), ("a", []), id="a writer alone"),
        pytest.param(
            reader_says("b", writer("a", 4000.0), reader("b", 0.0)),
            ("a", ["b"]),
            id="a writer is never too old",
        ),
        pytest.param(
            writer_says("a", writer("a"), reader("b", 300.0), reader("c", 300.1)),
            ("a", ["b"]),
            id="a reader is, after 300 s",
        ),
        pytest.param(
            writer_says("a", writer("a"), reader("b", None)),
            ("a", ["b"]),
            id="a reader whose age is not known stays",
        ),
        pytest.param(
            reader_says("c", writer("a", 9.0), writer("b", 2.0), reader("c", 0.0)),
            ("b", ["c"]),
            id="the newest of two writers, the other is nothing yet",
        ),
        pytest.param(
            reader_says("c", writer("b", 2.0), writer("a", None), reader("c", 0.0)),
            ("b", ["c"]),
            id="a writer whose age is not known is the oldest",
        ),
        pytest.param(
            reader_says("a", writer("a", 0.0), writer("b", 2.0), reader("c")),
            ("b", ["a", "c"]),
            id="a demoted writer is asked whose row is stale",
        ),
        pytest.param(
            reader_says("c", writer("a", 9.0), reader("a", 2.0), writer("b", 3.0)),
            ("b", ["a"]),
            id="of two rows of one instance the newer",
        ),
        pytest.param(
            reader_says("c", reader("a", 2.0), writer("b", 3.0), writer("a", 9.0), reader("a")),
            ("b", ["a"]),
            id="of three rows of one instance the newest, wherever it stands",
        ),
        pytest.param(
            reader_says("c", writer("a", 2.0), reader("a", 9.0), reader("b")),
            ("a", ["b"]),
            id="an older row comes last",
        ),
        pytest.param(reader_says("new", writer("a")), ("a", []), id="who is asked has no row yet"),
        pytest.param(
            reader_says("b", writer("a", None), reader("b", None)),
            ("a", ["b"]),
            id="a server that tells no ages",
        ),
    ],
)
def test_who_is_who(report, expected):
    assert names(settle(report, locate, now=NOW)) == expected


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        pytest.param(
            reader_says("b", reader("c"), reader("b")),
            "b knows of no writer among b, c",
            id="none",
        ),
        pytest.param(writer_says("a"), "a knows of no writer", id="no rows"),
        pytest.param(
            reader_says("a", writer("a"), reader("b")),
            "a knows of no writer among a, b",
            id="a reader says that it is the writer",
        ),
        pytest.param(
            writer_says("b", writer("a"), reader("b")),
            "b accepts writes and says that a is the writer",
            id="just promoted, the rows are stale",
        ),
        pytest.param(
            writer_says("b", writer("a", 0.5), writer("b", 7.0)),
            "b accepts writes and says that a is the writer",
            id="an old writer that has not noticed",
        ),
        pytest.param(
            writer_says("new", writer("a"), reader("b")),
            "new accepts writes and says that a is the writer",
            id="a writer without a row",
        ),
    ],
)
def test_a_report_that_contradicts_itself_is_rejected(report, reason):
    with pytest.raises(NoWriterAvailable) as caught:
        settle(report, locate, now=NOW)
    assert reason in str(caught.value)


def test_the_figures_are_kept():
    rows = (
        writer("a", 0.0, lag=3.0, cpu=12.5),
        reader("b", 2.0, lag=0.02, cpu=80.0),
        reader("c", None),
    )
    found = settle(writer_says("a", *rows), locate, now=NOW)
    a, b, c = found.instances
    assert (a.host, a.port, a.role) == ("a.example.com", 5432, Role.WRITER)
    assert (a.lag, a.load, a.last_seen) == (0.0, 12.5, NOW)
    assert (b.lag, b.load, b.last_seen) == (0.02, 80.0, NOW - dt.timedelta(seconds=2))
    assert (c.role, c.lag, c.load, c.last_seen) == (Role.READER, None, None, None)


def test_who_has_no_address_is_left_out_and_a_writer_without_one_is_no_writer():
    known = {"a": ("10.0.0.1", 5432), "c": ("10.0.0.3", 5432)}
    rows = (writer("a"), reader("b"), reader("c", address=("told", 1)), reader("d"))
    found = settle(writer_says("a", *rows), known.get, now=NOW)
    assert names(found) == ("a", ["c"])
    assert found.readers[0].host == "10.0.0.3"  # what is configured wins
    told = settle(
        writer_says("a", writer("a"), reader("b", address=("told", 1))), known.get, now=NOW
    )
    assert (told.readers[0].host, told.readers[0].port) == ("told", 1)
    with pytest.raises(NoWriterAvailable, match=r"the writer, b, is not known: check instance_end"):
        settle(writer_says("b", writer("b"), reader("a")), known.get, now=NOW)


def test_how_long_a_reader_may_be_silent_can_be_said():
    report = writer_says("a", writer("a"), reader("b", 2.0))
    assert names(settle(report, locate, now=NOW, stale_after=1.0)) == ("a", [])


@pytest.mark.parametrize(
    ("updated", "is_own", "age"),
    [
        (NOW - dt.timedelta(seconds=7), False, 7.0),
        (NOW + dt.timedelta(seconds=1), False, 0.0),
        (None, True, 0.0),
        (None, False, None),
        (NOW - dt.timedelta(seconds=2), True, 2.0),
    ],
)
def test_the_age_of_a_row(updated, is_own, age):
    assert _age(NOW, updated, is_own=is_own) == age


def static(name, role=Role.READER, **more):
    return Instance(name, name, 5432, role, **more)


WRITES, READS = writer_says(None), reader_says(None)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"a": WRITES, "b": READS, "c": READS}, ("a", ["b", "c"])),
        ({"a": READS, "b": WRITES, "c": READS}, ("b", ["a", "c"])),
        ({"c": WRITES}, ("c", ["a", "b"])),
    ],
)
def test_static_endpoints_have_the_role_that_they_prove(answers, expected):
    given = [static("c", lag=1.0), static("a", Role.WRITER, lag=0.0), static("b")]
    found = settle_static(given, answers, now=NOW)
    assert names(found) == expected
    assert [one.role for one in found.instances] == [Role.WRITER, Role.READER, Role.READER]
    assert {one.id for one in found.instances if one.last_seen == NOW} == set(answers)
    lags = {one.id: one.lag for one in found.instances}
    assert lags[found.writer.id] == 0.0
    assert lags["a"] == (0.0 if found.writer.id == "a" else None)


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"a": READS}, "no endpoint accepts writes: a is a reader, b did not answer"),
        ({"a": READS, "b": READS}, "no endpoint accepts writes: a is a reader, b is a reader"),
        ({"a": WRITES, "b": WRITES}, "a, b accept writes, and only one can be the writer"),
    ],
)
def test_static_endpoints_without_exactly_one_writer_are_rejected(answers, reason):
    with pytest.raises(NoWriterAvailable) as caught:
        settle_static([static("a"), static("b")], answers, now=NOW)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("position", "replayed", "level", "lag"),
    [
        (9, 3600.0, {}, 0.0),
        (8, 3600.0, {}, 3600.0),
        (8, 3600.0, {"b": 4.0}, 4.0),
        (8, 2.0, {"b": 4.0}, 2.0),
        (8, None, {"b": 4.0}, None),
        (None, None, {"b": 4.0}, None),
        (8, -1.0, {"a": 4.0}, 0.0),
    ],
)
def test_a_static_reader_is_no_further_behind_than_since_it_was_level(
    position, replayed, level, lag
):
    answers = {
        "a": Report(None, in_recovery=False, position=9),
        "b": Report(None, in_recovery=True, position=position, replayed=replayed),
    }
    found = settle_static([static("a"), static("b")], answers, now=NOW, level=level)
    assert [one.lag for one in found.readers] == [lag]


def at(writer_id, *reader_ids, **hosts):
    def one(name, role):
        return Instance(name, hosts.get(name, name), 5432, role)

    return Topology(
        None if writer_id is None else one(writer_id, Role.WRITER),
        tuple(one(name, Role.READER) for name in reader_ids),
    )


@pytest.mark.parametrize(
    ("old", "new", "writers", "added", "removed"),
    [
        pytest.param(at("a", "b"), at("a", "b"), (None, None), "", "", id="nothing"),
        pytest.param(at(None), at("a", "b"), (None, "a"), "b", "", id="the first look"),
        pytest.param(at("a", "b"), at("a", "b", "c"), (None, None), "c", "", id="scaled out"),
        pytest.param(at("a", "b", "c"), at("a", "c"), (None, None), "", "b", id="scaled in"),
        pytest.param(at("a", "b"), at("b", "a"), ("a", "b"), "a", "b", id="failover"),
        pytest.param(at("a", "b"), at("b"), ("a", "b"), "", "b", id="the old writer is gone"),
        pytest.param(at("a", "b"), at(None, "b"), ("a", None), "", "", id="no writer"),
        pytest.param(at("a", "b"), at("a", "b", b="x"), (None, None), "b", "b", id="reader moved"),
        pytest.param(at("a", "b"), at("a", "b", a="x"), ("a", "a"), "", "", id="writer moved"),
    ],
)
def test_changes(old, new, writers, added, removed):
    change = changes(old, new)
    assert tuple(one and one.id for one in (change.old_writer, change.new_writer)) == writers
    assert "".join(one.id for one in change.readers_added) == added
    assert "".join(one.id for one in change.readers_removed) == removed
    assert set(change.readers_added) <= set(new.readers)
    assert set(change.readers_removed) <= set(old.readers)
    assert change.writer_changed == (writers != (None, None))
    assert bool(change) == (old != new)


def test_lag_and_load_are_no_change():
    busy = Topology(
        Instance("a", "a", 5432, Role.WRITER, load=90.0, last_seen=NOW),
        (Instance("b", "b", 5432, Role.READER, lag=9.0),),
    )
    assert busy == at("a", "b")
    assert not changes(at("a", "b"), busy)
