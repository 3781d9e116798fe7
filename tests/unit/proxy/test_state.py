"""Why an endpoint is used, or not: the words of `podwire proxy show`."""

from ipaddress import IPv4Address
from typing import Any

import pytest

from podwire.kube.names import Key
from podwire.kube.objects import (
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    ForZone,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
)
from podwire.proxy.endpoints import Backend, Place
from podwire.proxy.node import NodeView
from podwire.proxy.state import state
from podwire.proxy.table import PortName, service_ports

PLACE = Place("node-1", "zone-a")
FIRST, SECOND = "10.244.1.2", "10.244.2.2"


def endpoint(address: str, node: str, **more: Any) -> Endpoint:
    conditions = {"ready": True, "serving": True, "terminating": False} | more.pop("is_", {})
    return Endpoint(
        addresses=(address,),
        node_name=node,
        conditions=EndpointConditions(**conditions),
        **more,
    )


def shown(*endpoints: Endpoint, **spec: Any) -> dict[str, Any]:
    """Return what is said of Service default/web on node-1."""
    service = Service(
        metadata=ObjectMeta(name="web", namespace="default"),
        spec=ServiceSpec(cluster_ip="10.96.0.80", ports=(ServicePort(port=80),), **spec),
    )
    slice_ = EndpointSlice(
        metadata=ObjectMeta(name="web-1", namespace="default"),
        endpoints=endpoints,
        ports=(EndpointPort(name="", port=8080),),
    )
    key = Key("default", "web")
    backend = Backend(IPv4Address(FIRST), 8080)
    found = state(
        NodeView(PLACE, IPv4Address("192.168.1.10")),
        "nftables",
        {key: service_ports(service, [slice_], PLACE)},
        {key: "too bad"},
        {(PortName("default", "web"), "TCP", backend): 3},
    )
    (port,) = found["services"]
    return dict(port)


HERE, THERE = endpoint(FIRST, "node-1"), endpoint(SECOND, "node-2")
UNREADY = {"ready": False, "serving": False}
LEAVING = {"ready": False, "serving": True, "terminating": True}
LOCAL = {"internal_traffic_policy": "Local", "external_traffic_policy": "Local"}


@pytest.mark.parametrize(
    ("endpoints", "spec", "internal"),
    [
        ((HERE, THERE), {}, ["", ""]),
        ((HERE, endpoint(SECOND, "node-2", is_=UNREADY)), {}, ["", "not ready"]),
        (
            (HERE, endpoint(SECOND, "node-2", is_=LEAVING)),
            {},
            ["", "terminating, and others are ready"],
        ),
        ((endpoint(FIRST, "node-1", is_=LEAVING),), {}, [""]),
        (
            (endpoint(FIRST, "node-1", is_=UNREADY | {"terminating": True}), THERE),
            {},
            ["terminating, and serves no more", ""],
        ),
        ((HERE, THERE), LOCAL, ["", "on node-2, and the policy is Local"]),
        (
            (HERE, endpoint("10.244.1.3", "node-1", is_=LEAVING)),
            LOCAL,
            ["", "terminating, and others are ready"],
        ),
        (
            (
                endpoint(FIRST, "node-1", is_=LEAVING),
                endpoint("10.244.1.3", "node-1", is_=UNREADY),
                THERE,
            ),
            LOCAL,
            ["", "not ready", "on node-2, and the policy is Local"],
        ),
        (
            (
                endpoint(FIRST, "node-1", hints=EndpointHints(for_zones=(ForZone(name="zone-a"),))),
                endpoint(SECOND, "node-2", hints=EndpointHints(for_zones=(ForZone(name="zone-b"),))),
            ),
            {},
            ["", "hinted for zone zone-b, this node is in zone-a"],
        ),
        (
            (
                endpoint(FIRST, "node-1", hints=EndpointHints(for_nodes=(ForZone(name="node-1"),))),
                endpoint(SECOND, "node-2", hints=EndpointHints(for_nodes=(ForZone(name="node-2"),))),
            ),
            {},
            ["", "hinted for node node-2"],
        ),
    ],
)  # fmt: skip
def test_why_an_endpoint_is_not_used(
    endpoints: tuple[Endpoint, ...], spec: dict[str, Any], internal: list[str]
) -> None:
    found = sorted(shown(*endpoints, **spec)["endpoints"], key=lambda e: str(e["address"]))
    assert [each["internal"] for each in found] == internal


def test_policies_are_told_apart() -> None:
    port = shown(THERE, external_traffic_policy="Local")
    assert (port["internal"], port["external"]) == ("FORWARD", "DROP")
    (only,) = port["endpoints"]
    assert only["internal"] == ""
    assert only["external"] == "on node-2, and the policy is Local"


def test_connections_and_failures_are_shown() -> None:
    port = shown(HERE)
    assert port["endpoints"][0]["connections"] == 3
    assert port["failed"] == "too bad"
