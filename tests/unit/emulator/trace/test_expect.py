from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

import pytest

from podwire.emulator.trace.expect import Route, route
from podwire.emulator.trace.ways import Leg
from podwire.emulator.trace.wiring import ProxySettings, Wiring

if TYPE_CHECKING:
    from tests.unit.emulator.trace.conftest import Bench


def shown(leg: Leg) -> str:
    places = ", ".join(
        f"{p.where} {p.device}{' in VXLAN' if p.tunnelled else ''}".strip() for p in leg.places
    )
    sources = " or ".join(map(str, sorted(leg.sources))) or "any"
    return f"{sources} > {leg.address}:{leg.port} at {places}"


def routed(
    bench: "Bench", source: str, target: str, *objects: dict[str, Any], wiring: Wiring | None = None
) -> Route:
    snapshot = bench.cluster(*objects)
    place = snapshot.location(source, wiring or Wiring())
    assert place is not None
    address, _, rest = target.partition(":")
    port, _, protocol = rest.partition("/")
    return route(
        snapshot,
        wiring or Wiring(),
        place,
        IPv4Address(address),
        int(port),
        "UDP" if protocol == "UDP" else "TCP",
    )


@pytest.mark.parametrize(
    ("source", "target", "front", "backs"),
    [
        (
            "default/client",
            "10.96.14.7:80",
            "10.244.1.5 > 10.96.14.7:80 at default/client eth0, node-1 cni0",
            [
                "10.244.1.1 > 10.244.1.6:80 at node-1 cni0, default/web-0 eth0",
                "10.244.1.0 > 10.244.2.6:80 at node-1 eth0 in VXLAN, node-2 eth0 in VXLAN,"
                " default/web-1 eth0",
            ],
        ),
        (
            "default/web-1",
            "10.96.0.10:53/UDP",
            "10.244.2.6 > 10.96.0.10:53 at default/web-1 eth0, node-2 cni0",
            [
                "10.244.2.0 > 10.244.1.3:53 at node-2 eth0 in VXLAN, node-1 eth0 in VXLAN,"
                " kube-system/coredns eth0",
            ],
        ),
        (
            "node-2",
            "10.96.14.7:80",
            "any > 10.96.14.7:80 at node-2 lo",
            [
                "10.244.2.0 > 10.244.1.6:80 at node-2 eth0 in VXLAN, node-1 eth0 in VXLAN,"
                " default/web-0 eth0",
                "10.244.2.1 > 10.244.2.6:80 at node-2 cni0, default/web-1 eth0",
            ],
        ),
        (
            "external",
            "192.168.1.11:30080",
            "203.0.113.10 > 192.168.1.11:30080 at external eth0, router, node-2 eth0",
            [
                "10.244.2.0 > 10.244.1.6:80 at node-2 eth0 in VXLAN, node-1 eth0 in VXLAN,"
                " default/web-0 eth0",
                "10.244.2.1 > 10.244.2.6:80 at node-2 cni0, default/web-1 eth0",
            ],
        ),
    ],
)
def test_through_a_service(
    bench: "Bench", source: str, target: str, front: str, backs: list[str]
) -> None:
    both = bench.slice("default/web-svc", "10.244.1.6 default/web-0, 10.244.2.6 default/web-1")
    found = routed(bench, source, target, both)
    assert found.outcome == "answered"
    assert shown(found.front) == front
    assert found.proxied is not None
    assert [shown(leg) for _, leg in found.proxied.legs] == backs


@pytest.mark.parametrize(
    ("source", "target", "front"),
    [
        (
            "default/client",
            "10.244.1.6:80",
            "10.244.1.5 > 10.244.1.6:80 at default/client eth0, node-1 cni0, default/web-0 eth0",
        ),
        (
            "default/client",
            "10.244.2.6:80",
            "10.244.1.5 > 10.244.2.6:80 at default/client eth0, node-1 eth0 in VXLAN,"
            " node-2 eth0 in VXLAN, default/web-1 eth0",
        ),
        (
            "default/client",
            "203.0.113.10:7",
            "10.244.1.5 or 192.168.1.10 > 203.0.113.10:7 at default/client eth0, node-1 eth0,"
            " router, external eth0",
        ),
        (
            "default/client",
            "192.168.1.11:10250",
            "10.244.1.5 or 192.168.1.10 > 192.168.1.11:10250 at default/client eth0, node-1 eth0,"
            " node-2 eth0",
        ),
    ],
)
def test_without_a_service(bench: "Bench", source: str, target: str, front: str) -> None:
    found = routed(bench, source, target)
    assert shown(found.front) == front
    assert found.proxied is None
    assert found.outcome == "answered"


