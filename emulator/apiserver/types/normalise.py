"""Pure: read a JSON object as Kubernetes' typed server does and write it out again.

The real server decodes JSON into Go structs and encodes those: unknown fields vanish, numbers
must be numbers, empty optional fields are left out, and structs that are not pointers appear even
when nobody sent them (``status: {}``, a template's ``creationTimestamp: null``). Doing that once,
at the border, is what makes comparison of objects (no-op writes, ``kubectl diff``) exact.

Fields of a custom resource other than its metadata are kept as they are.
"""

import base64
import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from podwire.emulator.apiserver.types import schema
from podwire.emulator.apiserver.types.schema import Field, Kind, Type
from podwire.kube import quantity

Json = dict[str, Any]

_LIMITS = {
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "int": (-(2**63), 2**63 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
}
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", re.ASCII
)
_ZERO_TIME = "0001-01-01T00:00:00"
_MISSING = object()


class TypeMismatch(ValueError):
    """A value has the wrong JSON type; the message is that of Go's decoder."""


@dataclass(frozen=True, slots=True)
class Normalised:
    """An object as the server would store it, and what was dropped from it."""

    object: Json
    #: such as ``unknown field "spec.ports[0].targetPrt"``, in the order of the document
    unknown: list[str] = field(default_factory=list[str])


def normalise(obj: Json, api_version: str, kind: str) -> Normalised:
    """Return *obj* as a server stores it. Raise TypeMismatch, in Go's words, for a wrong type."""
    found = schema.type_of(api_version, kind)
    walk = _Walk()
    if found is None:
        result = dict(obj)
        if "metadata" in obj:
            kind_of = schema.struct("meta/v1.ObjectMeta")
            walk.path.append("metadata")
            result["metadata"] = walk.struct(obj["metadata"], kind_of)
    else:
        result = walk.struct(obj, found)
    if walk.error:
        raise TypeMismatch(walk.error)
    return Normalised(result, walk.unknown)


