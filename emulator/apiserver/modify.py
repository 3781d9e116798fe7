"""Pure: PATCH: read the patch, apply it to the present state, store the result as an update."""

import re
from typing import Any

from podwire.emulator.apiserver import bodies, json_body, statuses, versions, write
from podwire.emulator.apiserver.admission.field_errors import FieldError
from podwire.emulator.apiserver.patches.patch import PatchError, json_patch, merge_patch
from podwire.emulator.apiserver.patches.strategic import strategic_merge_patch
from podwire.emulator.apiserver.request import Api, Body, One, Request
from podwire.emulator.apiserver.resources import Resource
from podwire.emulator.apiserver.types.fields import struct
from podwire.emulator.apiserver.types.normalise import TypeMismatch

Json = dict[str, Any]

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


def patch(api: Api, request: Request) -> One:
    """PATCH an object, or its status."""
    resource = request.resource
    if check_type(request.body, resource) == APPLY:
        # Most clusters never see one; the API server answers sooner without its modules.
        from podwire.emulator.apiserver.apply import apply_patch  # noqa: PLC0415

        return apply_patch.apply(api, request)
    check_force(request)
    old = api.store.get(resource.collection, request.key)
    if old is None:
        raise statuses.not_found(resource, request.name)
    before = versions.from_stored(old.object, resource)
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


def check_type(body: Body, resource: Resource) -> str:
    """Return the kind of patch; raises Refused (415) unless it is understood."""
    kind = bodies.media_type(body.content_type)
    understood: tuple[str, ...] = (JSON_PATCH, MERGE_PATCH, STRATEGIC, APPLY)
    if resource.custom:  # no Go type says how its lists merge
        understood = (JSON_PATCH, MERGE_PATCH, APPLY)
    if kind not in understood:
        raise statuses.unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: "
            f"{', '.join(understood)}"
        )
    return kind


def check_force(request: Request) -> None:
    """Raise Refused (422) for a patch that is forced: only an apply knows conflicts."""
    if request.option("force"):
        why = "Forbidden: may not be specified for non-apply patch"
        problem = FieldError("force", "FieldValueForbidden", why)
        raise statuses.invalid_options("patch", [problem])


def apply(body: Body, before: Json, changes: Any, resource: Resource) -> Json:
    """Return *before* with *changes* made as the body's type says; raises Refused.

    The result may share parts with *before*, which stays as it is.
    """
    kind = bodies.media_type(body.content_type)
    try:
        if kind == JSON_PATCH:
            after = json_patch(before, changes)
            if json_body.too_deep(after):
                raise PatchError(422, "Invalid", "the patched object nests too deep")
            return after
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
    kind = bodies.media_type(request.body.content_type)

    def shown() -> str:
        return go_text(changes) if kind == STRATEGIC else bodies.json_text(after)

    if (after.get("apiVersion"), after.get("kind")) != (resource.api_version, resource.kind):
        raise statuses.bad_request("kind and apiVersion of an object cannot be changed by a patch")
    try:
        read = bodies.well_formed(after, resource)
    except TypeMismatch as error:
        why = unstructured(str(error)) if kind == STRATEGIC else str(error)
        raise statuses.invalid_patch(shown(), why) from error
    doubles = () if kind == JSON_PATCH else bodies.doubles(request.body, changes)
    wrong = (*doubles, *read.unknown)
    if wrong and directive == "Strict":
        why = f"strict decoding error: {', '.join(wrong)}"
        raise statuses.invalid_patch(shown(), why)
    read.object.setdefault("metadata", {})
    if struct(after, "metadata").get("managedFields") == []:
        bodies.keep_reset(read.object)
    return versions.to_stored(read.object, resource), wrong if directive == "Warn" else ()


_MISMATCH = re.compile(r"json: cannot unmarshal (\w+)( \S+)? into Go struct field \S+ of type (.+)")
_KINDS = {"object": "map", "array": "slice", "number": "int64"}


def unstructured(message: str) -> str:
    """Return what is said of a wrong type where Go reads maps, not JSON text.

    Strategic patches end so: runtime.DefaultUnstructuredConverter (apimachinery).
    """
    found = _MISMATCH.fullmatch(message)
    if not found:
        return message
    source, number, wanted = found[1], found[2] or "", found[3]
    kind = "float64" if "." in number else _KINDS.get(source, source)
    if wanted.startswith("[]"):
        return f"cannot restore slice from {kind}"
    if wanted.startswith("map["):
        return f"cannot restore map from {kind}"
    named = "." in wanted  # a struct, or a string with a name of its own
    if named and kind in ("string", "slice", "bool"):
        return f"cannot restore struct from: {kind}"
    basic = "string" if named else wanted
    convertible = (kind, basic) in (("int64", "string"), ("float64", "int32"), ("float64", "int64"))
    return f"cannot convert {kind} to {wanted}" if convertible else f"unrecognized type: {basic}"


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
