"""Pure: which address, subnet and MAC each node, the router, control plane and outside get."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from podwire.emulator.config import ClusterConfig

NODE_PREFIX = 24
_ROUTER, _CONTROL_PLANE, _FIRST_NODE, _EXTERNAL = 1, 2, 10, 10
_API_SERVICE, _DNS_SERVICE = 1, 10


@dataclass(frozen=True, slots=True)
class NodeAddresses:
    """What one node has. *number* counts from 1 and is the third byte of the default pod subnets.

    *bridge* is its pod bridge, the gateway of its pods; *vtep* the address of its VXLAN device.
    """

    name: str
    number: int
    underlay: IPv4Interface
    pod_subnet: IPv4Network
    bridge: IPv4Interface
    vtep: IPv4Address

    @property
    def underlay_mac(self) -> str:
        """The MAC of the node's eth0: 02:00 and the four bytes of its address."""
        return _mac(self.underlay.ip, "02:00")

    @property
    def bridge_mac(self) -> str:
        """The MAC of the pod bridge, the one that the CNI plugin would give it."""
        return _mac(self.bridge.ip)

    @property
    def vtep_mac(self) -> str:
        """The MAC of the VXLAN device: 0e:58 and the four bytes of its address."""
        return _mac(self.vtep, "0e:58")


@dataclass(frozen=True, slots=True)
class ClusterAddresses:
    """All fixed addresses of a cluster."""

    nodes: tuple[NodeAddresses, ...]
    control_plane: IPv4Interface
    router: IPv4Interface
    router_outside: IPv4Interface
    external: IPv4Interface
    api_service: IPv4Address
    dns_service: IPv4Address

    def node(self, name: str) -> NodeAddresses:
        """Return the node called *name*. Raises KeyError."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)


def addresses(config: ClusterConfig) -> ClusterAddresses:
    """Return the addresses of the cluster that *config* describes."""
    return ClusterAddresses(
        nodes=tuple(
            _node(config, node.name, number) for number, node in enumerate(config.nodes, start=1)
        ),
        control_plane=_nth(config.underlay, _CONTROL_PLANE),
        router=_nth(config.underlay, _ROUTER),
        router_outside=_nth(config.outside, _ROUTER),
        external=_nth(config.outside, _EXTERNAL),
        api_service=config.service_subnet[_API_SERVICE],
        dns_service=config.service_subnet[_DNS_SERVICE],
    )


def router_end_mac(underlay: IPv4Address) -> str:
    """Return the MAC of the router's end of the wire that leads to *underlay*."""
    return _mac(underlay, "06:00")


def _mac(address: IPv4Address, prefix: str = "0a:58") -> str:
    # Who starts a cluster asks for addresses and lays no wires: 10 ms less to load.
    from podwire.cni.plan import mac_of  # noqa: PLC0415

    return mac_of(address, "", prefix=prefix)


def _node(config: ClusterConfig, name: str, number: int) -> NodeAddresses:
    # Counted from 1, so that node-1 has 10.244.1.0/24: kube-controller-manager begins with .0.
    first = int(config.pod_subnet.network_address) + (number << (32 - NODE_PREFIX))
    subnet = IPv4Network((first, NODE_PREFIX))
    return NodeAddresses(
        name=name,
        number=number,
        underlay=_nth(config.underlay, _FIRST_NODE + number - 1),
        pod_subnet=subnet,
        bridge=_nth(subnet, 1),
        vtep=subnet.network_address,
    )


def _nth(network: IPv4Network, number: int) -> IPv4Interface:
    return IPv4Interface((network[number], network.prefixlen))
