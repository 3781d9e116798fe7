"""Pure: what a cluster is made of: ClusterConfig, with every default. config_file.py reads one."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from podwire.errors import ConfigError

Backend = Literal["vxlan", "host-gw"]
ProxyMode = Literal["userspace", "nftables", "iptables", "ipvs"]

POD_SUBNET = IPv4Network("10.244.0.0/16")
SERVICE_SUBNET = IPv4Network("10.96.0.0/12")
UNDERLAY = IPv4Network("192.168.1.0/24")
OUTSIDE = IPv4Network("203.0.113.0/24")
LOCALHOST = IPv4Address("127.0.0.1")
MOST_NODES = 200  # 192.168.1.10 .. .209 on the underlay


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A TCP port of the host that leads to a port of a node."""

    container_port: int
    host_port: int = 0  # 0: any free port
    listen_address: IPv4Address = LOCALHOST


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """One node of the cluster."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    extra_port_mappings: tuple[PortMapping, ...] = ()


def numbered_nodes(count: int) -> tuple[NodeConfig, ...]:
    """Return *count* nodes named node-1, node-2, ..."""
    return tuple(NodeConfig(f"node-{number}") for number in range(1, count + 1))


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """What a cluster is made of; every default is here."""

    name: str = "podwire"
    nodes: tuple[NodeConfig, ...] = numbered_nodes(3)
    pod_subnet: IPv4Network = POD_SUBNET
    service_subnet: IPv4Network = SERVICE_SUBNET
    underlay: IPv4Network = UNDERLAY
    outside: IPv4Network = OUTSIDE
    api_server_address: IPv4Address = LOCALHOST
    api_server_port: int = 0  # 0: any free port
    dns_domain: str = "cluster.local"
    # Search domains of the nodes; and the whole /etc/resolv.conf of the nodes, empty: one with
    # these domains, and a nameserver where nobody listens.
    dns_search: tuple[str, ...] = ()
    resolv_conf: str = ""
    backend: Backend = "vxlan"
    proxy_mode: ProxyMode = "userspace"
    # What images run that the catalogue does not have, or has otherwise: name -> command.
    images: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])


def checked_name(name: str) -> str:
    """Return *name* if it can name a cluster; raises ConfigError.

    It becomes part of a socket's name, a context and a host name: a DNS label (RFC 1123), and at
    most 40 characters, so that `podwire-NAME-worker` still is one.
    """
    if not is_label(name) or len(name) > 40:
        raise ConfigError(
            f"{name!r} cannot name a cluster\n"
            "  use at most 40 of a-z, 0-9 and '-', with a letter or digit first and last"
        )
    return name


def is_label(text: str) -> bool:
    """Return whether *text* is a DNS label (RFC 1123)."""
    return _LABEL.fullmatch(text) is not None


_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
