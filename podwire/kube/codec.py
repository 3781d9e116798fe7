"""JSON to typed views and back. Unknown fields are ignored, missing ones take their defaults."""

from functools import cache
from typing import Any

import msgspec

from podwire.kube.names import Key
from podwire.kube.objects import Object, ObjectReference, OwnerReference, T


@cache
def _decoder(kind: type[Any]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, strict=True)


def decode(kind: type[T], body: bytes | msgspec.Raw) -> T:
    """Return the view of *body*; raises msgspec.ValidationError for what is not of that kind."""
    result: T = _decoder(kind).decode(body)
    return result


def convert(kind: type[T], obj: dict[str, Any]) -> T:
    """Return the view of an object that is already parsed."""
    return msgspec.convert(obj, kind)


def to_dict(obj: Object) -> dict[str, Any]:
    """Return *obj* as JSON-able values, with apiVersion and kind."""
    fields: dict[str, Any] = msgspec.to_builtins(obj)
    resource = obj.RESOURCE
    return {"apiVersion": resource.api_version, "kind": resource.kind, **fields}


def encode(obj: Object) -> bytes:
    """Return *obj* as JSON, with apiVersion and kind."""
    return msgspec.json.encode(to_dict(obj))


def key_of(obj: Object) -> Key:
    """Return the key of *obj*."""
    return Key(obj.metadata.namespace, obj.metadata.name)


def reference_to(obj: Object) -> ObjectReference:
    """Return a pointer to *obj*, as events and targetRefs hold it."""
    return ObjectReference(
        kind=obj.RESOURCE.kind,
        namespace=obj.metadata.namespace,
        name=obj.metadata.name,
        uid=obj.metadata.uid,
        api_version=obj.RESOURCE.api_version,
        resource_version=obj.metadata.resource_version,
    )


def owned_by(owner: Object) -> OwnerReference:
    """Return the reference that makes *owner* the controller of an object."""
    return OwnerReference(
        api_version=owner.RESOURCE.api_version,
        kind=owner.RESOURCE.kind,
        name=owner.metadata.name,
        uid=owner.metadata.uid,
        controller=True,
        block_owner_deletion=True,
    )
