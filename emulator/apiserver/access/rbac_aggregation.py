"""Pure: ClusterRoles whose rules are those of others: aggregationRule.

Kubernetes has a controller for it (pkg/controller/clusterroleaggregation). Here the server itself
writes the rules, after each write to a ClusterRole: what was granted holds from the answer on.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from podwire.emulator.apiserver.access.authorize import CLUSTER_ROLES
from podwire.emulator.apiserver.store import Store, Stored
from podwire.emulator.apiserver.types.fields import many, struct
from podwire.kube.objects import LabelSelectorSpec
from podwire.kube.selectors import SelectorError, from_selector

Json = dict[str, Any]


def settle(store: Store) -> None:
    """Write the rules of all aggregated ClusterRoles that are not what they should be."""
    roles = store.all(CLUSTER_ROLES)
    for stored in roles:
        if not _selectors(stored):
            continue
        rules = _unique(_collected(stored, roles, {stored.key.name}))
        if rules != many(stored.object, "rules"):
            store.put(CLUSTER_ROLES, stored.key, {**stored.copy(), "rules": rules})


def _collected(role: Stored, roles: Sequence[Stored], seen: set[str]) -> Iterator[Json]:
    """Yield the rules of all that *role* aggregates, and of what that aggregates in turn.

    What an aggregated role has of its own does not count: it is overwritten. So roles that name
    each other in a ring have nothing, and are at rest; a controller would turn for ever. Whoever
    is in *seen*, which grows, has been looked at: there are more ways than roles.
    """
    for selector in _selectors(role):
        selects = _selected_by(selector)
        for other in roles:
            labels: dict[str, str] = struct(other.object["metadata"], "labels")
            if other.key.name in seen or not selects(labels):
                continue
            seen.add(other.key.name)
            if _selectors(other):
                yield from _collected(other, roles, seen)
            else:
                yield from many(other.object, "rules")


def _selectors(role: Stored) -> list[Json]:
    return many(struct(role.object, "aggregationRule"), "clusterRoleSelectors")


def _unique(rules: Iterable[Json]) -> list[Json]:
    found: list[Json] = []
    for rule in rules:
        if rule not in found:
            found.append(rule)
    return found


def _selected_by(selector: Json) -> Callable[[dict[str, str]], bool]:
    try:
        return from_selector(msgspec.convert(selector, LabelSelectorSpec)).matches
    except (SelectorError, msgspec.ValidationError):
        return lambda _: False
