"""Pure: an answer as bytes, in the form that the client asked for."""

from typing import Any

import msgspec
import yaml

from podwire.emulator.apiserver import versions
from podwire.emulator.apiserver.columns import tables
from podwire.emulator.apiserver.negotiate import Form
from podwire.emulator.apiserver.request import Answer, Many, One, Plain
from podwire.emulator.apiserver.resources import Resource
from podwire.emulator.apiserver.store import Stored

Json = dict[str, Any]

_encode = msgspec.json.Encoder().encode


def render(answer: Answer, form: Form, *, now: float) -> bytes:
    """Return the body for *answer*."""
    match answer:
        case Plain():
            body = _encode(answer.document)
        case One() if form.shape == "table":
            obj = _object(answer)
            version = str(obj["metadata"].get("resourceVersion", ""))
            body = _encode(_table(answer.resource, [obj], form, now, {"resourceVersion": version}))
        case One() if form.shape == "metadata":
            body = _encode(partial(_object(answer)))
        case One():
            body = _object_bytes(answer)
        case Many():
            body = _list(answer, form, now)
    return to_yaml(body) if form.yaml else body


def to_yaml(body: bytes) -> bytes:
    """Return a JSON document as YAML."""
    value = msgspec.json.decode(body)
    text: str = yaml.dump(value, Dumper=yaml.CSafeDumper, default_flow_style=False)
    return text.encode()


def partial(obj: Json) -> Json:
    """Return an object's metadata alone."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": obj["metadata"],
    }


def _object_bytes(answer: One) -> bytes:
    if isinstance(answer.object, Stored):
        return versions.encoded(answer.object, answer.resource)
    return _encode(_object(answer))


def _object(answer: One) -> Json:
    obj = answer.object.object if isinstance(answer.object, Stored) else answer.object
    return versions.from_stored(obj, answer.resource)


def _list(answer: Many, form: Form, now: float) -> bytes:
    resource = answer.resource
    meta: Json = {"resourceVersion": str(answer.revision)}
    if answer.continue_:
        meta["continue"] = answer.continue_
    if answer.remaining is not None:
        meta["remainingItemCount"] = answer.remaining
    if form.shape == "table":
        objects = [versions.from_stored(item.object, resource) for item in answer.items]
        return _encode(_table(resource, objects, form, now, meta))
    if form.shape == "metadata":
        head: Json = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
        items = [_encode(partial(item.object)) for item in answer.items]
    else:
        list_kind = resource.custom.list_kind if resource.custom else f"{resource.kind}List"
        head = {"kind": list_kind, "apiVersion": resource.api_version}
        items = [versions.encoded(item, resource) for item in answer.items]
    opening = _encode({**head, "metadata": meta})[:-1]
    return b'%b,"items":[%b]}' % (opening, b",".join(items))


def _table(resource: Resource, objects: list[Json], form: Form, now: float, meta: Json) -> Json:
    table = tables.table(resource, objects, now=now, include_object=form.include, first=True)
    return {**table, "metadata": meta}
