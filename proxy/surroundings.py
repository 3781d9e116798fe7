"""What the kernel says of the node at the proxy's start: its addresses, and how its pods are wired.

Packets between two pods of a node can be translated only where the node sees them: through its
routing when the bridge's ports are isolated and the node answers ARP for pods, through its packet
filter when br_netfilter hands bridged packets to it, or not at all.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

from podwire.errors import MachineError
from podwire.netlink.client import Netlink
from podwire.netlink.namespace import read_sysctl
from podwire.netlink.present import Link, LinkAddress
from podwire.proxy.node import LOOPBACK, SamePodNetwork

_BRIDGE_NF = "net/bridge/bridge-nf-call-iptables"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """All IPv4 addresses of the node but loopback's, the primary one first, and its pods' wires."""

    addresses: tuple[IPv4Address, ...]
    same_pod_network: SamePodNetwork
    bridges: tuple[str, ...]


def look(primary: IPv4Address) -> Surroundings:
    """Return the surroundings of the node whose primary address is *primary*.

    It is about the calling thread's network namespace. Raises MachineError.
    """
    try:
        with Netlink() as netlink:
            links, found = netlink.links(), netlink.addresses()
    except OSError as error:
        raise MachineError(f"cannot look at the node's interfaces: {error}") from error
    # The mode ipvs keeps the addresses of Services there: they are no addresses of the node.
    services = {link.number for link in links if link.name == "kube-ipvs0"}
    found = tuple(each for each in found if each.link not in services)
    proxied = {
        link.name: read_sysctl(f"net/ipv4/conf/{link.name}/proxy_arp_pvlan") == "1"
        for link in links
        if link.kind == "bridge"
    }
    return Surroundings(
        addresses(found, primary),
        same_pod_network(links, proxied, filtered=read_sysctl(_BRIDGE_NF) == "1"),
        tuple(proxied),
    )


def addresses(found: Iterable[LinkAddress], primary: IPv4Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses of *found* outside 127.0.0.0/8, *primary* first."""
    others = sorted(
        each.address.ip
        for each in found
        if isinstance(each.address, IPv4Interface) and each.address.ip not in LOOPBACK
    )
    return tuple(dict.fromkeys((primary, *others)))


def same_pod_network(
    links: Iterable[Link], answers_arp: Mapping[str, bool], *, filtered: bool
) -> SamePodNetwork:
    """Return how packets between pods of this node go.

    *answers_arp* says of each bridge whether the node answers for its hosts (proxy_arp_pvlan),
    *filtered* whether bridged packets are shown to the packet filter. A node without a bridge
    routes to each pod by itself.
    """
    links = tuple(links)
    for bridge in links:
        if bridge.kind != "bridge":
            continue
        ports = [link for link in links if link.master == bridge.number]
        if not (answers_arp.get(bridge.name) and all(port.isolated for port in ports)):
            return "bridge-nf" if filtered else "switched"
    return "routed"
