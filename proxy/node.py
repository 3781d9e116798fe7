"""Pure data: the node that a proxy runs on, and what is configured for it."""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from podwire.proxy.endpoints import Place

DetectLocal = Literal["ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"]
SamePodNetwork = Literal["routed", "bridge-nf", "switched"]
"""How packets between two pods of this node go: through the node's routing (isolated bridge ports
and proxy ARP), through its packet filter all the same (br_netfilter), or past both."""

UsualNodePorts = Literal["primary", "all"]
"""Where a mode serves NodePorts when nodePortAddresses says nothing."""

LOOPBACK = IPv4Network("127.0.0.0/8")


@dataclass(frozen=True, slots=True)
class Settings:
    """What KubeProxyConfiguration says that decides where packets go.

    *node_port_addresses* is None for the default of the mode: every local address for iptables, the
    node's primary one for the others. *keep_source* is of the userspace mode: False is the relay of
    old, behind which endpoints see the node's address.
    """

    cluster_cidr: IPv4Network | None = None
    service_cidr: IPv4Network | None = None
    node_port_addresses: tuple[IPv4Network, ...] | Literal["primary"] | None = None
    keep_source: bool = True
    masquerade_all: bool = False
    masquerade_bit: int = 14
    localhost_node_ports: bool = True
    detect_local: DetectLocal = "ClusterCIDR"
    bridge_interface: str = ""
    interface_prefix: str = ""


@dataclass(frozen=True, slots=True)
class NodeView:
    """The proxy's node as the API server and the kernel show it.

    *addresses* are all IPv4 addresses of its interfaces except loopback, the primary one first.
    """

    place: Place
    address: IPv4Address
    addresses: tuple[IPv4Address, ...] = ()
    pods: tuple[IPv4Network, ...] = ()
    same_pod_network: SamePodNetwork = "routed"
    settings: Settings = field(default_factory=Settings)

    @property
    def processes(self) -> tuple[IPv4Network, ...]:
        """Return the sources that the processes of this node have, host-network pods included."""
        return (LOOPBACK, *(IPv4Network(address) for address in self.own))

    @property
    def own(self) -> tuple[IPv4Address, ...]:
        """Return its addresses except loopback, the primary one first."""
        return tuple(dict.fromkeys((self.address, *self.addresses)))

    def node_ports_everywhere(self, usual: UsualNodePorts) -> bool:
        """Return whether NodePorts are served on every address; *usual* is the mode's default."""
        wanted = self.settings.node_port_addresses
        if wanted is None:
            return usual == "all"
        return wanted != "primary" and (not wanted or any(n.prefixlen == 0 for n in wanted))

    def node_port_addresses(self, usual: UsualNodePorts) -> tuple[IPv4Address, ...]:
        """Return its own addresses that serve NodePorts; *usual* is the mode's default."""
        if self.node_ports_everywhere(usual):
            return self.own
        wanted = self.settings.node_port_addresses
        if wanted is None or wanted == "primary":
            return (self.address,)
        return tuple(a for a in self.own if any(a in network for network in wanted))

    @property
    def detected(self) -> tuple[IPv4Network, ...]:
        """Return the sources that the detector of local traffic takes for pods (detectLocalMode).

        Empty when there is no usable detector. By addresses a detector of interfaces comes out as
        NodeCIDR: what enters by the bridge or a veth of this node's pods has one of theirs.
        """
        if self.settings.detect_local == "ClusterCIDR":
            cluster = self.settings.cluster_cidr
            return () if cluster is None else (cluster,)
        return self.pods

    @property
    def inside(self) -> tuple[IPv4Network, ...]:
        """Return the sources that the external traffic policy Local does not bind."""
        return (*self.processes, *self.detected)
