"""Pure: where other pods let a pod go: affinity between pods, topology spread constraints.

A place is all the nodes that have one value of a topology key. Source: interpodaffinity and
podtopologyspread in pkg/scheduler/framework/plugins of Kubernetes 1.32.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from podwire.emulator.controllers.placement import matches_node, untolerated
from podwire.kube.objects import (
    LabelSelectorSpec,
    Node,
    Pod,
    PodAffinity,
    PodAffinityTerm,
    PodSpec,
    TopologySpreadConstraint,
)
from podwire.kube.selectors import NOTHING, LabelSelector, SelectorError, from_selector

SPREAD = "node(s) didn't match pod topology spread constraints"
NO_PLACE = f"{SPREAD} (missing required label)"
NOT_NEAR = "node(s) didn't match pod affinity rules"
TOO_NEAR = "node(s) didn't match pod anti-affinity rules"
SHUNNED = "node(s) didn't satisfy existing pods anti-affinity rules"

GO_WITH_OTHERS = (SPREAD, TOO_NEAR, SHUNNED)
"""The obstacles that go when another pod goes."""

Place = tuple[str, str]
NamespaceLabels = Callable[[str], Mapping[str, str]]

_NOBODY = PodAffinity()
_NOWHERE = 1 << 30


class Placed(NamedTuple):
    """A pod that has a node."""

    pod: Pod
    node: Node


@dataclass(frozen=True, slots=True)
class _Spread:
    key: str
    counts: Mapping[str, int]
    fewest: int
    own: int
    limit: int


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What the pods that are there mean for one that is to be placed."""

    spreads: tuple[_Spread, ...] = ()
    near: tuple[tuple[str, frozenset[str]], ...] = ()
    # The first of a group that wants to be together has nobody to be near to.
    first: bool = False
    away: frozenset[Place] = frozenset()
    shunned: frozenset[Place] = frozenset()
    liked: Mapping[Place, int] = field(default_factory=dict[Place, int])
    even: tuple[_Spread, ...] = ()

    def obstacle(self, node: Node) -> str | None:
        """Return why the pod cannot be on *node*, in the scheduler's words, or None if it can."""
        labels = node.metadata.labels
        for spread in self.spreads:
            value = labels.get(spread.key)
            if value is None:
                return NO_PLACE
            if spread.counts.get(value, 0) + spread.own - spread.fewest > spread.limit:
                return SPREAD
        for key, values in self.near:
            if key not in labels or not (self.first or labels[key] in values):
                return NOT_NEAR
        if not self.away.isdisjoint(labels.items()):
            return TOO_NEAR
        if not self.shunned.isdisjoint(labels.items()):
            return SHUNNED
        return None

    def liking(self, node: Node) -> int:
        """Return how much better *node* is than others because of who is near."""
        labels = node.metadata.labels
        return sum(
            weight for (key, value), weight in self.liked.items() if labels.get(key) == value
        )

    def crowd(self, node: Node) -> int:
        """Return how many are there already of those that had better be spread."""
        labels = node.metadata.labels
        return sum(
            spread.counts.get(labels[spread.key], 0) if spread.key in labels else _NOWHERE
            for spread in self.even
        )


NO_NEIGHBOURS = Neighbours()


def asks(spec: PodSpec) -> bool:
    """Tell whether it matters to a pod which others are where."""
    affinity = spec.affinity
    return bool(spec.topology_spread_constraints) or (
        affinity is not None
        and (affinity.pod_affinity is not None or affinity.pod_anti_affinity is not None)
    )


def shuns(spec: PodSpec) -> bool:
    """Tell whether a pod keeps others away."""
    return bool(_anti(spec).required)


def around(
    pod: Pod,
    nodes: Sequence[Node],
    placed: Sequence[Placed],
    shunning: Iterable[Placed],
    labels_of: NamespaceLabels,
) -> Neighbours:
    """Return what the pods on *nodes* mean for *pod*.

    *placed* need not be given if it does not ask; *shunning* are those who keep others away.
    *labels_of* returns the labels of a namespace.
    """
    spec = pod.spec
    near, first = _near(pod, placed, labels_of)
    away = (
        place
        for term in _anti(spec).required
        for place in _places(term, pod, placed, labels_of).elements()
    )
    shunned = (
        (term.topology_key, value)
        for other in shunning
        for term in _anti(other.pod.spec).required
        if _speaks_of(term, other.pod, labels_of)(pod)
        and (value := other.node.metadata.labels.get(term.topology_key)) is not None
    )
    hard, soft = (
        tuple(_spreads(pod, how, nodes, placed)) for how in ("DoNotSchedule", "ScheduleAnyway")
    )
    liked: Counter[Place] = Counter()
    for sign, affinity in ((1, _pro(spec)), (-1, _anti(spec))):
        for weighted in affinity.preferred:
            counts = _places(weighted.pod_affinity_term, pod, placed, labels_of)
            for place, count in counts.items():
                liked[place] += sign * weighted.weight * count
    return Neighbours(hard, near, first, frozenset(away), frozenset(shunned), liked, soft)


