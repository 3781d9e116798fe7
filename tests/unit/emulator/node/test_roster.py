"""Node objects -> the other nodes that this one must reach."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from podwire.emulator.node.roster import Peer, peers_of
from podwire.emulator.node.settings import NodeSettings
from podwire.kube.cluster_objects import NodeAddress, NodeSpec, NodeStatus
from podwire.kube.meta import ObjectMeta
from podwire.kube.objects import Node

SETTINGS = NodeSettings(
    "node-a",
    IPv4Address("10.201.0.11"),
    pods=IPv4Network("10.244.1.0/24"),
    cluster=IPv4Network("10.244.0.0/16"),
    services=IPv4Network("10.96.0.0/12"),
)


def node(text: str) -> Node:
    """Return the Node of `NAME ADDRESS PODS`, with - for what it does not say yet."""
    name, address, pods = text.split()
    addresses: tuple[NodeAddress, ...] = (NodeAddress("Hostname", name),)
    if address != "-":
        addresses += (NodeAddress("InternalIP", address),)
    return Node(
        metadata=ObjectMeta(name=name),
        spec=NodeSpec(pod_cidr="" if pods == "-" else pods),
        status=NodeStatus(addresses=addresses),
    )


OWN = "node-a 10.201.0.11 10.244.1.0/24"


@pytest.mark.parametrize(
    ("nodes", "peers", "faults"),
    [
        ([OWN], [], []),
        ([], [], []),
        ([OWN, "node-b 10.201.0.12 10.244.2.0/24"], ["node-b"], []),
        # Not known yet: the rest comes with a later change.
        ([OWN, "node-b - 10.244.2.0/24", "node-c 10.201.0.13 -"], [], []),
        ([OWN, "node-b nowhere 10.244.2.0/24"], [], ["node-b"]),
        ([OWN, "node-b 10.201.0.12 10.244.2.9/24"], [], ["node-b"]),
        ([OWN, "node-b 10.201.0.12 10.9.2.0/24"], [], ["not in 10.244.0.0/16"]),
        ([OWN, "node-b 10.201.0.11 10.244.2.0/24"], [], ["its address 10.201.0.11 is that"]),
        ([OWN, "node-b 10.201.0.12 10.244.1.0/24"], [], ["overlap those of node-a"]),
        (
            ["node-c 10.201.0.13 10.244.2.0/24", "node-b 10.201.0.12 10.244.2.0/25"],
            ["node-b"],
            ["node-c: its pods 10.244.2.0/24 overlap those of node-b"],
        ),
        (["node-a 10.201.0.99 10.244.1.0/24"], [], ["make its labels and its environment agree"]),
    ],
)
def test_peers(nodes: list[str], peers: list[str], faults: list[str]) -> None:
    found, said = peers_of([node(text) for text in nodes], SETTINGS)
    assert [peer.name for peer in found] == peers
    assert len(said) == len(faults)
    for expected, sentence in zip(faults, said, strict=True):
        assert expected in sentence


def test_a_peer_as_flannel_numbers_it() -> None:
    peer = Peer("node-b", IPv4Address("10.201.0.12"), IPv4Network("10.244.2.0/24"))
    assert (str(peer.vtep), peer.vtep_mac) == ("10.244.2.0", "0e:58:0a:f4:02:00")
