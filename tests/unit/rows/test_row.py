"""One suite over both implementations of a row."""

import copy
import pickle

import pytest

from aurora_sql.rows import PlainRow, Row, RowColumns


@pytest.fixture
def row(make_row):
    return make_row(["id", "email", "deleted"], [7, "a@b.c", None])


def test_by_attribute_key_and_position(row):
    assert isinstance(row, Row)
    assert (row.id, row.email, row.deleted) == (7, "a@b.c", None)
    assert (row["id"], row["email"], row["deleted"]) == (7, "a@b.c", None)
    assert (row[0], row[1], row[-1]) == (7, "a@b.c", None)
    assert row[:2] == (7, "a@b.c")


def test_mapping_and_iteration(row):
    assert list(row) == [7, "a@b.c", None]
    assert len(row) == 3
    assert list(row.keys()) == ["id", "email", "deleted"]
    assert list(row.values()) == [7, "a@b.c", None]
    assert list(row.items()) == [("id", 7), ("email", "a@b.c"), ("deleted", None)]
    assert row.get("id") == 7
    assert row.get("deleted", "other") is None
    assert row.get("nothing") is None
    assert row.get("nothing", 5) == 5
    assert "email" in row
    assert "a@b.c" not in row
    assert row._asdict() == dict(row.items()) == {"id": 7, "email": "a@b.c", "deleted": None}
    assert list(row._asdict()) == ["id", "email", "deleted"]


def test_the_copy_of_a_dict_is_not_the_row(row):
    row._asdict()["id"] = 8
    assert row.id == 7


def test_unknown_names(row):
    with pytest.raises(KeyError, match="emial"):
        row["emial"]
    with pytest.raises(IndexError):
        row[3]
    with pytest.raises(
        AttributeError, match=r"no column 'emial' \(did you mean email\?\).*id, email, deleted"
    ) as caught:
        row.emial  # reading it is the test
    assert caught.value.name == "emial"
    assert caught.value.obj is row
    assert caught.value.__context__ is None or isinstance(caught.value.__context__, KeyError)
    assert not hasattr(row, "nothing")
    assert getattr(row, "nothing", 1) == 1
    assert not hasattr(row, "__array__")


def test_immutable(row):
    for attempt in (
        lambda: setattr(row, "id", 8),
        lambda: setattr(row, "new", 8),
        lambda: delattr(row, "id"),
    ):
        with pytest.raises(AttributeError, match="immutable"):
            attempt()
    with pytest.raises(TypeError):
        row["id"] = 8
    with pytest.raises(TypeError):
        del row["id"]
    assert not hasattr(row, "__dict__")
    assert row.id == 7


@pytest.mark.parametrize("name", ["keys", "values", "items", "get"])
def test_a_method_wins_by_attribute_and_the_column_by_key(make_row, name):
    row = make_row([name, "other"], [1, 2])
    assert row[name] == 1
    assert row.get(name) == 1
    assert row[0] == 1
    assert callable(getattr(row, name))


@pytest.mark.parametrize("name", ["count", "index", "id", "class", "customer.email", "Ünit", "?"])
def test_any_other_name_is_a_column(make_row, name):
    row = make_row([name], [1])
    assert getattr(row, name) == 1
    assert row[name] == 1


def test_two_columns_of_one_name(make_row):
    row = make_row(["id", "id"], [1, 2])
    assert (row.id, row["id"], row.get("id")) == (2, 2, 2)
    assert (row[0], row[1]) == (1, 2)
    assert list(row.keys()) == ["id", "id"]
    assert list(row.items()) == [("id", 1), ("id", 2)]
    assert row._asdict() == {"id": 2}


def test_compares_like_the_tuple_of_its_values(make_row):
    row = make_row(["id", "name"], [1, "a"])
    same = make_row(["id", "name"], [1, "a"])
    other = make_row(["id", "name"], [2, "a"])
    assert row == same
    assert not row != same  # noqa: SIM202  # both operators are under test
    assert row == (1, "a")
    assert (1, "a") == row  # noqa: SIM300  # a tuple on the left is another path
    assert row == PlainRow(["id", "name"], [1, "a"])
    assert PlainRow(["x", "y"], [1, "a"]) == row
    assert row != other
    assert row != [1, "a"]
    assert row != {"id": 1, "name": "a"}
    assert hash(row) == hash(same) == hash((1, "a"))
    assert len({row, same, other}) == 2
    assert row < other
    assert row <= same
    assert other > row
    assert same >= row
    assert sorted([other, row]) == [row, other]
    with pytest.raises(TypeError):
        row < 5  # noqa: B015  # comparing is the test
    with pytest.raises(TypeError):
        row >= 5  # noqa: B015  # the same


def test_a_row_with_a_list_in_it_has_no_hash(make_row):
    row = make_row(["tags"], [["a", "b"]])
    assert row == (["a", "b"],)
    with pytest.raises(TypeError, match="unhashable"):
        hash(row)


def test_repr_shows_columns_and_values(make_row):
    row = make_row(["id", "customer.email", "class"], [1, "a@b.c", None])
    assert repr(row) == "Row(id=1, 'customer.email'='a@b.c', class=None)"
    assert str(row) == repr(row)


def test_dir_completes_columns(row):
    assert {"id", "email", "deleted", "keys", "items", "_asdict"} <= set(dir(row))


def test_copies_and_pickles(make_row):
    row = make_row(["id", "tags", "keys"], [1, ["a"], 3])
    assert copy.copy(row) is row
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(row, protocol))
        assert type(again) is PlainRow
        assert again == row
        assert list(again.keys()) == list(row.keys())
        assert again["keys"] == 3
    deep = copy.deepcopy(row)
    assert deep == row
    assert deep.tags is not row.tags


def test_unpacks_and_matches(row):
    number, email, _ = row
    assert (number, email) == (7, "a@b.c")
    match row:
        case Row(id=7, email=found):
            assert found == "a@b.c"
        case _:
            pytest.fail("no match")


def test_no_columns(make_row):
    row = make_row([], [])
    assert len(row) == 0
    assert list(row) == []
    assert repr(row) == "Row()"
    with pytest.raises(AttributeError, match="its columns are: none"):
        row.id  # reading it is the test


def test_plain_rows_share_their_columns():
    columns = RowColumns(["id", "name"])
    rows = [PlainRow(columns, (number, "x")) for number in range(3)]
    assert [row.id for row in rows] == [0, 1, 2]
    assert repr(columns) == "RowColumns(['id', 'name'])"


def test_plain_row_wants_as_many_values_as_columns():
    with pytest.raises(ValueError, match="2 columns and 1 values"):
        PlainRow(["id", "name"], [1])


def test_a_column_named_like_the_inside_of_a_plain_row():
    row = PlainRow(["columns", "_values", "__columns"], [1, 2, 3])
    assert (row.columns, row._values) == (1, 2)
    assert getattr(row, "__columns") == 3  # written out it would be mangled


def test_key_and_position_never_reach_python_code(server):
    row = server.row(["id"], [1])
    # The record's own C slots serve these: no class before it in the MRO defines them.
    for method in ("__getitem__", "__iter__", "__len__", "__contains__", "get", "keys", "items"):
        assert method not in vars(Row)
        assert getattr(type(row), method) is getattr(type(row).__mro__[2], method)
