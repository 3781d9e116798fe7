"""Pure: the schemas of kinds as OpenAPI has them, built from the types and from definitions."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from podwire.emulator.apiserver.resources import CustomKind, Resource
from podwire.emulator.apiserver.types import schema
from podwire.emulator.apiserver.types.fields import struct
from podwire.emulator.apiserver.types.schema import Description, Field, Kind, Type

Json = dict[str, Any]

_NUMBERS = {"int32": "int32", "int64": "int64", "int": "int64", "uint32": "int64"}
_META = "io.k8s.apimachinery.pkg"
_SPECIAL: dict[str, tuple[str, Json]] = {
    "IntOrString": (
        f"{_META}.util.intstr.IntOrString",
        {
            "description": "IntOrString is a type that can hold an int32 or a string.",
            "format": "int-or-string",
            "oneOf": [{"type": "integer"}, {"type": "string"}],
        },
    ),
    "Quantity": (
        f"{_META}.api.resource.Quantity",
        {
            "description": "Quantity is a fixed-point representation of a number.",
            "oneOf": [{"type": "string"}, {"type": "number"}],
        },
    ),
    "Time": (f"{_META}.apis.meta.v1.Time", {"type": "string", "format": "date-time"}),
    "MicroTime": (f"{_META}.apis.meta.v1.MicroTime", {"type": "string", "format": "date-time"}),
}
PATCH = f"{_META}.apis.meta.v1.Patch"
_PATCH_SCHEMA: Json = {
    "description": "Patch is provided to give a concrete name and type to the Kubernetes PATCH "
    "request body.",
    "type": "object",
}
_OBJECT_META = "meta/v1.ObjectMeta"
_LIST_META = "meta/v1.ListMeta"
# What every answer needs besides the kinds themselves.
_ALWAYS = ("meta/v1.DeleteOptions", "meta/v1.Status", "meta/v1.ListMeta", "meta/v1.ObjectMeta")

_DOCS = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
_TYPE_FIELDS: Json = {
    "apiVersion": {
        "type": "string",
        "description": "APIVersion defines the versioned schema of this representation of an "
        "object. Servers should convert recognized schemas to the latest internal value, and may "
        f"reject unrecognized values. More info: {_DOCS}#resources",
    },
    "kind": {
        "type": "string",
        "description": "Kind is a string value representing the REST resource this object "
        "represents. Servers may infer this from the endpoint the client submits requests to. "
        f"Cannot be updated. In CamelCase. More info: {_DOCS}#types-kinds",
    },
}
_OF_METADATA = f"Standard object's metadata. More info: {_DOCS}#metadata"

_USAGE: Json = {
    "description": "The memory usage is the memory working set.",
    "type": "object",
    "additionalProperties": {"$ref": f"#/components/schemas/{_SPECIAL['Quantity'][0]}"},
}
_MEASURED: Json = {
    "timestamp": {
        "description": "The following fields define time interval from which metrics were "
        "collected from the interval [Timestamp-Window, Timestamp].",
        "allOf": [{"$ref": f"#/components/schemas/{_SPECIAL['Time'][0]}"}],
    },
    "window": {"type": "string"},
}
# metrics.k8s.io is no part of k8s.io/api: its two kinds are written down here.
_METRICS: dict[str, Json] = {
    "NodeMetrics": {"usage": _USAGE, **_MEASURED},
    "PodMetrics": {
        "containers": {
            "description": "Metrics for all containers are collected within the same time window.",
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "usage": _USAGE},
                "required": ["name", "usage"],
            },
        },
        **_MEASURED,
    },
}
_ABOUT_METRICS = {
    "NodeMetrics": "NodeMetrics sets resource usage metrics of a node.",
    "PodMetrics": "PodMetrics sets resource usage metrics of a pod.",
}


def schemas(served: Iterable[Resource]) -> Json:
    """Return the schemas of the kinds, of their lists, and of every type that they use."""
    found: Json = {**dict(_SPECIAL.values()), PATCH: _PATCH_SCHEMA}
    waiting: list[str] = list(_ALWAYS)
    for resource in served:
        waiting += _kind(found, resource)
        for below in resource.subresources:
            api_version = f"{below.group}/{below.version}" if below.group else below.version
            type_ = schema.type_of(api_version, below.kind)
            if type_ is not None:
                waiting.append(type_.name)
                found.setdefault(public(type_.name), _top(type_, below))
    done: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in done:
            continue
        done.add(name)
        type_ = schema.struct(name)
        found.setdefault(public(name), _schema(type_))
        waiting += [inner for field in type_.fields.values() for inner in _used(field.kind)]
    return found


def reference(name: str) -> Json:
    """Return a reference to the schema *name*."""
    return {"$ref": f"#/components/schemas/{name}"}


def name_of(resource: Resource, *, many: bool = False) -> str:
    """Return the name of a kind's schema, or of its list's."""
    kind = resource.kind
    if many:
        kind = resource.custom.list_kind if resource.custom else f"{resource.kind}List"
    type_ = None if resource.custom else schema.type_of(resource.api_version, kind)
    if type_ is not None:
        return public(type_.name)
    backwards = ".".join(reversed(resource.group.split(".")))
    return f"{backwards}.{resource.version}.{kind}"


def of_kind(group: str, version: str, kind: str) -> str:
    """Return the name of a built-in kind's schema, or the empty text."""
    type_ = schema.type_of(f"{group}/{version}" if group else version, kind)
    return "" if type_ is None else public(type_.name)


