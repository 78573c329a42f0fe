"""``aurora-sql explain``, as far as it gets without a server."""

import pytest

URL = "postgresql://u@127.0.0.1:1/d?connect_timeout=2"


@pytest.fixture(autouse=True)
def sql(tmp_path):
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql" / "users.sql").write_text(
        "-- name: named :many\nSELECT 1 FROM users WHERE id = :id AND name = :name;\n"
        "-- name: clear :script\nDELETE FROM users;\n"
    )


def test_missing_parameters_are_listed(run):
    code, out, err = run("explain", "users.named", "--url", URL)
    assert (code, out) == (2, "")
    assert "missing parameters 'id' and 'name'; it takes 'id' and 'name'" in err
    code, _, err = run("explain", "users.named", "--url", URL, "--set", "id=1", "--set", "ame=x")
    assert code == 2
    assert "missing parameter 'name'; unknown parameter 'ame', did you mean 'name'?" in err


def test_an_unknown_name_says_what_is_close(run):
    code, _, err = run("explain", "users.nmaed", "--url", URL)
    assert (code, "did you mean 'users.named'?" in err) == (2, True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("id",), "'id' is not NAME=VALUE"),
        (("=1",), "'=1' is not"),
        (("id=1", "id=2"), "id is given"),
    ],
)
def test_what_is_no_parameter(run, given, said):
    options = [part for one in given for part in ("--set", one)]
    code, _, err = run("explain", "users.named", "--url", URL, *options)
    assert (code, said in err) == (2, True)


def test_a_folder_that_is_not_there(run):
    code, _, err = run("explain", "users.named", "--url", URL, "--sql", "elsewhere")
    assert (code, "elsewhere" in err) == (2, True)


def test_no_server(run):
    code, _, err = run("explain", "users.named", "--url", URL, "--set", "id=1", "--set", "name=x")
    assert (code, "127.0.0.1:1: cannot connect" in err) == (2, True)


def test_it_is_among_the_commands(run):
    assert "explain" in run("--help")[1]
    out = run("explain", "--help")[1]
    assert all(word in out for word in ("--set", "--sql", "--analyze", "--json", "--url"))
