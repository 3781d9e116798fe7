"""Pure data: how the cluster's network is laid, and by which addresses a node talks.

Expected names and addresses stand here and nowhere else in the judge. What a proxy does with a
packet stands in `modes`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

Reach = Literal["same node", "pod on another node", "host"]
"""Where a backend is, seen from the node that passes a request on to it."""

SourceAddress = Literal["bridge", "tunnel", "node"]

Captures = Literal["pods", "nodes"]
"""What is captured for sure. With "nodes" the pods hang on a switch outside of their nodes: their
own interfaces may not be captured, and what two pods of a node say to each other passes no node."""


_SOURCES: Mapping[Reach, SourceAddress] = {
    "same node": "bridge", "pod on another node": "tunnel", "host": "node",
}  # fmt: skip


_PODS, _SERVICES = IPv4Network("10.244.0.0/16"), IPv4Network("10.96.0.0/12")
_DNS, _EXTERNAL = IPv4Address("10.96.0.10"), IPv4Address("203.0.113.10")


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """What KubeProxyConfiguration says that decides what happens to a packet.

    *node_ports* are the ranges of addresses that serve NodePorts (nodePortAddresses): None for the
    mode's default. *masquerade_all* is about ClusterIPs.
    """

    node_ports: tuple[IPv4Network, ...] | Literal["primary"] | None = None
    localhost_node_ports: bool = True
    masquerade_all: bool = False


@dataclass(frozen=True, slots=True)
class Wiring:
    """Names and ranges of the cluster's network.

    *bridge* is a node's device on the side of its pods. *external* is None where there is no such
    host. *searches* and *node_ndots* are what the nodes' own resolv.conf says of names. *hint* says
    to a user how pods that are not captured can be. *host_ports* says that nodes lead hostPorts to
    their pods. *proxy* is what is configured for all proxies. *dns_rules* are the words of the
    Corefile by which DNS may answer otherwise than the objects say: the judge does not know what
    they do.
    """

    domain: str = "cluster.local"
    backend: Literal["vxlan", "host-gw"] = "vxlan"
    pods: IPv4Network = _PODS
    services: IPv4Network = _SERVICES
    dns: IPv4Address = _DNS
    external: IPv4Address | None = _EXTERNAL
    pod_device: str = "eth0"
    bridge: str = "cni0"
    tunnel: str = "flannel.1"
    underlay: str = "eth0"
    ndots: int = 5
    searches: tuple[str, ...] = ()
    node_ndots: int = 1
    captures: Captures = "pods"
    hint: str = ""
    host_ports: bool = True
    proxy: ProxySettings = ProxySettings()
    dns_rules: tuple[str, ...] = ()

    def source(self, reach: Reach, address: IPv4Address, pods: IPv4Network | None) -> IPv4Address:
        """Return the address with which the node of *address* asks a backend, relay or SNAT.

        Either way the kernel takes that of the interface by which the packet leaves.
        """
        return self.own_address(_SOURCES[reach], address, pods)

    def own_address(
        self, which: SourceAddress, address: IPv4Address, pods: IPv4Network | None
    ) -> IPv4Address:
        """Return one of the addresses of the node with that *address* and range of *pods*."""
        if pods is None or which == "node" or (which == "tunnel" and self.backend != "vxlan"):
            return address
        # flannel gives its VXLAN device the range's first address, the bridge the one after it.
        return pods.network_address + (1 if which == "bridge" else 0)
