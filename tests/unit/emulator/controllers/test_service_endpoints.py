from typing import Any

import pytest

from podwire.emulator.controllers.services.endpointslices import slice_metadata
from podwire.emulator.controllers.services.service_endpoints import (
    endpoints_of,
    has_managed_endpoints,
    leaves,
    matters_to_endpoints,
)
from podwire.kube.codec import convert
from podwire.kube.objects import (
    Endpoint,
    EndpointHints,
    ForZone,
    Node,
    Pod,
    Service,
    ServicePort,
    ServiceSpec,
)
from podwire.testing import build

ZONE = "topology.kubernetes.io/zone"
NODE = build.node("node-1", labels={ZONE: "north"})


def nodes(name: str) -> Node | None:
    return NODE if name == "node-1" else None


def up(name: str = "web-1", ip: str = "10.244.1.2", **parts: Any) -> Pod:
    with_defaults: dict[str, Any] = {"node": "node-1", "ip": ip, "ready": True, **parts}
    return build.pod(name, **with_defaults)


def publishing() -> Service:
    spec = ServiceSpec(selector={"app": "web"}, publish_not_ready_addresses=True)
    return build.service("web", spec=spec)


def found(service: Service, *pods: Pod) -> list[Endpoint]:
    return [e for endpoints in endpoints_of(service, pods, nodes).values() for e in endpoints]


@pytest.mark.parametrize(
    ("pod", "plain", "published"),
    [
        # Whether it is ready, serving, terminating.
        (up(), (True, True, False), (True, True, False)),
        (up(ready=False), (False, False, False), (True, False, False)),
        (up(deleted=True), (False, True, True), (True, True, True)),
        (up(deleted=True, ready=False), (False, False, True), (True, False, True)),
        (up(ip=""), None, None),
        (up(phase="Succeeded"), None, None),
        (up(phase="Failed"), None, None),
        # A pod of a node that is gone: only if all addresses shall be published.
        (up(node="node-9"), None, (True, True, False)),
    ],
)
def test_conditions(
    pod: Pod, plain: tuple[bool, ...] | None, published: tuple[bool, ...] | None
) -> None:
    for service, expected in ((build.service("web"), plain), (publishing(), published)):
        conditions = [e.conditions for e in found(service, pod)]
        assert [(c.ready, c.serving, c.terminating) for c in conditions] == (
            [expected] if expected else []
        )


def test_what_an_endpoint_says() -> None:
    [endpoint] = found(build.service("web"), up())
    assert endpoint.addresses == ("10.244.1.2",)
    assert endpoint.node_name == "node-1"
    assert endpoint.zone == "north"
    assert endpoint.hostname is None
    assert endpoint.hints is None
    target = endpoint.target_ref
    assert target
    assert (target.kind, target.namespace, target.name) == ("Pod", "default", "web-1")
    assert target.uid == "uid-of-web-1"


@pytest.mark.parametrize(
    ("hostname", "subdomain", "service", "expected"),
    [
        ("db-0", "db", "db", "db-0"),
        ("db-0", "", "db", None),
        ("db-0", "other", "db", None),
        ("", "db", "db", None),
    ],
)
def test_hostname(hostname: str, subdomain: str, service: str, expected: str | None) -> None:
    spec = {"nodeName": "node-1", "hostname": hostname, "subdomain": subdomain}
    pod = convert(Pod, {"spec": spec, "status": {"podIP": "10.244.1.2"}})
    [endpoint] = found(build.service(service), pod)
    assert endpoint.hostname == expected


@pytest.mark.parametrize(
    ("port", "container", "expected"),
    [
        (ServicePort(port=80), {}, [("", 80)]),
        (ServicePort(port=80, target_port=8080), {}, [("", 8080)]),
        (ServicePort(port=80, name="http", target_port="web"), {"web": 8080}, [("http", 8080)]),
        (ServicePort(port=80, name="http", target_port="web"), {"other": 8080}, []),
        (ServicePort(port=80, target_port="web", protocol="UDP"), {"web": 8080}, []),
    ],
)
def test_target_ports(
    port: ServicePort, container: dict[str, int], expected: list[tuple[str, int]]
) -> None:
    [group] = endpoints_of(build.service("web", ports=[port]), [up(ports=container)], nodes)
    assert [(p.name, p.port) for p in group.ports] == expected


def test_named_ports_are_looked_up_in_each_pod() -> None:
    service = build.service("web", ports=[ServicePort(port=80, target_port="web")])
    pods = [
        up("a", ports={"web": 8080}),
        up("b", ports={"web": 9090}),
        up("c", ports={"web": 8080}),
    ]
    groups = endpoints_of(service, pods, nodes)
    sizes = {group.ports[0].port: len(endpoints) for group, endpoints in groups.items()}
    assert sizes == {8080: 2, 9090: 1}


