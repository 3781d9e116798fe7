"""Pure: where other pods let a pod go: affinity between pods, topology spread constraints.

A place is all the nodes that have one value of a topology key. Source: interpodaffinity in
pkg/scheduler/framework/plugins of Kubernetes 1.32. matchLabelKeys and mismatchLabelKeys are in the
selectors already: the API server wrote them there when the pod was made.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from podwire.emulator.controllers.nodes.groups import Group, Wish
from podwire.emulator.controllers.nodes.spreading import SPREAD, Spread, spreads
from podwire.kube.objects import (
    Affinity,
    LabelSelectorSpec,
    Node,
    Pod,
    PodAffinity,
    PodAffinityTerm,
    PodSpec,
)
from podwire.kube.selectors import NOTHING, LabelSelector, SelectorError, from_selector

NOT_NEAR = "node(s) didn't match pod affinity rules"
TOO_NEAR = "node(s) didn't match pod anti-affinity rules"
SHUNNED = "node(s) didn't satisfy existing pods anti-affinity rules"

GO_WITH_OTHERS = (SPREAD, TOO_NEAR, SHUNNED)
"""The obstacles that go when another pod goes."""

Place = tuple[str, str]
NamespaceLabels = Callable[[str], Mapping[str, str]]

_NOBODY = PodAffinity()
_NO_WISH = Affinity()
# What it counts that somebody needs the pod near (hardPodAffinityWeight).
_NEEDED = 1


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What the pods that are there mean for one that is to be placed."""

    spreads: tuple[Spread, ...] = ()
    near: tuple[tuple[str, frozenset[str]], ...] = ()
    # The first of a group that wants to be together has nobody to be near to.
    first: bool = False
    away: frozenset[Place] = frozenset()
    shunned: frozenset[Place] = frozenset()
    liked: Mapping[Place, int] = field(default_factory=dict[Place, int])
    even: tuple[Spread, ...] = ()

    def obstacle(self, node: Node) -> str | None:
        """Return why the pod cannot be on *node*, in the scheduler's words, or None if it can."""
        labels = node.metadata.labels
        for spread in self.spreads:
            if (reason := spread.obstacle(labels)) is not None:
                return reason
        for key, values in self.near:
            if key not in labels or not (self.first or labels[key] in values):
                return NOT_NEAR
        if self.away and not self.away.isdisjoint(labels.items()):
            return TOO_NEAR
        if self.shunned and not self.shunned.isdisjoint(labels.items()):
            return SHUNNED
        return None

    def liking(self, node: Node) -> int:
        """Return how much better *node* is than others because of who is near."""
        liked = self.liked
        return sum(liked.get(place, 0) for place in node.metadata.labels.items()) if liked else 0

    def crowd(self, node: Node) -> int:
        """Return how many are there already of those that had better be spread."""
        labels = node.metadata.labels
        return sum(spread.crowd(labels) for spread in self.even)


NO_NEIGHBOURS = Neighbours()


def asks(spec: PodSpec) -> bool:
    """Tell whether it matters to a pod which others are where."""
    affinity = spec.affinity
    return bool(spec.topology_spread_constraints) or (
        affinity is not None
        and (affinity.pod_affinity is not None or affinity.pod_anti_affinity is not None)
    )


def gains(spec: PodSpec) -> bool:
    """Tell whether another pod that comes may let a pod in: one to be near to, or to be even with.

    Who only keeps away from others gains nothing (isSchedulableAfterPodChange).
    """
    return bool(_pro(spec.affinity).required or spec.topology_spread_constraints)


def around(
    pod: Pod,
    nodes: Sequence[Node],
    groups: Iterable[Group],
    wishes: Iterable[Wish],
    labels_of: NamespaceLabels,
) -> Neighbours:
    """Return what the pods on *nodes* mean for *pod*.

    *groups* need not be given if it does not ask; *wishes* are those of the pods that are there.
    *labels_of* returns the labels of a namespace.
    """
    spec, namespace = pod.spec, pod.metadata.namespace
    others = _Others(nodes, groups, labels_of)
    near, first = others.near(_pro(spec.affinity).required, pod)
    away: set[Place] = set()
    for term in _anti(spec.affinity).required:
        away.update(others.places(term, namespace))
    hard, soft = (
        tuple(spreads(pod, how, nodes, others.groups))
        for how in ("DoNotSchedule", "ScheduleAnyway")
    )
    liked: Counter[Place] = Counter()
    for sign, affinity in ((1, _pro(spec.affinity)), (-1, _anti(spec.affinity))):
        for weighted in affinity.preferred:
            counts = others.places(weighted.pod_affinity_term, namespace)
            for place, count in counts.items():
                liked[place] += sign * weighted.weight * count
    shunned: set[Place] = set()
    for wish in wishes:
        for term in _anti(wish.affinity).required:
            if others.means(term, wish.namespace, pod):
                shunned.update(others.counted(term.topology_key, wish.nodes))
        for weight, term in _weighted(wish.affinity):
            if others.means(term, wish.namespace, pod):
                for place, count in others.counted(term.topology_key, wish.nodes).items():
                    liked[place] += weight * count
    return Neighbours(hard, near, first, frozenset(away), frozenset(shunned), liked, soft)


