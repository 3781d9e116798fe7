"""Which kinds there are, by the API server's own word: discovery, not a list of kinds.

So custom resources count as soon as they are served.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

import msgspec

from podwire.errors import NotFound
from podwire.kube.client import Client, collection
from podwire.kube.objects import Resource

_TO_EMPTY = {"list", "deletecollection"}
_TO_COLLECT = {"list", "watch", "patch", "delete"}


class _ApiResource(msgspec.Struct, rename="camel"):
    name: str
    kind: str
    namespaced: bool = False
    verbs: list[str] = []


class _ApiResourceList(msgspec.Struct, rename="camel"):
    group_version: str = ""
    resources: list[_ApiResource] = []


class _GroupVersion(msgspec.Struct, rename="camel"):
    group_version: str


class _ApiGroup(msgspec.Struct, rename="camel"):
    preferred_version: _GroupVersion


class _ApiGroupList(msgspec.Struct, rename="camel"):
    groups: list[_ApiGroup] = []


class _ListMeta(msgspec.Struct, rename="camel", frozen=True):
    remaining_item_count: int = 0


class _ItemMeta(msgspec.Struct, rename="camel", frozen=True):
    finalizers: tuple[str, ...] = ()


class _Item(msgspec.Struct, rename="camel", frozen=True):
    metadata: _ItemMeta = _ItemMeta()


class _List(msgspec.Struct, rename="camel"):
    items: list[_Item] = []
    metadata: _ListMeta = _ListMeta()


@dataclass(frozen=True, slots=True)
class Contents:
    """How many objects of a kind there are, and how many of them have which finalizer."""

    resource: Resource
    number: int
    finalizers: Mapping[str, int]


async def namespaced_resources(client: Client) -> tuple[Resource, ...]:
    """Return every kind that lives in namespaces and can be listed and deleted, pods first."""
    found = [r for r in await _served(client, _TO_EMPTY) if r.namespaced]
    return tuple(sorted(found, key=lambda resource: resource.plural != "pods"))


async def collectable_resources(client: Client) -> tuple[Resource, ...]:
    """Return every kind whose objects can be followed and deleted, so that they may have owners."""
    return tuple(await _served(client, _TO_COLLECT))


async def count(client: Client, resource: Resource, namespace: str) -> Contents:
    """Return how many objects of a kind are in *namespace*."""
    path = f"{collection(resource, namespace)}?limit=500"
    listing = msgspec.json.decode(await client.get_path(path), type=_List)
    finalizers = Counter(f for item in listing.items for f in item.metadata.finalizers)
    number = len(listing.items) + listing.metadata.remaining_item_count
    return Contents(resource, number, finalizers)


def remaining_message(left: Iterable[Contents]) -> str:
    """Return what still lives in the namespace, in Kubernetes' words."""
    parts = [
        f"{contents.resource.plural}.{contents.resource.group} has {contents.number} "
        "resource instances"
        for contents in sorted(left, key=lambda c: (c.resource.plural, c.resource.group))
    ]
    return f"Some resources are remaining: {', '.join(parts)}"


def finalizers_message(left: Iterable[Contents]) -> str:
    """Return which finalizers hold the namespace, in Kubernetes' words; empty if there are none."""
    totals: Counter[str] = Counter()
    for contents in left:
        totals.update(contents.finalizers)
    parts = [f"{name} in {totals[name]} resource instances" for name in sorted(totals)]
    if not parts:
        return ""
    return f"Some content in the namespace has finalizers remaining: {', '.join(parts)}"


async def _served(client: Client, verbs: Set[str]) -> list[Resource]:
    groups = msgspec.json.decode(await client.get_path("/apis"), type=_ApiGroupList).groups
    paths = ["/api/v1", *(f"/apis/{g.preferred_version.group_version}" for g in groups)]
    found: list[Resource] = []
    for path in paths:
        try:
            listing = msgspec.json.decode(await client.get_path(path), type=_ApiResourceList)
        except NotFound:
            continue  # the last kind of a group went meanwhile
        found += _resources(listing, verbs)
    return found


def _resources(listing: _ApiResourceList, verbs: Set[str]) -> Iterable[Resource]:
    group, _, version = listing.group_version.rpartition("/")
    for entry in listing.resources:
        # The same events are served under two groups (core and events.k8s.io).
        twice = entry.name == "events" and group
        if set(entry.verbs) >= verbs and "/" not in entry.name and not twice:
            yield Resource(
                group=group,
                version=version,
                plural=entry.name,
                kind=entry.kind,
                namespaced=entry.namespaced,
            )
