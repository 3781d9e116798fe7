"""Pure: which pods a Service sends to, at which ports, in what condition."""

from collections.abc import Callable, Iterable

from podwire.emulator.controllers.podstate import is_finished, is_ready, is_terminating
from podwire.emulator.controllers.services import zone_shares
from podwire.emulator.controllers.services.slicing import Group, ports_key
from podwire.kube.objects import (
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    ForZone,
    Node,
    ObjectReference,
    Pod,
    Service,
    ServicePort,
)

DISTRIBUTIONS = frozenset({"PreferClose", "PreferSameZone", "PreferSameNode"})

FindNode = Callable[[str], Node | None]


def has_managed_endpoints(service: Service) -> bool:
    """Tell whether the endpoints are made from pods: there is a selector, and it is no alias."""
    return bool(service.spec.selector) and service.spec.type != "ExternalName"


def is_headless(service: Service) -> bool:
    """Tell whether the Service has no address of its own."""
    return service.spec.cluster_ip in ("", "None")


def families(service: Service) -> tuple[str, ...]:
    """Return the address families for which the Service gets slices."""
    return service.spec.ip_families or ("IPv4",)


def endpoints_of(
    service: Service, pods: Iterable[Pod], node_of: FindNode
) -> dict[Group, list[Endpoint]]:
    """Return the endpoints for the *pods* that the selector chose.

    A pod whose Node is missing is left out, unless publishNotReadyAddresses: a pod that points to a
    deleted node must not hold up the others.
    """
    wanted: dict[Group, list[Endpoint]] = {}
    named = any(isinstance(port.target_port, str) for port in service.spec.ports)
    numbered = () if named else _ports(service, None)  # the same for every pod
    for pod in pods:
        if not has_address(pod):
            continue
        node = node_of(pod.spec.node_name)
        if node is None and not service.spec.publish_not_ready_addresses:
            continue
        ports = resolved_ports(service, pod) if named else numbered
        for family in families(service):
            address = address_of(pod, family)
            if address:
                group = Group(family, ports)
                endpoint = _endpoint(service, pod, address, node)
                wanted.setdefault(group, []).append(endpoint)
    return wanted


def has_address(pod: Pod) -> bool:
    """Tell whether the pod can be an endpoint: it has an address and is not finished."""
    return bool(pod.status.pod_ip) and not is_finished(pod)


def address_of(pod: Pod, family: str) -> str:
    """Return the pod's address of a family (IPv4 or IPv6), or the empty text."""
    addresses = [entry.ip for entry in pod.status.pod_ips] or [pod.status.pod_ip]
    # The API server let only addresses in, so a colon tells; parsing is 20 times slower.
    wants_colon = family == "IPv6"
    return next((a for a in addresses if a and (":" in a) == wants_colon), "")


def conditions_of(service: Service, pod: Pod) -> EndpointConditions:
    """Return the conditions (reference: EndpointSlice API, EndpointConditions)."""
    serving, terminating = is_ready(pod), is_terminating(pod)
    ready = service.spec.publish_not_ready_addresses or (serving and not terminating)
    return EndpointConditions(ready=ready, serving=serving, terminating=terminating)


def hostname_of(service: Service, pod: Pod) -> str | None:
    """Return the pod's name within the Service's DNS name, if it asked for one."""
    if pod.spec.hostname and pod.spec.subdomain == service.metadata.name:
        return pod.spec.hostname
    return None


def target_of(pod: Pod) -> ObjectReference:
    """Return the pointer to the pod that an endpoint carries."""
    meta = pod.metadata
    return ObjectReference(kind="Pod", namespace=meta.namespace, name=meta.name, uid=meta.uid)


def resolved_ports(service: Service, pod: Pod) -> tuple[EndpointPort, ...]:
    """Return the ports of *pod* behind the Service's; a name that the pod lacks is left out."""
    return _ports(service, pod)


def port_number(port: ServicePort, pod: Pod | None) -> int | None:
    """Return the number that the Service's targetPort means for *pod*, None for an unknown name."""
    target = port.target_port or port.port
    if isinstance(target, int):
        return target
    if pod is None:
        return None
    for container in pod.spec.side_by_side:
        for named in container.ports:
            if (named.name, named.protocol) == (target, port.protocol):
                return named.container_port
    return None


def matters_to_endpoints(old: Pod, new: Pod) -> bool:
    """Tell whether a change of a pod can change an endpoint."""
    return _essence(old) != _essence(new)


def leaves(old: Pod | None, new: Pod | None) -> bool:
    """Tell whether a pod stops being ready, so that traffic must move away from it at once."""
    was = old is not None and is_ready(old) and not is_terminating(old)
    return was and (new is None or not is_ready(new) or is_terminating(new))


def _essence(pod: Pod) -> tuple[object, ...]:
    return (
        pod.metadata.uid,
        pod.metadata.labels,
        is_terminating(pod),
        is_ready(pod),
        is_finished(pod),
        pod.status.pod_ip,
        pod.status.pod_ips,
        pod.spec.node_name,
        pod.spec.hostname,
        pod.spec.subdomain,
    )


def _endpoint(service: Service, pod: Pod, address: str, node: Node | None) -> Endpoint:
    conditions = conditions_of(service, pod)
    zone = node.metadata.labels.get(zone_shares.ZONE) if node else None
    return Endpoint(
        addresses=(address,),
        conditions=conditions,
        hostname=hostname_of(service, pod),
        target_ref=target_of(pod),
        node_name=pod.spec.node_name or None,
        zone=zone,
        hints=_hints(service, pod.spec.node_name, zone) if conditions.ready else None,
    )


def _hints(service: Service, node: str, zone: str | None) -> EndpointHints | None:
    distribution = service.spec.traffic_distribution
    if distribution not in DISTRIBUTIONS or zone_shares.is_wanted(service):
        return None
    # Every zone and node prefers its own; a zone without endpoints is the proxy's matter.
    hints = EndpointHints(
        for_zones=(ForZone(name=zone),) if zone else (),
        for_nodes=(ForZone(name=node),) if node and distribution == "PreferSameNode" else (),
    )
    return hints if hints.for_zones or hints.for_nodes else None


def _ports(service: Service, pod: Pod | None) -> tuple[EndpointPort, ...]:
    found = (
        EndpointPort(
            name=port.name,
            port=number,
            protocol=port.protocol,
            app_protocol=port.app_protocol,
        )
        for port in service.spec.ports
        if (number := port_number(port, pod)) is not None
    )
    return ports_key(found)
