"""Dotted paths of models."""

import collections
import subprocess
import sys

import pytest

from aurora_sql.errors import ConfigurationError
from aurora_sql.rows import resolve_model


@pytest.fixture
def shop(tmp_path, monkeypatch):
    package = tmp_path / "shop_for_rows"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "models.py").write_text(
        "class User:\n    class Address:\n        pass\n\nUSERS = 3\n"
    )
    (package / "broken.py").write_text("1 / 0\n")
    (package / "needy.py").write_text("import no_such_module_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.startswith("shop_for_rows")]:
        del sys.modules[name]


def test_classes(shop):
    assert resolve_model("shop_for_rows.models.User").__name__ == "User"
    assert resolve_model("shop_for_rows.models.User.Address").__name__ == "Address"
    assert resolve_model("collections.OrderedDict") is collections.OrderedDict
    assert resolve_model("int") is int
    assert resolve_model("dict") is dict


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("shop_for_rows.models.Usr", r"shop_for_rows\.models has no 'Usr'; did you mean User"),
        ("shop_for_rows.models.User.Adress", r"models\.User has no 'Adress'; did you mean Address"),
        ("shop_for_rows.modles.User", "shop_for_rows has no 'modles'"),
        ("no_such_shop.models.User", r"there is no module no_such_shop\.models"),
        ("shop_for_rows.broken.User", r"broken fails when it is imported: ZeroDivisionError"),
        ("shop_for_rows.needy.User", r"needy cannot be imported: .*no_such_module_at_all"),
        ("shop_for_rows.models.USERS", "is no class but 3"),
        ("shop_for_rows.models", r"has no 'models'|is no class but <module"),
        ("Usr", "builtins has no 'Usr'"),
        ("", "is not the dotted path of a model"),
        (".models.User", "is not the dotted path of a model"),
        ("shop models.User", "is not the dotted path of a model"),
        ("list[int]", "is not the dotted path of a model"),
    ],
)
def test_what_is_no_model(shop, path, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        resolve_model(path)
    assert repr(path) in str(caught.value)


def test_pydantic_is_loaded_by_the_first_model_of_it_only():
    code = """
import sys
from dataclasses import dataclass
from aurora_sql.rows import PlainRow, build_maker
from aurora_sql.types import Column
assert "pydantic" not in sys.modules and "pydantic_core" not in sys.modules
@dataclass
class User:
    id: int
    name: str | None
columns = [Column("id", "int4", int), Column("name", "text", str)]
maker = build_maker(columns, User, where="here", nullability={})
assert maker([PlainRow(["id", "name"], [1, None])]) == [User(1, None)]
assert "pydantic" not in sys.modules and "pydantic_core" not in sys.modules
from aurora_sql.rows import _pydantic
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_all_names_are_there():
    import aurora_sql.rows as package

    assert sorted(package.__all__) == package.__all__
    for name in package.__all__:
        assert getattr(package, name).__doc__
