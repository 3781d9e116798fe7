"""Pure: the pods that are placed, in groups of such as mean the same to a pod that is to be placed.

A thousand replicas with required anti-affinity are one group here, so that placing one more costs
what there are groups and nodes, and not what there are pods.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple

import msgspec

from podwire.kube.objects import Affinity, Pod


class Group(NamedTuple):
    """Pods of one namespace with the same labels, and how many of them are on each node."""

    namespace: str
    labels: Mapping[str, str]
    leaving: bool
    nodes: Counter[str]


class Wish(NamedTuple):
    """What pods of one namespace wish of others, and how many who wish it are on each node."""

    namespace: str
    affinity: Affinity
    nodes: Counter[str]


_GroupKey = tuple[str, frozenset[tuple[str, str]], bool]
_WishKey = tuple[str, bytes]


class Membership(NamedTuple):
    """Where one pod is counted: `Groups.leave` undoes what `Groups.join` did."""

    node: str
    group: _GroupKey
    wish: _WishKey | None


class Groups:
    """Counts pods by node, in groups."""

    def __init__(self) -> None:
        self._groups: dict[_GroupKey, Group] = {}
        self._wishes: dict[_WishKey, Wish] = {}

    def join(self, pod: Pod, node: str) -> Membership:
        """Count *pod* on *node*."""
        meta, key = pod.metadata, group_of(pod)
        group = self._groups.get(key)
        if group is None:
            group = Group(meta.namespace, meta.labels, key[2], Counter())
            self._groups[key] = group
        group.nodes[node] += 1
        affinity, wish = pod.spec.affinity, None
        if affinity is not None and (affinity.pod_affinity or affinity.pod_anti_affinity):
            # Structs that hold a map have no hash.
            wish = (meta.namespace, msgspec.json.encode(affinity))
            fresh = Wish(meta.namespace, affinity, Counter())
            self._wishes.setdefault(wish, fresh).nodes[node] += 1
        return Membership(node, key, wish)

    def leave(self, member: Membership) -> None:
        """Count a pod no longer."""
        if not _less(self._groups[member.group].nodes, member.node):
            del self._groups[member.group]
        if member.wish is not None and not _less(self._wishes[member.wish].nodes, member.node):
            del self._wishes[member.wish]

    def groups(self) -> Collection[Group]:
        """Return who is where."""
        return self._groups.values()

    def wishes(self) -> Collection[Wish]:
        """Return what those wish who are there."""
        return self._wishes.values()


def group_of(pod: Pod) -> _GroupKey:
    """Return what pods of one group have in common."""
    meta = pod.metadata
    return meta.namespace, frozenset(meta.labels.items()), meta.deletion_timestamp is not None


def _less(counts: Counter[str], node: str) -> Counter[str]:
    """Count one less on *node*; those that are nowhere are forgotten."""
    counts[node] -= 1
    if not counts[node]:
        del counts[node]
    return counts