def _pro(spec: PodSpec) -> PodAffinity:
    return (spec.affinity.pod_affinity if spec.affinity else None) or _NOBODY


def _anti(spec: PodSpec) -> PodAffinity:
    return (spec.affinity.pod_anti_affinity if spec.affinity else None) or _NOBODY


def _near(
    pod: Pod, placed: Sequence[Placed], labels_of: NamespaceLabels
) -> tuple[tuple[tuple[str, frozenset[str]], ...], bool]:
    """Return for each required term where it holds, and whether *pod* is the first of its kind."""
    terms = _pro(pod.spec).required
    speak = [_speaks_of(term, pod, labels_of) for term in terms]
    # Only who is meant by all terms counts for any of them.
    meant = [other.node for other in placed if all(one(other.pod) for one in speak)]
    found = tuple(
        (
            term.topology_key,
            frozenset(
                node.metadata.labels[term.topology_key]
                for node in meant
                if term.topology_key in node.metadata.labels
            ),
        )
        for term in terms
    )
    first = not any(values for _, values in found) and all(one(pod) for one in speak)
    return found, first


def _places(
    term: PodAffinityTerm, owner: Pod, placed: Sequence[Placed], labels_of: NamespaceLabels
) -> Counter[Place]:
    """Count the pods that *term* speaks of, by their place."""
    speaks_of = _speaks_of(term, owner, labels_of)
    key = term.topology_key
    return Counter(
        (key, other.node.metadata.labels[key])
        for other in placed
        if key in other.node.metadata.labels and speaks_of(other.pod)
    )


def _speaks_of(
    term: PodAffinityTerm, owner: Pod, labels_of: NamespaceLabels
) -> Callable[[Pod], bool]:
    """Return what tells whether a term of *owner* speaks of a pod."""
    selector = _selector(term.label_selector)
    wanted = term.namespace_selector
    namespaces = _selector(wanted)
    own = owner.metadata.labels
    same = {key: own[key] for key in term.match_label_keys if key in own}
    other = {key: own[key] for key in term.mismatch_label_keys if key in own}

    def speaks_of(pod: Pod) -> bool:
        namespace, labels = pod.metadata.namespace, pod.metadata.labels
        here = namespace in term.namespaces or (
            namespaces.matches(labels_of(namespace))
            if wanted is not None
            else not term.namespaces and namespace == owner.metadata.namespace
        )
        return (
            here
            and selector.matches(labels)
            and all(labels.get(key) == value for key, value in same.items())
            and all(labels.get(key) != value for key, value in other.items())
        )

    return speaks_of


def _selector(spec: LabelSelectorSpec | None) -> LabelSelector:
    """Return a selector; none at all selects nothing, an empty one everything."""
    try:
        return NOTHING if spec is None else from_selector(spec)
    except SelectorError:
        return NOTHING


def _spreads(
    pod: Pod, how: str, nodes: Sequence[Node], placed: Sequence[Placed]
) -> Iterator[_Spread]:
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
        yield _spread(pod, constraint, places, placed)


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
    placed: Sequence[Placed],
) -> _Spread:
    selector = _selector(constraint.label_selector)
    own = pod.metadata.labels
    same = {key: own[key] for key in constraint.match_label_keys if key in own}
    counts = Counter(dict.fromkeys(places.values(), 0))
    for other, node in placed:
        meta = other.metadata
        if (
            node.metadata.name in places
            and meta.namespace == pod.metadata.namespace
            and meta.deletion_timestamp is None
            and selector.matches(meta.labels)
            and all(meta.labels.get(key) == value for key, value in same.items())
        ):
            counts[places[node.metadata.name]] += 1
    few = len(counts) < constraint.min_domains
    return _Spread(
        constraint.topology_key,
        counts,
        fewest=0 if few else min(counts.values(), default=0),
        own=int(selector.matches(own)),
        limit=constraint.max_skew,
    )
