"""Pure: what all rules of one node share: marks, the chains with fixed rules, jumps from hooks."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from podwire.proxy.iptables import names
from podwire.proxy.node import LOOPBACK, NodeView

Table = Literal["mangle", "nat", "filter"]
TABLES: tuple[Table, ...] = ("mangle", "nat", "filter")

_LAST = "kubernetes service nodeports; NOTE: this must be the last rule in this chain"
_LOCALHOST = IPv4Address("127.0.0.1")


@dataclass(frozen=True, slots=True)
class Kernel:
    """What iptables and the kernel of this machine can do, or are set to do.

    *be_liberal*: conntrack takes packets outside the TCP window as valid.
    """

    random_fully: bool = True
    be_liberal: bool = False


@dataclass(frozen=True, slots=True)
class Ground:
    """The node as its rules see it.

    *pods* matches packets that come from pods of this node, *not_pods* all others; both are empty
    without a detector. *node_ports* are the matches that lead to KUBE-NODEPORTS, one rule each.
    *localnet*: 127.0.0.1 serves NodePorts too, which route_localnet=1 makes possible. *switched*
    are pods of this node whose packets to each other pass the node by.
    """

    mark: str
    pods: str
    not_pods: str
    masquerade_all: bool
    node_ports: tuple[str, ...]
    localnet: bool
    addresses: tuple[IPv4Address, ...]
    switched: tuple[IPv4Network, ...]
    kernel: Kernel


def ground(node: NodeView, kernel: Kernel) -> Ground:
    """Return the ground of the rules for *node*."""
    settings = node.settings
    localnet = settings.localhost_node_ports
    if node.node_ports_everywhere("all"):
        node_ports: tuple[str, ...] = (
            "-m addrtype --dst-type LOCAL" + ("" if localnet else f" ! -d {LOOPBACK}"),
        )
    else:
        ranges = settings.node_port_addresses
        named = () if ranges is None or ranges == "primary" else ranges
        localnet = localnet and any(LOOPBACK.overlaps(r) for r in named)
        served = list(node.node_port_addresses("all"))
        if localnet and any(_LOCALHOST in r for r in named):
            served.append(_LOCALHOST)
        node_ports = tuple(f"-d {address}" for address in served)
    pods, not_pods = _detector(node)
    return Ground(
        mark=f"0x{1 << settings.masquerade_bit:08x}",
        pods=pods,
        not_pods=not_pods,
        masquerade_all=settings.masquerade_all,
        node_ports=node_ports,
        localnet=localnet,
        addresses=node.own,
        switched=node.pods if node.same_pod_network == "switched" else (),
        kernel=kernel,
    )


def fixed_rules(ground: Ground) -> dict[tuple[Table, str], str]:
    """Return the rules of the chains that no Service adds to, a line each."""
    mark = ground.mark
    fully = " --random-fully" if ground.kernel.random_fully else ""
    # Such packets would make a client reset a connection that is well (kubernetes issue 74839).
    invalid = f"-A {names.FORWARD} -m conntrack --ctstate INVALID -j DROP\n"
    rules: dict[tuple[Table, str], str] = {
        ("nat", names.POSTROUTING): (
            f"-A {names.POSTROUTING} -m mark ! --mark {mark}/{mark} -j RETURN\n"
            # Cleared, or the packet would be masqueraded again if it came through once more.
            f"-A {names.POSTROUTING} -j MARK --xor-mark {mark}\n"
            f'-A {names.POSTROUTING} -m comment --comment "kubernetes service traffic requiring '
            f'SNAT" -j MASQUERADE{fully}\n'
        ),
        ("nat", names.MARK_MASQ): f"-A {names.MARK_MASQ} -j MARK --or-mark {mark}\n",
        ("filter", names.FORWARD): (
            ("" if ground.kernel.be_liberal else invalid)
            + f'-A {names.FORWARD} -m comment --comment "kubernetes forwarding rules" '
            f"-m mark --mark {mark}/{mark} -j ACCEPT\n"
            f'-A {names.FORWARD} -m comment --comment "kubernetes forwarding conntrack rule" '
            "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
        ),
        ("filter", names.FIREWALL): "",
    }
    if ground.localnet:
        # With route_localnet a neighbour could reach what listens on 127.0.0.1 only
        # (CVE-2020-8558).
        rules["filter", names.FIREWALL] = (
            f'-A {names.FIREWALL} -m comment --comment "block incoming localnet connections" '
            f"-d {LOOPBACK} ! -s {LOOPBACK} -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT "
            "-j DROP\n"
        )
    return rules


def last_rules(ground: Ground) -> str:
    """Return the rules that end KUBE-SERVICES of the table nat."""
    return "".join(
        f'-A {names.SERVICES} -m comment --comment "{_LAST}" {match} -j {names.NODE_PORTS}\n'
        for match in ground.node_ports
    )


@dataclass(frozen=True, slots=True)
class Jump:
    """A rule in a built-in chain that leads to one of ours."""

    table: Table
    hook: str
    chain: str
    comment: str = ""
    new: bool = False

    def rule(self) -> str:
        """Return the rule as `iptables-save` prints it, without -A and the chain."""
        state = "-m conntrack --ctstate NEW " if self.new else ""
        comment = f'-m comment --comment "{self.comment}" ' if self.comment else ""
        return f"{state}{comment}-j {self.chain}"


_FORWARDING = Jump("filter", "FORWARD", names.FORWARD, "kubernetes forwarding rules")
_PORTALS = "kubernetes service portals"
_EXTERNAL = "kubernetes externally-visible service portals"
_BALANCER = "kubernetes load balancer firewall"
_ARRIVING = Jump("nat", "PREROUTING", names.SERVICES, _PORTALS)

WITNESSES = (_FORWARDING, _ARRIVING)
"""The jumps that are looked for to know whether somebody has flushed filter or nat."""

JUMPS = (
    Jump("filter", "INPUT", names.EXTERNAL_SERVICES, _EXTERNAL, new=True),
    Jump("filter", "FORWARD", names.EXTERNAL_SERVICES, _EXTERNAL, new=True),
    Jump("filter", "INPUT", names.NODE_PORTS, "kubernetes health check service ports"),
    Jump("filter", "FORWARD", names.SERVICES, _PORTALS, new=True),
    Jump("filter", "OUTPUT", names.SERVICES, _PORTALS, new=True),
    _FORWARDING,
    Jump("filter", "INPUT", names.PROXY_FIREWALL, _BALANCER, new=True),
    Jump("filter", "OUTPUT", names.PROXY_FIREWALL, _BALANCER, new=True),
    Jump("filter", "FORWARD", names.PROXY_FIREWALL, _BALANCER, new=True),
    Jump("nat", "OUTPUT", names.SERVICES, _PORTALS),
    _ARRIVING,
    Jump("nat", "POSTROUTING", names.POSTROUTING, "kubernetes postrouting rules"),
    Jump("filter", "INPUT", names.FIREWALL),
    Jump("filter", "OUTPUT", names.FIREWALL),
)
"""In the order in which they are put at the top of their hook: a later one ends up above."""


def _detector(node: NodeView) -> tuple[str, str]:
    """Return the matches for what comes from pods of this node and for what does not."""
    settings = node.settings
    match settings.detect_local:
        case "ClusterCIDR":
            cidr = settings.cluster_cidr
        case "NodeCIDR":
            cidr = node.pods[0] if node.pods else None
        case "BridgeInterface":
            return f"-i {settings.bridge_interface}", f"! -i {settings.bridge_interface}"
        case "InterfaceNamePrefix":
            return f"-i {settings.interface_prefix}+", f"! -i {settings.interface_prefix}+"
    return (f"-s {cidr}", f"! -s {cidr}") if cidr else ("", "")
