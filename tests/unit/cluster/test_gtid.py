"""What servers have executed, as they write it down."""

from __future__ import annotations

import pytest

from aurora_sql.cluster._gtid import parse_mariadb, parse_mysql

A = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
B = "4e11fa47-71ca-11e1-9e33-c80aa9429562"


def test_a_set_of_one_server():
    found = parse_mysql(f"{A}:1-5", A)
    assert found.own is not None
    assert found.reached == {found.own: 5}
    assert found.total == 5


def test_the_case_and_the_spaces_of_a_uuid_do_not_count():
    assert parse_mysql(f"{A}:1-5", A) == parse_mysql(f" {A.upper()}:\n1-5", A.upper())


def test_what_lies_beyond_a_gap_is_not_reached():
    found = parse_mysql(f"{A}:1-5:9-10,\n{B}:2-7", A)
    assert found.reached == {found.own: 5}
    assert found.total == 5 + 2 + 6


def test_a_single_number_is_an_interval():
    assert list(parse_mysql(f"{A}:1", A).reached.values()) == [1]


def test_a_tag_is_a_history_of_its_own():
    found = parse_mysql(f"{A}:1-3:backup:1-7", A)
    assert sorted(found.reached.values()) == [3, 7]
    assert found.reached[found.own] == 3


@pytest.mark.parametrize("text", ["", " \n"])
def test_nothing_was_executed(text):
    found = parse_mysql(text, A)
    assert found.reached == {}
    assert found.total == 0
    assert parse_mariadb(text).own is None


def test_the_position_of_mariadb_has_a_number_per_domain():
    found = parse_mariadb("0-1-270,7-2-9")
    assert found.reached == {1: 270, 8: 9}
    assert found.own == 1
    assert found.total == 279


def test_the_server_that_wrote_last_does_not_count():
    assert parse_mariadb("0-1-270").reached == parse_mariadb("0-2-270").reached


def test_what_was_replayed_and_what_was_written_are_one_history():
    found = parse_mariadb("0-2-280", "0-1-270,4-1-3", domain=4)
    assert found.reached == {1: 280, 5: 3}
    assert found.own == 5
    assert parse_mariadb("0-2-280", domain=3).own is None
