"""What the API's types look like: fields, lists, patch keys, protobuf numbers.

The data is ``data/schema.json`` (built by tools/build_schema.py). A type is one line of fields
``NAME TYPE NUMBER [o] [r] [p=STRATEGY:KEY] [l=LISTTYPE:KEYS] [d=DEFAULT]`` joined by ``;``:

- NAME ``.`` is an inlined Go struct: its fields belong to the outer JSON object, but in protobuf
  it is a message of its own.
- TYPE is a Go type: ``*X`` a pointer, ``[]X`` a list, ``{}X`` a map with string keys, ``string``,
  ``string=v1.Protocol`` a named scalar, ``core/v1.Volume`` a struct, and ``Time``, ``Quantity``,
  ``IntOrString``, ``Raw`` and their like, which have forms of their own.
- ``o`` means that Go omits the field when it is empty, ``r`` that OpenAPI calls it required.

Lines are parsed when a type is first asked for: a cluster uses a tenth of them.
"""

import gzip
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

Shape = Literal["scalar", "special", "struct", "list", "map"]

_SPECIAL = frozenset({"Time", "MicroTime", "Duration", "Quantity", "IntOrString", "Raw", "items"})


@dataclass(frozen=True, slots=True)
class Kind:
    """A Go type expression, taken apart."""

    shape: Shape
    #: scalar: ``int32``; special: ``Time``; struct: ``core/v1.Volume``; list and map: empty
    name: str
    #: as Go's error messages call it: ``int32``, ``v1.Protocol``, ``[]v1.ServicePort``
    go: str
    pointer: bool = False
    element: "Kind | None" = None

    @property
    def of(self) -> "Kind":
        """The element type of a list or map."""
        assert self.element is not None
        return self.element


@dataclass(frozen=True, slots=True)
class Field:
    """One member of a struct."""

    name: str
    kind: Kind
    #: the protobuf field number, 0 where it has none
    number: int
    omit_empty: bool
    required: bool
    #: ``merge``, ``replace``, ``retainKeys`` or ``merge,retainKeys``, as patchStrategy says
    patch_strategy: str = ""
    merge_key: str = ""
    #: ``atomic``, ``map``, ``set``, ``granular`` or empty
    list_type: str = ""
    list_keys: tuple[str, ...] = ()
    #: a JSON text, or empty
    default: str = ""

    @property
    def inline(self) -> bool:
        """Whether this is an embedded struct."""
        return self.name == "."


@dataclass(frozen=True, slots=True)
class Type:
    """A struct of the API."""

    #: ``core/v1.ServicePort``
    name: str
    #: the members of the JSON object, embedded structs' members included, in Go's order
    fields: dict[str, Field]
    #: the members of the protobuf message by number
    wire: dict[int, Field]
    #: server-side apply treats it as one value
    atomic: bool

    @property
    def go(self) -> str:
        """The name without its package, as Go's decoder reports it."""
        return self.name.rpartition(".")[2]


class _Data(msgspec.Struct):
    about: str
    kinds: dict[str, str]
    types: dict[str, str]
    atomic: tuple[str, ...]


@cache
def _data() -> _Data:
    file = resources.files("podwire.emulator.apiserver.types").joinpath("data/schema.json")
    return msgspec.json.decode(file.read_bytes(), type=_Data)


def kinds() -> tuple[tuple[str, str], ...]:
    """Return every (apiVersion, kind) that has a type, List kinds included."""
    return tuple(_split(key) for key in _data().kinds)


def _split(key: str) -> tuple[str, str]:
    version, _, kind = key.rpartition("/")
    return version, kind


def type_of(api_version: str, kind: str) -> Type | None:
    """Return the type of a kind, or None for a kind that is not built in (a custom resource).

    DeleteOptions and Status belong to every group.
    """
    found = _data().kinds
    name = found.get(f"{api_version}/{kind}")
    if name is None and kind in ("DeleteOptions", "Status"):
        name = found[f"v1/{kind}"]
    return None if name is None else struct(name)


@cache
def struct(name: str) -> Type:
    """Return the struct *name* (``core/v1.Volume``); KeyError if there is none."""
    data = _data()
    line = data.types[name]
    fields: dict[str, Field] = {}
    wire: dict[int, Field] = {}
    for text in line.split(";") if line else ():
        field = _field(text)
        if field.number:
            wire[field.number] = field
        if field.inline:
            fields.update(struct(field.kind.name).fields)
        else:
            fields[field.name] = field
    return Type(name, fields, wire, name in data.atomic)


@cache
def _field(text: str) -> Field:
    name, kind, number, *words = text.split(" ")
    marks = {word[0]: word[2:] for word in words}
    strategy, _, merge_key = marks.get("p", "").partition(":")
    list_type, _, keys = marks.get("l", "").partition(":")
    return Field(
        name=name,
        kind=_kind(kind),
        number=int(number),
        omit_empty="o" in marks,
        required="r" in marks,
        patch_strategy=strategy,
        merge_key=merge_key,
        list_type=list_type,
        list_keys=tuple(keys.split(",")) if keys else (),
        default=marks.get("d", ""),
    )


@cache
def _kind(text: str) -> Kind:
    if text.startswith("*"):
        inner = _kind(text[1:])
        return Kind(inner.shape, inner.name, inner.go, pointer=True, element=inner.element)
    if text.startswith("[]"):
        inner = _kind(text[2:])
        return Kind("list", "", "[]" + inner.go, element=inner)
    if text.startswith("{}"):
        inner = _kind(text[2:])
        return Kind("map", "", "map[string]" + inner.go, element=inner)
    if text in _SPECIAL:
        return Kind("special", text, text)
    if "/" in text:
        package, _, name = text.rpartition(".")
        return Kind("struct", text, f"{package.rsplit('/', 1)[-1]}.{name}")
    base, _, named = text.partition("=")
    return Kind("scalar", base, named or ("[]uint8" if base == "bytes" else base))


class Description(msgspec.Struct, array_like=True):
    """What a type and its fields are for, in Kubernetes' words."""

    text: str
    fields: dict[str, str]
    #: the values of fields that are enumerations
    enums: dict[str, list[str]] = {}


@cache
def descriptions() -> dict[str, Description]:
    """Return the descriptions by type name. Half a megabyte: only ``kubectl explain`` asks."""
    file = resources.files("podwire.emulator.apiserver.types").joinpath("data/descriptions.json.gz")
    return msgspec.json.decode(gzip.decompress(file.read_bytes()), type=dict[str, Description])
