"""Pure: deletion, at once or later: grace periods, finalizers, propagation, preconditions."""

from dataclasses import dataclass, replace
from typing import Any

from podwire.emulator.apiserver import bodies, objects, read, statuses
from podwire.emulator.apiserver.custom import crd, custom
from podwire.emulator.apiserver.request import Answer, Api, Many, One, Plain, Request
from podwire.emulator.apiserver.store import Stored
from podwire.emulator.apiserver.types.fields import many, struct
from podwire.emulator.apiserver.write import commit, dry_run

Json = dict[str, Any]

# The object answers its deletion, and no Status: ReturnDeletedObject in pkg/registry/core. Clients
# with types rely on it.
_SHOWN = ("pods", "resourcequotas", "serviceaccounts", "services")
_PROTECTED = ("default", "kube-system", "kube-public")
_POLICIES = ("Orphan", "Background", "Foreground")
_GRACE_OF_PODS = 30
_PODS_STAY = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background "
    "to remove them or set propagationPolicy=Orphan to suppress this warning"
)


@dataclass(frozen=True, slots=True)
class Options:
    """DeleteOptions, from the body or the query."""

    grace: int | None = None
    policy: str = ""
    uid: str = ""
    resource_version: str = ""
    warnings: tuple[str, ...] = ()


def delete(api: Api, request: Request) -> Answer:
    """DELETE of one object: the answer is Success, or the object if it stays for a while."""
    request, options = _with_options(request)
    resource = request.resource
    stored = api.store.get(resource.collection, request.key)
    if stored is None:
        raise statuses.not_found(resource, request.name)
    if resource.kind == "Namespace" and request.name in _PROTECTED:
        raise statuses.forbidden(resource, request.name, "this namespace may not be deleted")
    _check_preconditions(request, stored, options)
    left = _delete(api, request, stored, options)
    if left is None and resource.collection in _SHOWN:
        return One(resource, stored, warnings=options.warnings)
    if left is None:
        status = statuses.success(resource, request.name, stored.object["metadata"]["uid"])
        return Plain(status, warnings=options.warnings)
    return One(resource, left, warnings=options.warnings)


def delete_collection(api: Api, request: Request) -> Many:
    """DELETE of all that the selectors choose; the answer is the list of them."""
    request, options = _with_options(request)
    found = read.list_(api, request)
    for stored in found.items:
        one = replace(request, name=stored.key.name, namespace=stored.key.namespace)
        _delete(api, one, stored, options)
    return replace(found, warnings=options.warnings)


def evict(api: Api, request: Request, options: Json) -> None:
    """Delete a pod as an eviction asks; raises Refused."""
    read_options = _options(request, options)
    stored = api.store.get(request.resource.collection, request.key)
    if stored is None:
        raise statuses.not_found(request.resource, request.name)
    _check_preconditions(request, stored, read_options)
    _delete(api, request, stored, read_options)


def _delete(api: Api, request: Request, stored: Stored, options: Options) -> Stored | Json | None:
    """Return what is left of the object, or None if it is gone."""
    obj = stored.copy()
    meta = obj["metadata"]
    grace = _grace(obj, options)
    if not meta.get("deletionTimestamp"):
        if request.resource.collection == custom.DEFINITIONS:
            crd.begin_end(obj, request.now)
            return commit(api, request, obj, stored)
        _set_propagation(meta, options.policy)
        if grace == 0 and not _waits(obj):
            if not dry_run(request):
                api.store.remove(request.resource.collection, stored.key)
            return None
        objects.mark_deleted(obj, at=request.now, grace=grace)
        if obj["kind"] == "Namespace":
            obj.setdefault("status", {})["phase"] = "Terminating"
        return commit(api, request, obj, stored)
    known = int(meta.get("deletionGracePeriodSeconds") or 0)
    if options.grace is not None and grace < known:
        # Only ever sooner. Watchers see the shorter grace before the end, as in Kubernetes.
        objects.mark_deleted(obj, at=request.now, grace=grace)
        if meta.get("generation"):
            meta["generation"] -= 1  # the second mark is no second deletion
        if objects.finished(obj) and not dry_run(request):
            api.store.put(request.resource.collection, stored.key, obj)
            api.store.remove(request.resource.collection, stored.key)
            return None
        return commit(api, request, obj, stored)
    if not _waits(obj) and known == 0:
        if not dry_run(request):
            api.store.remove(request.resource.collection, stored.key)
        return None
    return stored


