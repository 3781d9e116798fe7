"""Pure: PATCH: read the patch, apply it to the present state, store the result as an update."""

from typing import Any

from podwire.emulator.apiserver import bodies, statuses, versions, write
from podwire.emulator.apiserver.normalise import TypeMismatch, normalise
from podwire.emulator.apiserver.patch import PatchError, json_patch, merge_patch
from podwire.emulator.apiserver.request import Api, Body, One, Request
from podwire.emulator.apiserver.resources import Resource
from podwire.emulator.apiserver.strategic import strategic_merge_patch

Json = dict[str, Any]

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
_APPLY = ("application/apply-patch+yaml", "application/apply-patch+cbor")


def patch(api: Api, request: Request) -> One:
    """PATCH an object, or its status."""
    resource = request.resource
    check_type(request.body)
    old = api.store.get(resource.collection, request.key)
    if old is None:
        raise statuses.not_found(resource, request.name)
    before = versions.from_stored(old.copy(), resource)
    changes = bodies.read_json(request.body.content)
    after = apply(request.body, before, changes, resource)
    obj, warnings = _as_object(request, after, changes)
    meta = obj["metadata"]
    if not meta.get("name"):
        raise statuses.bad_request("name must be provided")
    if meta["name"] != request.name:
        raise statuses.bad_request(
            f"the name of the object ({meta['name']}) does not match the name on the URL "
            f"({request.name})"
        )
    present = old.object
    return write.written(
        api, request, write.store_change(api, request, obj, old), present, warnings
    )


def check_type(body: Body) -> None:
    """Raise Refused (415) unless this kind of patch is understood."""
    kind = bodies.media_type(body.content_type)
    if kind in _APPLY:
        raise statuses.unsupported_media_type(
            "server-side apply is not served yet: use client-side apply "
            "(kubectl apply without --server-side)"
        )
    if kind not in (JSON_PATCH, MERGE_PATCH, STRATEGIC):
        raise statuses.unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: "
            f"{JSON_PATCH}, {MERGE_PATCH}, {STRATEGIC}"
        )


def apply(body: Body, before: Json, changes: Any, resource: Resource) -> Json:
    """Return *before* with *changes* made as the body's type says; raises Refused."""
    kind = bodies.media_type(body.content_type)
    try:
        if kind == JSON_PATCH:
            return json_patch(before, changes)
        if kind == MERGE_PATCH:
            return merge_patch(before, changes)
        return strategic_merge_patch(before, changes, resource.api_version, resource.kind)
    except PatchError as error:
        details: Json | None = {} if error.code == 422 else None
        raise statuses.refused(error.code, error.reason, error.message, details=details) from error


def _as_object(request: Request, after: Json, changes: Any) -> tuple[Json, tuple[str, ...]]:
    """Return the patched document as a well-formed object, and warnings; raises Refused (422)."""
    resource = request.resource
    directive = bodies.directive(request)
    strategic = bodies.media_type(request.body.content_type) == STRATEGIC

    def shown() -> str:
        return go_text(changes) if strategic else bodies.json_text(after)

    if (after.get("apiVersion"), after.get("kind")) != (resource.api_version, resource.kind):
        raise statuses.bad_request("kind and apiVersion of an object cannot be changed by a patch")
    try:
        read = normalise(after, resource.api_version, resource.kind)
    except TypeMismatch as error:
        raise statuses.invalid_patch(shown(), str(error)) from error
    if read.unknown and directive == "Strict":
        why = f"strict decoding error: {', '.join(read.unknown)}"
        raise statuses.invalid_patch(shown(), why)
    warnings = tuple(read.unknown) if directive == "Warn" else ()
    read.object.setdefault("metadata", {})
    return versions.to_stored(read.object, resource), warnings


def go_text(value: Any) -> str:
    """Return a JSON value as Go's %+v prints it; error messages show patches so."""
    if isinstance(value, dict):
        members: Json = value  # pyright: ignore[reportUnknownVariableType]
        return "map[" + " ".join(f"{k}:{go_text(members[k])}" for k in sorted(members)) + "]"
    if isinstance(value, list):
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        return "[" + " ".join(go_text(item) for item in items) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "<nil>" if value is None else str(value)
