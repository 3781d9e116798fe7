"""Pure: what the server itself writes into an object: metadata, status, generation."""

from typing import Any
from uuid import UUID

from podwire.emulator.apiserver.request import Dice, Request
from podwire.emulator.apiserver.resources import Resource
from podwire.emulator.apiserver.types import schema
from podwire.emulator.apiserver.types.fields import many, struct
from podwire.emulator.apiserver.types.normalise import zero
from podwire.kube.times import rfc3339

Json = dict[str, Any]

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
"""An annotation that every DaemonSet has: a field of its first versions (pkg/apis/apps/v1)."""

_DAEMON_SETS = "daemonsets.apps"
_FIRST_PHASES = {"Pod": "Pending", "Namespace": "Active"}
_GATED: Json = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "SchedulingGated",
    "message": "Scheduling is blocked due to non-empty scheduling gates",
    "lastProbeTime": None,
    "lastTransitionTime": None,
}
_SYSTEM_FIELDS = ("uid", "creationTimestamp", "generation", "deletionTimestamp")


def prepare_new(obj: Json, request: Request, dice: Dice) -> None:
    """Fill in what a new object gets from the server, and drop what only the server may say."""
    resource = request.resource
    meta = _metadata(obj)
    for name in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields"):
        meta.pop(name, None)
    meta["uid"] = str(UUID(int=dice.getrandbits(128), version=4))
    meta["creationTimestamp"] = rfc3339(request.now)
    if resource.generation:
        meta["generation"] = 1
    else:
        meta.pop("generation", None)
    if resource.namespaced:
        meta["namespace"] = request.namespace
    else:
        meta.pop("namespace", None)
    if resource.has("status") and not resource.status_on_create:
        _drop_status(obj, resource.storage)
    if resource.storage.collection == _DAEMON_SETS:
        _count_template(obj, 1)
    if resource.kind == "Namespace":
        # The namespace controller takes "kubernetes" away when the content is gone.
        finalizers: list[str] = obj.setdefault("spec", {}).get("finalizers") or []
        if "kubernetes" not in finalizers:
            obj["spec"]["finalizers"] = [*finalizers, "kubernetes"]


def prepare_update(obj: Json, old: Json, request: Request) -> None:
    """Keep in *obj* what this kind of write may not change."""
    resource, subresource = request.resource, request.subresource
    meta, old_meta = _metadata(obj), _metadata(old)
    for name in (*_SYSTEM_FIELDS, "deletionGracePeriodSeconds", "namespace", "name"):
        _keep(meta, old_meta, name)
    for name in ("selfLink", "managedFields"):
        meta.pop(name, None)
    if resource.custom:
        _prepare_custom_update(obj, old, request)
    elif subresource == "status":
        for name in ("spec", "data"):
            _keep(obj, old, name)
        _keep(meta, old_meta, "ownerReferences")
        if resource.kind == "Pod" and not struct(obj, "status").get("qosClass"):
            _keep(obj.setdefault("status", {}), struct(old, "status"), "qosClass")
        if resource.group == "apps":
            _keep(meta, old_meta, "labels")
    elif subresource == "ephemeralcontainers":
        _prepare_ephemeral(obj, old)
    elif resource.has("status"):
        _keep(obj, old, "status")
    if resource.kind == "Namespace" and subresource != "finalize":
        _keep_finalizers(obj, old)


def _prepare_custom_update(obj: Json, old: Json, request: Request) -> None:
    """Keep the status, or all but the status (registry/customresource/status_strategy.go)."""
    if request.subresource == "status":
        for name in {*obj, *old} - {"metadata", "status"}:
            _keep(obj, old, name)
        for name in {*obj["metadata"], *old["metadata"]} - {"managedFields", "resourceVersion"}:
            _keep(obj["metadata"], old["metadata"], name)
    elif request.resource.has("status"):
        _keep(obj, old, "status")