def public(name: str) -> str:
    """Return `io.k8s.api.core.v1.Volume` for `core/v1.Volume`."""
    path = name.replace("/", ".")
    if path.startswith("meta."):
        return f"io.k8s.apimachinery.pkg.apis.{path}"
    if path.startswith("apiextensions."):
        return f"io.k8s.apiextensions-apiserver.pkg.apis.{path}"
    return f"io.k8s.api.{path}"


def gvk(entry: Any) -> Json:
    """Return group, version and kind of a kind or subresource, as OpenAPI writes them."""
    return {"group": entry.group, "version": entry.version, "kind": entry.kind}


def _kind(found: Json, resource: Resource) -> Iterator[str]:
    """Add the schema of a kind and of its list; yield the types that they need."""
    if resource.custom:
        entry = _custom(resource, resource.custom)
    elif resource.kind in _METRICS:
        about = _ABOUT_METRICS[resource.kind]
        properties = {**_TYPE_FIELDS, "metadata": _metadata(), **_METRICS[resource.kind]}
        entry = {"type": "object", "description": about, "properties": properties}
    else:
        for kind in (resource.kind, f"{resource.kind}List"):
            type_ = schema.type_of(resource.api_version, kind)
            if type_ is not None:
                yield type_.name
                top = {"group": resource.group, "version": resource.version, "kind": kind}
                found[public(type_.name)] = {**_schema(type_), _GVK: [top]}
        return
    found[name_of(resource)] = {**entry, _GVK: [gvk(resource)]}
    found[name_of(resource, many=True)] = _list(resource)


_GVK = "x-kubernetes-group-version-kind"


def _list(resource: Resource) -> Json:
    kind = name_of(resource, many=True).rpartition(".")[2]
    meta: Json = {"description": _OF_METADATA, "allOf": [reference(public(_LIST_META))]}
    items: Json = {
        "description": f"List of {resource.plural}. More info: {_DOCS}",
        "type": "array",
        "items": reference(name_of(resource)),
    }
    return {
        "description": f"{kind} is a list of {resource.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {**_TYPE_FIELDS, "items": items, "metadata": meta},
        _GVK: [{"group": resource.group, "version": resource.version, "kind": kind}],
    }


def _metadata() -> Json:
    return {"description": _OF_METADATA, "allOf": [reference(public(_OBJECT_META))]}


def _custom(resource: Resource, custom: CustomKind) -> Json:
    """Return a definition's schema as it is published: with what every object has."""
    raw = dict(custom.schema.raw)
    if not raw:
        return {"type": "object"}
    raw["properties"] = {**struct(raw, "properties"), **_TYPE_FIELDS, "metadata": _metadata()}
    if resource.fields:
        raw["x-kubernetes-selectable-fields"] = [{"fieldPath": path} for path in resource.fields]
    return raw


def _top(type_: Type, entry: Any) -> Json:
    return {**_schema(type_), _GVK: [gvk(entry)]}


def _used(kind: Kind) -> Iterator[str]:
    if kind.shape == "struct":
        yield kind.name
    elif kind.shape in ("list", "map"):
        yield from _used(kind.of)


def _schema(type_: Type) -> Json:
    words = schema.descriptions().get(type_.name) or Description("", {})
    entry: Json = {"type": "object"}
    if words.text:
        entry["description"] = words.text
    if type_.fields:
        entry["properties"] = {
            name: _property(field, words.fields.get(name, ""), words.enums.get(name, []))
            for name, field in type_.fields.items()
        }
    required = sorted(name for name, field in type_.fields.items() if field.required)
    if required:
        entry["required"] = required
    if type_.atomic:
        entry["x-kubernetes-map-type"] = "atomic"
    return entry


def _property(field: Field, words: str, values: list[str]) -> Json:
    entry: Json = _value(field.kind)
    if values:
        (entry["items"] if field.kind.shape == "list" else entry)["enum"] = values
    if "$ref" in entry:
        # Siblings of $ref are ignored by readers; allOf is how the real server writes it.
        entry = {"allOf": [entry]}
    if words:
        entry["description"] = words
    if field.patch_strategy:
        entry["x-kubernetes-patch-strategy"] = field.patch_strategy
    if field.merge_key:
        entry["x-kubernetes-patch-merge-key"] = field.merge_key
    if field.list_type:
        map_ = field.kind.shape != "list"
        entry["x-kubernetes-map-type" if map_ else "x-kubernetes-list-type"] = field.list_type
    if field.list_keys:
        entry["x-kubernetes-list-map-keys"] = list(field.list_keys)
    if field.default:
        entry["default"] = msgspec.json.decode(field.default)
    return entry


def _value(kind: Kind) -> Json:
    match kind.shape:
        case "struct":
            return reference(public(kind.name))
        case "list":
            return {"type": "array", "items": _value(kind.of)}
        case "map":
            return {"type": "object", "additionalProperties": _value(kind.of)}
        case "special":
            return _special(kind.name)
        case "scalar":
            return _scalar(kind.name)


def _scalar(name: str) -> Json:
    if name == "bool":
        return {"type": "boolean"}
    if name == "bytes":
        return {"type": "string", "format": "byte"}
    if name in _NUMBERS:
        return {"type": "integer", "format": _NUMBERS[name]}
    return {"type": "number", "format": "double"} if name == "float64" else {"type": "string"}


def _special(name: str) -> Json:
    if name in _SPECIAL:
        return reference(_SPECIAL[name][0])
    if name == "items":
        return {"type": "array", "items": {"type": "string"}}
    return {"type": "object"} if name == "Raw" else {"type": "string"}
