"""What the ConfigMap kube-system/podwire-network says of the network."""

from ipaddress import IPv4Address, IPv4Network

from podwire.emulator.trace.wiring import Wiring
from podwire.testing.target import wired

NETWORK = {
    "domain": "cluster.local",
    "backend": "host-gw",
    "pods": "10.99.0.0/16",
    "services": "10.96.0.0/12",
    "dns": "10.96.0.10",
}


def test_without_it_the_network_is_the_usual_one() -> None:
    assert wired({}) == Wiring()


def test_namespaces_as_pods() -> None:
    found = wired({**NETWORK, "external": "203.0.113.10"})
    assert found == Wiring(backend="host-gw", pods=IPv4Network("10.99.0.0/16"))
    assert found.external == IPv4Address("203.0.113.10")


def test_containers_as_pods() -> None:
    more = {"bridge": "eth1", "captures": "nodes", "hint": "docker compose --profile capture up -d"}
    assert wired({**NETWORK, **more}) == Wiring(
        backend="host-gw",
        pods=IPv4Network("10.99.0.0/16"),
        external=None,
        bridge="eth1",
        captures="nodes",
        hint="docker compose --profile capture up -d",
    )
