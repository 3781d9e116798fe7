"""Pure: the cluster's network as values: every namespace, wire, address, route, sysctl and rule.

    external --- router ==[bridge underlay]== node-1 --[bridge cni0]-- pods
                 (and the control plane)   == node-2 --[bridge cni0]-- pods

Pods of one node reach each other through the node's routing: the bridge's ports are isolated.
Between nodes, pods' packets take a VXLAN as flannel makes it (device flannel.1, one static route,
neighbour and forwarding entry for each other node), or plain routes (host-gw).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network

from podwire.cni.plan import mac_of
from podwire.emulator.addressing import (
    ClusterAddresses,
    NodeAddresses,
    addresses,
    router_end_mac,
)
from podwire.emulator.config import ClusterConfig
from podwire.emulator.node_rules import NodeRules, RouterRules, Rules
from podwire.netlink.changes import (
    AddAddress,
    AddBridge,
    AddForwarding,
    AddNeighbour,
    AddRoute,
    AddVeth,
    AddVxlan,
    SetLink,
)

ROUTER, EXTERNAL = "router", "external"
UNDERLAY_BRIDGE, POD_BRIDGE, NODE_INTERFACE, VXLAN = "underlay", "cni0", "eth0", "flannel.1"
EXTERNAL_WIRE = "vethexternal"
UNDERLAY_MTU = 1500
# IPv4, UDP, VXLAN and the inner Ethernet header: 20 + 8 + 8 + 14.
VXLAN_OVERHEAD = 50
VNI, VXLAN_PORT = 1, 8472
ANYWHERE = IPv4Network("0.0.0.0/0")

Sysctls = tuple[tuple[str, str], ...]

# A new namespace takes over IPv4 settings of the machine, so what matters is written, also zeroes.
# IPv6 is off: its router solicitations and neighbour discovery would be noise in every capture.
COMMON_SYSCTLS: Sysctls = (
    ("net/ipv6/conf/all/disable_ipv6", "1"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
)
HOST_SYSCTLS: Sysctls = (("net/ipv4/ip_forward", "0"), *COMMON_SYSCTLS)
ROUTER_SYSCTLS: Sysctls = (
    ("net/ipv4/ip_forward", "1"),
    *COMMON_SYSCTLS,
    # Nodes, and the router that is their nameserver, say "refused" to everyone at once; by default
    # one client hears it once in a second, and a resolver waits five for what it does not hear.
    ("net/ipv4/icmp_ratelimit", "0"),
    ("net/ipv4/icmp_msgs_per_sec", "100000"),
)
NODE_SYSCTLS: Sysctls = (
    *ROUTER_SYSCTLS,
    # A ClusterIP may be local to a node, yet no interface may answer ARP for one, or ask with one.
    ("net/ipv4/conf/all/arp_ignore", "1"),
    ("net/ipv4/conf/all/arp_announce", "2"),
    # A packet between two pods leaves a node by the interface on which it came, and rightly so.
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    # Where br_netfilter is loaded it would translate at the bridge and hand the packet from port to
    # port itself, which isolation forbids.
    ("net/bridge/bridge-nf-call-iptables", "0"),
)
# Pods of one node hear only the node (their ports of the bridge are isolated): it answers when they
# ask by ARP for one another, at once, and so every packet passes its routing and its packet filter.
POD_BRIDGE_SYSCTLS: Sysctls = (
    (f"net/ipv4/conf/{POD_BRIDGE}/proxy_arp_pvlan", "1"),
    (f"net/ipv4/neigh/{POD_BRIDGE}/proxy_delay", "0"),
)


@dataclass(frozen=True, slots=True)
class Namespace:
    """One network namespace and all that must be in it, in the order in which it is made.

    The other end of an AddVeth lies in the namespace of that name. *link_sysctls* are those of the
    links, which are there no sooner. *ports* are links that must be up and, where they say so, on a
    bridge.
    """

    name: str
    sysctls: Sysctls
    links: tuple[AddBridge | AddVeth | AddVxlan, ...] = ()
    link_sysctls: Sysctls = ()
    ports: tuple[SetLink, ...] = ()
    addresses: tuple[AddAddress, ...] = ()
    routes: tuple[AddRoute, ...] = ()
    neighbours: tuple[AddNeighbour, ...] = ()
    forwarding: tuple[AddForwarding, ...] = ()
    rules: Rules | None = None


@dataclass(frozen=True, slots=True)
class Topology:
    """The namespaces in the order in which they are filled: the router makes the wires."""

    namespaces: tuple[Namespace, ...]

    def namespace(self, name: str) -> Namespace:
        """Return the namespace called *name*. Raises KeyError."""
        for namespace in self.namespaces:
            if namespace.name == name:
                return namespace
        raise KeyError(name)


def topology(config: ClusterConfig) -> Topology:
    """Return the network of the cluster that *config* describes."""
    known = addresses(config)
    nodes = (_node(node, known, config) for node in known.nodes)
    return Topology((_router(known, config), _external(known), *nodes))


def pod_mtu(config: ClusterConfig) -> int:
    """Return the largest packet that pods may send, in bytes."""
    return UNDERLAY_MTU - (VXLAN_OVERHEAD if config.backend == "vxlan" else 0)


def network_list(config: ClusterConfig, node: str, data_dir: str) -> Mapping[str, object]:
    """Return the CNI network list of *node*, for its /etc/cni/net.d.

    *data_dir* is where the plugin notes the addresses in use; each node needs one of its own.
    """
    known = addresses(config).node(node)
    own = [known.underlay.ip, known.bridge.ip, *([known.vtep] if config.backend == "vxlan" else [])]
    plugin = {
        "type": "podwire",
        "bridge": POD_BRIDGE,
        "mtu": pod_mtu(config),
        "isDefaultGateway": True,
        "ipMasq": False,  # The node's own rules do it for all of its pods.
        "portIsolation": True,  # What pods say to one another passes the node.
        "capabilities": {"portMappings": True},
        # Not all that is local: for a proxy in mode userspace or ipvs, ClusterIPs are.
        "hostAddresses": ["127.0.0.0/8", *(str(address) for address in own)],
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": str(known.pod_subnet)}]],
            "dataDir": data_dir,
        },
    }
    return {
        # Old libraries read the first and stop at 1.0.0; new ones choose from the second.
        "cniVersion": "1.0.0",
        "cniVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
        "name": "podwire",
        "plugins": [plugin],
    }


def node_wire(node: NodeAddresses) -> str:
    """Return the name of the router's end of a node's wire; by number, as names may be long."""
    return f"vethnode-{node.number}"


def _router(known: ClusterAddresses, config: ClusterConfig) -> Namespace:
    wires = tuple(
        _wire(node_wire(node), node.name, node.underlay, node.underlay_mac) for node in known.nodes
    )
    outside = _wire(EXTERNAL_WIRE, EXTERNAL, known.external, _mac(known.external))
    return Namespace(
        name=ROUTER,
        sysctls=ROUTER_SYSCTLS,
        links=(AddBridge(UNDERLAY_BRIDGE, _mac(known.router), UNDERLAY_MTU), *wires, outside),
        ports=(
            SetLink("lo", up=True),
            SetLink(UNDERLAY_BRIDGE, up=True),
            *(SetLink(wire.name, up=True, master=UNDERLAY_BRIDGE) for wire in wires),
            SetLink(EXTERNAL_WIRE, up=True),
        ),
        addresses=(
            AddAddress(UNDERLAY_BRIDGE, known.router),
            AddAddress(UNDERLAY_BRIDGE, known.control_plane),
            AddAddress(EXTERNAL_WIRE, known.router_outside),
        ),
        rules=RouterRules(config.service_subnet, EXTERNAL_WIRE),
    )


def _external(known: ClusterAddresses) -> Namespace:
    return Namespace(
        name=EXTERNAL,
        sysctls=HOST_SYSCTLS,
        ports=(SetLink("lo", up=True), SetLink(NODE_INTERFACE, up=True)),
        addresses=(AddAddress(NODE_INTERFACE, known.external),),
        routes=(AddRoute(ANYWHERE, NODE_INTERFACE, known.router_outside.ip),),
    )


def _node(node: NodeAddresses, known: ClusterAddresses, config: ClusterConfig) -> Namespace:
    others = tuple(other for other in known.nodes if other != node)
    vxlan = config.backend == "vxlan"
    bridge = AddBridge(POD_BRIDGE, node.bridge_mac, pod_mtu(config))
    tunnel = AddVxlan(
        name=VXLAN,
        mac=node.vtep_mac,
        vni=VNI,
        local=node.underlay.ip,
        device=NODE_INTERFACE,
        port=VXLAN_PORT,
        mtu=pod_mtu(config),
    )
    links = (bridge, tunnel) if vxlan else (bridge,)
    vtep = AddAddress(VXLAN, IPv4Interface((node.vtep, 32)))
    return Namespace(
        name=node.name,
        sysctls=NODE_SYSCTLS,
        links=links,
        link_sysctls=POD_BRIDGE_SYSCTLS,
        ports=(
            SetLink("lo", up=True),
            SetLink(NODE_INTERFACE, up=True),
            *(SetLink(link.name, up=True) for link in links),
        ),
        addresses=(
            AddAddress(NODE_INTERFACE, node.underlay),
            AddAddress(POD_BRIDGE, node.bridge),
            *((vtep,) if vxlan else ()),
        ),
        routes=(
            AddRoute(ANYWHERE, NODE_INTERFACE, known.router.ip),
            *(_to_pods_of(other, vxlan=vxlan) for other in others),
        ),
        neighbours=tuple(AddNeighbour(VXLAN, o.vtep, o.vtep_mac) for o in others if vxlan),
        forwarding=tuple(AddForwarding(VXLAN, o.vtep_mac, o.underlay.ip) for o in others if vxlan),
        rules=NodeRules(
            pod_subnet=node.pod_subnet,
            cluster_subnet=config.pod_subnet,
            underlay_interface=NODE_INTERFACE,
        ),
    )


def _to_pods_of(other: NodeAddresses, *, vxlan: bool) -> AddRoute:
    if vxlan:
        return AddRoute(other.pod_subnet, VXLAN, other.vtep, onlink=True)
    return AddRoute(other.pod_subnet, NODE_INTERFACE, other.underlay.ip)


def _wire(name: str, namespace: str, far: IPv4Interface, far_mac: str) -> AddVeth:
    return AddVeth(
        name=name,
        mac=router_end_mac(far.ip),
        peer=NODE_INTERFACE,
        peer_mac=far_mac,
        peer_namespace=namespace,
        mtu=UNDERLAY_MTU,
    )


def _mac(address: IPv4Interface) -> str:
    return mac_of(address.ip, "", prefix="02:00")
