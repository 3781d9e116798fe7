"""Pure: PATCH with an apply configuration: read it, merge it, store it as a create or an update."""

from dataclasses import replace
from typing import Any

from podwire.emulator.apiserver import bodies, statuses, versions, write
from podwire.emulator.apiserver.access import access
from podwire.emulator.apiserver.admission.field_errors import FieldError
from podwire.emulator.apiserver.apply import apply_errors, last_applied, ownership, shape, tracking
from podwire.emulator.apiserver.apply.apply import Applying, Conflict
from podwire.emulator.apiserver.apply.apply import apply as apply_to
from podwire.emulator.apiserver.apply.ownership import Owners
from podwire.emulator.apiserver.request import Api, One, Request
from podwire.emulator.apiserver.resources import Resource
from podwire.emulator.apiserver.store import Stored
from podwire.emulator.apiserver.types.fields import many, struct
from podwire.emulator.apiserver.types.normalise import TypeMismatch
from podwire.kube.times import rfc3339

Json = dict[str, Any]

_BEFORE = "before-first-apply"
"""Owns what an object had before anybody was counted."""


def apply(api: Api, request: Request) -> One:
    """Apply a configuration to an object or its status; what is missing is created."""
    resource = request.resource
    old = api.store.get(resource.collection, request.key)
    if old is None:
        if request.subresource:
            raise statuses.not_found(resource, request.name)
        access.check(api, replace(request, verb="create"))
    config, warnings = configuration(request, resource, shape.of(resource))
    obj, owners = merged(api, request, config, old, kubectl=_is_kubectl(request))
    if old is None:
        made = write.store_new(api, request, obj, owners)
        return write.written(api, request, made, None, warnings)
    before = old.object
    changed = write.store_change(api, request, obj, old, owners)
    return write.written(api, request, changed, before, warnings)


def configuration(
    request: Request, kind: Resource, wanted: shape.Shape
) -> tuple[Json, tuple[str, ...]]:
    """Return what is to be applied and warnings; raises Refused for what no apply may say.

    *kind* is what the configuration must be, with the shape *wanted*.
    """
    _check_options(request)
    config, doubles = bodies.read_config(request.body.content)
    group, _, version = str(config.get("apiVersion") or "").rpartition("/")
    named = f"{group}/{version}, Kind={config.get('kind') or ''}"
    if (config.get("apiVersion"), config.get("kind")) != (kind.api_version, kind.kind):
        raise statuses.bad_request(f"invalid object type: {named}")
    meta = struct(config, "metadata")
    if "managedFields" in meta and meta["managedFields"] is not None:
        raise statuses.bad_request("metadata.managedFields must be nil")
    wrong = apply_errors.mistakes(config, wanted)
    if wrong:
        # The real server answers 500 here, for what is the client's mistake; kubectl shows the same
        # text for both, and whoever counts our faults must not count this.
        which = f"{meta.get('namespace') or ''}/{meta.get('name') or ''}; {named}"
        why = apply_errors.together(wrong)
        raise statuses.refused(400, "", f"failed to create typed patch object ({which}): {why}")
    directive = bodies.directive(request)
    if doubles and directive == "Strict":
        lines = "".join(f"\n  {double}" for double in doubles)
        raise statuses.bad_request(
            "error strict decoding patch: error converting YAML to JSON: yaml: unmarshal errors:"
            f"{lines}"
        )
    return config, doubles if directive == "Warn" else ()


def merged(
    api: Api, request: Request, config: Json, old: Stored | None, *, kubectl: bool = False
) -> tuple[Json, Owners]:
    """Return the object as it is to be stored and its owners; raises Refused (409) for a conflict.

    *kubectl*: whether the annotation of its client-side apply is believed, and follows.
    """
    live = None if old is None else versions.from_stored(old.object, request.resource)
    try:
        obj, owners = _applied(api, request, config, live, force=request.flag("force"))
    except Conflict as conflict:
        rest: Conflict | None = conflict
        if kubectl and live is not None:
            rest = last_applied.unresolved(conflict, live, shape.of(request.resource))
        if rest is not None:
            raise apply_errors.refusal(rest) from conflict
        obj, owners = _applied(api, request, config, live, force=True)
    if kubectl:
        obj = last_applied.follow(obj, config)
    return _as_object(request, obj), owners


def _applied(
    api: Api, request: Request, config: Json, live: Json | None, *, force: bool
) -> tuple[Json, Owners]:
    """Return the object after an apply, in the request's version; raises Conflict."""
    resource = request.resource
    views = tracking.views(api, resource)
    empty = versions.from_stored(tracking.empty(resource.storage), resource)
    now = rfc3339(request.now)
    owners: Owners = {}
    if live is not None:
        owners = ownership.trusted(many(live["metadata"], "managedFields"))
        live = {**live, "metadata": {**live["metadata"]}}
        live["metadata"].pop("managedFields", None)
        if not owners:
            # What was there before anybody applied belongs to one manager, so that it is kept.
            changes = ownership.changes_between(empty, live, views, tracking.excluded(request))
            who = ownership.manager(_BEFORE, "Update", resource.api_version)
            owners = ownership.after_update({}, who, resource.api_version, changes, now)
    asked = Applying(
        who=ownership.manager(
            tracking.manager_name(request), "Apply", resource.api_version, request.subresource
        ),
        api_version=resource.api_version,
        shape=shape.of(resource),
        config=config,
        live=empty if live is None else live,
        owners=owners,
        views=views,
        now=now,
        excluded=tracking.excluded(request),
    )
    return apply_to(asked, force=force)


def _is_kubectl(request: Request) -> bool:
    return request.option("fieldManager") == last_applied.KUBECTL


def _check_options(request: Request) -> None:
    if not request.option("fieldManager"):
        why = "Required value: is required for apply patch"
        problem = FieldError("fieldManager", "FieldValueRequired", why)
        raise statuses.invalid_options("patch", [problem])


def _as_object(request: Request, value: Json) -> Json:
    """Return the merged object as it is stored; raises Refused for one of another name or type."""
    resource = request.resource
    try:
        obj = bodies.well_formed(value, resource).object
    except TypeMismatch as error:
        raise statuses.refused(400, "", str(error)) from error
    name = obj["metadata"].get("name")
    if not name:
        raise statuses.bad_request(
            f"the name of the object ({request.name} based on URL) was undeterminable: "
            "name must be provided"
        )
    if name != request.name:
        raise statuses.bad_request(
            f"the name of the object ({name}) does not match the name on the URL ({request.name})"
        )
    return versions.to_stored(obj, resource)
