"""Pure: what CHECK finds missing: the result of ADD against what is there."""

from collections.abc import Iterator
from typing import NamedTuple

from podwire.cni.results import Result, ResultInterface
from podwire.cni.spec import Call
from podwire.netlink.present import Link, LinkAddress, Route


class Survey(NamedTuple):
    """What is there: the bridge, both ends of the pair, and the pod's addresses and routes."""

    bridge: Link | None
    host: Link | None
    pod: Link | None
    addresses: tuple[LinkAddress, ...]
    routes: tuple[Route, ...]


def faults(
    survey: Survey,
    previous: Result,
    call: Call,
    *,
    bridge: str,
    host: str,
    isolated: bool = False,
    promiscuous: bool = False,
) -> Iterator[str]:
    """Yield what differs from *previous*. More is allowed: plugins are chained.

    *isolated* says that the end on the node must be an isolated port of the bridge, *promiscuous*
    that the bridge must take every frame.
    """
    name = call.attachment.interface
    wanted = [(number, each) for number, each in enumerate(previous.interfaces) if each.sandbox]
    mine = next(((n, each) for n, each in wanted if each.name == name), None)
    if mine is None:
        yield f"prevResult has no interface {name} in a sandbox"
        return
    number, interface = mine
    if interface.sandbox != call.namespace:
        yield (
            f"Sandbox in prevResult {interface.sandbox} doesn't match configured netns: "
            f"{call.namespace}"
        )
        return
    yield from _bridge_faults(survey, bridge=bridge, host=host)
    for each in previous.interfaces:
        there = {bridge: survey.bridge, host: survey.host}.get(each.name)
        if there is not None and not each.sandbox and each.mac and there.mac != each.mac.lower():
            yield f"{each.name} has MAC {there.mac}, not {each.mac}"
    if isolated and survey.host is not None and not survey.host.isolated:
        yield f"host interface {host} is not an isolated port of {bridge}"
    if promiscuous and survey.bridge is not None and not survey.bridge.promiscuous:
        yield f"bridge {bridge} is not promiscuous"
    if survey.pod is None:
        yield f"Interface name {name} not found"
        return
    yield from _pod_faults(survey.pod, survey.host, interface)
    here = {each.address for each in survey.addresses if each.link == survey.pod.number}
    for ip in previous.addresses:
        if ip.interface is not None and not 0 <= ip.interface < len(previous.interfaces):
            yield f"prevResult has no interface number {ip.interface} for {ip.address}"
        if ip.interface in (None, number) and ip.address not in here:
            yield f"Failed to match addr {ip.address} on interface {name}"
    for route in previous.routes:
        # A default route that a chained plugin moved to another gateway is still one.
        anywhere = route.destination.prefixlen == 0 or route.gateway is None
        if not any(
            each.destination == route.destination and (anywhere or each.gateway == route.gateway)
            for each in survey.routes
        ):
            wanted_route = f"{route.destination} via {route.gateway}"
            yield f"Expected Route {wanted_route} not found in routing table"


def _bridge_faults(survey: Survey, *, bridge: str, host: str) -> Iterator[str]:
    if survey.bridge is None:
        yield f"bridge {bridge} not found"
    elif survey.bridge.kind != "bridge":
        yield f"{bridge} is not a bridge"
    if survey.host is None:
        yield f"host interface {host} not found"
    elif survey.bridge is not None and survey.host.master != survey.bridge.number:
        yield f"host interface {host} is not a port of {bridge}"
    elif not survey.host.up:
        yield f"host interface {host} is down"


def _pod_faults(pod: Link, host: Link | None, wanted: ResultInterface) -> Iterator[str]:
    if pod.kind != "veth":
        yield f"{wanted.name} is not a veth"
    elif host is not None and host.peer != pod.number:
        yield f"{wanted.name} is not the other end of {host.name}"
    if not pod.up:
        yield f"{wanted.name} is down"
    if wanted.mac and pod.mac != wanted.mac.lower():
        yield f"{wanted.name} has MAC {pod.mac}, not {wanted.mac}"
