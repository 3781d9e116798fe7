"""Which endpoints a Service may use from node-1 (zone a), and where each frontend leads."""

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from podwire.kube.objects import (
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    ForZone,
    LoadBalancerIngress,
    LoadBalancerStatus,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
)
from podwire.proxy.endpoints import Place, candidates, usable
from podwire.proxy.table import PortName, service_ports, without_local_endpoint
from podwire.proxy.userspace.routes import Frontend, Route, frontends

HERE = Place("node-1", "a")
NODE = IPv4Address("192.168.1.10")


def endpoint(words: str) -> Endpoint:
    """Read "10.244.1.5 node-1 terminating zone=a node=node-1 unready"."""
    address, *traits = words.split()
    zones = [t.removeprefix("zone=") for t in traits if t.startswith("zone=")]
    nodes = [t.removeprefix("node=") for t in traits if t.startswith("node=")]
    leaving = "terminating" in traits
    return Endpoint(
        addresses=(address,),
        node_name=next((t for t in traits if t.startswith("node-")), None),
        conditions=EndpointConditions(
            ready=False if leaving or "unready" in traits or "dead" in traits else None,
            serving=False if "unready" in traits or "dead" in traits else None,
            terminating=True if leaving or "dead" in traits else None,
        ),
        hints=EndpointHints(
            for_zones=tuple(map(ForZone, zones)), for_nodes=tuple(map(ForZone, nodes))
        )
        if zones or nodes
        else None,
    )


def slice_(
    endpoints: str,
    *ports: EndpointPort,
    address_type: str = "IPv4",
    labels: dict[str, str] | None = None,
) -> EndpointSlice:
    return EndpointSlice(
        metadata=ObjectMeta(
            name="web-x2k4z",
            namespace="default",
            labels={"kubernetes.io/service-name": "web"} | (labels or {}),
        ),
        address_type=address_type,
        endpoints=tuple(endpoint(words) for words in endpoints.split(", ") if words),
        ports=ports or (EndpointPort(name="", port=8080),),
    )


def service(*, labels: dict[str, str] | None = None, **spec: object) -> Service:
    wish: dict[str, object] = {"cluster_ip": "10.96.14.7", "ports": (ServicePort(port=80),)}
    return Service(
        metadata=ObjectMeta(name="web", namespace="default", labels=labels or {}),
        spec=ServiceSpec(**(wish | spec)),  # type: ignore[arg-type]
    )


def routes(wish: Service, *slices: EndpointSlice, place: Place = HERE) -> dict[Frontend, Route]:
    return frontends(service_ports(wish, slices, place), (NODE,), (IPv4Network(NODE),))


def leads(table: dict[Frontend, Route], frontend: str, *, inside: bool = True) -> str:
    """Say where *frontend* leads: last bytes of the backends, or the verdict."""
    for known, route in table.items():
        if str(known) == frontend:
            target = route.inside if inside else route.outside
            shown = " ".join(str(b.address).removeprefix("10.244.") for b in target.backends)
            return shown or target.verdict
    return "nothing"


@pytest.mark.parametrize(
    ("endpoints", "cluster", "local", "anywhere"),
    [
        ("", "", "", False),
        ("10.244.1.5 node-1, 10.244.2.7 node-2", "1.5 2.7", "1.5", True),
        ("10.244.2.7 node-2, 10.244.1.5 node-1", "1.5 2.7", "1.5", True),
        ("10.244.1.5 node-1 unready, 10.244.2.7 node-2", "2.7", "", True),
        ("10.244.1.5 node-1 unready", "", "", False),
        # Serving and terminating endpoints count only while nobody is ready; each list by itself.
        ("10.244.1.5 node-1 terminating", "1.5", "1.5", True),
        ("10.244.1.5 node-1 terminating, 10.244.2.7 node-2", "2.7", "1.5", True),
        ("10.244.1.5 node-1 terminating, 10.244.1.6 node-1", "1.6", "1.6", True),
        ("10.244.2.7 node-2 terminating", "2.7", "", True),
        ("10.244.1.5 node-1 dead", "", "", False),
        # The same address twice counts once.
        ("10.244.1.5 node-1, 10.244.1.5 node-1", "1.5", "1.5", True),
        # Zone hints: all must have one, and one must name this zone.
        ("10.244.1.5 zone=a, 10.244.2.7 zone=b", "1.5", "", True),
        ("10.244.1.5 zone=c, 10.244.2.7 zone=b", "1.5 2.7", "", True),
        ("10.244.1.5 zone=a, 10.244.2.7", "1.5 2.7", "", True),
        ("10.244.1.5 zone=a zone=b, 10.244.2.7 zone=b", "1.5", "", True),
        # Node hints come first; if none names this node, zone hints decide.
        ("10.244.1.5 zone=a node=node-1, 10.244.1.6 zone=a node=node-2", "1.5", "", True),
        ("10.244.1.5 zone=a node=node-3, 10.244.2.7 zone=b node=node-2", "1.5", "", True),
        # Hints do not bind terminating endpoints, nor the list of local ones.
        ("10.244.1.5 terminating zone=b, 10.244.2.7 terminating zone=a", "1.5 2.7", "", True),
        ("10.244.1.5 node-1 zone=b, 10.244.2.7 node-2 zone=a", "2.7", "1.5", True),
    ],
)
def test_usable_endpoints(endpoints: str, cluster: str, local: str, *, anywhere: bool) -> None:
    found = usable(candidates((slice_(endpoints),), port="", protocol="TCP"), HERE)
    assert " ".join(str(b.address)[7:] for b in found.cluster) == cluster
    assert " ".join(str(b.address)[7:] for b in found.local) == local
    assert found.anywhere is anywhere