def _waits(obj: Json) -> bool:
    finalizers = obj["metadata"].get("finalizers")
    if obj["kind"] == "Namespace":
        finalizers = finalizers or struct(obj, "spec").get("finalizers")
    return bool(finalizers)


def _grace(obj: Json, options: Options) -> int:
    if obj["kind"] != "Pod":
        return 0
    spec, status = struct(obj, "spec"), struct(obj, "status")
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    if options.grace is not None:
        return max(options.grace, 1) if options.grace < 0 else options.grace
    return int(spec.get("terminationGracePeriodSeconds", _GRACE_OF_PODS))


def _set_propagation(meta: Json, policy: str) -> None:
    if not policy:
        return
    markers = {"Orphan": "orphan", "Foreground": "foregroundDeletion"}
    kept = [f for f in many(meta, "finalizers") if f not in markers.values()]
    if policy in markers:
        kept.append(markers[policy])
    if kept:
        meta["finalizers"] = kept
    else:
        meta.pop("finalizers", None)


def _check_preconditions(request: Request, stored: Stored, options: Options) -> None:
    meta = stored.object["metadata"]
    if options.uid and options.uid != meta["uid"]:
        raise statuses.precondition_failed(
            request.resource, request.name, "UID", options.uid, meta["uid"]
        )
    if options.resource_version and options.resource_version != meta["resourceVersion"]:
        raise statuses.precondition_failed(
            request.resource,
            request.name,
            "ResourceVersion",
            options.resource_version,
            meta["resourceVersion"],
        )


def _with_options(request: Request) -> tuple[Request, Options]:
    """Return the request with the body's dryRun in its query, and the other options."""
    body: Json = bodies.read(request.body) if request.body.content else {}
    if body.get("kind", "DeleteOptions") != "DeleteOptions":
        raise statuses.bad_request(f"expected DeleteOptions, got {body['kind']}")
    options = _options(request, body)
    if request.resource.collection == "jobs.batch" and not options.policy:
        # The first version of the kind did, and batch/v1 has kept it (batch/job/strategy.go).
        options = replace(options, policy="Orphan", warnings=(_PODS_STAY,))
    return with_dry_run(request, body), options


def with_dry_run(request: Request, options: Json) -> Request:
    """Return *request* with the dryRun of DeleteOptions in its query, where others have it."""
    asked = many(options, "dryRun")
    return replace(request, query={**request.query, "dryRun": asked}) if asked else request


def _options(request: Request, body: Json) -> Options:
    grace: object = body.get("gracePeriodSeconds")
    if grace is None:
        grace = request.number("gracePeriodSeconds")
    policy: object = body.get("propagationPolicy") or request.option("propagationPolicy")
    wanted = struct(body, "preconditions")
    if grace is not None and (isinstance(grace, bool) or not isinstance(grace, int)):
        raise statuses.bad_request("DeleteOptions: gracePeriodSeconds must be a whole number")
    if policy and policy not in _POLICIES:
        raise statuses.bad_request(
            f'DeleteOptions: propagationPolicy: Unsupported value: "{policy}": '
            'supported values: "Background", "Foreground", "Orphan"'
        )
    return Options(
        grace,
        str(policy or ""),
        str(wanted.get("uid") or ""),
        str(wanted.get("resourceVersion") or ""),
    )
