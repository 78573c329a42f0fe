import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_sql.errors import ConfigurationError
from aurora_sql.settings import AuroraSettings, SslMode
from aurora_sql.settings._json import _TOKENS, _blank

EXISTING = """\ufeff{
  // The section of a service that ran on .NET before
  "Logging": { "LogLevel": { "Default": "Information" } },
  "AuroraDB": {
    "Engine": "PostgreSQL",
    "WriteEndpoint": "shop.cluster-c1.eu-west-1.rds.amazonaws.com",
    "ReadEndpoint": "shop.cluster-ro-c1.eu-west-1.rds.amazonaws.com", /* load balanced */
    "Database": "shop",
    "Username": "app",
    "Password": "pw // \\"not a comment\\", } /* really */",
    "Port": 5433,
    "MaxPoolSize": 50,
    "MinPoolSize": 5,
    "ConnectionTimeout": 15,
    "CommandTimeout": "00:01:30",
    "EnableRetryOnFailure": true,
    "MaxRetryCount": 5,
    "MaxRetryDelay": "10s",
    "EnableSensitiveDataLogging": false,
    "EnableDetailedErrors": true,
    "EnableReadReplicas": true,
    "UseSSL": true,
    "SSLMode": "Require",
    "UseIAMAuthentication": false,
    "IAMRoleArn": "", // not used
  },
}
"""


def write(path, **values):
    path.write_text(
        json.dumps({"AuroraDB": {"WriteEndpoint": "h", "Database": "d", "Username": "u", **values}})
    )
    return path


def test_an_existing_appsettings_json_works_as_it_is(tmp_path):
    path = tmp_path / "appsettings.json"
    path.write_text(EXISTING, encoding="utf-8")
    settings = AuroraSettings.from_json(path)
    assert settings.writer_address() == ("shop.cluster-c1.eu-west-1.rds.amazonaws.com", 5433)
    assert settings.reader_addresses() == (
        ("shop.cluster-ro-c1.eu-west-1.rds.amazonaws.com", 5433),
    )
    assert settings.password.get_secret_value() == 'pw // "not a comment", } /* really */'
    assert (settings.max_pool_size, settings.min_pool_size) == (50, 5)
    assert (settings.connection_timeout, settings.command_timeout) == (15.0, 90.0)
    assert (settings.max_retry_count, settings.max_retry_delay) == (5, 10.0)
    assert settings.ssl_mode is SslMode.REQUIRE
    assert settings.shows_server_detail
    assert settings.shows_statement_text
    assert not settings.shows_parameter_values
    assert settings.iam_role_arn is None


def test_the_defaults(required):
    settings = AuroraSettings(**required)
    assert (settings.port, settings.max_pool_size, settings.min_pool_size) == (5432, 100, 10)
    assert (settings.connection_timeout, settings.command_timeout) == (30.0, 60.0)
    assert (settings.max_retry_count, settings.max_retry_delay) == (3, 30.0)
    assert settings.retry_budget == 500
    assert settings.enable_retry_on_failure
    assert settings.enable_read_replicas
    assert settings.reader_addresses() == ()
    assert not settings.shows_parameter_values
    assert not settings.shows_server_detail


def test_the_minimum_follows_a_small_maximum(make):
    assert make(max_pool_size=4).min_pool_size == 4


def test_call_then_environment_then_dotenv_then_file(monkeypatch, tmp_path):
    write(tmp_path / "a.json", Port=1, MaxPoolSize=11, MaxRetryCount=1, MaxWaiting=1)
    (tmp_path / ".env").write_text(
        "AURORA_PORT=2\nAURORA_MAX_POOL_SIZE=12\nAURORA_MAX_RETRY_COUNT=2\nOTHER=1\n"
    )
    monkeypatch.setenv("AURORA_PORT", "3")
    monkeypatch.setenv("AURORA_MAX_POOL_SIZE", "13")
    from_file = AuroraSettings.from_json("a.json")
    assert (
        from_file.port,
        from_file.max_pool_size,
        from_file.max_retry_count,
        from_file.max_waiting,
    ) == (3, 13, 2, 1)
    called = AuroraSettings(write_endpoint="h", database="d", username="u", port=4)
    assert (called.port, called.max_pool_size, called.max_retry_count) == (4, 13, 2)
    from_url = AuroraSettings.from_url("postgresql://u@h/d?max_pool_size=14")
    assert (from_url.port, from_url.max_pool_size, from_url.max_retry_count) == (3, 14, 2)


def test_exact_values_read_no_environment(monkeypatch, make):
    monkeypatch.setenv("AURORA_PORT", "3")
    monkeypatch.setenv("AURORA_MAX_POL_SIZE", "3")
    assert make().port == 5432
    assert make(port=7).replace({"max_pool_size": 9}).port == 7