@pytest.mark.parametrize(
    ("endpoints", "own", "other"),
    [
        ("192.168.1.11 node-2, 192.168.1.12 node-3", "nothing", "192.168.1.11 192.168.1.12"),
        ("192.168.1.11 node-2 terminating", "nothing", "192.168.1.11"),
        ("192.168.1.11 node-2 unready, 192.168.1.12 node-3", "192.168.1.12", "192.168.1.12"),
        ("192.168.1.11 node-2 terminating, 192.168.1.12 node-3", "192.168.1.12", "192.168.1.12"),
        ("192.168.1.11 node-2 unready", "REJECT", "REJECT"),
    ],
)
def test_an_external_address_that_is_an_endpoints_own_is_left_to_it(
    endpoints: str, own: str, other: str
) -> None:
    """As with an ingress in the nodes' network whose external IPs are the nodes' addresses."""
    table = routes(
        service(external_ips=("192.168.1.11", "203.0.113.7"), ports=(ServicePort(port=8080),)),
        slice_(endpoints),
    )
    assert leads(table, "192.168.1.11:8080/TCP") == own
    assert leads(table, "203.0.113.7:8080/TCP") == other


def test_a_node_without_a_zone_never_filters_by_zone() -> None:
    table = routes(service(), slice_("10.244.1.5 zone=a, 10.244.2.7 zone=b"), place=Place("node-1"))
    assert leads(table, "10.96.14.7:80/TCP") == "1.5 2.7"


HERE_AND_THERE = "10.244.1.5 node-1, 10.244.2.7 node-2"
THERE = "10.244.2.7 node-2"
LOCAL_OUT = {"external_traffic_policy": "Local"}


@pytest.mark.parametrize(
    ("policies", "endpoints", "cluster_ip", "node_port_inside", "node_port_outside"),
    [
        ("Cluster Cluster", HERE_AND_THERE, "1.5 2.7", "1.5 2.7", "1.5 2.7"),
        ("Cluster Cluster", "", "REJECT", "REJECT", "REJECT"),
        ("Local Cluster", HERE_AND_THERE, "1.5", "1.5 2.7", "1.5 2.7"),
        ("Local Cluster", THERE, "DROP", "2.7", "2.7"),
        ("Local Cluster", "", "REJECT", "REJECT", "REJECT"),
        ("Cluster Local", HERE_AND_THERE, "1.5 2.7", "1.5 2.7", "1.5"),
        ("Cluster Local", THERE, "2.7", "2.7", "DROP"),
        ("Cluster Local", "", "REJECT", "REJECT", "REJECT"),
        ("Local Local", "10.244.1.5 node-1 terminating", "1.5", "1.5", "1.5"),
        ("Local Local", "10.244.2.7 node-2 terminating", "DROP", "2.7", "DROP"),
        ("Local Local", "10.244.1.5 node-1 unready", "REJECT", "REJECT", "REJECT"),
    ],
)
def test_traffic_policies(
    policies: str, endpoints: str, cluster_ip: str, node_port_inside: str, node_port_outside: str
) -> None:
    internal, external = policies.split()
    wish = service(
        type="NodePort",
        ports=(ServicePort(port=80, node_port=30080),),
        internal_traffic_policy=internal,
        external_traffic_policy=external,
    )
    table = routes(wish, slice_(endpoints))
    assert leads(table, "10.96.14.7:80/TCP") == cluster_ip
    assert leads(table, "192.168.1.10:30080/TCP") == node_port_inside
    assert leads(table, "192.168.1.10:30080/TCP", inside=False) == node_port_outside


@pytest.mark.parametrize(
    "wish",
    [
        service(cluster_ip="None"),
        service(cluster_ip=""),
        service(type="ExternalName", external_name="example.org"),
        service(labels={"service.kubernetes.io/service-proxy-name": ""}),
        service(cluster_ip="fd00::1"),
    ],
    ids=["headless", "no ClusterIP", "ExternalName", "another proxy's", "other family"],
)
def test_services_that_the_proxy_does_not_serve(wish: Service) -> None:
    assert routes(wish, slice_("10.244.1.5")) == {}


