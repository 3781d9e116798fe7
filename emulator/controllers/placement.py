"""Pure: may this pod run on this node? The filters of the scheduler, in its order."""

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import NamedTuple

from podwire.kube.objects import (
    LabelSelectorRequirement,
    LabelSelectorSpec,
    Node,
    NodeSelectorTerm,
    Pod,
    PodSpec,
    Taint,
    Toleration,
)
from podwire.kube.selectors import NOTHING, LabelSelector, SelectorError, from_selector

UNSCHEDULABLE = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")

NO_MATCH = "node(s) didn't match Pod's node affinity/selector"
NO_FREE_PORTS = "node(s) didn't have free ports for the requested pod ports"

_ANY = "0.0.0.0"


class HostPort(NamedTuple):
    """A port of the node, on one of its addresses or on all of them."""

    protocol: str
    number: int
    address: str = _ANY


def obstacle(spec: PodSpec, node: Node) -> str | None:
    """Return why a pod cannot be placed on *node*, in the scheduler's words, or None if it can.

    Whatever other pods are there.
    """
    if node.spec.unschedulable and not tolerates(spec.tolerations, UNSCHEDULABLE):
        return "node(s) were unschedulable"
    taint = untolerated(spec, node, ("NoSchedule", "NoExecute"))
    if taint is not None:
        return f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"
    if not matches_node(spec, node):
        return NO_MATCH
    return None


def soft_taints(spec: PodSpec, node: Node) -> int:
    """Return how many taints that only prefer other pods the pod does not bear."""
    return sum(
        taint.effect == "PreferNoSchedule" and not tolerates(spec.tolerations, taint)
        for taint in node.spec.taints
    )


def untolerated(spec: PodSpec, node: Node, effects: Collection[str]) -> Taint | None:
    """Return the first taint with one of *effects* that the pod does not bear."""
    return next(
        (
            taint
            for taint in node.spec.taints
            if taint.effect in effects and not tolerates(spec.tolerations, taint)
        ),
        None,
    )


def tolerates(tolerations: Iterable[Toleration], taint: Taint) -> bool:
    """Tell whether one of *tolerations* bears *taint*; an empty key or effect bears all of them."""
    return any(
        (not t.effect or t.effect == taint.effect)
        and (not t.key or t.key == taint.key)
        and (t.operator == "Exists" or (t.operator in ("", "Equal") and t.value == taint.value))
        for t in tolerations
    )


def matches_node(spec: PodSpec, node: Node) -> bool:
    """Tell whether nodeSelector and the required node affinity allow *node*."""
    if spec.node_selector and not spec.node_selector.items() <= node.metadata.labels.items():
        return False
    affinity = spec.affinity.node_affinity if spec.affinity else None
    if affinity is None or affinity.required is None:
        return True
    return any(_term_matches(term, node) for term in affinity.required.node_selector_terms)


def liking(spec: PodSpec, node: Node) -> int:
    """Return how much better *node* is for the pod than others, by the labels of nodes."""
    affinity = spec.affinity.node_affinity if spec.affinity else None
    terms = affinity.preferred if affinity else ()
    return sum(term.weight for term in terms if _term_matches(term.preference, node))


def host_ports(spec: PodSpec) -> frozenset[HostPort]:
    """Return the ports of the node that the pod wants; on the host's network: all it names."""
    return frozenset(
        HostPort(port.protocol, number, port.host_ip or _ANY)
        for container in spec.side_by_side
        for port in container.ports
        if (number := port.container_port if spec.host_network else port.host_port)
    )


def clash(wanted: Collection[HostPort], taken: Collection[HostPort]) -> bool:
    """Tell whether one of two lots of ports is in the other's way.

    The same port on two addresses is two ports (HostPortInfo.CheckConflict).
    """
    return any(
        (one.protocol, one.number) == (other.protocol, other.number)
        and (one.address == other.address or _ANY in (one.address, other.address))
        for one in wanted
        for other in taken
    )


def target_node(pod: Pod) -> str:
    """Return the node that a pod is bound to, or is made for by an affinity to one name."""
    if pod.spec.node_name:
        return pod.spec.node_name
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    if affinity is None or affinity.required is None:
        return ""
    for term in affinity.required.node_selector_terms:
        for line in term.match_fields:
            if line.key == "metadata.name" and line.operator == "In" and len(line.values) == 1:
                return line.values[0]
    return ""


def _term_matches(term: NodeSelectorTerm, node: Node) -> bool:
    # A term without any requirement matches nothing (v1.NodeSelectorTerm).
    if not term.match_expressions and not term.match_fields:
        return False
    name = {"metadata.name": node.metadata.name}
    return _all_match(term.match_expressions, node.metadata.labels) and _all_match(
        term.match_fields, name
    )


def _all_match(lines: tuple[LabelSelectorRequirement, ...], labels: dict[str, str]) -> bool:
    return not lines or _selector(lines).matches(labels)


# A pod is compared with every node.
@lru_cache(maxsize=256)
def _selector(lines: tuple[LabelSelectorRequirement, ...]) -> LabelSelector:
    try:
        return from_selector(LabelSelectorSpec(match_expressions=lines))
    except SelectorError:
        return NOTHING
