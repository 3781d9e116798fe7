"""Pure: what one proxy serves right now and why not more, as JSON for `podwire proxy show`."""

from collections.abc import Iterable, Mapping
from typing import Any

from podwire.kube.names import Key
from podwire.proxy.endpoints import Backend, Candidate, Place, unused
from podwire.proxy.node import NodeView
from podwire.proxy.table import PortName, Protocol, ServicePort

Json = dict[str, Any]
Connections = Mapping[tuple[PortName, Protocol, Backend], int]


def state(
    view: NodeView,
    mode: str,
    services: Mapping[Key, Iterable[ServicePort]],
    failed: Mapping[Key, str],
    connections: Connections,
) -> Json:
    """Return node, mode and every Service port with its endpoints, used or not."""
    return {
        "node": view.place.node,
        "mode": mode,
        "podNetwork": view.same_pod_network,
        "services": [
            _port(port, view.place, connections, failed.get(key, ""))
            for key, ports in sorted(services.items(), key=lambda item: str(item[0]))
            for port in ports
        ],
    }


def _port(port: ServicePort, place: Place, connections: Connections, failed: str) -> Json:
    known: Json = {
        "name": str(port.name),
        "protocol": port.protocol,
        "clusterIP": str(port.cluster_ip),
        "port": port.port,
        "nodePort": port.node_port,
        "externalIPs": [str(address) for address in port.external_ips],
        "loadBalancerIPs": [str(address) for address in port.load_balancer_ips],
        "sourceRanges": [str(network) for network in port.source_ranges],
        "healthCheckNodePort": port.health_check_port,
        "affinitySeconds": port.affinity_seconds,
        "internalTrafficPolicy": port.internal_policy,
        "externalTrafficPolicy": port.external_policy,
        # What a client of the ClusterIP, and one from elsewhere of the other addresses, meets.
        "internal": port.internal.verdict,
        "external": port.external.verdict,
        "failed": failed,
    }
    known["endpoints"] = [
        _endpoint(candidate, port, place, connections)
        for candidate in sorted(port.candidates, key=lambda c: c.backend)
    ]
    return known


def _endpoint(
    candidate: Candidate, port: ServicePort, place: Place, connections: Connections
) -> Json:
    return {
        "address": str(candidate.backend),
        "node": candidate.node,
        "ready": candidate.ready,
        "serving": candidate.serving,
        "terminating": candidate.terminating,
        "internal": _why_not(candidate, port, place, local=port.internal_policy == "Local"),
        "external": _why_not(candidate, port, place, local=port.external_policy == "Local"),
        "connections": connections.get((port.name, port.protocol, candidate.backend), 0),
    }


def _why_not(candidate: Candidate, port: ServicePort, place: Place, *, local: bool) -> str:
    """Return "" if the endpoint is used for that traffic, else why not."""
    if not local:
        return unused(candidate, port.usable, place)
    if candidate.backend in port.usable.local:
        return ""
    if candidate.node != place.node:
        return f"on {candidate.node or 'no node'}, and the policy is Local"
    reason = unused(candidate, port.usable, place)
    # Of this node's endpoints alone the same question has the same answers.
    return reason or "terminating, and others of this node are ready"
