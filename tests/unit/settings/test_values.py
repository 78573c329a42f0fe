import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_sql.errors import ConfigurationError
from aurora_sql.settings import SslMode, format_address, is_loopback
from aurora_sql.settings._values import LONGEST_DURATION, address, addresses, duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (30, 30.0),
        (0.25, 0.25),
        ("30", 30.0),
        ("1.5", 1.5),
        ("500ms", 0.5),
        ("30s", 30.0),
        (" 2 M ", 120.0),
        ("2min", 120.0),
        ("1h", 3600.0),
        ("1d", 86400.0),
        ("00:00:30", 30.0),
        ("00:00:00.5", 0.5),
        ("1.02:03:04", 86400.0 + 7384.0),
    ],
)
def test_spellings_of_a_duration(text, seconds):
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "bad",
    [0, -1, "0", "0s", "-1s", "", " ", "s", "30 sec", "1e3", "1,5", "٣s", "00:60:00", "24:00:00",
     "00:00:60", "00:30", math.nan, math.inf, 10**400, "99999d", True, None, [], "0x10"],
)  # fmt: skip
def test_what_is_no_duration_is_refused(bad):
    with pytest.raises(ValueError, match="must be"):
        duration(bad)


@given(st.floats(min_value=0.001, max_value=LONGEST_DURATION))
def test_a_number_and_its_text_mean_the_same(seconds):
    assert duration(seconds) == seconds
    assert duration(f"{seconds:.6f}s") == pytest.approx(seconds, abs=1e-6)
    assert duration(f"{seconds * 1000:.6f}ms") == pytest.approx(seconds, abs=1e-6)


@given(st.text(max_size=20) | st.floats() | st.integers())
def test_any_value_is_a_duration_in_range_or_a_value_error(value):
    try:
        seconds = duration(value)
    except ValueError:
        return
    assert 0 < seconds <= LONGEST_DURATION


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("db", ("db", 5432)),
        (" db:77 ", ("db", 77)),
        ("shop.cluster-ro-x1.eu-west-1.rds.amazonaws.com", None),
        ("my_db.internal.", ("my_db.internal.", 5432)),
        ("10.0.0.1:6000", ("10.0.0.1", 6000)),
        ("[::1]", ("::1", 5432)),
        ("[2001:db8::1]:6000", ("2001:db8::1", 6000)),
        ("/var/run/postgresql", ("/var/run/postgresql", 5432)),
        ("/tmp/run:6000", ("/tmp/run", 6000)),
    ],
)
def test_spellings_of_an_address(text, expected):
    assert address(text, 5432) == (expected or (text, 5432))


@pytest.mark.parametrize(
    "bad",
    ["", " ", ":5432", "db:", "db:0", "db:65536", "db:x", "db:-1", "::1", "fe80::1:5432",
     "[::1", "[::1]5432", "[db]:5432", "[]", "a b", "a..b", "-db", "db-", "a/b", "300.1.1.1",
     "1.2.3", "x" * 64, ".".join(["abcdefgh"] * 30), "db\n", "dbü"],
)  # fmt: skip
def test_what_is_no_address_is_refused(bad):
    if bad == "db\n":
        assert address(bad, 1) == ("db", 1)
        return
    with pytest.raises(ValueError, match="must"):
        address(bad, 5432)


labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
names = (
    st.lists(labels, min_size=1, max_size=4)
    .map(".".join)
    .filter(lambda name: not name.replace(".", "").isdigit())
)
hosts = names | st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str)


@given(hosts, st.integers(1, 65535))
def test_an_address_survives_being_written(host, port):
    assert address(format_address((host, port)), 1) == (host, port)


@given(st.lists(st.tuples(hosts, st.integers(1, 65535)), min_size=1, max_size=5, unique=True))
def test_a_list_of_addresses_survives_being_written(many):
    assert addresses(", ".join(map(format_address, many)), 1) == tuple(many)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_a_value_error(text):
    try:
        host, port = address(text, 5432)
    except ValueError:
        return
    assert host
    assert 1 <= port <= 65535


@pytest.mark.parametrize("bad", ["a,,b", "a,", ",", "a,a", "a:1,a:1"])
def test_a_list_with_holes_or_twins_is_refused(bad):
    with pytest.raises(ValueError, match=r"comma|twice"):
        addresses(bad, 5432)


@pytest.mark.parametrize("secret", ["postgresql://u:geheim@h/db", "u:geheim@h"])
def test_a_url_where_a_host_belongs_is_not_repeated(make, secret):
    with pytest.raises(ConfigurationError) as caught:
        make(write_endpoint=secret)
    assert "geheim" not in str(caught.value)
    assert "from_url" in str(caught.value)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("LOCALHOST.", True), ("db.localhost", True), ("127.0.0.1", True),
     ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True), ("128.0.0.1", False),
     ("localhost.example.com", False), ("notlocalhost", False), ("::2", False)],
)  # fmt: skip
def test_loopback(host, expected):
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("text", "mode"),
    [("VerifyFull", SslMode.VERIFY_FULL), ("verify_ca", SslMode.VERIFY_CA), ("Require", SslMode.REQUIRE),
     ("DISABLE", SslMode.DISABLE), ("verify full", SslMode.VERIFY_FULL)],
)  # fmt: skip
def test_an_ssl_mode_in_the_spellings_of_other_drivers(make, text, mode):
    assert make(ssl_mode=text, ssl_root_cert="x.pem").ssl_mode is mode


@pytest.mark.parametrize(
    "text", ["PostgreSQL", "postgres", "aurora-postgresql", "AuroraPostgreSQL"]
)
def test_the_engine_in_its_usual_spellings(make, text):
    assert make(engine=text).engine.value == "postgresql"
