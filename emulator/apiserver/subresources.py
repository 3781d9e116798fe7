"""Pure: scale and binding: what hangs below an object besides its status."""

from dataclasses import replace
from typing import Any

from podwire.emulator.apiserver import bodies, modify, objects, statuses, write
from podwire.emulator.apiserver.admission.admit import FieldError
from podwire.emulator.apiserver.apply import shape, tracking
from podwire.emulator.apiserver.apply.ownership import Owners
from podwire.emulator.apiserver.custom import custom_scale
from podwire.emulator.apiserver.request import Answer, Api, One, Plain, Request
from podwire.emulator.apiserver.resources import Resource, ScalePaths
from podwire.emulator.apiserver.store import Stored
from podwire.emulator.apiserver.types.fields import many, struct, text
from podwire.kube.times import rfc3339

Json = dict[str, Any]

_SCALE_KIND = Resource("autoscaling", "v1", "scales", "scale", "Scale")
_WORKLOAD = ScalePaths(("spec", "replicas"), ("status", "replicas"))


def scale(api: Api, request: Request) -> Answer:
    """GET, PUT and PATCH of the Scale of a workload or of a custom resource."""
    resource = request.resource
    old = api.store.get(resource.collection, request.key)
    if old is None:
        raise statuses.not_found(resource, request.name)
    paths = resource.custom.scale if resource.custom else None
    before = _shown(old.object, paths)
    if request.verb == "get":
        if paths is not None and custom_scale.replicas(old.object, paths) is None:
            where = ".".join(("", *paths.wanted))
            raise statuses.bad_request(f'the spec replicas field "{where}" does not exist')
        return Plain(before) if paths else One(_SCALE_KIND, before)
    if request.verb == "patch" and modify.check_type(request.body, resource) == modify.APPLY:
        obj, owners, warnings = _applied(api, request, old, paths or _WORKLOAD)
    else:
        after = _wanted_scale(request, before)
        _check_version(request, after, old)
        obj, warnings = old.copy(), ()
        custom_scale.set_replicas(obj, paths or _WORKLOAD, _replicas(request, after))
        owners = tracking.after_update(api, request, obj, old.object)
    whole = replace(request, subresource="", verb="patch")
    changed = write.store_change(api, whole, obj, old, owners)
    shown = _shown(changed.object if isinstance(changed, Stored) else changed, paths)
    return Plain(shown, warnings=warnings)


def _applied(
    api: Api, request: Request, old: Stored, paths: ScalePaths
) -> tuple[Json, Owners, tuple[str, ...]]:
    """Return the object, its owners and warnings after a Scale is applied; raises Refused."""
    # Rare, and modify.py says why its modules are loaded late.
    from podwire.emulator.apiserver.apply import apply_patch  # noqa: PLC0415

    config, warnings = apply_patch.configuration(request, _SCALE_KIND, shape.of(_SCALE_KIND))
    _check_version(request, config, old)
    # To apply a Scale is to apply an object of which nothing but the replicas is said.
    part: Json = {"apiVersion": request.resource.api_version, "kind": request.resource.kind}
    if "replicas" in struct(config, "spec"):
        custom_scale.set_replicas(part, paths, _replicas(request, config))
    obj, owners = apply_patch.merged(api, request, part, old)
    return obj, owners, warnings


def _check_version(request: Request, scale_: Json, old: Stored) -> None:
    version = struct(scale_, "metadata").get("resourceVersion")
    if version and version != old.object["metadata"]["resourceVersion"]:
        raise statuses.conflict(request.resource, request.name)


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
    asked = struct(body, "metadata")
    if text(asked, "uid") not in ("", meta["uid"]):
        # Another pod has its name by now.
        raise write.another_uid(request, old, text(asked, "uid"))
    if meta.get("deletionTimestamp"):
        why = f"pod {request.name} is being deleted, cannot be assigned to a host"
        raise statuses.conflict(request.resource, request.name, why)
    if spec.get("nodeName"):
        why = f'pod {request.name} is already assigned to node "{spec["nodeName"]}"'
        raise statuses.conflict(request.resource, request.name, why)
    if spec.get("schedulingGates"):
        why = f"pod {request.name} has non-empty .spec.schedulingGates"
        raise statuses.conflict(request.resource, request.name, why)
    spec["nodeName"] = node
    annotations = struct(asked, "annotations")
    if annotations:
        meta["annotations"] = {**struct(meta, "annotations"), **annotations}
    _set_condition(obj, "PodScheduled", rfc3339(request.now))
    objects.count_generation(obj, old.object, request.resource)
    write.commit(api, request, obj, old)
    return Plain(statuses.done(201), 201)


def _wanted_scale(request: Request, before: Json) -> Json:
    if request.verb == "patch":
        modify.check_force(request)
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


def _shown(obj: Json, paths: ScalePaths | None) -> Json:
    return _scale_of(obj if paths is None else custom_scale.as_workload(obj, paths))


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
            "selector": text(spec, "selector") or selector_text(struct(spec, "selector")),
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
