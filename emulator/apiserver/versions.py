"""Pure: kinds that are served in two versions and stored in one.

events.k8s.io/v1 Events and core v1 Events are the same objects under other names; of autoscalers
version 2 is stored, version 1 is what `kubectl autoscale` writes.
"""

from typing import Any

import msgspec

from podwire.emulator.apiserver import autoscaler_versions
from podwire.emulator.apiserver.custom import custom
from podwire.emulator.apiserver.resources import Resource
from podwire.emulator.apiserver.store import Stored
from podwire.emulator.apiserver.types.normalise import TypeMismatch, normalise

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
    if resource.custom:
        return {**obj, "apiVersion": resource.storage.api_version}
    if resource.stored_as is None:
        return obj
    # Once more through the types: what one writes and the other version omits (source: {}).
    if resource.kind == "HorizontalPodAutoscaler":
        try:
            return _typed(autoscaler_versions.to_v2(obj), resource.storage)
        except TypeMismatch:  # as Kubernetes: annotations that make no sense carry nothing
            return _typed(autoscaler_versions.to_v2(obj, notes=False), resource.storage)
    renamed = {_OLD_NAMES.get(name, name): value for name, value in obj.items()}
    return _typed({**renamed, "apiVersion": resource.storage.api_version}, resource.storage)


def _typed(obj: Json, resource: Resource) -> Json:
    return normalise(obj, resource.api_version, resource.kind).object


def from_stored(obj: Json, resource: Resource) -> Json:
    """Return a stored object in the version of *resource*; the same object if that is its own."""
    if resource.custom:
        return custom.shown(obj, resource, resource.custom)
    if resource.stored_as is None:
        return obj
    if resource.kind == "HorizontalPodAutoscaler":
        return _typed(autoscaler_versions.to_v1(obj), resource)
    renamed = {_NEW_NAMES.get(name, name): value for name, value in obj.items()}
    return {**renamed, "apiVersion": resource.api_version}


def encoded(stored: Stored, resource: Resource) -> bytes:
    """Return a stored object's JSON in the version of *resource*."""
    if resource.custom:
        obj = stored.object
        shown = custom.shown(obj, resource, resource.custom)
        return stored.encoded if shown is obj else msgspec.json.encode(shown)
    if resource.stored_as is None:
        return stored.encoded
    return msgspec.json.encode(from_stored(stored.object, resource))
