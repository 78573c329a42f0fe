"""What the names of endpoints say, in every partition, and the addresses that follow from them."""

import pytest

from aurora_sql.cluster._endpoints import EndpointKind, InstanceAddresses, read_endpoint
from aurora_sql.errors import ConfigurationError
from aurora_sql.settings import AuroraSettings

DOMAINS = [
    ("c9akciq32.eu-west-1.rds.amazonaws.com", "eu-west-1"),
    ("c9akciq32.us-gov-west-1.rds.amazonaws.com", "us-gov-west-1"),
    ("c9akciq32.rds.us-gov-east-1.amazonaws.com", "us-gov-east-1"),
    ("c9akciq32.us-gov-west-1.rds-fips.amazonaws.com", "us-gov-west-1"),
    ("c9akciq32.rds.cn-northwest-1.amazonaws.com.cn", "cn-northwest-1"),
    ("c9akciq32.cn-north-1.rds.amazonaws.com.cn", "cn-north-1"),
    ("c9akciq32.eusc-de-east-1.rds.amazonaws.eu", "eusc-de-east-1"),
    ("c9akciq32.rds.us-iso-east-1.c2s.ic.gov", "us-iso-east-1"),
    ("c9akciq32.rds.us-isob-east-1.sc2s.sgov.gov", "us-isob-east-1"),
]
PREFIXES = [
    ("cluster-", EndpointKind.CLUSTER),
    ("cluster-ro-", EndpointKind.READER),
    ("cluster-custom-", EndpointKind.CUSTOM),
    ("", EndpointKind.INSTANCE),
]


def settings(**values):
    """Settings of which only the endpoints matter."""
    return AuroraSettings.from_values({"database": "d", "username": "u", **values})


@pytest.mark.parametrize(("domain", "region"), DOMAINS)
@pytest.mark.parametrize(("prefix", "kind"), PREFIXES)
@pytest.mark.parametrize("ending", ["", "."])
def test_the_pattern_follows_from_any_endpoint_of_a_cluster(domain, region, prefix, kind, ending):
    host = f"shop-1.{prefix}{domain}{ending}"
    found = read_endpoint(host)
    assert (found.kind, found.region, found.domain) == (kind, region, domain)
    addresses = InstanceAddresses.of_settings(settings(write_endpoint=f"{host}:5433"))
    assert addresses == InstanceAddresses({}, (f"?.{domain}", 5433))
    assert addresses.find("shop-instance-2") == (f"shop-instance-2.{domain}", 5433)


def test_the_case_of_a_name_does_not_matter():
    host = "Shop.CLUSTER-C9AKCIQ32.eu-west-1.RDS.amazonaws.com"
    assert read_endpoint(host) == read_endpoint(host.lower())
    assert read_endpoint(host).kind is EndpointKind.CLUSTER


@pytest.mark.parametrize(
    ("host", "kind", "region", "reason"),
    [
        (
            "shop.proxy-c9akciq32.eu-west-1.rds.amazonaws.com",
            EndpointKind.PROXY,
            "eu-west-1",
            "is an RDS Proxy",
        ),
        (
            "reads.endpoint.proxy-c9akciq32.eu-west-1.rds.amazonaws.com",
            EndpointKind.PROXY,
            "eu-west-1",
            "is an RDS Proxy",
        ),
        (
            "shop.proxy-c9akciq32.rds.cn-north-1.amazonaws.com.cn",
            EndpointKind.PROXY,
            "cn-north-1",
            "is an RDS Proxy",
        ),
        (
            "shop.global-c9akciq32.global.rds.amazonaws.com",
            EndpointKind.GLOBAL,
            None,
            "set instance_endpoints",
        ),
        (
            "shop.shardgrp-c9akciq32.eu-west-1.rds.amazonaws.com",
            EndpointKind.SHARD_GROUP,
            "eu-west-1",
            "is a shard group",
        ),
        *(
            (host, EndpointKind.OTHER, None, "set instance_endpoints")
            for host in (
                "db.example.com",
                "localhost",
                "10.0.3.4",
                "::1",
                "shop.cluster-c9akciq32.eu-west-1.rds.amazonaws.com.example.com",
                "shop.cluster-c9akciq32.eu-west-1.elb.amazonaws.com",
                "a.shop.cluster-c9akciq32.eu-west-1.rds.amazonaws.com",
                "cluster-c9akciq32.eu-west-1.rds.amazonaws.com",
                "shop.cluster-new-c9akciq32.eu-west-1.rds.amazonaws.com",
                "reads.endpoint.cluster-c9akciq32.eu-west-1.rds.amazonaws.com",
            )
        ),
    ],
)
def test_a_name_that_does_not_tell_is_refused_with_what_to_do(host, kind, region, reason):
    found = read_endpoint(host)
    assert (found.kind, found.region, found.domain) == (kind, region, None)
    with pytest.raises(ConfigurationError) as caught:
        InstanceAddresses.of_settings(settings(write_endpoint=f"[{host}]" if ":" in host else host))
    assert f"write_endpoint ({host})" in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("?.db.example.com", ("a-1.db.example.com", 5432)),
        (" db-?.example.com:6000 ", ("db-a-1.example.com", 6000)),
        ("?", ("a-1", 5432)),
        ("a-1=10.0.0.1:6000", ("10.0.0.1", 6000)),
        ("b=10.0.0.2, a-1 = [::1]", ("::1", 5432)),
        ("?.db.example.com:6000, a-1=10.0.0.1", ("10.0.0.1", 5432)),
        ("?.db.example.com:6000,b=10.0.0.1", ("a-1.db.example.com", 6000)),
        ("b=10.0.0.2", None),
    ],
)
def test_addresses_can_be_configured(text, address):
    given = settings(write_endpoint="10.0.0.9", instance_endpoints=text)
    assert InstanceAddresses.of_settings(given).find("a-1") == address


@pytest.mark.parametrize(
    "text",
    [
        *("db.example.com", "?.?.example.com", "db.example.com:?", "?_.a b", "?:0", "[::?]"),
        *("a=", "=10.0.0.1", "a=10.0.0.1,a=10.0.0.2", "?.x,?.y", "a=?.x", "a=10.0.0.1,", "a=b:c"),
    ],
)
def test_addresses_that_cannot_work_are_refused_by_their_key(text):
    with pytest.raises(ConfigurationError, match=r"^instance_endpoints "):
        settings(write_endpoint="10.0.0.9", instance_endpoints=text)


def test_static_endpoints_need_no_addresses_of_instances():
    with pytest.raises(ConfigurationError, match=r"instance_endpoints is of no use with topology"):
        settings(write_endpoint="10.0.0.9", instance_endpoints="?.x", topology="static")