@pytest.mark.parametrize(
    ("distribution", "annotations", "zones", "nodes_"),
    [
        ("", {}, [], []),
        ("PreferClose", {}, ["north"], []),
        ("PreferSameZone", {}, ["north"], []),
        ("PreferSameNode", {}, ["north"], ["node-1"]),
        ("Odd", {}, [], []),
        # The annotation wins: topology.py gives these hints.
        ("PreferClose", {"service.kubernetes.io/topology-mode": "Auto"}, [], []),
        ("PreferClose", {"service.kubernetes.io/topology-aware-hints": "auto"}, [], []),
        ("PreferClose", {"service.kubernetes.io/topology-mode": "Disabled"}, ["north"], []),
    ],
)
def test_hints_keep_traffic_close(
    distribution: str, annotations: dict[str, str], zones: list[str], nodes_: list[str]
) -> None:
    spec = ServiceSpec(selector={"app": "web"}, traffic_distribution=distribution)
    service = build.service("web", spec=spec, annotations=annotations)
    near, sick = found(service, up("a"), up("b", ready=False))
    hints = near.hints or EndpointHints()
    assert [zone.name for zone in hints.for_zones] == zones
    assert [node.name for node in hints.for_nodes] == nodes_
    assert (near.hints is None) == (not zones)
    assert sick.hints is None


def test_a_node_without_a_zone_still_prefers_itself() -> None:
    spec = ServiceSpec(selector={"app": "web"}, traffic_distribution="PreferSameNode")
    service = build.service("web", spec=spec)
    bare = build.node("node-1")
    [endpoints] = endpoints_of(service, [up("a")], lambda _: bare).values()
    assert endpoints[0].hints == EndpointHints(for_nodes=(ForZone(name="node-1"),))


def test_a_sidecar_may_serve_a_named_port() -> None:
    web = {"name": "web", "containerPort": 9090}
    spec = {
        "nodeName": "node-1",
        "containers": [{"name": "main", "ports": [{"name": "other", "containerPort": 1}]}],
        "initContainers": [
            {"name": "once", "ports": [{"name": "web", "containerPort": 7070}]},
            {"name": "sidecar", "restartPolicy": "Always", "ports": [web]},
        ],
    }
    pod = convert(Pod, {"spec": spec, "status": {"podIP": "10.244.1.2"}})
    service = build.service("web", ports=[ServicePort(port=80, target_port="web")])
    [group] = endpoints_of(service, [pod], nodes)
    assert [port.port for port in group.ports] == [9090]


def test_pods_of_the_host_network_have_the_address_of_their_node() -> None:
    spec = {"nodeName": "node-1", "hostNetwork": True}
    status = {"podIP": "192.168.1.10", "hostIP": "192.168.1.10"}
    [endpoint] = found(build.service("web"), convert(Pod, {"spec": spec, "status": status}))
    assert (endpoint.addresses, endpoint.node_name) == (("192.168.1.10",), "node-1")


@pytest.mark.parametrize(
    ("spec", "managed"),
    [
        (ServiceSpec(selector={"app": "web"}), True),
        (ServiceSpec(selector={"app": "web"}, cluster_ip="None"), True),
        (ServiceSpec(), False),
        (ServiceSpec(selector={"app": "web"}, type="ExternalName"), False),
    ],
)
def test_whose_endpoints_are_made_from_pods(*, spec: ServiceSpec, managed: bool) -> None:
    assert has_managed_endpoints(build.service("web", spec=spec)) == managed


@pytest.mark.parametrize(("cluster_ip", "headless"), [("10.96.0.7", False), ("None", True)])
def test_labels_of_slices(*, cluster_ip: str, headless: bool) -> None:
    labels = {"team": "shop", "service.kubernetes.io/headless": "lie"}
    service = build.service("web", cluster_ip=cluster_ip, labels=labels)
    metadata = slice_metadata(service, {})
    expected = {
        "team": "shop",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    if headless:
        expected["service.kubernetes.io/headless"] = ""
    assert metadata.labels == expected
    assert metadata.generate_name == "web-"
    [owner] = metadata.owner_references
    assert (owner.kind, owner.uid, owner.controller) == ("Service", "uid-of-web", True)


@pytest.mark.parametrize(
    ("new", "matters", "urgent"),
    [
        (up(), False, False),
        (up(restarts=3), False, False),
        (up(annotations={"a": "b"}), False, False),
        (up(labels={"a": "b"}), True, False),
        (up(ready=False), True, True),
        (up(deleted=True), True, True),
        (up(ip="10.244.1.3"), True, False),
        (up(node="node-2"), True, False),
    ],
)
def test_which_changes_of_a_pod_matter(*, new: Pod, matters: bool, urgent: bool) -> None:
    assert matters_to_endpoints(up(), new) == matters
    assert leaves(up(), new) == urgent


def test_who_is_gone_has_left_and_who_comes_has_not() -> None:
    assert leaves(up(), None)
    assert not leaves(up(ready=False), None)
    assert not leaves(None, up())
