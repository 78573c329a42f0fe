"""What the name of an endpoint says: which kind it is, and how its cluster's instances are called.

The forms of the names are those of AWS's documentation (Aurora User Guide, "Aurora endpoint
connections"; RDS Proxy; Aurora Global Database; the guides of the China regions) and of the
patterns in AWS's own drivers, which also know the partitions without public documentation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from aurora_sql.errors import ConfigurationError
from aurora_sql.settings import parse_address

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


_NO_TEMPLATE: Final = {
    EndpointKind.PROXY: (
        "is an RDS Proxy, which hides the instances: use topology static, or name the cluster"
        " endpoint"
    ),
    EndpointKind.SHARD_GROUP: (
        "is a shard group, whose routers are no instances of a cluster: use topology static"
    ),
    EndpointKind.GLOBAL: (
        "is the endpoint of a global database and does not say how the instances of a region are"
        " called: set instance_endpoint_template, such as '?.HASH.REGION.rds.amazonaws.com'"
    ),
    EndpointKind.OTHER: (
        "does not say how the instances are called: set instance_endpoint_template, such as"
        " '?.HASH.REGION.rds.amazonaws.com' or '?.db.example.com:5432'"
    ),
}


@dataclass(frozen=True, slots=True)
class InstanceTemplate:
    """How the address of an instance follows from its identifier.

    Attributes:
        host: Host name with one ``?`` where the identifier goes.
        port: TCP port of every instance.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, default_port: int) -> InstanceTemplate:
        """Read a template as it is configured: ``?.db.example.com`` or ``?.db.example.com:5432``.

        Args:
            text: The template.
            default_port: Port where it names none.

        Raises:
            ConfigurationError: It has not exactly one ``?``, or is no host without it.
        """
        if text.count("?") != 1:
            raise ConfigurationError(
                f"instance_endpoint_template ({text!r}) must have one '?', where the identifier of"
                " an instance goes"
            )
        try:
            _, port = parse_address(text.replace("?", "x"), default_port)
        except ValueError as error:
            raise ConfigurationError(
                f"instance_endpoint_template ({text!r}) must be host or host:port with a '?' in"
                " the host"
            ) from error
        return cls(text.strip().partition(":")[0], port)

    @classmethod
    def of_endpoint(cls, host: str, port: int) -> InstanceTemplate:
        """Derive it from an endpoint of the cluster, or from one of its instances.

        Args:
            host: Name of the endpoint, such as ``shop.cluster-HASH.eu-west-1.rds.amazonaws.com``.
            port: TCP port; all instances of a cluster have the same.

        Raises:
            ConfigurationError: The name does not tell: an address, a CNAME, a global database, a
                shard group or a proxy.
        """
        found = read_endpoint(host)
        if found.domain is None:
            raise ConfigurationError(f"write_endpoint ({host}) {_NO_TEMPLATE[found.kind]}")
        return cls(f"?.{found.domain}", port)

    def address(self, instance_id: str) -> Address:
        """Return host and port of an instance."""
        return self.host.replace("?", instance_id), self.port
