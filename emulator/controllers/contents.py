"""What a namespace can contain, by the API server's own word: discovery, not a list of kinds."""

from collections.abc import Iterable, Sequence

import msgspec

from podwire.kube.client import Client, collection
from podwire.kube.objects import Resource

_NEEDED = {"list", "deletecollection"}


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


class _List(msgspec.Struct, rename="camel"):
    items: list[msgspec.Raw] = []
    metadata: _ListMeta = _ListMeta()


async def namespaced_resources(client: Client) -> tuple[Resource, ...]:
    """Return every kind that lives in namespaces and can be listed and deleted, pods first."""
    groups = msgspec.json.decode(await client.get_path("/apis"), type=_ApiGroupList).groups
    paths = ["/api/v1", *(f"/apis/{g.preferred_version.group_version}" for g in groups)]
    found: list[Resource] = []
    for path in paths:
        listing = msgspec.json.decode(await client.get_path(path), type=_ApiResourceList)
        found += _resources(listing)
    return tuple(sorted(found, key=lambda resource: resource.plural != "pods"))


async def count(client: Client, resource: Resource, namespace: str) -> int:
    """Return how many objects of a kind are in *namespace*."""
    path = f"{collection(resource, namespace)}?limit=500"
    listing = msgspec.json.decode(await client.get_path(path), type=_List)
    return len(listing.items) + listing.metadata.remaining_item_count


def remaining_message(counts: Sequence[tuple[Resource, int]]) -> str:
    """Return what still lives in the namespace, in Kubernetes' words."""
    parts = [
        f"{resource.plural}.{resource.group} has {number} resource instances"
        for resource, number in sorted(counts, key=lambda pair: (pair[0].plural, pair[0].group))
    ]
    return f"Some resources are remaining: {', '.join(parts)}"


def _resources(listing: _ApiResourceList) -> Iterable[Resource]:
    group, _, version = listing.group_version.rpartition("/")
    for entry in listing.resources:
        if entry.namespaced and set(entry.verbs) >= _NEEDED and "/" not in entry.name:
            # The same events are served under two groups (core and events.k8s.io).
            if entry.name == "events" and group:
                continue
            yield Resource(group=group, version=version, plural=entry.name, kind=entry.kind)