EDGE = [
    {"containerPort": 80, "hostPort": 8080},
    {"containerPort": 7, "hostPort": 8007, "protocol": "UDP"},
    {"containerPort": 81, "hostPort": 8081, "hostIP": "127.0.0.1"},
]


@pytest.mark.parametrize(
    ("source", "target", "back"),
    [
        ("external", "192.168.1.11:8080", "203.0.113.10 > 10.244.2.8:80"),
        ("default/client", "192.168.1.11:8080", "192.168.1.10 > 10.244.2.8:80"),
        ("default/web-1", "192.168.1.11:8007/UDP", "10.244.2.1 > 10.244.2.8:7"),
        ("default/edge", "192.168.1.11:8080", "10.244.2.1 > 10.244.2.8:80"),
        ("node-2", "192.168.1.11:8080", "192.168.1.11 > 10.244.2.8:80"),
        ("node-2", "127.0.0.1:8081", "10.244.2.1 > 10.244.2.8:81"),
    ],
)
def test_a_host_port_leads_to_its_pod(bench: "Bench", source: str, target: str, back: str) -> None:
    edge = bench.pod("default/edge", "10.244.2.8", containers=[{"name": "c", "ports": EDGE}])
    found = routed(bench, source, target, edge)
    assert found.proxied is not None
    ((backend, leg),) = found.proxied.legs
    assert backend.pod == "default/edge"
    assert shown(leg) == f"{back} at node-2 cni0, default/edge eth0"


@pytest.mark.parametrize(
    ("target", "more"),
    [
        ("192.168.1.10:8080", {}),
        ("192.168.1.11:8080/UDP", {}),
        ("192.168.1.11:80", {}),
        ("192.168.1.11:8081", {}),
        ("192.168.1.11:8080", {"hostNetwork": True}),
    ],
)
def test_what_is_no_host_port(bench: "Bench", target: str, more: dict[str, Any]) -> None:
    containers = [{"name": "c", "ports": EDGE}]
    edge = bench.pod("default/edge", "10.244.2.8", containers=containers, **more)
    assert routed(bench, "external", target, edge).proxied is None


def test_a_host_port_of_a_side_car(bench: "Bench") -> None:
    beside = {"name": "s", "ports": EDGE, "restartPolicy": "Always"}
    edge = bench.pod("default/edge", "10.244.2.8", initContainers=[beside])
    assert routed(bench, "external", "192.168.1.11:8080", edge).proxied is not None


def test_where_no_host_port_is_led_on_the_node_is_asked_itself(bench: "Bench") -> None:
    edge = bench.pod("default/edge", "10.244.2.8", containers=[{"name": "c", "ports": EDGE}])
    wiring = Wiring(captures="nodes", host_ports=False)
    found = routed(bench, "default/client", "192.168.1.11:8080", edge, wiring=wiring)
    assert found.proxied is None
    assert found.front.target == "node node-2"


def test_plain_routes_between_nodes_have_no_tunnel(bench: "Bench") -> None:
    found = routed(bench, "default/client", "10.96.14.7:80", wiring=Wiring(backend="host-gw"))
    assert found.proxied is not None
    assert [shown(leg) for _, leg in found.proxied.legs] == [
        "192.168.1.10 > 10.244.2.6:80 at node-1 eth0, node-2 eth0, default/web-1 eth0"
    ]


