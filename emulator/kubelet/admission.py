"""Pure: may a pod that was given to this node run on it? Otherwise it fails, and stays failed.

The scheduler gives a node only what it can take; who writes spec.nodeName asks nobody before.
Source: pkg/kubelet/lifecycle/predicate.go, and AdmissionCheck in pkg/scheduler, of Kubernetes 1.32.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from podwire.emulator.controllers.nodes.requests import asked, available
from podwire.emulator.controllers.placement import (
    NO_FREE_PORTS,
    NO_MATCH,
    clash,
    host_ports,
    matches_node,
    untolerated,
)
from podwire.kube.objects import Node, Pod

_NOT_TOLERATED = "node(s) had taints that the pod didn't tolerate"
_UNIT = 10**9
# The kubelet counts thousandths of CPUs, and whole ones of everything else.
_UNITS = {"cpu": 10**6}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a pod may not run, in the kubelet's words."""

    reason: str
    message: str


def refusal(pod: Pod, node: Node, others: Collection[Pod]) -> Refusal | None:
    """Return why *pod* may not run on *node* beside *others*, or None if it may."""
    return next(_refusals(pod, node, others), None)


def _refusals(pod: Pod, node: Node, others: Collection[Pod]) -> Iterator[Refusal]:
    spec, there = pod.spec, available(node)
    if "pods" in there and len(others) * _UNIT >= there["pods"]:
        yield _out_of("pods", _UNIT, len(others) * _UNIT, there["pods"])
    wanted = {name: amount for name, amount in asked(spec).items() if amount and name in there}
    if wanted:
        used = Counter[str]()
        for other in others:
            used.update(asked(other.spec))
        for name, amount in wanted.items():
            if used[name] + amount > there[name]:
                yield _out_of(name, amount, used[name], there[name])
    if not matches_node(spec, node):
        yield _failed("NodeAffinity", NO_MATCH)
    ports = host_ports(spec)
    if ports and any(clash(ports, host_ports(other.spec)) for other in others):
        yield _failed("NodePorts", NO_FREE_PORTS)
    if untolerated(spec, node, ("NoExecute",)) is not None:
        yield _failed("TaintToleration", _NOT_TOLERATED)


def _out_of(name: str, requested: int, used: int, capacity: int) -> Refusal:
    unit = _UNITS.get(name, _UNIT)
    return Refusal(
        f"OutOf{name}",
        f"Node didn't have enough resource: {name}, requested: {-(-requested // unit)}, "
        f"used: {-(-used // unit)}, capacity: {capacity // unit}",
    )


def _failed(predicate: str, why: str) -> Refusal:
    return Refusal(predicate, f"Predicate {predicate} failed: {why}")
