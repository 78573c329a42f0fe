"""What the name of an endpoint says: which kind it is, and how its cluster's instances are called.

The forms of the names are those of AWS's documentation (Aurora User Guide, "Aurora endpoint
connections"; RDS Proxy; Aurora Global Database; the guides of the China regions) and of the
patterns in AWS's own drivers, which also know the partitions without public documentation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from aurora_sql.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aurora_sql.settings import AuroraSettings

Address = tuple[str, int]
"""Host and port."""


class EndpointKind(StrEnum):
    """What answers at an endpoint."""

    CLUSTER = "cluster"
    """The writer, with the delay of DNS after a failover."""
    READER = "reader"
    """One of the readers; the writer where there is none."""
    CUSTOM = "custom"
    """One of the instances that somebody chose."""
    INSTANCE = "instance"
    PROXY = "proxy"
    """RDS Proxy, which hides the instances."""
    GLOBAL = "global"
    """The writer of a global database, whichever region it is in."""
    SHARD_GROUP = "shard group"
    """A router of Aurora Limitless."""
    OTHER = "other"
    """An address, a CNAME, another server: the name tells nothing."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What the name of an endpoint says.

    Attributes:
        kind: What answers there.
        region: AWS region, None where the name has none.
        domain: What follows the names of the cluster's instances, such as
            ``HASH.eu-west-1.rds.amazonaws.com``; None where the name does not tell.
    """

    kind: EndpointKind
    region: str | None = None
    domain: str | None = None


_KINDS: Final = {
    "cluster-": EndpointKind.CLUSTER,
    "cluster-ro-": EndpointKind.READER,
    "cluster-custom-": EndpointKind.CUSTOM,
    "proxy-": EndpointKind.PROXY,
    "global-": EndpointKind.GLOBAL,
    "shardgrp-": EndpointKind.SHARD_GROUP,
    None: EndpointKind.INSTANCE,
}
_WITH_INSTANCES: Final = frozenset(
    {EndpointKind.CLUSTER, EndpointKind.READER, EndpointKind.CUSTOM, EndpointKind.INSTANCE}
)

# NAME.cluster-HASH.REGION.rds.amazonaws.com; China's newer names and those of the closed
# partitions have the service before the region. A further endpoint of a proxy is two labels.
_AWS: Final = re.compile(
    r"""
    [^.]+ (?: \.endpoint (?=\.proxy-) )?
    \. (?P<kind> cluster- | cluster-ro- | cluster-custom- | proxy- | global- | shardgrp- )?
    (?P<domain>
        [a-z0-9]+
        \. (?: (?P<region>[a-z0-9-]+) \.rds(?:-fips)?
             | rds(?:-fips)?\. (?P<late_region>[a-z0-9-]+) )
        \. (?: amazonaws\.(?:com|com\.cn|eu|uk|au) | c2s\.ic\.gov | sc2s\.sgov\.gov )
    )
    \.?
    """,
    re.VERBOSE | re.ASCII,
)


def read_endpoint(host: str) -> Endpoint:
    """Return what the name of a host says of the endpoint, whatever its case.

    Args:
        host: Host name or address, without a port.
    """
    match = _AWS.fullmatch(host.lower())
    if match is None:
        return Endpoint(EndpointKind.OTHER)
    kind = _KINDS[match["kind"]]
    return Endpoint(
        kind=kind,
        region=None if kind is EndpointKind.GLOBAL else match["region"] or match["late_region"],
        domain=match["domain"] if kind in _WITH_INSTANCES else None,
    )


_NO_PATTERN: Final = {
    EndpointKind.PROXY: (
        "is an RDS Proxy, which hides the instances: use topology static, or name the cluster"
        " endpoint"
    ),
    EndpointKind.SHARD_GROUP: (
        "is a shard group, whose routers are no instances of a cluster: use topology static"
    ),
    EndpointKind.GLOBAL: (
        "is the endpoint of a global database and does not say how the instances of a region are"
        " called: set instance_endpoints, such as '?.HASH.REGION.rds.amazonaws.com'"
    ),
    EndpointKind.OTHER: (
        "does not say how the instances are called: set instance_endpoints, such as"
        " '?.HASH.REGION.rds.amazonaws.com' or 'one=db1.example.com:5432, two=db2.example.com:5432'"
    ),
}


@dataclass(frozen=True, slots=True)
class InstanceAddresses:
    """Where an instance is found by its identifier.

    Attributes:
        named: Addresses by identifier.
        pattern: Host, with one ``?`` where the identifier goes, and port of all others; None
            where there is no such rule.
    """

    named: Mapping[str, Address]
    pattern: Address | None

    @classmethod
    def of_settings(cls, settings: AuroraSettings) -> InstanceAddresses:
        """Take what the settings say, else what the name of the write endpoint tells.

        Raises:
            ConfigurationError: Neither tells: the write endpoint is an address, a CNAME, a global
                database, a shard group or a proxy.
        """
        named = settings.instance_addresses()
        if named:
            pattern = named.pop("?", None)
            return cls(named, pattern)
        host, port = settings.writer_address()
        found = read_endpoint(host)
        if found.domain is None:
            raise ConfigurationError(f"write_endpoint ({host}) {_NO_PATTERN[found.kind]}")
        return cls({}, (f"?.{found.domain}", port))

    def find(self, instance_id: str) -> Address | None:
        """Return host and port of an instance; None where nothing tells."""
        if instance_id in self.named or self.pattern is None:
            return self.named.get(instance_id)
        host, port = self.pattern
        return host.replace("?", instance_id), port
