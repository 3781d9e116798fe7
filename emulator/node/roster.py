"""Pure: Node objects -> the other nodes that this one must reach."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from podwire.cni.plan import mac_of
from podwire.emulator.node.settings import NodeSettings
from podwire.kube.objects import Node


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node."""

    name: str
    address: IPv4Address
    pods: IPv4Network

    @property
    def vtep(self) -> IPv4Address:
        """The address of its VXLAN device."""
        return self.pods.network_address

    @property
    def vtep_mac(self) -> str:
        """The MAC of its VXLAN device."""
        return vtep_mac(self.vtep)


def peers_of(
    nodes: Iterable[Node], settings: NodeSettings
) -> tuple[tuple[Peer, ...], tuple[str, ...]]:
    """Return the other nodes by name, and what is wrong with those that are left out."""
    peers: list[Peer] = []
    faults: list[str] = []
    taken = {settings.pods: settings.name}
    for node in sorted(nodes, key=lambda node: node.metadata.name):
        try:
            peer = _peer(node)
        except ValueError as error:
            faults.append(f"Node {node.metadata.name}: {error}")
            continue
        if node.metadata.name == settings.name:
            if peer is not None and (peer.address, peer.pods) != (settings.address, settings.pods):
                faults.append(
                    f"Node {settings.name} says {peer.pods} at {peer.address}, but this node has"
                    f" {settings.pods} at {settings.address}: make its labels and its environment"
                    " agree"
                )
            continue
        if peer is None:  # not known yet; its Node will change
            continue
        fault = _fault(peer, settings, taken)
        if fault:
            faults.append(f"Node {peer.name}: {fault}")
            continue
        taken[peer.pods] = peer.name
        peers.append(peer)
    return tuple(peers), tuple(faults)


def vtep_mac(vtep: IPv4Address) -> str:
    """Return the MAC of the VXLAN device with that address: 0e:58 and its four bytes."""
    return mac_of(vtep, "", prefix="0e:58")


def _peer(node: Node) -> Peer | None:
    address = next((a.address for a in node.status.addresses if a.type == "InternalIP"), "")
    pods = node.spec.pod_cidr
    if not address or not pods:
        return None
    return Peer(node.metadata.name, IPv4Address(address), IPv4Network(pods))


def _fault(peer: Peer, settings: NodeSettings, taken: dict[IPv4Network, str]) -> str:
    if peer.address == settings.address:
        return f"its address {peer.address} is that of {settings.name}"
    if not peer.pods.subnet_of(settings.cluster):
        return f"its pods {peer.pods} are not in {settings.cluster}"
    for network, owner in taken.items():
        if peer.pods.overlaps(network):
            return f"its pods {peer.pods} overlap those of {owner}, {network}"
    return ""
