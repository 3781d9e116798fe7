"""Pure: rules for the schema of a CustomResourceDefinition (validate_structural has the rest).

Source: apiextensions-apiserver's pkg/apis/apiextensions/validation.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from podwire.emulator.apiserver.admission import field_errors as fields
from podwire.emulator.apiserver.admission.field_errors import FieldError
from podwire.emulator.apiserver.custom import validate_structural
from podwire.emulator.apiserver.custom.structural import Node
from podwire.emulator.apiserver.types.fields import many, struct

Raw = Mapping[str, Any]

_META = ("metadata", "kind", "apiVersion")
_TYPES = ("array", "boolean", "integer", "number", "object", "string")
# JSON name -> Go name of the fields that Go lists when a root schema has others.
_ALLOWED_AT_ROOT = {
    "description": "Description", "type": "Type", "format": "Format", "title": "Title",
    "maximum": "Maximum", "exclusiveMaximum": "ExclusiveMaximum", "minimum": "Minimum",
    "exclusiveMinimum": "ExclusiveMinimum", "maxLength": "MaxLength", "minLength": "MinLength",
    "pattern": "Pattern", "maxItems": "MaxItems", "minItems": "MinItems",
    "uniqueItems": "UniqueItems", "multipleOf": "MultipleOf", "required": "Required",
    "items": "Items", "properties": "Properties", "externalDocs": "ExternalDocs",
    "example": "Example", "x-kubernetes-preserve-unknown-fields": "XPreserveUnknownFields",
    "x-kubernetes-validations": "XValidations",
}  # fmt: skip
_NOT_SUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies",
                  "$ref")  # fmt: skip


def schema(raw: Raw, path: str, *, status: bool) -> list[FieldError]:
    """Return what is wrong with a root schema; *status*: there is the subresource."""
    problems = list(_root(raw, path)) if status else []
    if raw.get("nullable"):
        problems.append(fields.forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    problems += validate_structural.structure(raw, path)
    return problems + list(_plain(raw, path, root=True))


def _root(raw: Raw, path: str) -> Iterator[FieldError]:
    for name, value in raw.items():
        if name == "type" and value != "object":
            text = 'only "object" is allowed as the type at the root of the schema if the status '
            yield fields.invalid(f"{path}.type", value, f"{text}subresource is enabled")
            return
        if name not in _ALLOWED_AT_ROOT and value not in (None, False, [], {}):
            allowed = " ".join(_ALLOWED_AT_ROOT.values())
            text = f"only [{allowed}] fields are allowed at the root of the schema if the status "
            yield fields.invalid(path, dict(raw), f"{text}subresource is enabled")
            return


def _plain(
    raw: Raw, path: str, *, root: bool = False, no_default: str = ""
) -> Iterator[FieldError]:
    kind = raw.get("type") or ""
    if kind == "null":
        text = "type cannot be set to null, use nullable as an alternative"
        yield fields.not_supported(f"{path}.type", kind, _TYPES)
        yield fields.forbidden(f"{path}.type", text)
    elif kind and kind not in _TYPES:
        yield fields.not_supported(f"{path}.type", kind, _TYPES)
    if no_default and raw.get("default") is not None:
        yield fields.forbidden(f"{path}.default", f"must not be set {no_default}")
    for name in _NOT_SUPPORTED:
        if raw.get(name):
            yield fields.forbidden(f"{path}.{name}", f"{name} is not supported")
    if isinstance(raw.get("items"), list):
        text = "items must be a schema object and not an array"
        yield fields.forbidden(f"{path}.items", text)
    if raw.get("uniqueItems"):
        text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield fields.forbidden(f"{path}.uniqueItems", text)
    if raw.get("additionalProperties") not in (None, True) and raw.get("properties"):
        text = "additionalProperties and properties are mutual exclusive"
        yield fields.forbidden(f"{path}.additionalProperties", text)
    yield from _lists(raw, path)
    yield from _rules(raw, path)
    for name in ("additionalProperties", "items", "not"):
        if isinstance(raw.get(name), dict):
            yield from _plain(struct(raw, name), f"{path}.{name}", no_default=no_default)
    properties = struct(raw, "properties")
    for name in properties:
        why = f"in top-level {name}" if root and name in _META else no_default
        where = f"{path}.properties[{name}]"
        yield from _plain(struct(properties, name), where, no_default=why)
    for name in ("allOf", "oneOf", "anyOf"):
        for index, part in enumerate(many(raw, name)):
            yield from _plain(part, f"{path}.{name}[{index}]", no_default=no_default)


def _lists(raw: Raw, path: str) -> Iterator[FieldError]:
    node = Node(raw)
    given: str | None = raw.get("x-kubernetes-list-type")
    field = f"{path}.x-kubernetes-list-type"
    if given is not None and node.type != "array":
        text = "must be array if x-kubernetes-list-type is specified"
        where = f"{path}.type"
        yield fields.invalid(where, node.type, text) if node.type else fields.required(where, text)
    elif given not in (None, "atomic", "set", "map"):
        yield fields.not_supported(field, given, ("atomic", "set", "map"))
    map_type = raw.get("x-kubernetes-map-type")
    if map_type is not None and node.type != "object":
        text = "must be object if x-kubernetes-map-type is specified"
        where = f"{path}.type"
        yield fields.invalid(where, node.type, text) if node.type else fields.required(where, text)
    elif map_type not in (None, "atomic", "granular"):
        supported = ("atomic", "granular")
        yield fields.not_supported(f"{path}.x-kubernetes-map-type", map_type, supported)
    if node.list_keys and given != "map":
        text = "must be map if x-kubernetes-list-map-keys is non-empty"
        yield fields.required(field, text) if given is None else fields.invalid(field, given, text)
    if given == "map":
        yield from _keys(node, path)
    if given in ("set", "map") and node.items is not None and node.items.nullable:
        text = f"cannot be nullable when x-kubernetes-list-type is {given}"
        yield fields.forbidden(f"{path}.items.nullable", text)


def _keys(node: Node, path: str) -> Iterator[FieldError]:
    field = f"{path}.x-kubernetes-list-map-keys"
    keys, items = node.list_keys, node.items
    if not keys:
        yield fields.required(field, "must not be empty if x-kubernetes-list-type is map")
    if items is None:
        text = "must have a schema if x-kubernetes-list-type is map"
        yield fields.required(f"{path}.items", text)
        return
    if items.type != "object":
        text = "must be object if parent array's x-kubernetes-list-type is map"
        yield fields.invalid(f"{path}.items.type", items.type, text)
        return
    for key in keys:
        below = items.properties.get(key)
        where = f"{path}.items.properties[{key}]"
        if below is None:
            yield fields.invalid(field, list(keys), "entries must all be names of item properties")
            continue
        if below.type in ("array", "object"):
            text = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield fields.invalid(f"{where}.type", items.type, text)
        this = "this property is in x-kubernetes-list-map-keys, so it "
        if key not in many(items.raw, "required") and below.default is None:
            text = f"{this}must have a default or be a required property"
            yield fields.required(f"{where}.default", text)
        if below.nullable:
            yield fields.forbidden(f"{where}.nullable", f"{this}cannot be nullable")
    if len(set(keys)) < len(keys):
        yield fields.invalid(field, list(keys), "must not contain duplicate entries")


def _rules(raw: Raw, path: str) -> Iterator[FieldError]:
    for index, rule in enumerate(many(raw, "x-kubernetes-validations")):
        where = f"{path}.x-kubernetes-validations[{index}]"
        text, message = str(rule.get("rule") or "").strip(), str(rule.get("message") or "")
        if not text:
            yield fields.required(f"{where}.rule", "rule is not specified")
        elif message and not message.strip():
            yield fields.invalid(
                f"{where}.message", message, "message must be non-empty if specified"
            )
        elif "\n" in message.strip():
            yield fields.invalid(
                f"{where}.message", message, "message must not contain line breaks"
            )
        elif "\n" in text and not message.strip():
            why = "message must be specified if rule contains line breaks"
            yield fields.required(f"{where}.message", why)
