"""Pure: topology spread constraints: how many of its kind a pod finds in each place.

A place is all the nodes that have one value of a topology key. Source: podtopologyspread in
pkg/scheduler/framework/plugins of Kubernetes 1.32.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from podwire.emulator.controllers.nodes.groups import Group
from podwire.emulator.controllers.placement import matches_node, untolerated
from podwire.kube.objects import Node, Pod, PodSpec, TopologySpreadConstraint
from podwire.kube.selectors import (
    EVERYTHING,
    NOTHING,
    LabelSelector,
    SelectorError,
    from_labels,
    from_selector,
)

SPREAD = "node(s) didn't match pod topology spread constraints"
NO_PLACE = f"{SPREAD} (missing required label)"

_NOWHERE = 1 << 30


@dataclass(frozen=True, slots=True)
class Spread:
    """One constraint of a pod, and the pods that are there."""

    key: str
    counts: Mapping[str, int]
    fewest: int
    own: int
    limit: int

    def obstacle(self, labels: Mapping[str, str]) -> str | None:
        """Return why the pod cannot be on a node with *labels*, or None if it can."""
        value = labels.get(self.key)
        if value is None:
            return NO_PLACE
        skew = self.counts.get(value, 0) + self.own - self.fewest
        return SPREAD if skew > self.limit else None

    def crowd(self, labels: Mapping[str, str]) -> int:
        """Return how many there are already; more than anywhere on a node that is in no place."""
        value = labels.get(self.key)
        return _NOWHERE if value is None else self.counts.get(value, 0)


def spreads(pod: Pod, how: str, nodes: Sequence[Node], groups: Iterable[Group]) -> Iterator[Spread]:
    """Yield the constraints of *pod* whose whenUnsatisfiable is *how*."""
    every = pod.spec.topology_spread_constraints
    constraints = [one for one in every if one.when_unsatisfiable == how]
    keys = [one.topology_key for one in constraints]
    for constraint in constraints:
        places = {
            node.metadata.name: node.metadata.labels[constraint.topology_key]
            for node in nodes
            if all(key in node.metadata.labels for key in keys)
            and _counts(pod.spec, node, constraint)
        }
        yield _spread(pod, constraint, places, groups)


def _counts(spec: PodSpec, node: Node, constraint: TopologySpreadConstraint) -> bool:
    """Tell whether the pods of *node* count: if *spec* could be there at all, by default."""
    if constraint.node_affinity_policy != "Ignore" and not matches_node(spec, node):
        return False
    effects = ("NoSchedule", "NoExecute")
    return constraint.node_taints_policy != "Honor" or untolerated(spec, node, effects) is None


def _spread(
    pod: Pod,
    constraint: TopologySpreadConstraint,
    places: Mapping[str, str],
    groups: Iterable[Group],
) -> Spread:
    meant = _selector(constraint, pod)
    counts = Counter(dict.fromkeys(places.values(), 0))
    for group in groups:
        # An empty selector speaks of all pods, and counts none of them (countPodsMatchSelector).
        if (
            group.namespace == pod.metadata.namespace
            and not group.leaving
            and meant != EVERYTHING
            and meant.matches(group.labels)
        ):
            for node, count in group.nodes.items():
                if node in places:
                    counts[places[node]] += count
    few = len(counts) < constraint.min_domains
    return Spread(
        constraint.topology_key,
        counts,
        fewest=0 if few else min(counts.values(), default=0),
        own=int(meant.matches(pod.metadata.labels)),
        limit=constraint.max_skew,
    )


def _selector(constraint: TopologySpreadConstraint, pod: Pod) -> LabelSelector:
    """Return which pods count; none at all means nobody."""
    if constraint.label_selector is None:
        return NOTHING
    own = pod.metadata.labels
    same = {key: own[key] for key in constraint.match_label_keys if key in own}
    try:
        return LabelSelector(
            from_selector(constraint.label_selector).requirements + from_labels(same).requirements
        )
    except SelectorError:
        return NOTHING
