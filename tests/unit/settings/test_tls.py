import ssl

import pytest

from aurora_sql.errors import ConfigurationError
from aurora_sql.settings import SslMode


@pytest.fixture
def root(tmp_path):
    """A file with one certificate of an authority."""
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test root")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
    )  # fmt: skip
    path = tmp_path / "root.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "root.der").write_bytes(certificate.public_bytes(serialization.Encoding.DER))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.mark.parametrize(
    ("host", "values", "mode"),
    [
        ("db.example.com", {}, SslMode.VERIFY_FULL),
        ("10.0.0.1", {}, SslMode.VERIFY_FULL),
        ("localhost", {}, SslMode.PREFER),
        ("127.0.0.5", {}, SslMode.PREFER),
        ("::1", {}, SslMode.PREFER),
        ("/tmp", {}, SslMode.DISABLE),
        ("127.0.0.1", {"use_ssl": True}, SslMode.VERIFY_FULL),
        ("127.0.0.1", {"use_ssl": False}, SslMode.DISABLE),
        ("db.example.com", {"ssl_mode": "disable"}, SslMode.DISABLE),
        ("127.0.0.1", {"ssl_mode": "require"}, SslMode.REQUIRE),
    ],
)
def test_the_mode_of_a_host(make, host, values, mode):
    assert make(**values).ssl_mode_for(host) is mode


@pytest.mark.parametrize(
    ("mode", "with_root", "verify", "names", "optional", "plain_first"),
    [
        ("allow", False, False, False, True, True),
        ("prefer", False, False, False, True, False),
        ("prefer", True, False, False, True, False),
        ("require", False, False, False, False, False),
        ("require", True, True, False, False, False),
        ("verify-ca", True, True, False, False, False),
        ("verify-full", True, True, True, False, False),
        ("verify-full", False, True, True, False, False),
    ],
)
def test_what_each_mode_checks(make, root, mode, with_root, verify, names, optional, plain_first):
    plan = make(ssl_mode=mode, ssl_root_cert=str(root) if with_root else None).tls_plan("127.0.0.1")
    assert plan.context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert plan.context.verify_mode is (ssl.CERT_REQUIRED if verify else ssl.CERT_NONE)
    assert plan.context.check_hostname is names
    assert (plan.optional, plan.only_if_required) == (optional, plain_first)
    if verify and with_root:
        assert [
            dict(part[0] for part in one["subject"])["commonName"]
            for one in plan.context.get_ca_certs()
        ] == ["test root"]


def test_disable_has_no_context(make, root):
    settings = make(ssl_mode="disable", ssl_root_cert=str(root))
    assert settings.tls_context() is None
    assert settings.tls_plan("db").optional is False


def test_the_context_follows_the_host(make):
    settings = make(read_endpoint="db.example.com")
    assert settings.tls_context().verify_mode is ssl.CERT_NONE
    assert settings.tls_context("db.example.com").verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.pem", "No such file"),
        ("", "Is a directory"),
        ("root.der", "no certificate in PEM"),
        ("key.pem", "no certificate in PEM"),
        ("empty", "no certificate in PEM"),
    ],
)
def test_a_root_file_that_cannot_work(make, root, name, message):
    (root.parent / "empty").write_text("")
    path = str(root.parent / name)
    with pytest.raises(ConfigurationError, match=f"ssl_root_cert: .*{message}"):
        make(ssl_mode="verify-full", ssl_root_cert=path).tls_context()


def test_the_system_roots_by_name(make):
    context = make(ssl_mode="verify-full", ssl_root_cert="system").tls_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
