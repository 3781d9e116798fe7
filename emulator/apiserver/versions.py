"""Pure: events.k8s.io/v1 Events and core v1 Events are the same objects under other names."""

from typing import Any

import msgspec

from podwire.emulator.apiserver.normalise import normalise
from podwire.emulator.apiserver.resources import Resource
from podwire.emulator.apiserver.store import Stored

Json = dict[str, Any]

# core v1 name -> events.k8s.io/v1 name (pkg/apis/events/v1/conversion.go).
_NEW_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_OLD_NAMES = {new: old for old, new in _NEW_NAMES.items()}


def to_stored(obj: Json, resource: Resource) -> Json:
    """Return *obj* in the version in which it is stored."""
    if resource.stored_as is None:
        return obj
    renamed = {_OLD_NAMES.get(name, name): value for name, value in obj.items()}
    stored = resource.storage
    # Once more through the types: what v1 writes and the other version omits (source: {}).
    return normalise(
        {**renamed, "apiVersion": stored.api_version}, stored.api_version, stored.kind
    ).object


def from_stored(obj: Json, resource: Resource) -> Json:
    """Return a stored object in the version of *resource*; the same object if that is its own."""
    if resource.stored_as is None:
        return obj
    renamed = {_NEW_NAMES.get(name, name): value for name, value in obj.items()}
    return {**renamed, "apiVersion": resource.api_version}


def encoded(stored: Stored, resource: Resource) -> bytes:
    """Return a stored object's JSON in the version of *resource*."""
    if resource.stored_as is None:
        return stored.encoded
    return msgspec.json.encode(from_stored(stored.object, resource))
