"""Pure: which schemas are structural: every field is specified, `anyOf` and its like only narrow.

Source: apiextensions-apiserver's pkg/apiserver/schema/validation.go, complete.go and
defaulting/validation.go.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from podwire.emulator.apiserver.admission import field_errors as fields
from podwire.emulator.apiserver.admission.field_errors import FieldError
from podwire.emulator.apiserver.custom import go_pattern, structural, validate_custom
from podwire.emulator.apiserver.custom.structural import Node
from podwire.emulator.apiserver.types.fields import many, struct

Raw = Mapping[str, Any]
Level = Literal["root", "item", "field"]

_META = ("metadata", "kind", "apiVersion")
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_NO_TYPE = {
    "root": "must not be empty at the root",
    "item": "must not be empty for specified array items",
    "field": "must not be empty for specified object fields",
}
# What only a place itself may say, and no `anyOf` and its like about it.
_EMPTY_INSIDE = {
    "title": "must be empty to be structural",
    "description": "must be empty to be structural",
    "nullable": "must be false to be structural",
    "x-kubernetes-preserve-unknown-fields": "must be false to be structural",
    "x-kubernetes-embedded-resource": "must be false to be structural",
    "x-kubernetes-int-or-string": "must be false to be structural",
    "x-kubernetes-list-map-keys": "must be empty to be structural",
    "x-kubernetes-list-type": "must be undefined to be structural",
    "x-kubernetes-map-type": "must be undefined to be structural",
    "x-kubernetes-validations": "must be empty to be structural",
}


def structure(raw: Raw, path: str) -> list[FieldError]:
    """Return why a root schema is not structural, or else which of its defaults do not fit it."""
    problems = sorted(
        [*_structural(raw, "root", path), *_complete(raw, raw, path, path)],
        key=lambda error: f"{error.field}: {error.message}",
    )
    embedded = Node({**raw, "x-kubernetes-embedded-resource": True})
    return problems or _defaults(embedded, path)


def _structural(raw: Raw, level: Level, path: str) -> Iterator[FieldError]:
    kind = raw.get("type") or ""
    items = raw.get("items")
    if kind == "array" and items is None:
        yield fields.required(f"{path}.items", "must be specified")
    if isinstance(items, dict):
        yield from _structural(struct(raw, "items"), "item", f"{path}.items")
    properties = struct(raw, "properties")
    for name in properties:
        yield from _structural(struct(properties, name), "field", f"{path}.properties[{name}]")
    additional = raw.get("additionalProperties")
    if additional is not None:
        where = f"{path}.additionalProperties"
        if level == "root":
            yield fields.forbidden(where, "must not be used at the root")
        if isinstance(additional, dict):
            yield from _structural(struct(raw, "additionalProperties"), "field", where)
    node = Node(raw)
    if node.int_or_string:
        for name, given in (("preserve-unknown-fields", node.preserves),
                            ("embedded-resource", node.embedded)):  # fmt: skip
            if given:
                text = "must be false if x-kubernetes-int-or-string is true"
                yield fields.invalid(f"{path}.x-kubernetes-{name}", given, text)
    all_of = many(raw, "allOf")
    yield from _values(
        raw,
        path,
        any_of=many(raw, "anyOf") == _INT_OR_STRING,
        first=bool(all_of) and many(all_of[0], "anyOf") == _INT_OR_STRING,
    )
    yield from _type(node, kind, level, path)
    yield from _metadata(node, level, path)


def _type(node: Node, kind: str, level: Level, path: str) -> Iterator[FieldError]:
    if node.embedded and kind != "object":
        text = "must be object if x-kubernetes-embedded-resource is true"
        where = f"{path}.type"
        yield fields.invalid(where, kind, text) if kind else fields.required(where, text)
    elif not kind and not node.int_or_string and not node.preserves:
        yield fields.required(f"{path}.type", _NO_TYPE[level])
    if level == "root" and kind and kind != "object":
        yield fields.invalid(f"{path}.type", kind, "must be object at the root")


def _metadata(node: Node, level: Level, path: str) -> Iterator[FieldError]:
    if node.embedded:
        if node.raw.get("additionalProperties") is not None:
            text = "must not be used if x-kubernetes-embedded-resource is set"
            yield fields.forbidden(f"{path}.additionalProperties", text)
        if not node.preserves and not node.properties:
            text = (
                "must not be empty if x-kubernetes-embedded-resource is true without "
                "x-kubernetes-preserve-unknown-fields"
            )
            yield fields.required(f"{path}.properties", text)
    if level != "root" and not node.embedded:
        return
    for name in ("kind", "apiVersion"):
        below = node.properties.get(name)
        if below is not None and below.type != "string":
            yield fields.invalid(f"{path}.properties[{name}].type", below.type, "must be string")
    meta = node.properties.get("metadata")
    if meta is None:
        return
    where = f"{path}.properties[metadata]"
    if meta.type != "object":
        yield fields.invalid(f"{where}.type", meta.type, "must be object")
    named = set(meta.properties) <= {"name", "generateName"}
    others = set(meta.raw) - {"type", "default", "properties"}
    if level == "root" and not (named and not others):
        text = (
            "must not specify anything other than name and generateName, but metadata is "
            "implicitly specified"
        )
        yield fields.forbidden(where, text)


def _values(raw: Raw, path: str, *, any_of: bool, first: bool) -> Iterator[FieldError]:
    """Check what narrows values; *any_of*, *first*: it only says `integer or string`."""
    for name in ("anyOf", "allOf", "oneOf"):
        if name == "anyOf" and any_of:
            continue
        for index, part in enumerate(many(raw, name)):
            skip = name == "allOf" and index == 0 and first
            yield from _inside(part, f"{path}.{name}[{index}]", any_of=skip)
    if struct(raw, "not"):
        yield from _inside(struct(raw, "not"), f"{path}.not")
    pattern = raw.get("pattern")
    if pattern:
        try:
            go_pattern.compiled(pattern)
        except go_pattern.PatternError as error:
            text = f"must be a valid regular expression, but isn't: {error}"
            yield fields.invalid(f"{path}.pattern", pattern, text)


def _inside(raw: Raw, path: str, *, any_of: bool = False) -> Iterator[FieldError]:
    yield from _values(raw, path, any_of=any_of, first=False)
    if isinstance(raw.get("items"), dict):
        yield from _inside(struct(raw, "items"), f"{path}.items")
    properties = struct(raw, "properties")
    for name in properties:
        yield from _inside(struct(properties, name), f"{path}.properties[{name}]")
    if raw.get("type"):
        yield fields.forbidden(f"{path}.type", "must be empty to be structural")
    for name in ("additionalProperties", "default"):
        if raw.get(name) is not None:
            yield fields.forbidden(f"{path}.{name}", "must be undefined to be structural")
    for name, text in _EMPTY_INSIDE.items():
        if raw.get(name):
            yield fields.forbidden(f"{path}.{name}", text)
    if "metadata" in properties:
        text = "must not be specified in a nested context"
        yield fields.forbidden(f"{path}.properties[metadata]", text)


def _complete(values: Raw, raw: Raw | None, path: str, where: str) -> Iterator[FieldError]:
    """Check that what *values* (at *where*) narrows is specified in *raw* (at *path*)."""
    if raw is None:
        yield fields.required(path, f"because it is defined in {where}")
        return
    parts = [(f"{where}.{name}[{index}]", part)
             for name in ("allOf", "anyOf", "oneOf")
             for index, part in enumerate(many(values, name))]  # fmt: skip
    if struct(values, "not"):
        parts.insert(0, (f"{where}.not", struct(values, "not")))
    for place, part in parts:
        yield from _complete(part, raw, path, place)
        yield from _complete_below(part, raw, path, place)


def _complete_below(values: Raw, raw: Raw, path: str, where: str) -> Iterator[FieldError]:
    if isinstance(values.get("items"), dict):
        items = struct(raw, "items") or None
        inner = struct(values, "items")
        yield from _complete(inner, items, f"{path}.items", f"{where}.items")
        if items is not None:
            yield from _complete_below(inner, items, f"{path}.items", f"{where}.items")
    properties = struct(raw, "properties")
    for name, inner in struct(values, "properties").items():
        here, there = f"{path}.properties[{name}]", f"{where}.properties[{name}]"
        if name not in properties:
            yield fields.required(here, f"because it is defined in {there}")
        else:
            below = struct(properties, name)
            yield from _complete(inner, below, here, there)
            yield from _complete_below(inner, below, here, there)


def _defaults(node: Node, path: str, *, meta: bool = False) -> list[FieldError]:
    problems: list[FieldError] = []
    if node.default is not None and not meta:
        where = f"{path}.default"
        pruned = {"": structural.copied(node.default)}
        if structural.prune(pruned, Node({"properties": {"": dict(node.raw)}})):
            problems.append(fields.invalid(where, node.default, "must not have unknown fields"))
        for error in validate_custom.value(node.default, node, ""):
            field = where if error.field == "<nil>" else f"{where}.{error.field}"
            problems.append(FieldError(field, error.reason, error.message))
    if node.items is not None:
        problems += _defaults(node.items, f"{path}.items", meta=meta)
    for name, below in node.properties.items():
        within = meta or (node.embedded and name in _META)
        problems += _defaults(below, f"{path}.properties[{name}]", meta=within)
    return problems
