"""Pure: the packet filter beside ip_vs: who is masqueraded, who is let in, who is refused.

The sets have the names and contents of kube-proxy's ipsets, and the chains say what its chains of
iptables say (pkg/proxy/ipvs/proxier.go, ipset.go); their number does not grow with the Services.
They are nft's: ip_vs takes packets at the hooks between the NAT priorities, whoever marks them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, collapse_addresses
from typing import TypeAlias

from podwire.kube.names import Key
from podwire.proxy.node import NodeView
from podwire.proxy.table import ServicePort

TABLE = "kube-proxy-ipvs"

SETS: Mapping[str, str] = {
    "KUBE-CLUSTER-IP": "inet_proto . ipv4_addr . inet_service",
    "KUBE-EXTERNAL-IP": "inet_proto . ipv4_addr . inet_service",
    "KUBE-EXTERNAL-IP-LOCAL": "inet_proto . ipv4_addr . inet_service",
    "KUBE-LOAD-BALANCER": "inet_proto . ipv4_addr . inet_service",
    "KUBE-LOAD-BALANCER-LOCAL": "inet_proto . ipv4_addr . inet_service",
    "KUBE-LOAD-BALANCER-FW": "inet_proto . ipv4_addr . inet_service",
    "KUBE-LOAD-BALANCER-SOURCE-IP": "inet_proto . ipv4_addr . inet_service . ipv4_addr",
    "KUBE-LOAD-BALANCER-SOURCE-CIDR": "inet_proto . ipv4_addr . inet_service . ipv4_addr",
    "KUBE-LOOP-BACK": "inet_proto . ipv4_addr . inet_service . ipv4_addr",
    "KUBE-NODE-PORT": "inet_proto . inet_service",
    "KUBE-NODE-PORT-LOCAL": "inet_proto . inet_service",
    "KUBE-HEALTH-CHECK-NODE-PORT": "inet_service",
    "KUBE-IPVS-IPS": "ipv4_addr",
}
"""The type of each set. Those of NodePorts hold all protocols, where ipset needs one for each."""

_INTERVALS = frozenset({"KUBE-LOAD-BALANCER-SOURCE-CIDR"})
_TO = "meta l4proto . ip daddr . th dport"

Element: TypeAlias = tuple[str, str]
"""A set's name and what is in it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Elements to add and to delete."""

    added: frozenset[Element] = field(default_factory=frozenset[Element])
    deleted: frozenset[Element] = field(default_factory=frozenset[Element])


class Members:
    """What is in the sets for all Services, of which two may need the same element."""

    def __init__(self) -> None:
        self._of: dict[Key, frozenset[Element]] = {}
        self._count: Counter[Element] = Counter()

    def update(self, services: Mapping[Key, Iterable[ServicePort]], node: NodeView) -> Difference:
        """Note what *services* need now; return what is new in the sets and what is no more."""
        touched: set[Element] = set()
        old: dict[Element, int] = {}
        for key, ports in services.items():
            now = frozenset(element for port in ports for element in elements(port, node))
            then = self._of.pop(key, frozenset[Element]())
            for element in now ^ then:
                old.setdefault(element, self._count[element])
            touched |= now ^ then
            self._count.update(now - then)
            self._count.subtract(then - now)
            if now:
                self._of[key] = now
        found = Difference(
            frozenset(e for e in touched if self._count[e] > 0 and not old[e]),
            frozenset(e for e in touched if self._count[e] <= 0 and old[e]),
        )
        for element in found.deleted:
            del self._count[element]
        return found

    def clear(self) -> None:
        """Forget everything."""
        self._of.clear()
        self._count.clear()

    def all(self) -> frozenset[Element]:
        """Return what is in the sets."""
        return frozenset(element for element, count in self._count.items() if count > 0)


def elements(port: ServicePort, node: NodeView) -> Iterator[Element]:
    """Yield what *port* needs in the sets on *node*."""
    protocol = port.protocol.lower()

    def at(address: IPv4Address) -> str:
        return f"{protocol} . {address} . {port.port}"

    local = "-LOCAL" if port.external_policy == "Local" else ""
    yield "KUBE-CLUSTER-IP", at(port.cluster_ip)
    yield "KUBE-IPVS-IPS", str(port.cluster_ip)
    for address in port.external_ips:
        yield f"KUBE-EXTERNAL-IP{local}", at(address)
        yield "KUBE-IPVS-IPS", str(address)
    for address in port.load_balancer_ips:
        yield "KUBE-LOAD-BALANCER", at(address)
        yield "KUBE-IPVS-IPS", str(address)
        if local:
            yield "KUBE-LOAD-BALANCER-LOCAL", at(address)
        if port.source_ranges:
            yield from _firewall(port, node, at(address), address)
    if port.node_port:
        yield f"KUBE-NODE-PORT{local}", f"{protocol} . {port.node_port}"
    if port.health_check_port:
        yield "KUBE-HEALTH-CHECK-NODE-PORT", str(port.health_check_port)
    for candidate in port.candidates:
        backend = candidate.backend
        if candidate.node == node.place.node:
            yield (
                "KUBE-LOOP-BACK",
                f"{protocol} . {backend.address} . {backend.port} . {backend.address}",
            )


