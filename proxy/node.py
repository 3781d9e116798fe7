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

    @property
    def detects(self) -> bool:
        """Whether something tells pods from others. If not, nobody is taken for an outsider."""
        match self.detect_local:
            case "ClusterCIDR":
                return self.cluster_cidr is not None
            case "NodeCIDR":
                return True
            case "BridgeInterface":
                return bool(self.bridge_interface)
            case "InterfaceNamePrefix":
                return bool(self.interface_prefix)


@dataclass(frozen=True, slots=True)
class NodeView:
    """The proxy's node as the API server and the kernel show it.

    *addresses* are all IPv4 addresses of its interfaces except loopback, the primary one first.
    *bridges* are the interfaces by which its pods' packets enter, as far as they are known.
    """

    place: Place
    address: IPv4Address
    addresses: tuple[IPv4Address, ...] = ()
    pods: tuple[IPv4Network, ...] = ()
    same_pod_network: SamePodNetwork = "routed"
    bridges: tuple[str, ...] = ()
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

        Empty when there is no usable detector. A detector of interfaces takes all pods of this node
        for pods, or none: they all enter by the same bridge.
        """
        settings = self.settings
        if not settings.detects:
            return ()
        match settings.detect_local:
            case "ClusterCIDR":
                return (settings.cluster_cidr,) if settings.cluster_cidr else ()
            case "NodeCIDR":
                return self.pods
            case "BridgeInterface":
                found = settings.bridge_interface in self.bridges
            case "InterfaceNamePrefix":
                found = any(name.startswith(settings.interface_prefix) for name in self.bridges)
        return self.pods if found or not self.bridges else ()

    @property
    def inside(self) -> tuple[IPv4Network, ...]:
        """Return the sources that the external traffic policy Local does not bind."""
        return (*self.processes, *self.detected)
