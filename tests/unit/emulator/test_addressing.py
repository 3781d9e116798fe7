"""Which address, subnet and MAC everything of a cluster gets."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from podwire.emulator.addressing import addresses, router_end_mac
from podwire.emulator.config import ClusterConfig, numbered_nodes


@pytest.mark.parametrize(
    ("number", "underlay", "pods", "bridge", "vtep"),
    [
        (1, "192.168.1.10/24", "10.244.1.0/24", "10.244.1.1/24", "10.244.1.0"),
        (2, "192.168.1.11/24", "10.244.2.0/24", "10.244.2.1/24", "10.244.2.0"),
        (200, "192.168.1.209/24", "10.244.200.0/24", "10.244.200.1/24", "10.244.200.0"),
    ],
)
def test_node(number: int, underlay: str, pods: str, bridge: str, vtep: str) -> None:
    node = addresses(ClusterConfig(nodes=numbered_nodes(200))).nodes[number - 1]
    assert node.name == f"node-{number}"
    assert node.number == number
    assert (str(node.underlay), str(node.pod_subnet)) == (underlay, pods)
    assert (str(node.bridge), str(node.vtep)) == (bridge, vtep)


def test_the_rest_of_the_world() -> None:
    known = addresses(ClusterConfig())
    assert str(known.router) == "192.168.1.1/24"
    assert str(known.control_plane) == "192.168.1.2/24"
    assert str(known.router_outside) == "203.0.113.1/24"
    assert str(known.external) == "203.0.113.10/24"
    assert str(known.api_service) == "10.96.0.1"
    assert str(known.dns_service) == "10.96.0.10"


def test_other_subnets() -> None:
    config = ClusterConfig(
        pod_subnet=IPv4Network("172.30.0.0/18"),
        service_subnet=IPv4Network("10.43.0.0/16"),
        underlay=IPv4Network("10.0.8.0/21"),
        outside=IPv4Network("198.51.100.0/25"),
    )
    known = addresses(config)
    assert str(known.nodes[2].pod_subnet) == "172.30.3.0/24"
    assert str(known.nodes[2].underlay) == "10.0.8.12/21"
    assert str(known.external) == "198.51.100.10/25"
    assert str(known.dns_service) == "10.43.0.10"


def test_macs_spell_addresses() -> None:
    node = addresses(ClusterConfig()).nodes[0]
    assert node.underlay_mac == "02:00:c0:a8:01:0a"
    assert node.bridge_mac == "0a:58:0a:f4:01:01"
    assert node.vtep_mac == "0e:58:0a:f4:01:00"
    assert router_end_mac(IPv4Address("192.168.1.10")) == "06:00:c0:a8:01:0a"


def test_node_by_name() -> None:
    known = addresses(ClusterConfig())
    assert known.node("node-2") is known.nodes[1]
    with pytest.raises(KeyError):
        known.node("node-9")