def test_an_endpoint_that_is_no_pod_lies_on_the_node_of_its_range(bench: "Bench") -> None:
    nobody = bench.slice("default/web-svc", "10.244.1.99, 10.244.2.99")
    found = routed(bench, "default/client", "10.96.14.7:80", nobody)
    assert found.proxied is not None
    assert [shown(leg) for _, leg in found.proxied.legs] == [
        "10.244.1.1 > 10.244.1.99:80 at node-1 cni0, 10.244.1.99 eth0",
        "10.244.1.0 > 10.244.2.99:80 at node-1 eth0 in VXLAN, node-2 eth0 in VXLAN,"
        " 10.244.2.99 eth0",
    ]


@pytest.mark.parametrize(
    ("source", "target", "endpoints", "outcome", "why"),
    [
        (
            "default/client",
            "10.96.14.7:80",
            "",
            "refused",
            "Service default/web-svc has no ready endpoints",
        ),
        (
            "default/client",
            "10.96.14.7:8080",
            "10.244.2.6",
            "refused",
            "Service default/web-svc has no port 8080/TCP; it has 80/TCP",
        ),
        (
            "default/client",
            "10.96.14.7:80/UDP",
            "10.244.2.6",
            "refused",
            "Service default/web-svc has no port 80/UDP; it has 80/TCP",
        ),
        (
            "default/client",
            "10.96.99.99:80",
            "10.244.2.6",
            "refused",
            "no Service has the ClusterIP 10.96.99.99",
        ),
        (
            "external",
            "10.96.14.7:80",
            "10.244.2.6",
            "timed out",
            "no way from outside leads to the ClusterIP of Service default/web-svc",
        ),
        (
            "external",
            "10.244.2.6:80",
            "10.244.2.6",
            "timed out",
            "pod default/web-1 has no route from outside the cluster",
        ),
    ],
)
def test_what_cannot_be_answered(
    bench: "Bench", source: str, target: str, endpoints: str, outcome: str, why: str
) -> None:
    found = routed(bench, source, target, bench.slice("default/web-svc", endpoints))
    assert (found.outcome, found.why) == (outcome, why)


ALL, LOOPBACK = (IPv4Network("0.0.0.0/0"),), (IPv4Network("127.0.0.0/8"),)
CIDR = (IPv4Network("10.244.0.0/16"),)


@pytest.mark.parametrize(
    ("mode", "settings", "address", "outcome"),
    [
        ("nftables", ProxySettings(), "10.244.1.1", "refused"),
        ("nftables", ProxySettings(node_ports=CIDR), "10.244.1.1", "answered"),
        ("nftables", ProxySettings(node_ports=CIDR), "192.168.1.10", "refused"),
        ("iptables", ProxySettings(node_ports="primary"), "10.244.1.1", "refused"),
        ("iptables", ProxySettings(), "127.0.0.1", "answered"),
        ("iptables", ProxySettings(localhost_node_ports=False), "127.0.0.1", "refused"),
        ("iptables", ProxySettings(node_ports=CIDR), "127.0.0.1", "refused"),
        ("userspace", ProxySettings(node_ports=LOOPBACK), "127.0.0.1", "answered"),
        ("userspace", ProxySettings(node_ports=ALL), "127.0.0.1", "refused"),
        ("userspace", ProxySettings(node_ports=ALL), "10.244.1.1", "answered"),
        ("ipvs", ProxySettings(node_ports=LOOPBACK), "127.0.0.1", "refused"),
    ],
)
def test_where_node_ports_are_served(
    bench: "Bench", mode: str, settings: ProxySettings, address: str, outcome: str
) -> None:
    wiring = Wiring(proxy=settings)
    node = bench.node("node-1", 1, mode=mode)
    assert routed(bench, "node-1", f"{address}:30080", node, wiring=wiring).outcome == outcome


def test_masquerade_all_is_about_cluster_ips(bench: "Bench") -> None:
    node = bench.node("node-1", 1, mode="iptables")
    wiring = Wiring(proxy=ProxySettings(masquerade_all=True))
    found = routed(bench, "default/client", "10.96.14.7:80", node, wiring=wiring)
    assert found.proxied is not None
    assert [shown(leg).split()[0] for _, leg in found.proxied.legs] == ["10.244.1.0"]