def _pro(affinity: Affinity | None) -> PodAffinity:
    return (affinity or _NO_WISH).pod_affinity or _NOBODY


def _anti(affinity: Affinity | None) -> PodAffinity:
    return (affinity or _NO_WISH).pod_anti_affinity or _NOBODY


def _weighted(affinity: Affinity) -> list[tuple[int, PodAffinityTerm]]:
    """Return how much those who wish it would like a pod of a term beside them."""
    return [
        *((_NEEDED, term) for term in _pro(affinity).required),
        *((one.weight, one.pod_affinity_term) for one in _pro(affinity).preferred),
        *((-one.weight, one.pod_affinity_term) for one in _anti(affinity).preferred),
    ]


class _Others:
    """The pods that are there, where they are, and who means whom."""

    def __init__(
        self, nodes: Sequence[Node], groups: Iterable[Group], labels_of: NamespaceLabels
    ) -> None:
        self.groups = tuple(groups)
        self._labels = {node.metadata.name: node.metadata.labels for node in nodes}
        self._labels_of = labels_of

    def near(
        self, terms: Sequence[PodAffinityTerm], pod: Pod
    ) -> tuple[tuple[tuple[str, frozenset[str]], ...], bool]:
        """Return for each term where it holds, and whether *pod* is the first of its kind."""
        speak = [self._speaks_of(term, pod.metadata.namespace) for term in terms]
        # Only who is meant by all terms counts for any of them.
        meant = Counter[str]()
        for group in self.groups if terms else ():
            if all(one(group.namespace, group.labels) for one in speak):
                meant.update(group.nodes)
        found = tuple(
            (key, frozenset(value for _, value in self.counted(key, meant)))
            for key in (term.topology_key for term in terms)
        )
        meta = pod.metadata
        first = not any(values for _, values in found)
        return found, first and all(one(meta.namespace, meta.labels) for one in speak)

    def places(self, term: PodAffinityTerm, owner: str) -> Counter[Place]:
        """Count the pods that *term* speaks of, by their place."""
        speaks_of = self._speaks_of(term, owner)
        meant = Counter[str]()
        for group in self.groups:
            if speaks_of(group.namespace, group.labels):
                meant.update(group.nodes)
        return self.counted(term.topology_key, meant)

    def counted(self, key: str, nodes: Mapping[str, int]) -> Counter[Place]:
        """Count pods by their place that are counted by node."""
        found: Counter[Place] = Counter()
        for name, count in nodes.items():
            labels = self._labels.get(name)
            if labels is not None and key in labels:
                found[key, labels[key]] += count
        return found

    def means(self, term: PodAffinityTerm, owner: str, pod: Pod) -> bool:
        """Tell whether a term of the namespace *owner* speaks of *pod*."""
        return self._speaks_of(term, owner)(pod.metadata.namespace, pod.metadata.labels)

    def _speaks_of(
        self, term: PodAffinityTerm, owner: str
    ) -> Callable[[str, Mapping[str, str]], bool]:
        """Return what tells whether a term speaks of pods of a namespace, with their labels."""
        selector = _selector(term.label_selector)
        wanted = term.namespace_selector
        namespaces = _selector(wanted)
        named = term.namespaces or (() if wanted is not None else (owner,))

        def speaks_of(namespace: str, labels: Mapping[str, str]) -> bool:
            here = namespace in named or (
                wanted is not None and namespaces.matches(self._labels_of(namespace))
            )
            return here and selector.matches(labels)

        return speaks_of


def _selector(spec: LabelSelectorSpec | None) -> LabelSelector:
    """Return a selector; none at all selects nothing, an empty one everything."""
    try:
        return NOTHING if spec is None else from_selector(spec)
    except SelectorError:
        return NOTHING
