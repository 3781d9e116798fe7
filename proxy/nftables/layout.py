"""Pure: what the table kube-proxy has whatever the Services are: sets, maps, chains of its own.

The layout is that of kube-proxy 1.36 (pkg/proxy/nftables/proxier.go).
"""

from typing import NamedTuple

from podwire.proxy.nftables.objects import Element, Place
from podwire.proxy.nftables.render import (
    CLUSTER_IPS,
    FIREWALL_IPS,
    HAIRPIN,
    NO_ENDPOINT_NODEPORTS,
    NO_ENDPOINT_SERVICES,
    NODEPORT_IPS,
    REJECT_CHAIN,
    SERVICE_IPS,
    SERVICE_NODEPORTS,
    mark,
    matches,
    set_mark,
)
from podwire.proxy.node import NodeView

TABLE_COMMENT = "rules for kube-proxy"


class MapLayout(NamedTuple):
    """A set, or a map when *type* has a colon."""

    name: str
    type: str
    comment: str

    @property
    def kind(self) -> str:
        """Return nft's word for it."""
        return "map" if ":" in self.type else "set"


_ADDRESS_AND_PORT = "ipv4_addr . inet_proto . inet_service"
MAPS = (
    MapLayout(CLUSTER_IPS, "ipv4_addr", "Active ClusterIPs"),
    MapLayout(NODEPORT_IPS, "ipv4_addr", "IPs that accept NodePort traffic"),
    MapLayout(HAIRPIN, f"ipv4_addr . {_ADDRESS_AND_PORT}", "service hairpin connections"),
    MapLayout(
        NO_ENDPOINT_SERVICES,
        f"{_ADDRESS_AND_PORT} : verdict",
        "vmap to drop or reject packets to services with no endpoints",
    ),
    MapLayout(
        NO_ENDPOINT_NODEPORTS,
        "inet_proto . inet_service : verdict",
        "vmap to drop or reject packets to service nodeports with no endpoints",
    ),
    MapLayout(
        FIREWALL_IPS,
        f"{_ADDRESS_AND_PORT} : verdict",
        "destinations that are subject to LoadBalancerSourceRanges",
    ),
    MapLayout(
        SERVICE_IPS,
        f"{_ADDRESS_AND_PORT} : verdict",
        "ClusterIP, ExternalIP and LoadBalancer IP traffic",
    ),
    MapLayout(SERVICE_NODEPORTS, "inet_proto . inet_service : verdict", "NodePort traffic"),
)
KINDS = {layout.name: layout.kind for layout in MAPS}


def maps(node: NodeView) -> tuple[MapLayout, ...]:
    """Return the sets and maps of the table on *node*."""
    everywhere = node.node_ports_everywhere("primary")
    return tuple(m for m in MAPS if not (everywhere and m.name == NODEPORT_IPS))


class BaseChain(NamedTuple):
    """A chain that the kernel calls. *priority* in nft's words."""

    name: str
    type: str
    hook: str
    priority: str


# The check of source ranges comes before DNAT, while the packet still says whom it is for. The
# refusals come after it: what was led to an endpoint does not match them any more.
BASE_CHAINS = (
    BaseChain("filter-prerouting-pre-dnat", "filter", "prerouting", "-110"),
    BaseChain("filter-output-pre-dnat", "filter", "output", "-110"),
    BaseChain("nat-prerouting", "nat", "prerouting", "-100"),
    BaseChain("nat-output", "nat", "output", "-100"),
    BaseChain("filter-input", "filter", "input", "0"),
    BaseChain("filter-forward", "filter", "forward", "0"),
    BaseChain("filter-output", "filter", "output", "0"),
    BaseChain("nat-postrouting", "nat", "postrouting", "100"),
)

_NEW = "ct state new jump"
_TO_SERVICE = "ip daddr . meta l4proto . th dport vmap"
_TO_PORT = "meta l4proto . th dport vmap"


def chains(node: NodeView) -> dict[str, tuple[str, ...]]:
    """Return the rules of the table's own chains on *node*."""
    bit = mark(node.settings)
    checks = (f"{_NEW} service-endpoints-check", f"{_NEW} cluster-ips-check")
    guard = _node_port_guard(node)
    return {
        "filter-prerouting-pre-dnat": (f"{_NEW} firewall-check",),
        "filter-output-pre-dnat": (f"{_NEW} firewall-check",),
        "nat-prerouting": ("jump services",),
        "nat-output": ("jump services",),
        "filter-input": (
            f"{_NEW} nodeport-endpoints-check",
            f"{_NEW} service-endpoints-check",
        ),
        "filter-forward": checks,
        "filter-output": checks,
        "nat-postrouting": ("jump masquerading",),
        "firewall-check": (f"{_TO_SERVICE} @{FIREWALL_IPS}",),
        "service-endpoints-check": (f"{_TO_SERVICE} @{NO_ENDPOINT_SERVICES}",),
        "nodeport-endpoints-check": (f"{guard} {_TO_PORT} @{NO_ENDPOINT_NODEPORTS}",),
        "cluster-ips-check": _cluster_ips_check(node),
        REJECT_CHAIN: ("reject",),
        "services": (
            *_masquerade_cluster_ips(node),
            f"{_TO_SERVICE} @{SERVICE_IPS}",
            f"{guard} {_TO_PORT} @{SERVICE_NODEPORTS}",
        ),
        "masquerading": (
            f"meta mark and {bit} != 0 meta mark set mark xor {bit} masquerade fully-random",
            "ct status dnat ip saddr . ip daddr . meta l4proto . th dport"
            f" @{HAIRPIN} masquerade fully-random",
            *_masquerade_between_own_pods(node),
        ),
    }


def elements(node: NodeView) -> dict[Place, Element]:
    """Return the elements that no Service brings."""
    if node.node_ports_everywhere("primary"):
        return {}
    return {Place(NODEPORT_IPS, (a,)): Element() for a in node.node_port_addresses("primary")}


def _node_port_guard(node: NodeView) -> str:
    if node.node_ports_everywhere("primary"):
        return "fib daddr type local ip daddr != 127.0.0.0/8"
    return f"ip daddr @{NODEPORT_IPS}"


def _cluster_ips_check(node: NodeView) -> tuple[str, ...]:
    known = (
        f'ip daddr @{CLUSTER_IPS} reject comment "Reject traffic to invalid ports of ClusterIPs"'
    )
    services = node.settings.service_cidr
    if services is None:
        return (known,)
    comment = "Drop traffic to unallocated ClusterIPs"
    return (known, f'ip daddr {{ {services} }} drop comment "{comment}"')


def _masquerade_cluster_ips(node: NodeView) -> tuple[str, ...]:
    settings = node.settings
    if settings.masquerade_all:
        return (
            f"ip daddr @{CLUSTER_IPS} {set_mark(settings)}"
            ' comment "masquerade all clusterIP traffic"',
        )
    remote = matches(node).remote
    if not remote:
        return ()
    return (
        f"ip daddr @{CLUSTER_IPS} {remote} {set_mark(settings)}"
        ' comment "masquerade clusterIP traffic from outside cluster"',
    )


def _masquerade_between_own_pods(node: NodeView) -> tuple[str, ...]:
    """Return a rule that kube-proxy has not, for pods whose packets to each other pass no node.

    An endpoint would answer such a client directly, and the client would not know the answer.
    """
    if node.same_pod_network != "switched":
        return ()
    return tuple(
        f"ct status dnat ip saddr {pods} ip daddr {pods} masquerade fully-random"
        ' comment "answers between pods of this node must pass the node"'
        for pods in node.pods
    )