@pytest.mark.parametrize(
    "ignored",
    [
        slice_("10.244.1.5", labels={"service.kubernetes.io/headless": ""}),
        slice_("10.244.1.5", labels={"service.kubernetes.io/service-proxy-name": "x"}),
        slice_("10.244.1.5", address_type="IPv6"),
        slice_("10.244.1.5", EndpointPort(name="", port=None)),
        slice_("10.244.1.5", EndpointPort(name="other", port=8080)),
        slice_("10.244.1.5", EndpointPort(name="", port=8080, protocol="UDP")),
        EndpointSlice(metadata=ObjectMeta(name="x"), endpoints=None, ports=None),
    ],
    ids=["headless", "another proxy's", "IPv6", "no port", "other name", "other protocol", "null"],
)
def test_slices_that_do_not_count(ignored: EndpointSlice) -> None:
    assert leads(routes(service(), ignored), "10.96.14.7:80/TCP") == "REJECT"


def test_ports_by_name_and_protocol() -> None:
    dns = service(
        ports=(
            ServicePort(name="dns", port=53, protocol="UDP"),
            ServicePort(name="dns-tcp", port=53),
        )
    )
    slices = (
        slice_("10.244.1.5", EndpointPort(name="dns", port=1053, protocol="UDP")),
        # A named targetPort that is another number on another pod makes another slice.
        slice_("10.244.2.7", EndpointPort(name="dns-tcp", port=2053)),
        slice_("10.244.2.8", EndpointPort(name="dns-tcp", port=3053)),
    )
    table = routes(dns, *slices)
    assert {str(f): " ".join(map(str, r.inside.backends)) for f, r in table.items()} == {
        "10.96.14.7:53/UDP": "10.244.1.5:1053",
        "10.96.14.7:53/TCP": "10.244.2.7:2053 10.244.2.8:3053",
    }


@pytest.mark.parametrize(("name", "text"), [("", "default/web"), ("http", "default/web:http")])
def test_port_names_are_written_as_kube_proxy_does(name: str, text: str) -> None:
    assert str(PortName("default", "web", name)) == text


def load_balancer(*ranges: str, ip_mode: str | None = None) -> Service:
    wish = service(
        type="LoadBalancer",
        external_ips=("198.51.100.4",),
        load_balancer_source_ranges=ranges,
    )
    ingress = (LoadBalancerIngress(ip="192.168.1.200", ip_mode=ip_mode),)
    return Service(
        metadata=wish.metadata,
        spec=wish.spec,
        status=ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress)),
    )


def test_external_and_load_balancer_addresses() -> None:
    table = routes(load_balancer(), slice_(THERE))
    assert sorted(map(str, table)) == [
        "10.96.14.7:80/TCP",
        "192.168.1.200:80/TCP",
        "198.51.100.4:80/TCP",
    ]


def test_load_balancer_in_proxy_mode_is_left_alone() -> None:
    table = routes(load_balancer(ip_mode="Proxy"), slice_(THERE))
    assert leads(table, "192.168.1.200:80/TCP") == "nothing"


@pytest.mark.parametrize(
    ("ranges", "let_in"),
    [
        ((), ()),
        (("203.0.113.0/24",), ("203.0.113.0/24",)),
        (("192.168.1.0/24",), ("192.168.1.0/24", "192.168.1.200/32")),
    ],
    ids=["none", "without the node", "with the node"],
)
def test_source_ranges_bind_the_load_balancer_address_only(
    ranges: tuple[str, ...], let_in: tuple[str, ...]
) -> None:
    by_address = {
        str(f.address): r for f, r in routes(load_balancer(*ranges), slice_(THERE)).items()
    }
    assert by_address["192.168.1.200"].sources == tuple(map(IPv4Network, let_in))
    assert by_address["198.51.100.4"].sources == ()
    assert by_address["10.96.14.7"].sources == ()


@pytest.mark.parametrize(
    ("endpoints", "spec", "counts"),
    [
        (THERE, {"internal_traffic_policy": "Local"}, (1, 0)),
        (THERE, LOCAL_OUT | {"external_ips": ("198.51.100.4",)}, (0, 1)),
        # Nobody comes from outside.
        (THERE, LOCAL_OUT, (0, 0)),
        (HERE_AND_THERE, LOCAL_OUT | {"external_ips": ("198.51.100.4",)}, (0, 0)),
        ("", LOCAL_OUT | {"external_ips": ("198.51.100.4",)}, (0, 0)),
    ],
)
def test_ports_with_endpoints_on_other_nodes_only_are_counted(
    endpoints: str, spec: dict[str, Any], counts: tuple[int, int]
) -> None:
    found = without_local_endpoint(service_ports(service(**spec), (slice_(endpoints),), HERE))
    assert (found["internal"], found["external"]) == counts
