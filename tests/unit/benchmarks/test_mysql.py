"""What of the suite is MySQL's own, without a server."""

import pytest

from aurora_sql.errors import ConfigurationError
from aurora_sql.settings import MysqlDriver
from aurora_sql.statements import StatementRegistry
from aurora_sql.types import Engine
from benchmarks import _shop, main
from benchmarks._floors_mysql import DRIVERS, _encoder, in_format
from benchmarks._mysql import MySQL, driver_of
from benchmarks._options import Place
from benchmarks._results import OURS
from benchmarks._rows import OPERATIONS
from benchmarks._sides import side_of

URL = "mysql://a:secret@127.0.0.1/b?sslmode=disable"


def test_placeholders_become_those_of_the_drivers():
    assert in_format("SELECT a % 2 FROM t WHERE b = ?", 1) == "SELECT a %% 2 FROM t WHERE b = %s"
    with pytest.raises(ConfigurationError, match="no placeholder"):
        in_format("SELECT '?' FROM t WHERE b = ?", 1)


def test_what_no_driver_takes_travels_as_json():
    assert _encoder((1, "a", None)) is None
    encode = _encoder((1, {}, []))
    assert encode((2, {"a": 1}, [3])) == [2, '{"a":1}', "[3]"]


def test_the_works_have_the_same_values_on_both_engines():
    size = _shop.Size.of(0.1)
    registries = {
        engine: StatementRegistry.load(_shop.shop_files(engine=engine).sql, dialect=engine.value)
        for engine in Engine
    }
    for operation in OPERATIONS:
        works = {engine: operation.make(registries[engine], size, 1) for engine in Engine}
        first, second = ([getattr(one, "named", one) for one in work.values]
                         for work in works.values())  # fmt: skip
        assert first == second, operation.name
        assert len({work.role for work in works.values()}) == 1


def test_the_engine_and_the_driver_are_chosen():
    assert Place().engine_of() is Engine.POSTGRESQL
    assert Place(engine=Engine.MYSQL).engine_of() is Engine.MYSQL
    assert Place(url=URL).engine_of() is Engine.MYSQL
    settings = Place(url=URL, driver=MysqlDriver.AIOMYSQL).given()
    assert driver_of(settings) == "aiomysql"
    with pytest.raises(ConfigurationError, match="the settings are for mysql"):
        Place(url=URL, engine=Engine.POSTGRESQL).given()
    with pytest.raises(ConfigurationError, match="add --engine mysql"):
        Place(driver=MysqlDriver.AIOMYSQL).engine_of()


def test_the_librarys_own_driver_is_the_first_floor(monkeypatch):
    settings = Place(url=URL).given()
    assert driver_of(settings) == "asyncmy"
    monkeypatch.delitem(DRIVERS, "asyncmy")
    assert driver_of(settings) == "aiomysql"
    with pytest.raises(ConfigurationError, match="asyncmy is not installed"):
        driver_of(settings.replace({"mysql_driver": "asyncmy"}))


def test_goals_speak_of_floors_that_there_are():
    floors = ["asyncmy", "asyncmy.Pool", "asyncmy row by row", "aiomysql", "aiomysql.Pool"]
    side = side_of(Engine.MYSQL)
    assert isinstance(side, MySQL)
    for operation in OPERATIONS:
        for key in side.goals(operation.name, floors):
            above, below = key.split(" / ")
            assert above == OURS
            assert below in floors
    assert side.goals("bulk", floors) == {
        "aurora_sql / asyncmy": 1.0,
        "aurora_sql / asyncmy row by row": 3.0,
    }


def test_what_looks_inside_asyncpg_refuses_mysql(capsys):
    assert main(["layers", "--url", URL]) == 2
    assert "layers looks inside asyncpg" in capsys.readouterr().err
