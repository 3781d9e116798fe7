"""Services written in a few words, and a node that serves them."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

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


def node(**settings: Any) -> NodeView:
    """Return node-1 with *settings* of KubeProxyConfiguration."""
    address = IPv4Address("192.168.1.10")
    return NodeView(
        HERE,
        address,
        (address, IPv4Address("10.244.1.1")),
        pods=(IPv4Network("10.244.1.0/24"),),
        settings=replace(Settings(cluster_cidr=IPv4Network("10.244.0.0/16")), **settings),
    )


def ports(
    endpoints: str,
    *,
    name: str = "web",
    port: str = "80",
    cluster_ip: str = "10.96.10.10",
    load_balancer: tuple[str, ...] = (),
    **spec: Any,
) -> tuple[table.ServicePort, ...]:
    """Return the ports of default/*name* as node-1 sees them.

    *endpoints* is "10.244.1.2:8080@node-1 10.244.2.3:8080@node-2,terminating"; *port* is "80",
    "53/UDP", "http=80:30080" (a name and a NodePort), several with a space between.
    """
    written = tuple(_port(word) for word in port.split())
    ingress = tuple(LoadBalancerIngress(ip=ip) for ip in load_balancer)
    service = Service(
        metadata=ObjectMeta(namespace="default", name=name),
        spec=ServiceSpec(cluster_ip=cluster_ip, ports=written, **spec),
        status=ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress)),
    )
    slices = [_slice(p, word) for p in written for word in endpoints.split()]
    return table.service_ports(service, slices, HERE)


def _port(word: str) -> ServicePort:
    rest, _, protocol = word.partition("/")
    name, _, numbers = rest.rpartition("=")
    number, _, node_port = numbers.partition(":")
    return ServicePort(
        name=name, port=int(number), protocol=protocol or "TCP", node_port=int(node_port or 0)
    )


def _slice(port: ServicePort, word: str) -> EndpointSlice:
    where, _, trait = word.partition(",")
    backend, _, place = where.partition("@")
    address, _, number = backend.partition(":")
    terminating = trait == "terminating"
    return EndpointSlice(
        metadata=ObjectMeta(namespace="default", name=f"{address}-{port.name}"),
        endpoints=(
            Endpoint(
                addresses=(address,),
                node_name=place,
                conditions=EndpointConditions(
                    ready=not terminating, serving=True, terminating=terminating
                ),
            ),
        ),
        ports=(EndpointPort(name=port.name, port=int(number), protocol=port.protocol),),
    )
