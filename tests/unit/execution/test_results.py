"""From rows to what a cardinality promises."""

import pytest
from pydantic import BaseModel

from aurora_sql.errors import RowNotFound, RowValidationError, StatementFileError, TooManyRows
from aurora_sql.execution._results import LIMITS, ROWLESS, build_finish
from aurora_sql.statements import Statement
from aurora_sql.types import Cardinality, Column

COLUMNS = (Column("id", "int4", int, 23), Column("name", "text", str, 25))


class Named(BaseModel):
    id: int
    name: str


class Wrong(BaseModel):
    id: int
    colour: str


def finish(cardinality, model=None):
    statement = Statement.from_sql("SELECT id, name FROM t", cardinality=cardinality)
    return build_finish(statement, COLUMNS, model)


def test_rows_without_a_model_are_handed_out_as_they_are():
    assert finish(Cardinality.MANY) is None
    assert finish(Cardinality.AFFECTED) is None
    assert finish(Cardinality.EXEC)(5) is None


@pytest.mark.parametrize("cardinality", [Cardinality.ONE, Cardinality.MAYBE, Cardinality.SCALAR])
def test_a_surplus_row_breaks_the_promise(cardinality):
    with pytest.raises(TooManyRows, match="<ad hoc>"):
        finish(cardinality)([(1, "a"), (2, "b")])
    assert LIMITS[cardinality] == 2


def test_no_row():
    with pytest.raises(RowNotFound):
        finish(Cardinality.ONE)([])
    assert finish(Cardinality.MAYBE)([]) is None
    assert finish(Cardinality.SCALAR)([]) is None


def test_one_row():
    assert finish(Cardinality.ONE)([(1, "a")]) == (1, "a")
    assert finish(Cardinality.MAYBE)([(1, "a")]) == (1, "a")
    assert finish(Cardinality.SCALAR)([(1, "a")]) == 1
    assert finish(Cardinality.SCALAR)([(None, "a")]) is None


def test_a_model_that_does_not_fit_is_told_before_any_row():
    for cardinality in (Cardinality.MANY, Cardinality.ONE, Cardinality.MAYBE):
        with pytest.raises(RowValidationError, match="colour"):
            finish(cardinality, Wrong)
        assert finish(cardinality, Named) is not None


def test_a_model_that_does_not_import_names_the_statement(tmp_path):
    from aurora_sql.statements import StatementRegistry

    (tmp_path / "x.sql").write_text("-- name: y :one\n-- returns: no.such.Thing\nSELECT 1 AS id;\n")
    statement = StatementRegistry.load(tmp_path)["x.y"]
    with pytest.raises(StatementFileError, match=r"x\.sql:1"):
        build_finish(statement, COLUMNS, None)


def test_whoever_answers_with_a_tag_is_not_asked_for_rows():
    assert frozenset({"exec", "affected", "batch"}) == {one.value for one in ROWLESS}
