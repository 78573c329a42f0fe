import io
import json
import logging
import pickle
import traceback

import pytest

from aurora_sql.errors import ConfigurationError
from aurora_sql.settings import AuroraSettings
from aurora_sql.settings._checks import NOT_BUILT

SECRET = "geheim-9f3"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_pool_size": 0}, "max_pool_size must be at least 1, not 0"),
        ({"max_pool_size": "many"}, "max_pool_size must be a whole number, not 'many'"),
        ({"max_pool_size": 1.5}, "max_pool_size must be a whole number, not 1.5"),
        ({"max_pool_size": True}, "max_pool_size must be a whole number, not true or false"),
        ({"min_pool_size": -1}, "min_pool_size must be at least 0, not -1"),
        ({"port": 0}, "port must be at least 1, not 0"),
        ({"port": 70000}, "port must be at most 65535, not 70000"),
        ({"max_retry_count": -1}, "max_retry_count must be at least 0"),
        ({"retry_budget": -1}, "retry_budget must be at least 0"),
        ({"retry_budget": "lots"}, "retry_budget must be a whole number, not 'lots'"),
        ({"command_timeout": 0}, "command_timeout must be more than 0 seconds, not 0"),
        ({"connection_timeout": "soon"}, "connection_timeout must be seconds"),
        ({"use_ssl": "maybe"}, "use_ssl must be true or false, not 'maybe'"),
        ({"ssl_mode": "on"}, "ssl_mode must be one of disable, allow, prefer, require, verify-ca, verify-full, not 'on'"),
        ({"engine": "oracle"}, "engine must be one of postgresql, mysql, not 'oracle'"),
        ({"database": " "}, "database must not be empty"),
        ({"database": "a\0b"}, "database must not hold a NUL"),
        ({"username": "a\0b"}, "username must not hold a NUL"),
        ({"write_endpoint": "a,b"}, "write_endpoint must name one writer"),
        ({"read_endpoint": "a,a"}, "read_endpoint names a:1 twice"),
        ({"application_name": "é"}, "application_name must be at most 63"),
        ({"application_name": "x" * 64}, "application_name must be at most 63"),
        ({"max_pool_size": 5, "min_pool_size": 6}, r"min_pool_size \(6\) must not be more than max_pool_size \(5\)"),
        ({"use_ssl": False, "ssl_mode": "verify-full"}, r"use_ssl \(false\) contradicts ssl_mode \(verify-full\)"),
        ({"use_ssl": False, "ssl_mode": "prefer"}, "contradicts"),
        ({"use_ssl": True, "ssl_mode": "disable"}, r"use_ssl \(true\) contradicts ssl_mode \(disable\)"),
        ({"use_ssl": True, "ssl_mode": "prefer"}, "contradicts"),
        ({"use_ssl": False, "write_endpoint": "db"}, "use_ssl .* in the clear: set ssl_mode to disable"),
        ({"use_ssl": False, "read_endpoint": "db"}, "use_ssl .* in the clear: set ssl_mode to disable"),
        ({"ssl_mode": "verify-ca"}, "needs ssl_root_cert"),
        ({"mysql_driver": "asyncmy"}, "mysql_driver is of no use with engine postgresql"),
        ({"mysql_driver": "mysqlclient"}, "mysql_driver must be one of auto, aiomysql, asyncmy"),
        ({"ssl_mode": "require", "ssl_root_cert": "system"}, "needs ssl_mode verify-full"),
    ],
)  # fmt: skip
def test_a_wrong_value_names_its_key_and_what_is_allowed(make, values, message):
    with pytest.raises(ConfigurationError, match=message):
        make(**values)


@pytest.mark.parametrize("values", [{"use_ssl": False}, {"use_ssl": False, "ssl_mode": "disable", "write_endpoint": "db"}, {"use_ssl": True, "ssl_mode": "Require"}, {"ssl_mode": "disable", "write_endpoint": "db"}])  # fmt: skip
def test_what_may_stand_together(make, values):
    make(**values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("use_iam_authentication", True),
        ("iam_role_arn", "arn:aws:iam::1:role/x"),
        ("region", "eu-west-1"),
        ("secret_id", "shop/db"),
        ("proxy_mode", True),
    ],
)
def test_a_setting_whose_feature_comes_later_is_refused_by_name(make, name, value):
    with pytest.raises(
        ConfigurationError, match=f"^{name} is refused: .*not built yet|^{name} is refused: only"
    ) as caught:
        make(**{name: value})
    assert SECRET not in str(caught.value)


def test_every_refusal_has_a_test_and_a_real_setting():
    assert {name for name, _, _ in NOT_BUILT} <= set(AuroraSettings.model_fields)
    assert {name for name, _, _ in NOT_BUILT} == {
        "use_iam_authentication", "iam_role_arn", "region", "secret_id", "proxy_mode",
    }  # fmt: skip


def test_a_token_secret_is_long_enough(make):
    assert make(token_secret="x" * 16).token_secret.get_secret_value() == "x" * 16
    assert make(token_secret=" ").token_secret is None
    with pytest.raises(ConfigurationError, match=r"^token_secret must have at least 16 characters"):
        make(token_secret="x" * 15)


def test_the_defaults_of_what_comes_later_may_be_written_down(make):
    settings = make(use_iam_authentication=False, proxy_mode=False, topology="static", iam_role_arn="",
                    region="", reader_selection="RoundRobin", secret_id=" ")  # fmt: skip
    assert settings.reader_selection.value == "round_robin"
    assert settings.secret_id is None