def test_an_empty_variable_counts_as_not_set(monkeypatch, tmp_path, required):
    (tmp_path / ".env").write_text("AURORA_PORT=2\n")
    monkeypatch.setenv("AURORA_PORT", "")
    monkeypatch.setenv("AURORA_READ_ENDPOINT", "")
    settings = AuroraSettings(**required)
    assert settings.port == 2
    assert settings.read_endpoint is None


def test_variables_of_others_are_left_alone(monkeypatch, required):
    monkeypatch.setenv("AURORA_SQL_PG_BIN", "/usr/bin")
    monkeypatch.setenv("AURORA_SERVICE_HOST", "10.0.0.1")
    assert AuroraSettings(**required).database == "shop"


def test_all_from_the_environment(monkeypatch):
    for name, value in {"WRITE_ENDPOINT": "w", "READ_ENDPOINT": "r1,r2:7", "DATABASE": "d", "USERNAME": "u",
                        "PASSWORD": " p ", "CONNECTION_TIMEOUT": "500ms", "ENABLE_READ_REPLICAS": "yes"}.items():  # fmt: skip
        monkeypatch.setenv(f"AURORA_{name}", value)
    settings = AuroraSettings()
    assert settings.reader_addresses() == (("r1", 5432), ("r2", 7))
    assert settings.password.get_secret_value() == " p "
    assert settings.connection_timeout == 0.5


def test_readers_can_be_switched_off(make):
    assert make(read_endpoint="r", enable_read_replicas=False).reader_addresses() == ()


def test_settings_cannot_be_changed_and_replace_checks_again(make):
    settings = make(password="geheim")
    with pytest.raises(ConfigurationError, match="frozen"):
        settings.port = 1
    changed = settings.replace({"max_pool_size": 5})
    assert (changed.max_pool_size, changed.min_pool_size, settings.max_pool_size) == (5, 5, 100)
    assert changed.password == settings.password
    with pytest.raises(ConfigurationError, match="max_pool_size must be at least 1, not 0"):
        settings.replace({"max_pool_size": 0})


@pytest.mark.parametrize("section", ["Data:AuroraDB", "data:auroradb", "AuroraDB"])
def test_a_section_below_the_top(tmp_path, section):
    path = tmp_path / "a.json"
    path.write_text(
        '{"Data": {"AuroraDB": {"writeendpoint": "h", "DATABASE": "d", "Username": "u"}}}'
    )
    assert AuroraSettings.from_json(path, section).write_endpoint == "h"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1, column 2"),
        ('{\n  "AuroraDB": {\n    "Port": 1 // one\n    "Database": 2 }}', "line 4, column 5"),
        ("[]", "must hold a JSON object"),
        ('{"Logging": {}}', "no section AuroraDB; it has Logging"),
        ("{}", "it has no sections"),
        ('{"AuroraDb2": {}}', "did you mean AuroraDb2"),
        ('{"AuroraDB": 3}', "must be a JSON object"),
        ('{"A": {"AuroraDB": {}}, "B": {"AuroraDB": {}}}', "A:AuroraDB, B:AuroraDB"),
        ('{"AuroraDB": {"Port": 1, "Port": 2}}', '"Port" stands twice'),
        ('{"AuroraDB": {"Port": 1, "port": 2}}', '"port" in section AuroraDB .* twice'),
        ('{"AuroraDB": {"Port": NaN}}', "NaN is no JSON number"),
        ("\x00", "is not JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_wrong(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        AuroraSettings.from_json(path)
    assert str(path) in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigurationError, match=r"none\.json cannot be read: No such file"):
        AuroraSettings.from_json(tmp_path / "none.json")
    (tmp_path / "latin.json").write_bytes(b'{"AuroraDB": "\xff"}')
    with pytest.raises(ConfigurationError, match="is not UTF-8"):
        AuroraSettings.from_json(tmp_path / "latin.json")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("MaxPoolSise", 'did you mean "MaxPoolSize"'),
        ("max_pool_size", 'did you mean "MaxPoolSize"'),
        ("SslMod", 'did you mean "SSLMode"'),
        ("_env_file", "is no known setting$"),
        ("_origin", "is no known setting$"),
        ("self", "is no known setting$"),
    ],
)
def test_an_unknown_key_is_refused_with_the_closest_one(tmp_path, key, message):
    path = write(tmp_path / "a.json", **{key: 3})
    with pytest.raises(ConfigurationError, match=message) as caught:
        AuroraSettings.from_json(path)
    assert f'"{key}" in section AuroraDB of {path}' in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values, st.sampled_from([None, 2]))
def test_taking_out_comments_leaves_json_as_it_is(value, indent):
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    assert _TOKENS.sub(_blank, text) == text


