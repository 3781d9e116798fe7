"""Pure: create and replace, from a well-formed object to what is stored.

Every write ends in `store_new` or `store_change`; so defaulting, allocation, validation,
generation, no-op detection and the end of a deletion are written once.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from podwire.emulator.apiserver import bodies, objects, statuses
from podwire.emulator.apiserver.access import access, accounts, authorize, rbac_escalation
from podwire.emulator.apiserver.admission import (
    advice,
    allocate,
    class_admission,
    label_keys,
    service_types,
    unsupported,
)
from podwire.emulator.apiserver.admission.admit import FieldError, default, validate
from podwire.emulator.apiserver.apply import tracking
from podwire.emulator.apiserver.apply.ownership import Owners
from podwire.emulator.apiserver.custom import custom
from podwire.emulator.apiserver.request import Api, One, Request
from podwire.emulator.apiserver.resources import Resource
from podwire.emulator.apiserver.store import Stored
from podwire.emulator.apiserver.types.fields import many, struct
from podwire.kube.names import Key, random_suffix

Json = dict[str, Any]


def _admit_pod(api: Api, request: Request, pod: Json, old: Json | None) -> None:
    if old is None:
        label_keys.merge(pod)
    class_admission.admit_pod(api, request, pod, old)
    accounts.admit_pod(api, request, pod, old)


# What a kind asks before it is validated, of the objects that are already there.
_ADMISSION: dict[str, Callable[[Api, Request, Json, Json | None], None]] = {
    "pods": _admit_pod,
    "priorityclasses.scheduling.k8s.io": class_admission.admit_class,
    "ingresses.networking.k8s.io": class_admission.admit_ingress,
    "secrets": accounts.admit_secret,
    authorize.ROLES: rbac_escalation.admit_role,
    authorize.CLUSTER_ROLES: rbac_escalation.admit_role,
    authorize.ROLE_BINDINGS: rbac_escalation.admit_binding,
    authorize.CLUSTER_ROLE_BINDINGS: rbac_escalation.admit_binding,
}
_NAME_TRIES = 8
_LONGEST_GENERATED_BASE = 63 - 5


def create(api: Api, request: Request) -> One:
    """POST on a collection."""
    obj, warnings = bodies.as_object(request, bodies.read(request.body))
    return written(api, request, store_new(api, request, obj), None, warnings)


def update(api: Api, request: Request) -> One:
    """PUT on an object, or on its status or finalize subresource."""
    resource = request.resource
    obj, warnings = bodies.as_object(request, bodies.read(request.body))
    name = obj["metadata"].get("name", "")
    if name != request.name:
        if not name:
            raise statuses.bad_request("name must be provided")
        raise statuses.bad_request(
            f"the name of the object ({name}) does not match the name on the URL ({request.name})"
        )
    old = api.store.get(resource.collection, request.key)
    if old is None:
        if not resource.create_on_update or request.subresource:
            raise statuses.not_found(resource, request.name)
        access.check(api, replace(request, verb="create"))
        return written(api, request, store_new(api, request, obj), None, warnings)
    before = old.object
    return written(api, request, store_change(api, request, obj, old), before, warnings)


def written(
    api: Api, request: Request, now: Stored | Json, before: Json | None, warnings: tuple[str, ...]
) -> One:
    """Return the answer to a write; it also says what was stored and has no effect here."""
    if not request.subresource:
        obj = now.object if isinstance(now, Stored) else now
        warnings += (*advice.given(obj, before), *unsupported.added(obj, before, api.honoured))
        if request.resource.custom:
            warnings += custom.odd_finalizers(obj, before)
    return One(request.resource, now, 201 if before is None else 200, warnings)


def store_new(api: Api, request: Request, obj: Json, owners: Owners | None = None) -> Stored | Json:
    """Store a new object, or with dryRun return what would be stored; raises Refused.

    *owners* are the managers of its fields if that is known already (by an apply).
    """
    resource = request.resource
    meta = obj["metadata"]
    if meta.pop("resourceVersion", ""):
        raise statuses.refused(
            400, "", "resourceVersion should not be set on objects to be created"
        )
    if resource.custom and resource.custom.ending:
        raise statuses.ending(resource, request.verb)
    _check_namespace_of(request, meta)
    _name(api, request, meta)
    key = Key(request.namespace, meta["name"])
    _check_namespace_accepts(api, request, key.name)
    if owners is None:
        owners = tracking.after_create(api, request, obj)
    objects.prepare_new(obj, request, api.dice)
    obj = _admitted(api, request, obj, None)
    tracking.set_owners(obj, owners)
    if api.store.get(resource.collection, key) is not None:
        raise statuses.already_exists(resource, key.name)
    if dry_run(request):
        return obj
    return api.store.put(resource.collection, key, obj)


def another_uid(request: Request, old: Stored, uid: str) -> statuses.Refused:
    """Return the answer to a write that is meant for an object with *uid*, which *old* has not."""
    resource = request.resource
    return statuses.conflict(
        resource,
        request.name,
        "StorageError: invalid object, Code: 4, Key: "
        f"/registry/{resource.collection}/{old.key}, ResourceVersion: 0, AdditionalErrorMsg: "
        f"Precondition failed: UID in precondition: {uid}, "
        f"UID in object meta: {old.object['metadata']['uid']}",
    )


def store_change(
    api: Api, request: Request, obj: Json, old: Stored, owners: Owners | None = None
) -> Stored | Json:
    """Replace *old* by *obj*; return the old state if nothing changes; raises Refused.

    *owners* are the managers of its fields if that is known already (by an apply).
    """
    resource = request.resource
    meta, old_meta = obj["metadata"], old.object["metadata"]
    _check_namespace_of(request, meta)
    if meta.get("uid") and meta["uid"] != old_meta["uid"]:
        raise another_uid(request, old, meta["uid"])
    version = meta.get("resourceVersion", "")
    if version and version != old_meta["resourceVersion"]:
        raise statuses.conflict(resource, request.name)
    if not version and not resource.unconditional_update and request.verb == "update":
        problem = FieldError(
            "metadata.resourceVersion",
            "FieldValueInvalid",
            "Invalid value: 0x0: must be specified for an update",
        )
        raise statuses.invalid(resource, request.name, [problem])
    _check_finalizers(request, meta, old_meta)
    if owners is None:
        owners = tracking.after_update(api, request, obj, old.object)
    objects.prepare_update(obj, old.object, request)
    meta["resourceVersion"] = old_meta["resourceVersion"]
    obj = _admitted(api, request, obj, old)
    tracking.set_owners(obj, owners)
    objects.count_generation(obj, old.object, resource)
    return commit(api, request, obj, old)


def commit(api: Api, request: Request, obj: Json, old: Stored) -> Stored | Json:
    """Write what was decided: nothing, a new state, or the end of a deletion."""
    if tracking.same(obj, old.object):
        return old
    if dry_run(request):
        return obj
    if objects.finished(obj):
        api.store.remove(request.resource.collection, old.key, obj)
        return obj
    return api.store.put(request.resource.collection, old.key, obj)


def dry_run(request: Request) -> bool:
    """Tell whether nothing may be stored; raises Refused for a word other than All."""
    asked = request.option("dryRun")
    if asked not in ("", "All"):
        why = f'Unsupported value: []string{{"{asked}"}}: supported values: "All"'
        problem = FieldError("dryRun", "FieldValueNotSupported", why)
        raise statuses.invalid_options(request.verb, [problem])
    return asked == "All"


def _admitted(api: Api, request: Request, obj: Json, old: Stored | None) -> Json:
    """Default, allocate, validate: in this order, which the real server has too."""
    resource = request.resource if request.resource.custom else request.resource.storage
    before = None if old is None else old.object
    service = resource.collection == "services" and request.subresource == ""
    if service and before is not None:
        service_types.inherit(obj.setdefault("spec", {}), struct(before, "spec"))
    obj = default(obj, resource)
    admission = _ADMISSION.get(resource.collection)
    if admission is not None and not request.subresource:
        admission(api, request, obj, before)
    problems = _allocated(api, resource, obj, old) if service else []
    if service and before is not None:
        service_types.drop_unused(obj, before)
    # What cannot be given is all that is said: the rules are asked of a whole Service only.
    problems = problems or validate(obj, resource, before, request.subresource)
    if problems:
        raise statuses.invalid(request.resource, obj["metadata"]["name"], problems)
    return obj


def _allocated(api: Api, resource: Resource, obj: Json, old: Stored | None) -> list[FieldError]:
    spec: Json = obj.setdefault("spec", {})
    held = allocate.taken(api.store.all(resource.collection), old)
    before = None if old is None else struct(old.object, "spec")
    try:
        return allocate.allocate(spec, before, held, api.network, api.dice)
    except allocate.AllocationError as error:
        raise statuses.internal(str(error)) from error


def _check_namespace_of(request: Request, meta: Json) -> None:
    if not request.resource.namespaced:
        return
    named = meta.get("namespace") or request.namespace
    if named != request.namespace:
        raise statuses.bad_request(
            f"the namespace of the provided object does not match the namespace sent on the "
            f"request ({named} != {request.namespace})"
        )
    meta["namespace"] = named


def _name(api: Api, request: Request, meta: Json) -> None:
    if request.verb == "update":
        meta["name"] = request.name
    if meta.get("name"):
        return
    base: str = meta.get("generateName") or ""
    if not base:
        problem = FieldError(
            "metadata.name",
            "FieldValueRequired",
            "Required value: name or generateName is required",
        )
        raise statuses.invalid(request.resource, "", [problem])
    for _ in range(_NAME_TRIES):
        meta["name"] = base[:_LONGEST_GENERATED_BASE] + random_suffix(api.dice)
        key = Key(request.namespace, meta["name"])
        if api.store.get(request.resource.collection, key) is None:
            return


def _check_namespace_accepts(api: Api, request: Request, name: str) -> None:
    if not request.resource.namespaced:
        return
    namespace = api.store.get("namespaces", Key("", request.namespace))
    if namespace is None:
        raise statuses.namespace_not_found(request.namespace)
    if namespace.object["metadata"].get("deletionTimestamp"):
        message = f"namespace {request.namespace} is being terminated"
        raise statuses.forbidden(
            request.resource,
            name,
            f"unable to create new content in namespace {request.namespace} because it is being "
            "terminated",
            causes=[
                {
                    "reason": "NamespaceTerminating",
                    "message": message,
                    "field": "metadata.namespace",
                }
            ],
        )


def _check_finalizers(request: Request, meta: Json, old_meta: Json) -> None:
    if not old_meta.get("deletionTimestamp"):
        return
    added = sorted(set(many(meta, "finalizers")) - set(many(old_meta, "finalizers")))
    if added:
        shown = ", ".join(f'"{finalizer}"' for finalizer in added)
        problem = FieldError(
            "metadata.finalizers",
            "FieldValueForbidden",
            "Forbidden: no new finalizers can be added if the object is being deleted, found new "
            f"finalizers []string{{{shown}}}",
        )
        raise statuses.invalid(request.resource, request.name, [problem])
