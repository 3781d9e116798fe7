"""Pure: how values merge, of built-in kinds and of custom resources, by one interface.

A value is a leaf (it changes as a whole), a map (each member by itself), a list whose items are
told apart by keys, or a set. Built-in types say so by their markers (listType, mapType...), custom
resources by the `x-kubernetes-` words of their schema.
Source: k8s.io/kube-openapi/pkg/schemaconv.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, Protocol

import msgspec

from podwire.emulator.apiserver.custom.structural import Node
from podwire.emulator.apiserver.resources import Resource
from podwire.emulator.apiserver.types import schema
from podwire.emulator.apiserver.types.schema import Field, Kind

Form = Literal["leaf", "map", "keyed", "set"]
Wants = Literal["", "list", "map", "string", "numeric", "boolean", "scalar"]


class Shape(Protocol):
    """How the values at one place merge."""

    @property
    def form(self) -> Form:
        """Return which of the four it is, if the value is as `wants` says."""
        ...

    @property
    def wants(self) -> Wants:
        """Return what JSON must stand here; empty if anything may."""
        ...

    @property
    def keys(self) -> Mapping[str, Any]:
        """Return the names of a keyed list's keys, each with its default or None."""
        ...

    @property
    def items(self) -> "Shape":
        """Return the shape of a list's items."""
        ...

    def member(self, name: str) -> "Shape | None":
        """Return the shape of a declared field of a map, None for other members."""
        ...

    @property
    def others(self) -> "Shape | None":
        """Return the shape of a map's undeclared members; None if there may be none."""
        ...


def of(resource: Resource) -> Shape:
    """Return the shape of a kind's objects."""
    if resource.custom is not None:
        return _Custom(resource.custom.schema, top=True)
    found = schema.type_of(resource.api_version, resource.kind)
    assert found is not None, resource
    return _struct(found.name)


def form_of(shape: Shape, value: object) -> Form:
    """Return how *value* merges: one that is not what the shape wants is a leaf."""
    form = shape.form
    if form == "leaf":
        return form
    if form == "map":
        return form if value is None or isinstance(value, dict) else "leaf"
    return form if value is None or isinstance(value, list) else "leaf"


_NO_KEYS: Mapping[str, Any] = MappingProxyType({})


class _Builtin:
    """The shape of a built-in type. Made once for each, for they are asked all the time."""

    __slots__ = ("_fields", "_kind", "_members", "form", "keys", "wants")

    def __init__(self, kind: Kind, form: Form, keys: Mapping[str, Any], wants: Wants) -> None:
        self.form: Form = form
        self.keys = keys
        self.wants: Wants = wants
        self._kind = kind
        self._fields = schema.struct(kind.name).fields if kind.shape == "struct" else {}
        self._members: dict[str, _Builtin | None] = {}

    @property
    def items(self) -> "_Builtin":
        # What may be any JSON may be a list.
        return _of_kind(self._kind.of) if self._kind.shape == "list" else self

    @property
    def others(self) -> "_Builtin | None":
        return _of_kind(self._kind.of) if self._kind.shape == "map" else None

    def member(self, name: str) -> "_Builtin | None":
        try:
            return self._members[name]
        except KeyError:
            found = self._fields.get(name)
            made = None if found is None else _of_field(found)
            if found is not None:  # names that clients invent are not kept
                self._members[name] = made
            return made


@cache
def _struct(name: str) -> _Builtin:
    return _of_kind(Kind("struct", name, name))


@cache
def _of_kind(kind: Kind) -> _Builtin:
    atomic = kind.shape == "struct" and schema.struct(kind.name).atomic
    form: Form = "map" if kind.shape in ("struct", "map") and not atomic else "leaf"
    return _Builtin(kind, form, _NO_KEYS, _wants(kind))


