import pytest

from aurora_sql import ParameterError
from aurora_sql.bulk import check_columns, quote, quote_all, split_table


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        ("orders", ("orders",)),
        ("Orders", ("Orders",)),
        ("shop.orders", ("shop", "orders")),
        ('"my shop".orders', ("my shop", "orders")),
        ('shop."a.b"', ("shop", "a.b")),
        ('"a""b"', ('a"b',)),
        ("größe", ("größe",)),
    ],
)
def test_tables(table, parts):
    assert split_table(table) == parts


@pytest.mark.parametrize("table", ["", ".", "a.", ".a", "a.b.c", "a b", '"a', 'a"', '""', "a\0", 5])
def test_no_tables(table):
    with pytest.raises(ParameterError, match="table must be"):
        split_table(table)


def test_quoting():
    assert quote('a"b') == '"a""b"'
    assert quote_all(["a", "B"], "t.") == 't."a", t."B"'


def test_columns():
    assert check_columns(iter(["a", "B c"]), "x") == ("a", "B c")
    for wrong in ([], "ab", ["a", "a"], [None], [""], ["\0"]):
        with pytest.raises(ParameterError, match="x: "):
            check_columns(wrong, "x")
