"""Services written in a few words, and the rules that a node has for them."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from podwire.kube.names import Key
from podwire.kube.objects import (
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    LoadBalancerIngress,
    LoadBalancerStatus,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
)
from podwire.proxy import table
from podwire.proxy.endpoints import Place
from podwire.proxy.node import NodeView, Settings

HERE = Place("node-1")
PODS = IPv4Network("10.244.0.0/16")


def node(*, address: str = "192.168.1.10", **settings: Any) -> NodeView:
    return NodeView(
        HERE,
        IPv4Address(address),
        (IPv4Address(address), IPv4Address("10.244.1.1")),
        pods=(IPv4Network("10.244.1.0/24"),),
        settings=replace(Settings(cluster_cidr=PODS), **settings),
    )


def ports(
    endpoints: str = "10.244.1.2:8080@node-1",
    *,
    name: str = "web",
    port: str = "80",
    load_balancer: tuple[str, ...] = (),
    **spec: Any,
) -> tuple[table.ServicePort, ...]:
    """Return the ports of default/*name* as node-1 sees them.

    *endpoints* is "10.244.1.2:8080@node-1 10.244.2.3:8080@node-2,unready"; *port* is
    "80", "53/UDP", "http=80:30080" (a name and a NodePort), several with a space between.
    """
    written = [_port(word) for word in port.split()]
    fields: dict[str, Any] = {"cluster_ip": "10.96.10.10", "ports": tuple(written), **spec}
    service = Service(
        metadata=ObjectMeta(namespace="default", name=name),
        spec=ServiceSpec(**fields),
        status=ServiceStatus(
            load_balancer=LoadBalancerStatus(
                ingress=tuple(LoadBalancerIngress(ip=ip) for ip in load_balancer)
            )
        ),
    )
    slices = [_slice(name, p, word) for p in written for word in endpoints.split()]
    return table.service_ports(service, slices, HERE)


def order(*services: tuple[table.ServicePort, ...]) -> Mapping[Key, tuple[table.ServicePort, ...]]:
    return {Key(s[0].name.namespace, s[0].name.service): s for s in services}


def _port(word: str) -> ServicePort:
    rest, _, protocol = word.partition("/")
    name, _, numbers = rest.rpartition("=")
    number, _, node_port = numbers.partition(":")
    return ServicePort(
        name=name, port=int(number), protocol=protocol or "TCP", node_port=int(node_port or 0)
    )


def _slice(name: str, port: ServicePort, word: str) -> EndpointSlice:
    where, _, traits = word.partition(",")
    backend, _, place = where.partition("@")
    address, _, number = backend.partition(":")
    unready = traits in ("unready", "terminating")
    return EndpointSlice(
        metadata=ObjectMeta(namespace="default", name=f"{name}-{address}-{port.name}"),
        endpoints=(
            Endpoint(
                addresses=(address,),
                node_name=place or None,
                conditions=EndpointConditions(
                    ready=not unready,
                    serving=traits != "unready",
                    terminating=traits == "terminating",
                ),
            ),
        ),
        ports=(EndpointPort(name=port.name, port=int(number), protocol=port.protocol),),
    )
