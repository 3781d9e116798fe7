import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from podwire.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    NotFound,
    UnreachableError,
)
from podwire.kube.answers import LONGEST_LINE, lines
from podwire.kube.client import Client
from podwire.kube.names import Key
from podwire.kube.objects import ConfigMap, Node, ObjectMeta, Pod
from tests.unit.kube.conftest import Json, TinyServer, config_map

A = Key("default", "a")
MAP = ConfigMap(metadata=ObjectMeta(name="a", namespace="default"), data={"k": "v"})
MAPS = "/api/v1/namespaces/default/configmaps"
Call = Callable[[Client], Awaitable[Any]]


CALLS: list[tuple[Call, str, Json | None]] = [
    (lambda c: c.list(ConfigMap), "GET /api/v1/configmaps", {}),
    (lambda c: c.list(ConfigMap, namespace="default"), f"GET {MAPS}", {}),
    (lambda c: c.list(Node, namespace="ignored"), "GET /api/v1/nodes", {}),
    (lambda c: c.get(ConfigMap, A), f"GET {MAPS}/a", {}),
    (
        lambda c: c.create(MAP),
        f"POST {MAPS}",
        {"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "v"},
         "metadata": {"name": "a", "namespace": "default"}},
    ),
    (lambda c: c.create_raw(ConfigMap, "default", {"metadata": {"name": "x"}}), f"POST {MAPS}",
     {"metadata": {"name": "x"}}),
    (lambda c: c.replace(MAP, subresource="scale"), f"PUT {MAPS}/a/scale", None),
    (lambda c: c.patch(ConfigMap, A, {"data": {"k": "w"}}), f"PATCH {MAPS}/a", {"data": {"k": "w"}}),
    (lambda c: c.patch(ConfigMap, A, {}, subresource="status"), f"PATCH {MAPS}/a/status", {}),
    (
        lambda c: c.delete(ConfigMap, A, grace=0, uid="u-1"),
        f"DELETE {MAPS}/a",
        {"propagationPolicy": "Background", "gracePeriodSeconds": 0,
         "preconditions": {"uid": "u-1"}},
    ),
    (
        lambda c: c.delete(ConfigMap, A, propagation="Orphan"),
        f"DELETE {MAPS}/a",
        {"propagationPolicy": "Orphan"},
    ),
    (
        lambda c: c.delete_all(ConfigMap.RESOURCE, "default"),
        f"DELETE {MAPS}",
        {"propagationPolicy": "Background"},
    ),
    (
        lambda c: c.bind(Key("default", "web"), "node-1", uid="u-1"),
        "POST /api/v1/namespaces/default/pods/web/binding",
        {"apiVersion": "v1", "kind": "Binding",
         "metadata": {"name": "web", "namespace": "default", "uid": "u-1"},
         "target": {"apiVersion": "v1", "kind": "Node", "name": "node-1"}},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("call", "request_", "body"), CALLS)
async def test_what_is_asked(
    server: TinyServer, call: Call, request_: str, body: Json | None
) -> None:
    server.objects = [config_map("a", "5")]
    async with Client.unix(server.path, user="system:test") as client:
        await call(client)
    method, path, sent = server.requests[-1]
    assert f"{method} {path}" == request_
    assert body is None or sent == body
    assert server.headers[-1]["X-Remote-User"] == "system:test"


async def test_selectors_and_dry_run_are_in_the_query(server: TinyServer) -> None:
    async with Client.unix(server.path, user="system:test") as client:
        await client.list(ConfigMap, labels="a in (b,c)", fields="metadata.name=x")
        await client.create(MAP, dry_run=True)
    listed, created = server.queries
    assert listed == {"labelSelector": "a in (b,c)", "fieldSelector": "metadata.name=x"}
    assert created == {"dryRun": "All"}


@pytest.mark.parametrize(
    ("code", "body", "kind", "text"),
    [
        (404, {"code": 404, "reason": "NotFound", "message": "no a"}, NotFound, "no a"),
        (
            409,
            {"code": 409, "reason": "AlreadyExists", "message": "is there"},
            AlreadyExists,
            "is there",
        ),
        (409, {"code": 409, "reason": "Conflict", "message": "changed"}, Conflict, "changed"),
        (410, {"code": 410, "reason": "Expired", "message": "old"}, Expired, "old"),
        (410, {"code": 410, "reason": "Gone", "message": "old"}, Expired, "old"),
        (422, {"code": 422, "reason": "Invalid", "message": "bad"}, Invalid, "bad"),
        (403, {"code": 403, "reason": "Forbidden", "message": "no"}, Forbidden, "no"),
        (503, {"code": 503, "reason": "Other", "message": "later"}, ApiError, "later"),
        (404, b"404 page not found\n", NotFound, "404 page not found"),
        (502, b"", ApiError, "HTTP 502"),
    ],
)
async def test_a_refusal_is_the_error_that_fits(
    server: TinyServer, code: int, body: Json | bytes, kind: type[ApiError], text: str
) -> None:
    server.refusals.append((code, body))
    async with Client.unix(server.path, user="system:test") as client:
        with pytest.raises(ApiError) as raised:
            await client.get(ConfigMap, A)
    assert type(raised.value) is kind
    assert (raised.value.code, str(raised.value)) == (code, text)


async def test_a_server_that_is_not_there(server: TinyServer) -> None:
    async with Client.unix(server.path.with_name("nobody.sock"), user="system:test") as client:
        with pytest.raises(UnreachableError, match="the API server cannot be reached"):
            await client.list(ConfigMap)


async def test_a_server_that_goes_away_while_it_answers(tmp_path: Path) -> None:
    async def half_an_answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()

    path = tmp_path / "api.sock"
    async with (
        await asyncio.start_unix_server(half_an_answer, path),
        Client.unix(path, user="system:test") as client,
    ):
        with pytest.raises(UnreachableError, match="went away in the middle of an answer"):
            await client.list(ConfigMap)


async def test_each_request_is_told(server: TinyServer) -> None:
    told: list[tuple[str, str, str]] = []
    server.refusals.append((404, {"code": 404, "reason": "NotFound", "message": "no a"}))
    for path in (server.path, server.path.with_name("nobody.sock")):
        client = Client.unix(path, user="system:test")
        client.answered = lambda method, host, code, seconds: told.append((method, host, code))
        async with client:
            with pytest.raises((NotFound, UnreachableError)):
                await client.get(ConfigMap, A)
    assert told == [("GET", "podwire", "404"), ("GET", "podwire", "<error>")]


async def test_a_list_of_something_else_is_unreadable(server: TinyServer) -> None:
    server.objects = [{"metadata": {"name": 5}}]
    async with Client.unix(server.path, user="system:test") as client:
        with pytest.raises(UnreachableError, match="cannot read the API server's answer about Pod"):
            await client.list(Pod)


async def test_outside_its_block_a_client_says_so(server: TinyServer) -> None:
    with pytest.raises(RuntimeError, match="outside its `async with`"):
        await Client.unix(server.path, user="system:test").list(ConfigMap)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([], []),
        ([b"a\nb\n"], [b"a", b"b"]),
        ([b"a", b"b\nc", b"\n"], [b"ab", b"c"]),
        ([b"\n\n a\n"], [b" a"]),
        ([b"a\nhalf"], [b"a"]),
    ],
)
async def test_lines_of_a_stream(chunks: list[bytes], expected: list[bytes]) -> None:
    assert [line async for line in lines(stream(chunks))] == expected


async def test_a_line_without_end_is_given_up() -> None:
    with pytest.raises(UnreachableError, match="longer than"):
        async for _line in lines(stream([b"x" * (LONGEST_LINE // 2)] * 3)):
            pass


async def stream(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
