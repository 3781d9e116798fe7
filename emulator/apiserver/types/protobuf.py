r"""Pure: request bodies in Kubernetes' protobuf envelope -> JSON form.

kubectl 1.32 and later, and every Go controller, send typed objects so, without falling back to
JSON. The envelope is ``k8s\x00`` and a message Unknown{1: TypeMeta{1: apiVersion, 2: kind},
2: the object, 3: contentEncoding, 4: contentType}. Answers may always be JSON.

Go writes the zero value of every field that is not a pointer and nothing for a nil pointer. So a
zero of a plain field is dropped when Go's JSON would drop it, and a pointer's zero is kept.
"""

import base64
import datetime
import json
import struct
from collections.abc import Callable
from typing import Any, cast

from podwire.emulator.apiserver.types import schema
from podwire.emulator.apiserver.types.schema import Field, Kind, Type

MAGIC = b"k8s\x00"
_EPOCH = datetime.datetime(1970, 1, 1)


class ProtobufError(ValueError):
    """A body is no protobuf of a kind that is known."""


def decode(body: bytes) -> dict[str, Any]:
    """Return the object in *body*, apiVersion and kind included; ProtobufError if there is none."""
    if not body.startswith(MAGIC):
        raise ProtobufError("provided data does not appear to be a protobuf message")
    envelope = dict(_fields(body[len(MAGIC) :]))
    names = {number: _text(value) for number, value in _fields(_bytes(envelope.get(1, b"")))}
    api_version, kind = names.get(1, ""), names.get(2, "")
    raw = _bytes(envelope.get(2, b""))
    if _text(envelope.get(4, b"")) == "application/json":
        inside = _json(raw)
        if not isinstance(inside, dict):
            raise ProtobufError("the JSON inside the envelope is no object")
        return cast("dict[str, Any]", inside)
    found = schema.type_of(api_version, kind)
    if found is None:
        raise ProtobufError(f'no kind "{kind}" is registered for version "{api_version}"')
    return {"apiVersion": api_version, "kind": kind} | _message(raw, found)


def _message(raw: bytes, kind: Type) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for number, value in _fields(raw):
        field = kind.wire.get(number)
        if field is None:
            continue  # a newer client's field: protobuf skips what it does not know
        if field.inline:
            result.update(_message(_bytes(value), schema.struct(field.kind.name)))
            continue
        shape = field.kind.shape
        if shape == "list":
            result.setdefault(field.name, []).extend(_elements(value, field.kind.of))
        elif shape == "map":
            key, member = _entry(_bytes(value), field.kind.of)
            result.setdefault(field.name, {})[key] = member
        else:
            _set(result, field, _value(value, field.kind))
    return result


def _set(result: dict[str, Any], field: Field, value: Any) -> None:
    dropped = field.omit_empty and not field.kind.pointer and field.kind.shape == "scalar"
    if value is None or (dropped and not value):
        return
    result[field.name] = value


def _elements(value: int | bytes, kind: Kind) -> list[Any]:
    """Return the list elements in one field; numbers may come packed."""
    if kind.shape == "scalar" and isinstance(value, bytes) and kind.name not in ("string", "bytes"):
        at, found = 0, list[Any]()
        while at < len(value):
            number, at = _varint(value, at)
            found.append(_number(number, kind))
        return found
    return [_value(value, kind)]


def _entry(raw: bytes, kind: Kind) -> tuple[str, Any]:
    found = dict(_fields(raw))
    empty: int | bytes = (
        0 if kind.shape == "scalar" and kind.name not in ("string", "bytes") else b""
    )
    return _text(found.get(1, b"")), _value(found.get(2, empty), kind)


def _value(value: int | bytes, kind: Kind) -> Any:
    match kind.shape:
        case "struct":
            return _message(_bytes(value), schema.struct(kind.name))
        case "special":
            return _SPECIAL[kind.name](_bytes(value))
        case _:
            return _scalar(value, kind)


