"""Pure: the documents by which clients learn what is served, aggregated and legacy."""

from typing import Any, Literal

from podwire.emulator.apiserver.kinds import Kinds
from podwire.emulator.apiserver.negotiate import entries
from podwire.emulator.apiserver.resources import Resource, Subresource

Json = dict[str, Any]
Aggregated = Literal["v2", "v2beta1"]


def aggregated_version(accept: str) -> Aggregated | None:
    """Return which aggregated form the client asks for first, or None for the legacy one."""
    for entry in entries(accept):
        parameters = entry.parameters
        if parameters.get("as") == "APIGroupDiscoveryList":
            if parameters.get("v") == "v2":
                return "v2"
            if parameters.get("v") == "v2beta1":
                return "v2beta1"
        elif entry.type in ("application/json", "*/*", "application/*") and not parameters.get(
            "as"
        ):
            return None
    return None


def content_type(version: Aggregated) -> str:
    """Return the Content-Type of an aggregated document; clients compare it letter by letter."""
    return f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"


def aggregated(kinds: Kinds, version: Aggregated, *, core: bool) -> Json:
    """Return the document of `/api` (*core*) or of `/apis`."""
    items: list[Json] = []
    for group, versions in kinds.groups().items():
        if (group == "") is not core:
            continue
        meta: Json = {"creationTimestamp": None}
        items.append(
            {
                "metadata": {"name": group, **meta} if group else meta,
                "versions": [_aggregated_version(kinds, group, name) for name in versions],
            }
        )
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def core_versions(address: str) -> Json:
    """Return the legacy document of `/api`; *address* is where the server is reached."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group_list(kinds: Kinds) -> Json:
    """Return the legacy document of `/apis`."""
    named = [group for group in kinds.groups() if group]
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [_group(kinds, name) for name in named],
    }


def group(kinds: Kinds, name: str) -> Json | None:
    """Return the legacy document of one group, or None if it is not served."""
    if not name or name not in kinds.groups():
        return None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(kinds, name)}


def resource_list(kinds: Kinds, group_: str, version: str) -> Json | None:
    """Return the legacy document of one version, or None if it is not served."""
    served = kinds.in_version(group_, version)
    if not served:
        return None
    listed: list[Json] = []
    for resource in served:
        listed.append(_listed(resource))
        listed += [_listed_subresource(resource, entry) for entry in resource.subresources]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": served[0].api_version,
        "resources": listed,
    }


def _group(kinds: Kinds, name: str) -> Json:
    versions = [
        {"groupVersion": f"{name}/{version}", "version": version}
        for version in kinds.groups()[name]
    ]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _aggregated_version(kinds: Kinds, group_: str, version: str) -> Json:
    return {
        "version": version,
        "resources": [_aggregated_resource(r) for r in kinds.in_version(group_, version)],
        "freshness": "Current",
    }


def _aggregated_resource(resource: Resource) -> Json:
    entry: Json = {
        "resource": resource.plural,
        "responseKind": _kind(resource.group, resource.version, resource.kind),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.subresources:
        entry["subresources"] = [
            {
                "subresource": below.name,
                "responseKind": _kind(below.group, below.version, below.kind),
                "verbs": list(below.verbs),
            }
            for below in resource.subresources
        ]
    return entry


def _listed(resource: Resource) -> Json:
    entry: Json = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    return entry


def _listed_subresource(resource: Resource, below: Subresource) -> Json:
    entry: Json = {
        "name": f"{resource.plural}/{below.name}",
        "singularName": "",
        "namespaced": resource.namespaced,
    }
    if (below.group, below.version) != (resource.group, resource.version):
        entry |= {"group": below.group, "version": below.version}
    return entry | {"kind": below.kind, "verbs": list(below.verbs)}


def _kind(group_: str, version: str, kind: str) -> Json:
    return {"group": group_, "version": version, "kind": kind}
