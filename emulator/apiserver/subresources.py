"""Pure: scale, binding and eviction: what hangs below an object besides its status."""

from dataclasses import replace
from typing import Any

from podwire.emulator.apiserver import bodies, delete, modify, objects, statuses, write
from podwire.emulator.apiserver.admit import FieldError
from podwire.emulator.apiserver.fields import many, struct, text
from podwire.emulator.apiserver.request import Answer, Api, Plain, Request
from podwire.emulator.apiserver.resources import Resource
from podwire.emulator.apiserver.store import Stored
from podwire.kube.clock import rfc3339

Json = dict[str, Any]

_SCALE_KIND = Resource("autoscaling", "v1", "scales", "scale", "Scale")


def scale(api: Api, request: Request) -> Answer:
    """GET, PUT and PATCH of the Scale of a Deployment or ReplicaSet."""
    resource = request.resource
    old = api.store.get(resource.collection, request.key)
    if old is None:
        raise statuses.not_found(resource, request.name)
    before = _scale_of(old.object)
    if request.verb == "get":
        return Plain(before)
    after = _wanted_scale(request, before)
    version = struct(after, "metadata").get("resourceVersion")
    if version and version != before["metadata"]["resourceVersion"]:
        raise statuses.conflict(resource, request.name)
    obj = old.copy()
    obj.setdefault("spec", {})["replicas"] = _replicas(request, after)
    whole = replace(request, subresource="", verb="patch")
    changed = write.store_change(api, whole, obj, old)
    return Plain(_scale_of(changed.object if isinstance(changed, Stored) else changed))


def bind(api: Api, request: Request) -> Plain:
    """POST of a Binding: the scheduler's word on which node a pod belongs."""
    body = bodies.read(request.body)
    node = text(struct(body, "target"), "name")
    if not node:
        raise statuses.bad_request("Binding: target.name, the node, is required")
    old = api.store.get(request.resource.collection, request.key)
    if old is None:
        raise statuses.not_found(request.resource, request.name)
    obj = old.copy()
    meta, spec = obj["metadata"], obj.setdefault("spec", {})
    if meta.get("deletionTimestamp"):
        why = f"pod {request.name} is being deleted, cannot be assigned to a host"
        raise statuses.conflict(request.resource, request.name, why)
    if spec.get("nodeName"):
        why = f'pod {request.name} is already assigned to node "{spec["nodeName"]}"'
        raise statuses.conflict(request.resource, request.name, why)
    spec["nodeName"] = node
    annotations = struct(struct(body, "metadata"), "annotations")
    if annotations:
        meta["annotations"] = {**struct(meta, "annotations"), **annotations}
    _set_condition(obj, "PodScheduled", rfc3339(request.now))
    objects.count_generation(obj, old.object, request.resource)
    write.commit(api, request, obj, old)
    return Plain(statuses.done(201), 201)


def evict(api: Api, request: Request) -> Plain:
    """POST of an Eviction: a deletion that asks politely. There are no budgets to ask yet."""
    body = bodies.read(request.body)
    options = struct(body, "deleteOptions")
    request = delete.with_dry_run(request, options)
    delete.evict(api, request, options)
    return Plain(statuses.done(201), 201)


def _wanted_scale(request: Request, before: Json) -> Json:
    if request.verb == "patch":
        modify.check_type(request.body)
        changes = bodies.read_json(request.body.content)
        return modify.apply(request.body, before, changes, _SCALE_KIND)
    after = bodies.read(request.body)
    if after.get("kind", "Scale") != "Scale":
        raise statuses.bad_request(f"expected a Scale, got {after['kind']}")
    return after


def _replicas(request: Request, scale_: Json) -> int:
    # Scale.spec.replicas is omitted when zero: absent means zero here, not "as before".
    replicas = struct(scale_, "spec").get("replicas", 0)
    if isinstance(replicas, bool) or not isinstance(replicas, int):
        raise statuses.bad_request("Scale: spec.replicas must be a whole number")
    if replicas < 0:
        problem = FieldError(
            "spec.replicas",
            "FieldValueInvalid",
            f"Invalid value: {replicas}: must be greater than or equal to 0",
        )
        raise statuses.invalid(_SCALE_KIND, request.name, [problem])
    return replicas


def _scale_of(obj: Json) -> Json:
    meta, spec, status = obj["metadata"], struct(obj, "spec"), struct(obj, "status")
    names = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: meta[name] for name in names if name in meta},
        "spec": {"replicas": spec["replicas"]} if spec.get("replicas") else {},
        "status": {
            "replicas": status.get("replicas", 0),
            "selector": selector_text(struct(spec, "selector")),
        },
    }


def selector_text(selector: Json) -> str:
    """Return a LabelSelector as the text that a list request takes."""
    terms = [f"{key}={value}" for key, value in struct(selector, "matchLabels").items()]
    for line in many(selector, "matchExpressions"):
        values = ",".join(sorted(many(line, "values")))
        match line.get("operator"):
            case "In":
                terms.append(f"{line['key']} in ({values})")
            case "NotIn":
                terms.append(f"{line['key']} notin ({values})")
            case "Exists":
                terms.append(line["key"])
            case _:
                terms.append(f"!{line['key']}")
    return ",".join(sorted(terms))


def _set_condition(obj: Json, name: str, now: str) -> None:
    status = obj.setdefault("status", {})
    others = [c for c in many(status, "conditions") if c.get("type") != name]
    condition = {
        "type": name,
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": now,
    }
    status["conditions"] = [*others, condition]