def script(members: Iterable[Element], node: NodeView) -> str:
    """Return what makes the whole table anew, in one transaction."""
    filled: dict[str, list[str]] = {name: [] for name in SETS}
    for name, element in sorted(members):
        filled[name].append(element)
    sets = "".join(
        f"  set {name} {{ type {kind}; "
        + ("flags interval; " if name in _INTERVALS else "")
        + (f"elements = {{ {', '.join(filled[name])} }} " if filled[name] else "")
        + "}\n"
        for name, kind in SETS.items()
    )
    return f"{cleanup()}table ip {TABLE} {{\n{sets}{_chains(node)}}}\n"


def update(difference: Difference) -> str:
    """Return what changes the sets of a table that is there; empty if nothing does."""
    return "".join(
        f"{verb} element ip {TABLE} {name} {{ {element} }}\n"
        for verb, changed in (("delete", difference.deleted), ("add", difference.added))
        for name, element in sorted(changed)
    )


def cleanup() -> str:
    """Return what removes the table, whether it is there or not."""
    return f"table ip {TABLE}\ndelete table ip {TABLE}\n"


def _firewall(
    port: ServicePort, node: NodeView, at: str, address: IPv4Address
) -> Iterator[Element]:
    yield "KUBE-LOAD-BALANCER-FW", at
    # Intervals of a set must not overlap.
    for network in collapse_addresses(port.source_ranges):
        yield "KUBE-LOAD-BALANCER-SOURCE-CIDR", f"{at} . {network}"
    # The node's own process may have the address that it asks as its source.
    if any(each in network for each in node.own for network in port.source_ranges):
        yield "KUBE-LOAD-BALANCER-SOURCE-IP", f"{at} . {address}"


def _chains(node: NodeView) -> str:
    settings = node.settings
    mark = f"{1 << settings.masquerade_bit:#x}"
    marked = f"meta mark set meta mark or {mark}"
    hook = "type filter hook {} priority {}; policy accept;"
    lines = [
        "chain mark-for-masquerade {",
        # Addresses of 127.0.0.0/8 never leave: kube-proxy's KUBE-SERVICES begins like this too.
        "  ip saddr 127.0.0.0/8 return",
        f"  {_TO} @KUBE-LOAD-BALANCER {_TO} != @KUBE-LOAD-BALANCER-LOCAL {marked}",
        *(f"  {match} {_TO} @KUBE-CLUSTER-IP {marked}" for match in _cluster_ip_sources(node)),
        f"  {_TO} @KUBE-EXTERNAL-IP {marked}",
        "  fib daddr type local meta l4proto . th dport @KUBE-NODE-PORT-LOCAL return",
        f"  fib daddr type local meta l4proto . th dport @KUBE-NODE-PORT {marked}",
        "}",
        "chain prerouting {",
        f"  {hook.format('prerouting', 'dstnat')}",
        "  ct state new jump mark-for-masquerade",
        "}",
        "chain output {",
        # Here ip_vs is at NF_IP_PRI_NAT_DST + 1, before the filter's usual place.
        f"  {hook.format('output', 'mangle')}",
        f"  {_TO} @KUBE-LOAD-BALANCER-FW ct state new jump source-ranges",
        "  ct state new jump mark-for-masquerade",
        "}",
        "chain postrouting {",
        "  type nat hook postrouting priority srcnat; policy accept;",
        "  meta l4proto . ip daddr . th dport . ip saddr @KUBE-LOOP-BACK masquerade",
        f"  meta mark & {mark} == {mark} meta mark set meta mark xor {mark} masquerade"
        " fully-random",
        "}",
        "chain source-ranges {",
        f"  {_TO} . ip saddr @KUBE-LOAD-BALANCER-SOURCE-CIDR return",
        f"  {_TO} . ip saddr @KUBE-LOAD-BALANCER-SOURCE-IP return",
        "  drop",
        "}",
        "chain known-port {",
        *(
            f"  {_TO} @{name} return"
            for name in (
                "KUBE-LOAD-BALANCER",
                "KUBE-CLUSTER-IP",
                "KUBE-EXTERNAL-IP",
                "KUBE-EXTERNAL-IP-LOCAL",
            )
        ),
        "  tcp dport @KUBE-HEALTH-CHECK-NODE-PORT return",
        "  ct state new ip daddr @KUBE-IPVS-IPS reject",
        "}",
        "chain input {",
        # ip_vs comes later in this hook, at NF_IP_PRI_NAT_SRC - 2.
        f"  {hook.format('input', 'filter')}",
        f"  {_TO} @KUBE-LOAD-BALANCER-FW ct state new jump source-ranges",
        "  jump known-port",
        "}",
        "chain forward {",
        f"  {hook.format('forward', 'filter')}",
        f"  {_TO} @KUBE-LOAD-BALANCER-FW ct state new jump source-ranges",
        "}",
    ]
    return "".join(f"  {line}\n" for line in lines)


def _cluster_ip_sources(node: NodeView) -> tuple[str, ...]:
    """Return the matches of the clients of a ClusterIP that are masqueraded."""
    settings = node.settings
    detected = node.detected
    if settings.masquerade_all or (settings.detects and not detected):
        return ("",)
    if detected:
        found = [f"ip saddr != {{ {', '.join(map(str, detected))} }}"]
    else:
        # Nothing tells pods from others; but what has a Service's address as its source, as the
        # node's own processes may have, would never see an answer.
        found = ["ip saddr @KUBE-IPVS-IPS"]
    if node.same_pod_network == "switched" and node.pods:
        # The answer of a pod of this node to another one would pass the node by.
        found.append(f"ip saddr {{ {', '.join(map(str, node.pods))} }}")
    return tuple(found)