def _prepare_ephemeral(obj: Json, old: Json) -> None:
    """Keep all but the ephemeral containers (registry/core/pod/strategy.go)."""
    added = many(struct(obj, "spec"), "ephemeralContainers")
    for name in {*obj, *old} - {"metadata"}:
        _keep(obj, old, name)
    for name in {*obj["metadata"], *old["metadata"]} - {"managedFields", "resourceVersion"}:
        _keep(obj["metadata"], old["metadata"], name)
    obj["spec"] = {**struct(old, "spec"), "ephemeralContainers": added}


def count_generation(obj: Json, old: Json, resource: Resource) -> None:
    """Add one to metadata.generation if anything outside metadata and status changed."""
    # Without the subresource the status of a custom resource is a field as any other.
    status = bool(resource.custom) and not resource.has("status")
    if resource.generation and _wish(obj, status=status) != _wish(old, status=status):
        obj["metadata"]["generation"] = int(old["metadata"].get("generation", 0)) + 1
    if resource.storage.collection == _DAEMON_SETS:
        before = int(struct(old["metadata"], "annotations").get(TEMPLATE_GENERATION, "1"))
        changed = struct(obj, "spec").get("template") != struct(old, "spec").get("template")
        _count_template(obj, before + changed)


def _count_template(obj: Json, number: int) -> None:
    """Write how often the template of a DaemonSet was another one; clients cannot."""
    meta = obj["metadata"]
    meta["annotations"] = {**struct(meta, "annotations"), TEMPLATE_GENERATION: str(number)}


def mark_deleted(obj: Json, *, at: float, grace: int) -> None:
    """Write that *obj* will be gone *grace* seconds after *at*."""
    meta = obj["metadata"]
    meta["deletionTimestamp"] = rfc3339(at + grace)
    meta["deletionGracePeriodSeconds"] = grace
    if meta.get("generation"):
        meta["generation"] += 1


def finished(obj: Json) -> bool:
    """Tell whether an object that is being deleted has nothing left to wait for."""
    meta = obj["metadata"]
    waits = meta.get("finalizers") or meta.get("deletionGracePeriodSeconds")
    if obj.get("kind") == "Namespace":
        waits = waits or struct(obj, "spec").get("finalizers")
    return bool(meta.get("deletionTimestamp")) and not waits


def quality(spec: Json) -> str:
    """Return a pod's QoS class: who is evicted last (pkg/apis/core/v1/helper/qos)."""
    asked, equal = False, True
    for container in (*many(spec, "containers"), *many(spec, "initContainers")):
        resources = struct(container, "resources")
        limits, requests = struct(resources, "limits"), struct(resources, "requests")
        for name in ("cpu", "memory"):
            limit, request = limits.get(name), requests.get(name, limits.get(name))
            asked = asked or bool(limit or request)
            equal = equal and bool(limit) and limit == request
    if not asked:
        return "BestEffort"
    return "Guaranteed" if equal else "Burstable"


def _metadata(obj: Json) -> Json:
    meta: Json = obj.setdefault("metadata", {})
    return meta


def _wish(obj: Json, *, status: bool) -> Json:
    apart = ("metadata",) if status else ("metadata", "status")
    return {name: value for name, value in obj.items() if name not in apart}


def _keep(obj: Json, old: Json, name: str) -> None:
    if name in old:
        obj[name] = old[name]
    else:
        obj.pop(name, None)


def _drop_status(obj: Json, resource: Resource) -> None:
    type_ = schema.type_of(resource.api_version, resource.kind)
    if type_ is None:  # a custom resource
        obj.pop("status", None)
        return
    # What Go writes for an empty status: {}, or counters at zero where they are not omitted.
    obj["status"] = zero(type_.fields["status"].kind)
    if resource.kind in _FIRST_PHASES:
        obj["status"] = {"phase": _FIRST_PHASES[resource.kind]}
    if resource.kind == "Pod":
        obj["status"]["qosClass"] = quality(struct(obj, "spec"))
        if struct(obj, "spec").get("schedulingGates"):
            obj["status"] |= {"conditions": [dict(_GATED)]}


def _keep_finalizers(obj: Json, old: Json) -> None:
    finalizers = struct(old, "spec").get("finalizers")
    if finalizers:
        obj.setdefault("spec", {})["finalizers"] = finalizers