@dataclass(slots=True)
class _Walk:
    """One descent through a document."""

    #: member names and ``[3]`` from the document's top to here
    path: list[str] = field(default_factory=list[str])
    owner: str = ""
    unknown: list[str] = field(default_factory=list[str])
    #: the first mismatch: Go goes on decoding and reports that one
    error: str = ""

    def struct(self, value: Any, kind: Type) -> Json:
        """Read an object of a known type."""
        if not isinstance(value, dict):
            go = f"{kind.name.rpartition('/')[2]}"
            return self.mismatch(value, go) or {}
        read: Json = {}
        fields, path = kind.fields, self.path
        document: Json = value  # pyright: ignore[reportUnknownVariableType]
        for name, member in document.items():
            known = fields.get(name)
            if known is None:
                self.unknown.append(f'unknown field "{self.where(name)}"')
            elif member is not None:
                path.append(name)
                outer, self.owner = self.owner, kind.go
                read[name] = self.value(member, known.kind)
                self.owner = outer
                path.pop()
        return _written(read, kind)

    def value(self, value: Any, kind: Kind) -> Any:
        """Read a value that is not null."""
        match kind.shape:
            case "scalar":
                return self.scalar(value, kind)
            case "struct":
                return self.struct(value, schema.struct(kind.name))
            case "list":
                return self.list(value, kind)
            case "map":
                return self.map(value, kind)
            case "special":
                return _SPECIAL[kind.name](self, value, kind)

    def list(self, value: Any, kind: Kind) -> Any:
        """Read a list; null elements become zero values, as in Go."""
        if not isinstance(value, list):
            return self.mismatch(value, kind.go)
        read: list[Any] = []
        path, element = self.path, kind.of
        path.append("")
        for index, member in enumerate(value):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            path[-1] = f"[{index}]"
            read.append(zero(element) if member is None else self.value(member, element))
        path.pop()
        return read

    def map(self, value: Any, kind: Kind) -> Any:
        """Read a map with free keys."""
        if not isinstance(value, dict):
            return self.mismatch(value, kind.go)
        read: Json = {}
        path, element = self.path, kind.of
        path.append("")
        for name, member in sorted(value.items()):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType, reportUnknownMemberType]
            path[-1] = f"{{{name}}}"
            read[name] = zero(element) if member is None else self.value(member, element)
        path.pop()
        return read

    def scalar(self, value: Any, kind: Kind) -> Any:
        """Read a string, number or boolean."""
        name = kind.name
        if name == "string":
            return value if isinstance(value, str) else self.mismatch(value, kind.go)
        if name == "bool":
            return value if isinstance(value, bool) else self.mismatch(value, kind.go)
        if name == "bytes":
            return self.bytes(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return self.mismatch(value, kind.go)
        if name == "float64":
            return value
        low, high = _LIMITS[name]
        if isinstance(value, float) or not low <= value <= high:
            return self.mismatch(value, kind.go, f"number {value}")
        return value

    def bytes(self, value: Any) -> Any:
        """Read base64, which Go writes back with padding and without line ends."""
        if not isinstance(value, str):
            return self.mismatch(value, "[]uint8")
        text = value.replace("\n", "").replace("\r", "")
        try:
            return base64.b64encode(base64.b64decode(text, validate=True)).decode()
        except ValueError:  # binascii.Error, and what is not ASCII
            bad = re.search(r"[^A-Za-z0-9+/]", text.rstrip("="))
            at = bad.start() if bad else len(text) // 4 * 4
            return self.fail(f"illegal base64 data at input byte {at}")

    def time(self, value: Any, kind: Kind) -> Any:
        """Read a time; it is written in UTC, to the second or microsecond."""
        micro = kind.name == "MicroTime"
        layout = "2006-01-02T15:04:05" + (".000000" if micro else "") + "Z07:00"
        if not isinstance(value, str):
            return self.fail(
                f"json: cannot unmarshal {_json_kind(value)} into Go value of type string"
            )
        match = _RFC3339.fullmatch(value)
        try:
            if match is None:
                raise ValueError(value)
            return _utc(match, micro=micro)
        except ValueError:
            return self.fail(
                f'parsing time "{value}" as "{layout}": cannot parse "{value}" as "2006"'
            )

    def quantity(self, value: Any, kind: Kind) -> Any:
        """Read a quantity; it is written in its canonical form."""
        del kind
        text = value if isinstance(value, str) else str(value)
        if isinstance(value, bool):
            text = str(value).lower()
        try:
            return quantity.canonical(text.strip())
        except quantity.QuantityError as error:
            return self.fail(str(error))

    def int_or_string(self, value: Any, kind: Kind) -> Any:
        """Read a number or a name."""
        del kind
        if isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            if abs(value) < 2**31:
                return value
            return self.fail(f"json: cannot unmarshal number {value} into Go value of type int32")
        return self.fail(f"json: cannot unmarshal {_json_kind(value)} into Go value of type int32")

    def raw(self, value: Any, kind: Kind) -> Any:
        """Keep any JSON as it is."""
        del kind
        return value

    def text(self, value: Any, kind: Kind) -> Any:
        """Read a string with a form of its own."""
        return value if isinstance(value, str) else self.mismatch(value, kind.go)

    def items(self, value: Any, kind: Kind) -> Any:
        """Read a list of strings that is a protobuf message of its own."""
        if not isinstance(value, list):
            return self.mismatch(value, kind.go)
        return [self.text(member, kind) for member in value]  # pyright: ignore[reportUnknownVariableType]

    def where(self, name: str) -> str:
        """Return the full path of a member, ``spec.ports[0].name``."""
        text = ""
        for part in (*self.path, name):
            step = part[1:-1] if part.startswith("{") else part
            text += step if part.startswith("[") or not text else f".{step}"
        return text

    def mismatch(self, value: Any, go: str, found: str = "") -> Any:
        """Remember that *value* is not of Go's type *go*."""
        members = [part for part in self.path if not part.startswith(("[", "{"))]
        target = f"struct field {self.owner}.{'.'.join(members)}" if members else "value"
        return self.fail(
            f"json: cannot unmarshal {found or _json_kind(value)} into Go {target} of type {go}"
        )

    def fail(self, message: str) -> Any:
        """Remember the first thing that went wrong."""
        self.error = self.error or message


_SPECIAL: dict[str, Callable[[_Walk, Any, Kind], Any]] = {
    "Time": _Walk.time,
    "MicroTime": _Walk.time,
    "Duration": _Walk.text,
    "Quantity": _Walk.quantity,
    "IntOrString": _Walk.int_or_string,
    "Raw": _Walk.raw,
    "items": _Walk.items,
}


def _written(read: Json, kind: Type) -> Json:
    """Return the members of a struct that Go writes, in Go's order."""
    result: Json = {}
    for name, known in kind.fields.items():
        value = read.get(name, _MISSING)
        if value is _MISSING or value is None:
            if not known.omit_empty or (
                known.kind.shape in ("struct", "special") and not known.kind.pointer
            ):
                result[name] = zero(known.kind)
                if known.omit_empty and known.kind.name == "items":
                    del result[name]
        elif known.omit_empty and not known.kind.pointer and _is_empty(value, known):
            continue
        else:
            # protobuf, the form in storage, does not tell an empty list from none
            empty = known.kind.shape in ("list", "map") and not value
            result[name] = None if empty else value
    return result


def _is_empty(value: Any, known: Field) -> bool:
    if known.kind.shape in ("struct", "special"):
        return known.kind.name == "items" and not value
    return not value


def zero(kind: Kind) -> Any:
    """Return what Go writes for the zero value of a type."""
    if kind.pointer or kind.shape in ("list", "map"):
        return None
    if kind.shape == "struct":
        return _written({}, schema.struct(kind.name))
    if kind.shape == "scalar":
        return {"string": "", "bool": False, "bytes": None}.get(kind.name, 0)
    return {"Quantity": "0", "IntOrString": 0, "Duration": "0s"}.get(kind.name)


def _json_kind(value: Any) -> str:
    """Return the word of Go's decoder for a JSON value."""
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _utc(match: re.Match[str], *, micro: bool) -> str | None:
    """Return a time in UTC as Go formats it; None for Go's zero time. ValueError if impossible."""
    year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
    fraction = int(((match[7] or "") + "000000")[:6])
    zone = match[8]
    moment = datetime.datetime(year, month, day, hour, minute, second, fraction)
    if zone != "Z":
        offset = datetime.timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
        moment = moment - offset if zone[0] == "+" else moment + offset
    if moment.isoformat() == _ZERO_TIME:
        return None
    return moment.isoformat(timespec="microseconds" if micro else "seconds") + "Z"