@cache
def _of_field(field: Field) -> _Builtin:
    kind = field.kind
    if kind.shape == "list":
        return _list(field)
    if field.list_type == "atomic":
        return _Builtin(kind, "leaf", _NO_KEYS, _wants(kind))
    if field.list_type == "granular":
        return _Builtin(kind, "map", _NO_KEYS, _wants(kind))
    return _of_kind(kind)


def _list(field: Field) -> _Builtin:
    kind, keys = field.kind, field.list_keys
    type_ = field.list_type
    if not type_ and "merge" in field.patch_strategy.split(","):
        # Types from before listType: the strategic merge patch says how they merge.
        type_, keys = ("map", (field.merge_key,)) if field.merge_key else ("set", ())
    if type_ == "map":
        return _Builtin(kind, "keyed", MappingProxyType(_defaults(kind.of, keys)), "list")
    return _Builtin(kind, "set" if type_ == "set" else "leaf", _NO_KEYS, "list")


def _defaults(items: Kind, keys: tuple[str, ...]) -> dict[str, Any]:
    fields = schema.struct(items.name).fields
    given = {name: fields[name].default for name in keys}
    return {name: msgspec.json.decode(text) if text else None for name, text in given.items()}


_SCALARS: Mapping[str, Wants] = {"string": "string", "bytes": "string", "bool": "boolean"}
_SPECIAL: Mapping[str, Wants] = {
    "Time": "string",
    "MicroTime": "string",
    "Duration": "string",
    "Quantity": "scalar",
    "IntOrString": "scalar",
    "items": "list",
}


def _wants(kind: Kind) -> Wants:
    match kind.shape:
        case "struct" | "map":
            return "map"
        case "list":
            return "list"
        case "scalar":
            return _SCALARS.get(kind.name, "numeric")
        case "special":
            return _SPECIAL.get(kind.name, "")


class _Free:
    """The shape of what no schema describes: maps merge, everything else is replaced."""

    form: Form = "map"
    wants: Wants = ""
    keys = _NO_KEYS

    @property
    def items(self) -> Shape:
        return self

    @property
    def others(self) -> Shape:
        return self

    def member(self, name: str) -> None:
        del name


FREE: Shape = _Free()
_META = frozenset({"apiVersion", "kind", "metadata"})
_TYPES: Mapping[str, Wants] = {
    "object": "map",
    "array": "list",
    "string": "string",
    "integer": "numeric",
    "number": "numeric",
    "boolean": "boolean",
}


class _Custom:
    """The shape that a place in a CustomResourceDefinition's schema describes."""

    __slots__ = ("_node", "_top")

    def __init__(self, node: Node, *, top: bool = False) -> None:
        self._node = node
        self._top = top

    @property
    def form(self) -> Form:
        node = self._node
        if node.int_or_string:
            return "leaf"
        if node.type == "array":
            forms: dict[str, Form] = {"map": "keyed", "set": "set"}
            return forms.get(node.list_type, "leaf")
        if self._top:
            return "map"
        granular = node.map_type == "granular"
        return "map" if granular and (node.type == "object" or node.preserves) else "leaf"

    @property
    def wants(self) -> Wants:
        if self._node.int_or_string:
            return "scalar"
        return _TYPES.get(self._node.type, "map" if self._top else "")

    @property
    def keys(self) -> Mapping[str, Any]:
        items = self._node.items
        fields: Mapping[str, Node] = {} if items is None else items.properties
        named = self._node.list_keys
        return {name: fields[name].default if name in fields else None for name in named}

    @property
    def items(self) -> Shape:
        return FREE if self._node.items is None else _Custom(self._node.items)

    @property
    def others(self) -> Shape | None:
        node = self._node
        if node.additional is not None:
            return _Custom(node.additional)
        return FREE if node.preserves or node.open else None

    def member(self, name: str) -> Shape | None:
        if name in _META and (self._top or self._node.embedded):
            found = schema.struct("core/v1.ConfigMap").fields.get(name)  # as every kind has them
            return None if found is None else _of_field(found)
        below = self._node.properties.get(name)
        return None if below is None else _Custom(below)
