"""Bodies that somebody sends to break the server: each gets a Status of the 400s, at once."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from podwire.emulator.apiserver import json_body, yaml_body
from podwire.testing.apiserver import PATCHES, SilentServer

Json = dict[str, Any]

MAPS = "/api/v1/namespaces/default/configmaps"
MIB = 1024 * 1024

NAMED = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cfg"},"data":%s}'


def bomb() -> bytes:
    """Return the YAML of nine to the power of thirty words."""
    lines = [b"a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [b"a%d: &a%d [%s]" % (i, i, b",".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 30)]
    return b"\n".join(lines)


BODIES: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "one byte": lambda: b"{",
    "a text": lambda: b'"x"',
    "a list": lambda: b"[1]",
    "null": lambda: b"null",
    "NaN": lambda: NAMED % b'{"a":NaN}',
    "an endless number": lambda: NAMED % (b'{"a":' + b"1" * 100_000 + b"}"),
    "a huge exponent": lambda: NAMED % b'{"a":1e999}',
    "a big number": lambda: NAMED % b'{"a":123456789012345678901234567890}',
    "half a letter": lambda: NAMED % b'{"a":"\xc3"}',
    "half a surrogate": lambda: NAMED % b'{"a":"\\ud800"}',
    "deep lists": lambda: NAMED % (b"[" * MIB),
    "deep maps that end": lambda: NAMED % (b'{"a":' * 5000 + b"1" + b"}" * 5000),
    "maps just too deep": lambda: NAMED % (b'{"a":' * 250 + b"1" + b"}" * 250),
    "a million items": lambda: NAMED % (b"[" + b"1," * MIB + b"1]"),
    "deep YAML": lambda: b"- " * MIB,
    "wide YAML": lambda: b"[" + b"a," * MIB + b"a]",
    "a YAML bomb": bomb,
    "YAML with a chain of deep aliases": lambda: b"\n".join(
        b"a%d: &a%d %s%s%s" % (i, i, b"[" * 150, b"*a%d" % (i - 1) if i else b"x", b"]" * 150)
        for i in range(20)
    ),
    "YAML that contains itself": lambda: b"a: &a [*a]",
    "YAML with a list as key": lambda: b"? [a]\n: b",
    "YAML of two documents": lambda: b"a: 1\n---\nb: 2",
    "YAML with control characters": lambda: b"a: \x00",
    "YAML with infinity": lambda: b"apiVersion: v1\nkind: ConfigMap\ndata: {a: .inf}",
}
TYPES = {**PATCHES, "JSON": "application/json", "YAML": "application/yaml"}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("kind", TYPES)
def test_nothing_breaks(server: SilentServer, kind: str, name: str) -> None:
    server.must(f"POST {MAPS}", msgspec.json.decode(NAMED % b'{"a":"1"}'))
    before = server.get(f"{MAPS}/cfg")
    line = f"PATCH {MAPS}/cfg?fieldManager=m" if kind in PATCHES else f"POST {MAPS}"
    code, status = server.ask(line, raw=BODIES[name](), content_type=TYPES[kind])
    assert 400 <= code < 500, status
    assert status["kind"] == "Status"
    assert len(status["message"]) < 8 * MIB
    assert server.get(f"{MAPS}/cfg") == before


@pytest.mark.parametrize(
    "kind", ["protobuf", "", "cbor", "text/plain", "image/png", "application/apply-patch+cbor"]
)
def test_other_types_of_patches(server: SilentServer, kind: str) -> None:
    server.must(f"POST {MAPS}", msgspec.json.decode(NAMED % b'{"a":"1"}'))
    code, status = server.ask(f"PATCH {MAPS}/cfg", raw=b"{}", content_type=kind or ";")
    assert (code, status["reason"]) == (415, "UnsupportedMediaType")
    assert status["message"] == (
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json-patch+json, application/merge-patch+json, "
        "application/strategic-merge-patch+json, application/apply-patch+yaml"
    )


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


PATCHES_THAT_GROW: list[Any] = [
    [{"op": "copy", "from": "", "path": f"/data/k{i}"} for i in range(40)],
    [{"op": "copy", "from": "/data", "path": f"/data/k{i}"} for i in range(10_000)],
    [{"op": "add", "path": "/data/" + "a/" * i + "a", "value": {}} for i in range(2000)],
    [{"op": "add", "path": "/x" * i, "value": nested(150)} for i in (1, 2)]
    + [{"op": "add", "path": "/x" + "/a" * 149 + "/b", "value": nested(150)}],
    [{"op": "add", "path": "/data", "value": {}}] * 10_001,
    [{"op": "jump"}],
    [{"op": "test", "path": "/data/a"}],
    [{"op": "move", "from": "/data", "path": "/data/a"}],
    [{"op": "remove", "path": ""}],
    [{"op": ["add"], "path": {}, "value": 1}],
    [5],
]


@pytest.mark.parametrize("operations", PATCHES_THAT_GROW)
def test_json_patches_that_grow(server: SilentServer, operations: Any) -> None:
    server.must(f"POST {MAPS}", msgspec.json.decode(NAMED % b'{"a":"1"}'))
    code, status = server.ask(f"PATCH {MAPS}/cfg", operations, patch="json")
    assert code in (400, 413, 422), status


def test_a_strategic_patch_of_a_long_list_takes_no_square(server: SilentServer) -> None:
    """By comparing each with each this would take minutes."""
    server.must(f"POST {MAPS}", msgspec.json.decode(NAMED % b'{"a":"1"}'))
    many = [f"x.io/{i}" for i in range(20_000)]
    patch = {"metadata": {"finalizers": many, "ownerReferences": [{"uid": uid} for uid in many]}}
    code, _ = server.ask(f"PATCH {MAPS}/cfg", patch, patch="strategic")
    assert code in (200, 422)


@pytest.mark.parametrize(
    ("text", "twice"),
    [
        ('{"a":1,"b":{"c":1}}', []),
        ('{"a" : 1, "b": "x\\":"}', []),
        ('{"a":1,"a":2}', ["a"]),
        ('{"a":[{"b":1,"b":1,"b":2}],"c":{"d":1,"d":2}}', ["c.d", "a[0].b"]),
        ('{"a":{"x":1},"a":{"x":2}}', ["a"]),
    ],
)  # fmt: skip
def test_members_that_stand_twice(text: str, twice: list[str]) -> None:
    content = text.encode()
    assert sorted(json_body.doubles(content, json_body.read(content))) == sorted(twice)


def test_what_stands_twice_is_said(server: SilentServer) -> None:
    body = NAMED % b'{"a":"1","a":"2"}'
    json = "application/json"
    code, made = server.ask(f"POST {MAPS}", raw=body, content_type=json)
    assert (code, made["data"]) == (201, {"a": "2"})
    assert server.warnings == ('duplicate field "data.a"',)
    code, status = server.ask(f"POST {MAPS}?fieldValidation=Strict", raw=body, content_type=json)
    assert code == 400
    assert status["message"].endswith('strict decoding error: duplicate field "data.a"')


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1\nb: [x, '2', 1.5, 0x10, yes, ~]", {"a": 1, "b": ["x", "2", 1.5, 16, True, None]}),
        ("ports: 80:30\nday: 2020-01-01\n8080: x", {"ports": "80:30", "day": "2020-01-01", "8080": "x"}),
        ("a: &x {k: 1, l: 2}\nb: {<<: *x, k: 3}", {"a": {"k": 1, "l": 2}, "b": {"k": 3, "l": 2}}),
        ("a: !!str 1\n---\n", {"a": "1"}),
        ("", None),
    ],
)  # fmt: skip
def test_yaml_is_read_as_kubectl_reads_it(text: str, value: Any) -> None:
    assert yaml_body.read(text.encode()).value == value
