"""The page of settings says what the model says."""

from __future__ import annotations

import pytest

from aurora_sql import AuroraSettings, ConfigurationError
from aurora_sql.settings._checks import NOT_BUILT
from aurora_sql.settings._sources import pascal, variable

REQUIRED = {"write_endpoint": "writer", "database": "shop", "username": "app"}
SECTIONS = (
    *("Where to connect", "Pools", "Time limits and retries", "Readers", "Topology", "TLS"),
    *("Kept answers", "Reporting"),
)


@pytest.fixture
def rows(reference):
    page = reference("settings")
    return [row for title in SECTIONS for row in page.table(title)]


@pytest.fixture
def refused(reference):
    return reference("settings").table("Not built yet")


def test_every_setting_is_there_once_and_no_other(rows, refused):
    names = [row[0] for row in rows]
    assert sorted(names) == sorted(set(names))
    only_refused = {row[0] for row in refused} - set(names)
    assert {*names, *only_refused} == set(AuroraSettings.model_fields)


def test_spellings(rows, refused):
    for row in (*rows, *refused):
        assert row[1:3] == [pascal(row[0]), variable(row[0])]


def test_defaults(rows):
    defaults = AuroraSettings.from_values(REQUIRED)
    for name, _, _, cell, *_ in rows:
        actual = getattr(defaults, name)
        if cell == "required":
            assert AuroraSettings.model_fields[name].is_required(), name
        elif cell == "none":
            assert actual is None, name
        else:
            assert not AuroraSettings.model_fields[name].is_required(), name
            # The model reads the cell: "30 s" and 30.0 are one value to it.
            said = getattr(AuroraSettings.from_values({**REQUIRED, name: cell}), name)
            assert (said, type(said)) == (actual, type(actual)), name


def test_refused_settings_are_those_that_are_not_built(refused):
    assert {row[0] for row in refused} == {name for name, _, _ in NOT_BUILT}


def test_refused_values_are_refused_by_the_name_of_their_setting(refused):
    for name, _, _, value, *_ in refused:
        with pytest.raises(ConfigurationError) as caught:
            AuroraSettings.from_values({**REQUIRED, name: value})
        assert caught.value.message.startswith(f"{name} is refused: "), name
