"""Each SSLMode against a real server: what it accepts, and what it refuses."""

import pytest

from aurora_sql import migrations
from aurora_sql.errors import AuthenticationFailed, ConfigurationError, ConnectionFailed, TlsError

SECURE = ("TLSv1.2", "TLSv1.3")


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-ca", "verify-full"])
async def test_a_good_certificate_is_taken(server, tls_version, right_root, mode):
    assert await tls_version(server.with_mode(mode, right_root)) in SECURE


async def test_require_without_a_root_encrypts_and_checks_nothing(server, tls_version):
    server.use("other-name")
    assert await tls_version(server.with_mode("require")) in SECURE


async def test_disable_never_tries(server, tls_version):
    assert await tls_version(server.with_mode("disable")) is None


@pytest.mark.parametrize("server", ["front"], indirect=True)
async def test_disable_does_not_even_ask(server, tls_version, empty):
    settings = server.with_mode("disable")
    await tls_version(settings)
    await migrations.status(settings, empty)
    assert server.asked == []


async def test_allow_goes_plain_where_it_may(server, tls_version):
    assert await tls_version(server.with_mode("allow")) is None


async def test_allow_goes_secure_where_it_must(server, tls_version):
    server.rules("hostssl")
    assert await tls_version(server.with_mode("allow")) in SECURE


async def test_prefer_goes_plain_where_it_must(server, tls_version):
    server.rules("hostnossl")
    assert await tls_version(server.with_mode("prefer")) is None


async def test_disable_does_not_give_in_to_a_server_that_wants_tls(server, tls_version):
    server.rules("hostssl")
    with pytest.raises(AuthenticationFailed):
        await tls_version(server.with_mode("disable"))


async def test_require_does_not_give_in_to_a_server_that_wants_plain_text(server, tls_version):
    server.rules("hostnossl")
    with pytest.raises(AuthenticationFailed):
        await tls_version(server.with_mode("require"))


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_a_wrong_authority_is_refused(server, tls_version, wrong_root, mode):
    with pytest.raises(TlsError, match="not trusted"):
        await tls_version(server.with_mode(mode, wrong_root))


async def test_the_machine_does_not_trust_our_authority(server, tls_version):
    for root in (None, "system"):
        with pytest.raises(TlsError, match="not trusted"):
            await tls_version(server.with_mode("verify-full", root))


async def test_the_name_is_checked_by_verify_full_alone(server, tls_version, right_root):
    server.use("other-name")
    assert await tls_version(server.with_mode("verify-ca", right_root)) in SECURE
    with pytest.raises(TlsError, match=r"not trusted.*mismatch"):
        await tls_version(server.with_mode("verify-full", right_root))


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_an_expired_certificate_is_refused(server, tls_version, right_root, mode):
    server.use("expired")
    with pytest.raises(TlsError, match=r"not trusted.*expired"):
        await tls_version(server.with_mode(mode, right_root))


async def test_an_expired_certificate_does_not_matter_where_nothing_is_checked(server, tls_version):
    server.use("expired")
    assert await tls_version(server.with_mode("require")) in SECURE


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_a_server_without_tls_is_refused(server, tls_version, right_root, mode):
    server.use(None)
    with pytest.raises(TlsError):
        await tls_version(server.with_mode(mode, right_root))


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
async def test_a_server_without_tls_is_taken_where_that_is_allowed(server, tls_version, mode):
    server.use(None)
    assert await tls_version(server.with_mode(mode)) is None


async def test_the_default_for_loopback_uses_tls_if_it_is_there(server, tls_version):
    assert await tls_version(server.settings.replace({"ssl_mode": None})) in SECURE


async def test_a_missing_root_file_is_found_before_anything_is_sent(server, tls_version, tmp_path):
    with pytest.raises(ConfigurationError, match=r"ssl_root_cert: .*No such file"):
        await tls_version(server.with_mode("verify-full", str(tmp_path / "none.pem")))


# The same for migrations, which go by another driver.


@pytest.fixture
def empty(tmp_path):
    folder = tmp_path / "none"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full", "prefer"])
async def test_migrations_take_a_good_certificate(server, right_root, empty, mode):
    server.rules("hostssl")
    assert await migrations.status(server.with_mode(mode, right_root), empty) == ()


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_migrations_refuse_a_wrong_authority(server, wrong_root, empty, mode):
    with pytest.raises(TlsError, match="certificate verify failed"):
        await migrations.status(server.with_mode(mode, wrong_root), empty)


async def test_migrations_check_the_name(server, right_root, empty):
    server.use("other-name")
    assert await migrations.status(server.with_mode("verify-ca", right_root), empty) == ()
    with pytest.raises(TlsError, match="does not match"):
        await migrations.status(server.with_mode("verify-full", right_root), empty)


async def test_migrations_use_the_roots_of_the_machine(server, empty):
    with pytest.raises(TlsError, match="certificate verify failed"):
        await migrations.status(server.with_mode("verify-full"), empty)


async def test_migrations_refuse_a_server_without_tls(server, empty):
    server.use(None)
    with pytest.raises(TlsError, match="does not support SSL"):
        await migrations.status(server.with_mode("require"), empty)
    assert await migrations.status(server.with_mode("prefer"), empty) == ()


async def test_migrations_with_disable_stay_plain(server, empty):
    server.rules("hostssl")
    with pytest.raises(ConnectionFailed, match="no encryption"):
        await migrations.status(server.with_mode("disable"), empty)
