"""Pure: how much of a Service's traffic each zone has to take, by the CPUs of its nodes.

The rules, thresholds and words of k8s.io/endpointslice/topologycache of Kubernetes 1.32 (KEP-2433).
Asked for by the annotation service.kubernetes.io/topology-mode: Auto.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from podwire.kube import quantity
from podwire.kube.objects import Node, Service

ZONE = "topology.kubernetes.io/zone"
MODE = "service.kubernetes.io/topology-mode"
OLD_MODE = "service.kubernetes.io/topology-aware-hints"

#: How much more than its share of the traffic an endpoint may get.
OVERLOAD = 0.2

_NO_NODE_FACTS = (
    "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
)
_TOO_FEW = "Insufficient number of endpoints"
_OVERLOADED = (
    "Unable to allocate minimum required endpoints to each zone without exceeding overload "
    "threshold"
)
_EXCLUDED = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")

Shares = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Allocation:
    """How many endpoints a zone must, may and should have."""

    minimum: int
    maximum: int
    desired: float


def is_wanted(service: Service) -> bool:
    """Tell whether the Service asks for Topology Aware Routing."""
    annotations = service.metadata.annotations
    return annotations.get(OLD_MODE, annotations.get(MODE, "")) in ("Auto", "auto")


def facts_of(node: Node) -> tuple[object, ...]:
    """Return what of a node decides over the shares of the zones."""
    labels = node.metadata.labels
    excluded = any(label in labels for label in _EXCLUDED)
    return (labels.get(ZONE), _is_ready(node), node.status.allocatable.get("cpu"), excluded)


def cpu_shares(nodes: Iterable[Node]) -> Shares:
    """Return each zone's part of all CPUs; empty if that is not known, or there is one zone.

    Control-plane nodes and nodes that are not ready do not count.
    """
    millis: Counter[str] = Counter()
    for node in nodes:
        labels = node.metadata.labels
        if any(label in labels for label in _EXCLUDED) or not _is_ready(node):
            continue
        cpu = _millis(node.status.allocatable.get("cpu", ""))
        if not labels.get(ZONE) or not cpu:
            return {}
        millis[labels[ZONE]] += cpu
    total = sum(millis.values())
    return {zone: cpu / total for zone, cpu in millis.items()} if len(millis) > 1 else {}


def allocations_of(endpoints: int, shares: Shares) -> tuple[Mapping[str, Allocation], str]:
    """Return how many of so many ready *endpoints* each zone gets, or why that cannot be."""
    if not shares:
        return {}, _NO_NODE_FACTS
    counts = f"({endpoints} endpoints, {len(shares)} zones)"
    if len(shares) > endpoints:
        return {}, f"{_TOO_FEW} {counts}"
    desired = {zone: share * endpoints for zone, share in shares.items()}
    minima = {zone: math.ceil(want * (1 / (1 + OVERLOAD))) for zone, want in desired.items()}
    spare = endpoints - sum(minima.values())
    if spare < 0:
        return {}, f"{_OVERLOADED} {counts}"
    return {
        zone: Allocation(minimum, minimum + spare, max(desired[zone], minimum))
        for zone, minimum in minima.items()
    }, ""


def _is_ready(node: Node) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)


def _millis(cpu: str) -> int:
    """Return an amount of CPU in thousandths, 0 for none."""
    return -(-quantity.parse(cpu).nano // 10**6) if cpu else 0
