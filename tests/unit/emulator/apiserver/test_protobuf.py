import json
from pathlib import Path
from typing import Any

import pytest

from podwire.emulator.apiserver.types import schema
from podwire.emulator.apiserver.types.normalise import normalise
from podwire.emulator.apiserver.types.protobuf import MAGIC, ProtobufError, decode
from podwire.emulator.apiserver.types.schema import Kind, Type

DATA = Path(__file__).resolve().parents[3] / "data" / "protobuf"
KUBECTL: list[dict[str, Any]] = json.loads((DATA / "kubectl.json").read_text())["bodies"]
FIXTURES: list[dict[str, Any]] = json.loads((DATA / "kubernetes.json").read_text())["objects"]


def normal(obj: dict[str, Any]) -> dict[str, Any]:
    return normalise(obj, obj["apiVersion"], obj["kind"]).object


@pytest.mark.parametrize("case", KUBECTL, ids=lambda case: case["command"])
def test_what_kubectl_sends_is_what_it_prints(case: dict[str, Any]) -> None:
    assert normal(decode(bytes.fromhex(case["body"]))) == normal(case["object"])


@pytest.mark.parametrize("case", FIXTURES, ids=lambda case: case["object"]["kind"])
def test_every_field_that_go_writes_is_read(case: dict[str, Any]) -> None:
    assert normal(decode(bytes.fromhex(case["body"]))) == case["object"]


@pytest.mark.parametrize(
    ("field", "found_there"),
    [
        ("spec.replicas", [0]),  # a pointer: zero was said
        ("spec.template.spec.terminationGracePeriodSeconds", [0]),
        ("spec.template.spec.automountServiceAccountToken", [False]),
        ("spec.minReadySeconds", []),  # no pointer: Go cannot tell zero from nothing
        ("spec.paused", []),
        ("metadata.generation", []),
    ],
)
def test_zero_is_kept_where_go_has_a_pointer(field: str, found_there: list[Any]) -> None:
    obj: dict[str, Any] = {}
    holder = obj
    *parents, name = field.split(".")
    for parent in parents:
        holder = holder.setdefault(parent, {})
    holder[name] = False if name in ("paused", "automountServiceAccountToken") else 0
    found: Any = decode(envelope("apps/v1", "Deployment", obj))
    for step in parents:
        found = found[step]
    assert [found[name]] == found_there if found_there else name not in found


@pytest.mark.parametrize(
    ("api_version", "kind"), [k for k in schema.kinds() if not k[0].startswith("apiextensions")]
)
def test_each_kind_comes_back_as_it_was_written(api_version: str, kind: str) -> None:
    known = schema.type_of(api_version, kind)
    assert known is not None
    obj = {"apiVersion": api_version, "kind": kind} | sample(known, 4)
    assert decode(envelope(api_version, kind, obj)) == obj


def test_a_field_of_a_newer_kubernetes_is_skipped() -> None:
    body = envelope("v1", "ConfigMap", {"data": {"a": "1"}}, more=bytes([0xFA, 0x3F, 1, 7]))
    assert decode(body)["data"] == {"a": "1"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"kind":"Pod"}', "provided data does not appear to be a protobuf message"),
        (MAGIC + b"\x0a\x7f", "unexpected EOF"),
        (MAGIC + b"\x0b", "illegal wire type 3"),
        (MAGIC + b"\x0a\x05\x0a\x03abc", 'no kind "" is registered for version "abc"'),
        (MAGIC + b"\xff" * 11, "integer overflow"),
    ],
)
def test_what_is_no_object_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(ProtobufError, match=message):
        decode(body)


def test_a_cut_or_spoiled_body_never_raises_anything_else() -> None:
    body = bytes.fromhex(KUBECTL[0]["body"])
    for at in range(len(body)):
        for broken in (body[:at], body[:at] + bytes([body[at] ^ 0x55]) + body[at + 1 :]):
            try:
                decode(broken)
            except ProtobufError:
                continue


# An encoder over the same field table, for objects that kubectl does not send.


def envelope(api_version: str, kind: str, obj: dict[str, Any], more: bytes = b"") -> bytes:
    known = schema.type_of(api_version, kind)
    assert known is not None
    head = chunk(1, chunk(1, api_version.encode()) + chunk(2, kind.encode()))
    return MAGIC + head + chunk(2, message(obj, known) + more)


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def chunk(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def message(obj: dict[str, Any], known: Type) -> bytes:
    out = b""
    for number, field in known.wire.items():
        if field.inline:
            out += chunk(number, message(obj, schema.struct(field.kind.name)))
            continue
        if field.name not in obj:
            continue
        value = obj[field.name]
        if field.kind.shape == "list":
            out += b"".join(one(number, item, field.kind.of) for item in value)
        elif field.kind.shape == "map":
            for key, item in value.items():
                out += chunk(number, chunk(1, key.encode()) + one(2, item, field.kind.of))
        else:
            out += one(number, value, field.kind)
    return out


def one(number: int, value: Any, kind: Kind) -> bytes:
    if kind.shape == "struct":
        return chunk(number, message(value, schema.struct(kind.name)))
    if kind.shape == "special":
        return chunk(number, special(kind.name, value))
    if kind.name == "string":
        return chunk(number, value.encode())
    if kind.name == "bytes":
        return chunk(number, b"podwire")
    return varint(number << 3) + varint(int(value))


def special(name: str, value: Any) -> bytes:
    match name:
        case "Time":
            return varint(8) + varint(1767323045)
        case "MicroTime":
            return varint(8) + varint(1767323045) + varint(16) + varint(123456000)
        case "Duration":
            return varint(8) + varint(10**9)
        case "Quantity":
            return chunk(1, value.encode())
        case "IntOrString":
            return varint(8) + varint(1) + chunk(3, value.encode())
        case "Raw":
            return chunk(1, json.dumps(value).encode())
        case _:
            return b"".join(chunk(1, item.encode()) for item in value)


SAMPLES: dict[str, Any] = {
    "string": "x", "bytes": "cG9kd2lyZQ==", "bool": True, "Time": "2026-01-02T03:04:05Z",
    "MicroTime": "2026-01-02T03:04:05.123456Z", "Quantity": "500m", "IntOrString": "http",
    "Raw": {"a": [1, None]}, "items": ["a", "b"], "Duration": "1s",
}  # fmt: skip


def sample(known: Type, depth: int) -> dict[str, Any]:
    return {
        name: sample_of(field.kind, depth)
        for name, field in known.fields.items()
        if name not in ("apiVersion", "kind") and (depth or field.kind.shape == "scalar")
    }


def sample_of(kind: Kind, depth: int) -> Any:
    if kind.shape == "list":
        return [sample_of(kind.of, depth)]
    if kind.shape == "map":
        return {"k": sample_of(kind.of, depth)}
    if kind.shape == "struct":
        return sample(schema.struct(kind.name), depth - 1)
    return SAMPLES.get(kind.name, -7 if not kind.name.startswith("u") else 7)