@given(
    st.lists(st.text(), min_size=1, max_size=4),
    st.sampled_from([", // x, ]\n", ",/* ] */", ", \n"]),
)
def test_comments_and_trailing_commas_are_taken_out(value, tail):
    text = "[/* [ */" + ",".join(json.dumps(one) for one in value) + tail + "]"
    assert json.loads(_TOKENS.sub(_blank, text)) == value


def test_a_url_gives_its_parts():
    settings = AuroraSettings.from_url(
        "postgresql://app%40x:p%40%2F%3A%25w@db.example.com:6000/my%20shop"
        "?sslmode=verify-full&sslrootcert=/etc/ca.pem&read=r1,[::1]:7&connect_timeout=5&application_name=a%20b"
    )
    assert settings.username == "app@x"
    assert settings.password.get_secret_value() == "p@/:%w"
    assert settings.writer_address() == ("db.example.com", 6000)
    assert settings.database == "my shop"
    assert settings.reader_addresses() == (("r1", 5432), ("::1", 7))
    assert settings.ssl_mode is SslMode.VERIFY_FULL
    assert settings.ssl_root_cert == "/etc/ca.pem"
    assert settings.connection_timeout == 5.0
    assert settings.application_name == "a b"


def test_the_port_is_that_of_the_engine():
    assert AuroraSettings.from_url("mysql://u:p@h/d").writer_address() == ("h", 3306)
    assert AuroraSettings.from_url("mysql://u:p@h:3307/d").writer_address() == ("h", 3307)
    assert AuroraSettings.from_url("postgresql://u:p@h/d").writer_address() == ("h", 5432)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("postgres://u@[::1]:6/d", "::1"),
        ("postgresql://u@%2Ftmp%2Frun:6/d", "/tmp/run"),
        ("postgresql://u@h:6/d", "h"),
    ],
)
def test_hosts_in_a_url(url, host):
    assert AuroraSettings.from_url(url).writer_address() == (host, 6)


@given(
    st.text(min_size=1).filter(lambda text: "\0" not in text and text.strip()),
    st.text(min_size=1).filter(lambda text: "\0" not in text and text.strip()),
)
def test_any_user_and_password_come_through_a_url(user, password):
    from urllib.parse import quote

    try:
        url = f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@h/d"
    except UnicodeEncodeError:
        return
    settings = AuroraSettings.from_url(url)
    assert settings.username == user
    assert settings.password.get_secret_value() == password


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://u:geheim@h/d", "begin with"),
        ("u:geheim@h/d", "begin with"),
        ("", "begin with"),
        ("postgresql:u:geheim@h/d", "look like"),
        ("postgresql://u:geheim@[h/d", "cannot be read"),
        ("postgresql://u:geheim@h1,h2/d", "several hosts.*read="),
        ("postgresql://u:geheim#x@h/d", "%23"),
        ("postgresql://u:geheim/x@h/d", "%2F"),
        ("postgresql://u:geheim?x@h/d", "%3F"),
        ("postgresql://u:x@geheim/y@h/d", "%2F"),
        ("postgresql://u:geheim@h/d?sslmod=require", "unknown 'sslmod'.*did you mean sslmode"),
        ("postgresql://u:geheim@h/d?sslcert=x", "unknown 'sslcert'"),
        ("postgresql://u@h/d?password=geheim", "must not give password"),
        ("postgresql://u@h/d?token_secret=geheim", "must not give token_secret"),
        ("postgresql://u:geheim@h/d?sslmode=require&ssl_mode=disable", "'ssl_mode' twice"),
        ("postgresql://u:geheim@h:x/d", "the URL's host must have a port"),
        ("postgresql://u:geheim@h/", "the URL's database is missing"),
        ("postgresql://u:geheim@/d", "the URL's host is missing"),
        ("postgresql://:geheim@h/d", "the URL's user is missing"),
        (
            "postgresql://u:geheim@h/d?sslmode=maybe",
            "the URL's sslmode must be one of disable, allow.*not 'maybe'",
        ),
        ("postgresql://u:geheim%00@h/d", "the URL's password must not hold a NUL"),
    ],
)
def test_a_url_that_is_wrong_is_not_repeated(url, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        AuroraSettings.from_url(url)
    assert "geheim" not in str(caught.value)


def test_dotenv_beside_the_process_only(tmp_path, monkeypatch, required):
    (tmp_path / ".env").write_text("AURORA_MAX_POOL_SIZE=many\n")
    with pytest.raises(
        ConfigurationError,
        match=r"AURORA_MAX_POOL_SIZE in the \.env file must be a whole number, not 'many'",
    ):
        AuroraSettings(**required)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert AuroraSettings(**required).max_pool_size == 100
    assert "AURORA_MAX_POOL_SIZE" not in os.environ
