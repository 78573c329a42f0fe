"""The page of errors says what the classes say."""

from __future__ import annotations

import inspect
import re

import pytest

import aurora_sql
from aurora_sql import errors


@pytest.fixture
def classes():
    found = {
        name: one
        for name, one in vars(errors).items()
        if inspect.isclass(one) and issubclass(one, errors.AuroraError)
    }
    assert len(found) > 30
    return found


@pytest.fixture
def rows(reference):
    return {row[0]: row[1:] for row in reference("errors").table("What each means")}


def test_every_error_is_there_and_no_other(rows, classes):
    assert set(rows) == set(classes)
    assert set(classes) == {
        name
        for name in aurora_sql.__all__
        if inspect.isclass(getattr(aurora_sql, name))
        and issubclass(getattr(aurora_sql, name), BaseException)
    }


def test_both_answers_are_those_of_the_class(rows, classes):
    for name, (safe, unknown, *_) in rows.items():
        one = classes[name]
        assert safe.split()[0] == ("yes" if one.retry_safe else "no"), name
        assert unknown.split()[0] == ("yes" if one.outcome_unknown else "no"), name


def test_the_tree_is_the_tree(reference, classes):
    tree = re.search(r"```text\n(AuroraError\n.*?)```", reference("errors").text, re.DOTALL)[1]
    above, parents = [], {}
    for line in tree.splitlines():
        found = re.match(r"([│├└─ ]*)(\w+)", line)
        depth = len(found[1]) // 4
        parents[found[2]] = above[depth - 1] if depth else None
        above[depth:] = [found[2]]
    actual = {
        name: None if one is errors.AuroraError else one.__bases__[0].__name__
        for name, one in classes.items()
    }
    assert parents == actual