def test_each_source_is_spoken_of_in_its_own_words(monkeypatch, tmp_path, required):
    monkeypatch.setenv("AURORA_MAX_POOL_SIZE", "0")
    path = tmp_path / "a.json"
    path.write_text('{"AuroraDB": {"Port": 0, "Username": "u"}}')
    with pytest.raises(ConfigurationError) as caught:
        AuroraSettings.from_json(path)
    place = f"in section AuroraDB of {path}"
    assert str(caught.value).splitlines() == [
        "The settings have several problems:",
        f'  "WriteEndpoint" {place} is missing (or set AURORA_WRITE_ENDPOINT)',
        f'  "Database" {place} is missing (or set AURORA_DATABASE)',
        f'  "Port" {place} must be at least 1, not 0',
        "  AURORA_MAX_POOL_SIZE must be at least 1, not '0'",
    ]


def test_contradictions_across_sources_name_both_keys(monkeypatch, required):
    monkeypatch.setenv("AURORA_USE_SSL", "false")
    with pytest.raises(
        ConfigurationError, match=r"^AURORA_USE_SSL \(false\) contradicts ssl_mode \(require\)"
    ):
        AuroraSettings(**required, ssl_mode="require")


@pytest.mark.parametrize("name", ["MAXPOOLSIZE", "MAX_POOL_SISE", "PASSWORT"])
def test_a_misspelt_variable_is_refused(monkeypatch, required, name):
    monkeypatch.setenv(f"AURORA_{name}", SECRET)
    with pytest.raises(
        ConfigurationError, match=f"AURORA_{name} is no known setting; did you mean AURORA_"
    ) as caught:
        AuroraSettings(**required)
    assert SECRET not in str(caught.value)


def test_an_unknown_argument_is_refused(required):
    with pytest.raises(
        ConfigurationError, match="max_pol_size is no known setting; did you mean max_pool_size"
    ):
        AuroraSettings(**required, max_pol_size=3)


def test_model_validate_speaks_the_same(required):
    with pytest.raises(ConfigurationError, match="port must be at least 1"):
        AuroraSettings.model_validate({**required, "port": 0})


def everything_said(error):
    seen = []
    while error is not None:
        seen += [repr(error), str(error), repr(error.args), repr(vars(error))]
        seen += traceback.format_exception(error)
        error = error.__cause__ or error.__context__
    return "\n".join(seen)


@pytest.mark.parametrize(
    "cause",
    [
        lambda tmp, make: make(password=[SECRET]),
        lambda tmp, make: make(password=SECRET + "\0"),
        lambda tmp, make: make(password=SECRET, port=0),
        lambda tmp, make: make(password=SECRET, min_pool_size=10, max_pool_size=1),
        lambda tmp, make: make(token_secret=SECRET),
        lambda tmp, make: make(token_secret=SECRET * 2, port=0),
        lambda tmp, make: make(write_endpoint=f"postgresql://u:{SECRET}@h/d"),
        lambda tmp, make: make(port=f"postgresql://u:{SECRET}@h/d"),
        lambda tmp, make: make(passwort=SECRET),
        lambda tmp, make: AuroraSettings.from_url(f"postgresql://u:{SECRET}@h:bad/d"),
        lambda tmp, make: AuroraSettings.from_url(f"postgresql://u:{SECRET}@[h/d"),
        lambda tmp, make: AuroraSettings.from_url(f"postgresql://u:{SECRET}\u2100@h/d"),
        lambda tmp, make: AuroraSettings.from_json(_broken(tmp)),
        lambda tmp, make: AuroraSettings.from_json(_wrong(tmp)),
        lambda tmp, make: setattr(make(), "password", SECRET),
    ],
)
def test_no_error_and_nothing_behind_it_shows_a_secret(tmp_path, make, cause):
    with pytest.raises(Exception) as caught:
        cause(tmp_path, make)
    text = everything_said(caught.value).replace(f'SECRET = "{SECRET}"', "")
    assert SECRET not in text


def _broken(tmp):
    path = tmp / "a.json"
    path.write_text(f'{{"AuroraDB": {{"Password": "{SECRET}", oops')
    return path


def _wrong(tmp):
    path = tmp / "a.json"
    path.write_text(json.dumps({"AuroraDB": {"Password": {"Value": SECRET}, "Port": "x"}}))
    return path


def test_nothing_that_shows_settings_shows_a_secret(make):
    settings = make(password=SECRET)
    stream = io.StringIO()
    log = logging.Logger("test")  # noqa: LOG001 - one that no other test shares
    log.addHandler(logging.StreamHandler(stream))
    values = settings.connection_values("127.0.0.1", 5432)
    log.info("%s %r %s %r", settings, settings, values, values)
    log.warning("%(s)s", {"s": settings.model_dump()})
    shown = [
        repr(settings),
        str(settings),
        f"{settings}",
        stream.getvalue(),
        settings.model_dump_json(),
        repr(values),
    ]
    assert all(SECRET not in one for one in shown)
    assert settings.password.get_secret_value() == SECRET
    assert pickle.loads(pickle.dumps(settings)) == settings


@pytest.mark.parametrize("text", ["a", "a=", "=1", "a=-1", "a=x", "a=1,a=2", "a=0,b=0", "a=1,"])
def test_weights_that_cannot_work_are_refused_by_their_key(make, text):
    with pytest.raises(ConfigurationError, match=r"^reader_weights must |^reader_weights weighs"):
        make(reader_selection="weighted", reader_weights=text)


@pytest.mark.parametrize(
    "values", [{"reader_selection": "weighted"}, {"reader_weights": "a=1, b:5432=2.5"}]
)
def test_weights_and_their_selection_need_each_other(make, values):
    with pytest.raises(ConfigurationError, match="need each other"):
        make(**values)
    assert make(reader_selection="weighted", reader_weights="a=1, b:5432=2.5").weights() == {
        "a": 1.0,
        "b:5432": 2.5,
    }