def _scalar(value: int | bytes, kind: Kind) -> Any:
    match kind.name:
        case "string":
            return _text(value)
        case "bytes":
            return base64.b64encode(_bytes(value)).decode()
        case "float64":
            return struct.unpack("<d", _bytes(value))[0]
        case _:
            if isinstance(value, bytes):
                raise ProtobufError("a number was expected")
            return _number(value, kind)


def _number(value: int, kind: Kind) -> int | bool:
    if kind.name == "bool":
        return value != 0
    # Negative numbers are ten-byte varints of two's complement, for int32 as well.
    return value - (1 << 64) if value >> 63 and not kind.name.startswith("u") else value


def _time(raw: bytes) -> str | None:
    moment = _moment(raw)
    return None if moment is None else moment.isoformat(timespec="seconds") + "Z"


def _micro_time(raw: bytes) -> str | None:
    moment = _moment(raw)
    return None if moment is None else moment.isoformat(timespec="microseconds") + "Z"


def _moment(raw: bytes) -> datetime.datetime | None:
    """Return a Timestamp{1: seconds, 2: nanos}; an empty one is Go's zero time."""
    if not raw:
        return None
    found = dict(_fields(raw))
    seconds, nanos = (_number(_int(found.get(n, 0)), _INT64) for n in (1, 2))
    try:
        return _EPOCH + datetime.timedelta(seconds=seconds, microseconds=nanos // 1000)
    except OverflowError as error:
        raise ProtobufError("a time is out of range") from error


def _quantity(raw: bytes) -> str:
    return _text(dict(_fields(raw)).get(1, b""))


def _int_or_string(raw: bytes) -> int | str:
    """Return IntOrString{1: type (1 is string), 2: int, 3: string}."""
    found = dict(_fields(raw))
    if _int(found.get(1, 0)):
        return _text(found.get(3, b""))
    return _number(_int(found.get(2, 0)), _INT64)


def _raw(raw: bytes) -> Any:
    """Return the JSON inside RawExtension, FieldsV1 or JSON {1: bytes}."""
    text = _bytes(dict(_fields(raw)).get(1, b""))
    return _json(text) if text else None


def _items(raw: bytes) -> list[str]:
    return [_text(value) for number, value in _fields(raw) if number == 1]


def _duration(raw: bytes) -> str:
    return f"{_int(dict(_fields(raw)).get(1, 0)) // 10**9}s"


_INT64 = Kind("scalar", "int64", "int64")
_SPECIAL: dict[str, Callable[[bytes], Any]] = {
    "Time": _time,
    "MicroTime": _micro_time,
    "Duration": _duration,
    "Quantity": _quantity,
    "IntOrString": _int_or_string,
    "Raw": _raw,
    "items": _items,
}


def _fields(raw: bytes) -> list[tuple[int, int | bytes]]:
    """Split a message into (field number, varint or bytes)."""
    at, end = 0, len(raw)
    found: list[tuple[int, int | bytes]] = []
    while at < end:
        tag, at = _varint(raw, at)
        number, wire = tag >> 3, tag & 7
        value: int | bytes
        if wire == 0:
            value, at = _varint(raw, at)
        else:
            if wire == 2:
                size, at = _varint(raw, at)
            elif wire in (1, 5):
                size = 8 if wire == 1 else 4
            else:
                raise ProtobufError(f"illegal wire type {wire}")
            if at + size > end:
                raise ProtobufError("unexpected EOF")
            value, at = raw[at : at + size], at + size
        if number == 0:
            raise ProtobufError("illegal tag 0")
        found.append((number, value))
    return found


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(raw) or shift > 63:
            raise ProtobufError("unexpected EOF" if at >= len(raw) else "integer overflow")
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _text(value: int | bytes) -> str:
    try:
        return _bytes(value).decode()
    except UnicodeDecodeError as error:
        raise ProtobufError("invalid UTF-8 in a string") from error


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ProtobufError("bytes were expected")
    return value


def _int(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ProtobufError("a number was expected")
    return value


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError as error:
        raise ProtobufError(f"invalid JSON inside protobuf: {error}") from error
