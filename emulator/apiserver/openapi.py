"""Pure: OpenAPI v3: which kinds can be patched and validated, and what `kubectl explain` shows.

kubectl create, apply and edit look for a PATCH operation that carries the kind and a parameter
`fieldValidation`; only `explain` reads the schemas. Documents are built when first asked for.
"""

from collections.abc import Iterator
from functools import cache
from hashlib import sha512
from typing import Any

import msgspec

from podwire.emulator.apiserver import schema
from podwire.emulator.apiserver.kinds import Kinds
from podwire.emulator.apiserver.resources import Resource
from podwire.emulator.apiserver.schema import Description, Field, Kind, Type

Json = dict[str, Any]

_BODY_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
_QUERY = ("dryRun", "fieldManager", "fieldValidation")
_NUMBERS = {"int32": "int32", "int64": "int64", "int": "int64", "uint32": "int64"}

_META = "io.k8s.apimachinery.pkg"
_SPECIAL: dict[str, tuple[str, Json]] = {
    "IntOrString": (
        f"{_META}.util.intstr.IntOrString",
        {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    ),
    "Quantity": (
        f"{_META}.api.resource.Quantity",
        {"oneOf": [{"type": "string"}, {"type": "number"}]},
    ),
    "Time": (f"{_META}.apis.meta.v1.Time", {"type": "string", "format": "date-time"}),
    "MicroTime": (f"{_META}.apis.meta.v1.MicroTime", {"type": "string", "format": "date-time"}),
}


def index(kinds: Kinds) -> Json:
    """Return the document of `/openapi/v3`: the groups and where their documents are."""
    return {
        "paths": {
            name: {"serverRelativeURL": f"/openapi/v3/{name}?hash={document_hash(kinds, name)}"}
            for name in _names(kinds)
        }
    }


@cache
def document(kinds: Kinds, name: str) -> bytes | None:
    """Return the document of `api/v1` or `apis/GROUP/VERSION`, None if it is not served."""
    if name not in _names(kinds):
        return None
    group, version = _group_of(name)
    served = kinds.in_version(group, version)
    return msgspec.json.encode(
        {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "unversioned"},
            "paths": dict(path for resource in served for path in _paths(name, resource)),
            "components": {"schemas": _schemas(served)},
        }
    )


@cache
def document_hash(kinds: Kinds, name: str) -> str:
    """Return the hash that makes the document's address change with its content."""
    return sha512(document(kinds, name) or b"").hexdigest().upper()


def _names(kinds: Kinds) -> tuple[str, ...]:
    return tuple(
        f"apis/{group}/{version}" if group else f"api/{version}"
        for group, versions in kinds.groups().items()
        for version in versions
    )


def _group_of(name: str) -> tuple[str, str]:
    _, *group, version = name.split("/")
    return (group[0] if group else ""), version


def _paths(name: str, resource: Resource) -> Iterator[tuple[str, Json]]:
    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    base = f"/{name}{scope}/{resource.plural}"
    yield base, {"post": _operation(resource)}
    if "patch" in resource.verbs:
        operations = {verb: _operation(resource) for verb in ("put", "patch")}
        operations["patch"]["requestBody"] = {"content": {kind: {} for kind in _BODY_TYPES}}
        yield f"{base}/{{name}}", operations


def _operation(resource: Resource) -> Json:
    return {
        "parameters": [
            {"name": name, "in": "query", "schema": {"type": "string"}} for name in _QUERY
        ],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-group-version-kind": _gvk(resource),
    }


def _gvk(resource: Resource) -> Json:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _schemas(served: tuple[Resource, ...]) -> Json:
    """Return the schemas of the kinds and of every type that they use."""
    found: Json = dict(_SPECIAL.values())
    waiting: list[str] = []
    for resource in served:
        type_ = schema.type_of(resource.api_version, resource.kind)
        if type_ is not None:
            waiting.append(type_.name)
            entry = _schema(type_)
            entry["x-kubernetes-group-version-kind"] = [_gvk(resource)]
            found[_public(type_.name)] = entry
    done: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in done:
            continue
        done.add(name)
        type_ = schema.struct(name)
        found.setdefault(_public(name), _schema(type_))
        waiting += [inner for field in type_.fields.values() for inner in _used(field.kind)]
    return found


def _used(kind: Kind) -> Iterator[str]:
    if kind.shape == "struct":
        yield kind.name
    elif kind.shape in ("list", "map"):
        yield from _used(kind.of)


def _schema(type_: Type) -> Json:
    words = schema.descriptions().get(type_.name) or Description("", {})
    entry: Json = {"type": "object", "description": words.text}
    if type_.fields:
        entry["properties"] = {
            name: _property(field, words.fields.get(name, ""))
            for name, field in type_.fields.items()
        }
    required = sorted(name for name, field in type_.fields.items() if field.required)
    if required:
        entry |= {"required": required}
    return entry


def _property(field: Field, words: str) -> Json:
    entry: dict[str, Any] = _value(field.kind)
    if "$ref" in entry:
        # Siblings of $ref are ignored by readers; allOf is how the real server writes it.
        entry = {"allOf": [entry]}
    entry["description"] = words
    if field.patch_strategy:
        entry["x-kubernetes-patch-strategy"] = field.patch_strategy
    if field.merge_key:
        entry["x-kubernetes-patch-merge-key"] = field.merge_key
    if field.list_type and field.kind.shape == "list":
        entry["x-kubernetes-list-type"] = field.list_type
    if field.list_keys:
        entry["x-kubernetes-list-map-keys"] = list(field.list_keys)
    if field.default:
        entry["default"] = msgspec.json.decode(field.default)
    return entry


def _value(kind: Kind) -> Json:
    match kind.shape:
        case "struct":
            return {"$ref": f"#/components/schemas/{_public(kind.name)}"}
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
        return {"$ref": f"#/components/schemas/{_SPECIAL[name][0]}"}
    if name == "items":
        return {"type": "array", "items": {"type": "string"}}
    return {"type": "object"} if name == "Raw" else {"type": "string"}


def _public(name: str) -> str:
    """Return `io.k8s.api.core.v1.Volume` for `core/v1.Volume`."""
    path = name.replace("/", ".")
    prefix = "io.k8s.apimachinery.pkg.apis" if path.startswith("meta.") else "io.k8s.api"
    return f"{prefix}.{path}"
