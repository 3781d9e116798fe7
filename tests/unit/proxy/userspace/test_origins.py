"""Whose address an endpoint sees: kube-proxy's table of what is masqueraded."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from podwire.proxy.endpoints import Backend, Place
from podwire.proxy.node import DetectLocal, NodeView, SamePodNetwork, Settings
from podwire.proxy.table import Policy
from podwire.proxy.userspace.origins import Origins, Source, kept
from podwire.proxy.userspace.routes import Kind

CLUSTER = IPv4Network("10.244.0.0/16")
# Who asks, and where an endpoint may be.
PLACES = {
    "pod here": "10.244.1.5",
    "other pod here": "10.244.1.6",
    "pod elsewhere": "10.244.2.7",
    "process": "192.168.1.10",
    "loopback": "127.0.0.1",
    "bridge": "10.244.1.1",
    "service": "10.96.0.10",
    "other node": "192.168.1.11",
    "external": "203.0.113.10",
}


def origins(
    *, network: SamePodNetwork = "routed", keeps: bool = True, settings: Settings | None = None
) -> Origins:
    services = IPv4Network("10.96.0.0/12")
    wanted = settings or Settings(cluster_cidr=CLUSTER, service_cidr=services)
    view = NodeView(
        Place("node-1"),
        IPv4Address("192.168.1.10"),
        addresses=(IPv4Address("192.168.1.10"), IPv4Address("10.244.1.1")),
        pods=(IPv4Network("10.244.1.0/24"),),
        same_pod_network=network,
        settings=wanted,
    )
    return Origins.seen_from(view, keeps=keeps)


def source(
    known: Origins, client: str, endpoint: str, kind: Kind = "ClusterIP", policy: Policy = "Cluster"
) -> Source:
    backend = Backend(IPv4Address(PLACES[endpoint]), 80)
    return known.source(kept(kind, policy, known.settings), PLACES[client], backend)


@pytest.mark.parametrize(
    ("client", "cluster_ip", "policy_cluster", "policy_local"),
    [
        ("pod here", "client", "node", "client"),
        ("process", "node", "node", "node"),
        ("loopback", "node", "node", "node"),
        ("bridge", "node", "node", "node"),
        ("service", "node", "node", "node"),
        ("external", "node", "node", "client"),
        ("other node", "node", "node", "client"),
        ("pod elsewhere", "client", "node", "client"),
    ],
)
def test_the_table(client: str, cluster_ip: str, policy_cluster: str, policy_local: str) -> None:
    known = origins()
    assert source(known, client, "other pod here") == cluster_ip
    kinds: tuple[Kind, ...] = ("NodePort", "LoadBalancer", "ExternalIP")
    for kind in kinds:
        assert source(known, client, "other pod here", kind) == policy_cluster
        assert source(known, client, "other pod here", kind, "Local") == policy_local
    # Of ClusterIPs the external policy says nothing.
    assert source(known, client, "other pod here", "ClusterIP", "Local") == cluster_ip


@pytest.mark.parametrize(
    ("client", "endpoint", "network", "seen"),
    [
        ("pod here", "pod here", "routed", "node"),  # led to itself
        ("pod here", "other pod here", "routed", "client"),
        # The answer would go straight to the client, which asked another address.
        ("pod here", "other pod here", "switched", "node"),
        ("pod here", "other pod here", "bridge-nf", "node"),
        ("pod here", "pod elsewhere", "switched", "client"),
        ("pod here", "pod elsewhere", "routed", "client"),
        ("pod here", "process", "routed", "client, to this node"),
        ("pod here", "other node", "routed", "client"),
        ("pod here", "external", "routed", "client"),
        ("pod elsewhere", "pod here", "routed", "client"),
        # Its answer would not pass this node.
        ("pod elsewhere", "other node", "routed", "node"),
    ],
)
def test_answers_must_come_back_here(
    client: str, endpoint: str, network: SamePodNetwork, seen: str
) -> None:
    assert source(origins(network=network), client, endpoint) == seen


def test_masquerade_all_is_about_cluster_ips() -> None:
    known = origins(settings=Settings(cluster_cidr=CLUSTER, masquerade_all=True))
    assert source(known, "pod here", "other pod here") == "node"
    assert source(known, "external", "pod here", "NodePort", "Local") == "client"


def test_without_a_detector_nobody_is_known_for_a_pod() -> None:
    known = origins(settings=Settings())
    assert known.of(PLACES["pod here"]) == "outside"
    assert source(known, "external", "pod here") == "client"
    assert source(known, "process", "pod here") == "node"


@pytest.mark.parametrize(
    ("detector", "elsewhere"),
    [("ClusterCIDR", "pod"), ("NodeCIDR", "outside"), ("BridgeInterface", "outside")],
)
def test_detectors(detector: DetectLocal, elsewhere: str) -> None:
    settings = Settings(cluster_cidr=CLUSTER, detect_local=detector, bridge_interface="cni0")
    known = origins(settings=settings)
    assert known.of(PLACES["pod here"]) == "pod here"
    assert known.of(PLACES["pod elsewhere"]) == elsewhere


def test_where_it_cannot_be_nothing_is_kept() -> None:
    assert source(origins(keeps=False), "pod here", "other pod here") == "node"


def test_what_is_remembered_is_limited() -> None:
    known = origins()
    for number in range(20000):
        known.of(str(IPv4Address("203.0.0.0") + number))
    assert known.of("10.244.1.5") == "pod here"
    assert known.remembered <= 8192
