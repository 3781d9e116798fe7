"""Pure: whose write a request is, and the owners of an object's fields after it.

The cluster's own components create thousands of objects that nobody applies to; those carry no
managedFields. Objects that have some keep them right, whoever writes.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from podwire.emulator.apiserver import statuses, versions
from podwire.emulator.apiserver.admission.admit import default
from podwire.emulator.apiserver.admission.field_errors import FieldError, invalid
from podwire.emulator.apiserver.apply import ownership, shape
from podwire.emulator.apiserver.apply.ownership import Malformed, Owners, Views
from podwire.emulator.apiserver.request import Api, Request, User
from podwire.emulator.apiserver.resources import Resource
from podwire.emulator.apiserver.statuses import Refused
from podwire.emulator.apiserver.types.fields import many, struct
from podwire.emulator.apiserver.types.normalise import normalise
from podwire.kube.times import rfc3339

Json = dict[str, Any]

RESET: list[Json] = [{}]
"""What a client writes into managedFields to have them dropped; an empty list means the same."""

LONGEST_MANAGER = 128
_COMPONENTS = ("system:podwire", "system:apiserver", "system:kube-proxy", "system:node:")


def is_component(user: User) -> bool:
    """Tell whether *user* is a part of the cluster itself."""
    return user.name.startswith(_COMPONENTS)


def manager_name(request: Request) -> str:
    """Return the name under which a write is remembered: what the client says, or its program.

    Raises Refused (422) for a name that is too long or cannot be printed.
    """
    name = request.option("fieldManager")
    if len(name.encode()) > LONGEST_MANAGER:
        why = f"Too long: may not be more than {LONGEST_MANAGER} bytes"
        raise _wrong_manager(request, FieldError("fieldManager", "FieldValueTooLong", why))
    for position, letter in enumerate(name):
        if not letter.isprintable():
            why = f"invalid character U+{ord(letter):04X} (at position {position})"
            raise _wrong_manager(request, invalid("fieldManager", name, why))
    if not name and is_component(request.user):
        return request.user.name.split(":")[1]
    if not name:
        program = request.agent.partition("/")[0]
        name = "".join(filter(str.isprintable, program))[:LONGEST_MANAGER]
    return name


def _wrong_manager(request: Request, problem: FieldError) -> Refused:
    return statuses.invalid_options(request.verb, [problem])


def after_create(api: Api, request: Request, obj: Json) -> Owners:
    """Return the owners of a new object, which may still lack its defaults; none if not tracked."""
    if is_component(request.user):
        return {}
    resource = request.resource
    obj = default(obj, _home(resource))
    return _updated(api, request, empty(resource.storage), obj, {}, manager_name(request))


def after_update(api: Api, request: Request, obj: Json, old: Json) -> Owners:
    """Return the owners when *obj*, as a client sent it, replaces *old*."""
    owners = _base(request, obj["metadata"].get("managedFields"), old["metadata"])
    if not owners:
        return owners
    if request.subresource != "status":  # of which nothing has a default
        obj = default(obj, _home(request.resource))
    return _updated(api, request, old, obj, owners, manager_name(request))


def set_owners(obj: Json, owners: Owners) -> None:
    """Write *owners* into the metadata of *obj*."""
    entries = ownership.written(owners)
    if entries:
        obj["metadata"]["managedFields"] = entries
    else:
        obj["metadata"].pop("managedFields", None)


def same(obj: Json, old: Json) -> bool:
    """Tell whether a write changes nothing, or nothing but the times of managers."""
    if obj == old:
        return True
    entries, before = (many(o["metadata"], "managedFields") for o in (obj, old))
    if not entries or len(entries) != len(before):
        return False
    return _timeless(obj, entries) == _timeless(old, before)


def excluded(request: Request) -> Callable[[Json], Json]:
    """Return what takes from an object the parts that this path of the API does not write.

    Source: GetResetFields of the strategies in pkg/registry.
    """
    resource = request.resource
    if request.subresource != "status":
        return _without_status if resource.has("status") else _whole
    if resource.custom or resource.group == "apiextensions.k8s.io":
        return _only_status
    return _without_labels if resource.kind == "Deployment" else _without_spec


def _whole(obj: Json) -> Json:
    return obj


def _without_status(obj: Json) -> Json:
    return {name: value for name, value in obj.items() if name != "status"}


def _without_spec(obj: Json) -> Json:
    return {name: value for name, value in obj.items() if name != "spec"}


def _only_status(obj: Json) -> Json:
    return {name: obj[name] for name in ("apiVersion", "kind", "status") if name in obj}


def _without_labels(obj: Json) -> Json:
    meta = {name: value for name, value in struct(obj, "metadata").items() if name != "labels"}
    return {**_without_spec(obj), "metadata": meta}


def _base(request: Request, asked: Any, old_meta: Json) -> Owners:
    """Return the owners from which an update starts: those that the client sent, or the old."""
    before: list[Json] = many(old_meta, "managedFields")
    if request.subresource or not asked or asked == before:
        return ownership.trusted(before)
    if asked == RESET:
        return {}
    try:
        return ownership.read(asked)
    except Malformed:
        return ownership.trusted(before)


def _updated(api: Api, request: Request, old: Json, obj: Json, owners: Owners, name: str) -> Owners:
    version = request.resource.api_version
    who = ownership.manager(name, "Update", version, request.subresource)
    changes = ownership.changes_between(
        _bare(old), _bare(obj), views(api, request.resource), excluded(request)
    )
    return ownership.after_update(owners, who, version, changes, rfc3339(request.now))


def _bare(obj: Json) -> Json:
    meta = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
    return {**obj, "metadata": meta}


def _timeless(obj: Json, entries: list[Json]) -> Json:
    bare = [{n: v for n, v in entry.items() if n != "time"} for entry in entries]
    return {**obj, "metadata": {**obj["metadata"], "managedFields": bare}}


def _home(resource: Resource) -> Resource:
    return resource if resource.custom else resource.storage


@lru_cache(maxsize=256)
def _empty_of(api_version: str, kind: str) -> Json:
    return normalise({"apiVersion": api_version, "kind": kind}, api_version, kind).object


def empty(resource: Resource) -> Json:
    """Return what the server starts from: Go's zero value of a built-in kind."""
    if resource.custom:
        return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {}}
    return _empty_of(resource.api_version, resource.kind)


def views(api: Api, resource: Resource) -> Views:
    """Return how objects of a kind look in its other versions."""

    def view(obj: Json, api_version: str) -> tuple[Json, shape.Shape] | None:
        target = found(api_version)
        if target is None:
            return None
        if target.custom:
            return {**obj, "apiVersion": api_version}, shape.of(target)
        present = found(obj["apiVersion"])
        if present is None:
            return None
        if target.api_version != present.api_version:
            obj = versions.from_stored(versions.to_stored(obj, present), target)
        return obj, shape.of(target)

    def found(api_version: str) -> Resource | None:
        if api_version == resource.api_version:
            return resource
        group, _, version = api_version.rpartition("/")
        return api.kinds.of_kind(group, version, resource.kind)

    return view
