"""Clients that hold connections and give or take nothing: others are served, and nothing grows."""

import asyncio
import json
import random
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from podwire import linux
from podwire.emulator.apiserver.http import Patience
from podwire.emulator.apiserver.server import ApiServer
from podwire.emulator.apiserver.store import Store
from podwire.kube.names import Key
from podwire.testing.agent import FakeAgent
from podwire.testing.clock import FakeClock

Json = dict[str, Any]
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Connection]]

MAPS = "/api/v1/namespaces/default/configmaps"
SECONDS = 30
LARGE = 8_000_000
"""More bytes than a connection's buffers hold."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    """Return a server at `api.sock` that soon loses its patience."""
    server = ApiServer(Store(), FakeAgent(), FakeClock(), random.Random(1))
    server.fill(6443)
    short = Patience(request=1.0, body=2.0, answer=2.0)
    async with (
        asyncio.timeout(SECONDS),
        server.serve(unix_path=tmp_path / "api.sock", patience=short),
    ):
        yield server


@pytest.fixture
def connect(server: ApiServer, tmp_path: Path) -> Connect:
    """Return what opens a connection to the server."""
    del server
    return lambda: asyncio.open_unix_connection(tmp_path / "api.sock", limit=LARGE)


def asked(path: str, *more: str, verb: str = "GET") -> bytes:
    head = (f"{verb} {path} HTTP/1.1", "Host: api", "X-Remote-User: system:admin", *more)
    return "\r\n".join((*head, "", "")).encode()


async def answered(reader: asyncio.StreamReader) -> tuple[int, Json]:
    """Return the code and the document of the next answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    size = int(head.partition("Content-Length: ")[2].partition("\r")[0])
    return int(head.split(" ")[1]), json.loads(await reader.readexactly(size))


async def is_well(connect: Connect) -> None:
    reader, writer = await connect()
    writer.write(asked(MAPS))
    assert (await answered(reader))[0] == 200
    writer.close()


def fill(server: ApiServer) -> None:
    """Make the list of ConfigMaps a large one."""
    for number in range(LARGE // 1_000_000):
        change(server, f"c-{number}")


def change(server: ApiServer, name: str) -> None:
    obj: Json = {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"},
        "data": {"a": "x" * 1_000_000},
    }  # fmt: skip
    server.api.store.put("configmaps", Key("default", name), obj)


def small(server: ApiServer, name: str) -> None:
    obj: Json = {"metadata": {"name": name, "namespace": "default"}}
    server.api.store.put("configmaps", Key("default", name), obj)


@pytest.mark.parametrize(
    ("beginning", "more"), [(b"", b""), (b"GET /", b"a"), (asked(MAPS)[:-2], b"X: y\r\n")]
)
async def test_who_does_not_come_to_the_point_is_hung_up_on(
    connect: Connect, beginning: bytes, more: bytes
) -> None:
    reader, writer = await connect()
    writer.write(beginning)

    async def dribble() -> None:
        while not writer.is_closing():
            writer.write(more)
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as tasks:
        dribbling = tasks.create_task(dribble())
        assert await until_the_end(reader) == b""
        dribbling.cancel()
    writer.close()
    await is_well(connect)


def stop_reading(writer: asyncio.StreamWriter) -> None:
    assert isinstance(writer.transport, asyncio.Transport)
    writer.transport.pause_reading()


def read_again(writer: asyncio.StreamWriter) -> None:
    assert isinstance(writer.transport, asyncio.Transport)
    writer.transport.resume_reading()


async def until_the_end(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


@pytest.mark.parametrize(
    "how", [("Content-Length: 1000",), ("Transfer-Encoding: chunked",)], ids=["length", "chunked"]
)
async def test_a_body_that_never_ends(connect: Connect, how: tuple[str]) -> None:
    reader, writer = await connect()
    writer.write(asked(MAPS, "Content-Type: application/json", *how, verb="POST"))
    writer.write(b"1\r\n{\r\n" if "chunked" in how[0] else b"{")
    code, status = await answered(reader)
    assert (code, status["reason"]) == (504, "Timeout")
    assert status["message"] == "Timeout: request did not complete within the allotted timeout"
    writer.close()
    await is_well(connect)


async def test_chunks_without_end_are_too_large(connect: Connect) -> None:
    reader, writer = await connect()
    head = ("Content-Type: application/json", "Transfer-Encoding: chunked")
    writer.write(asked(MAPS, *head, verb="POST"))
    for _ in range(64):
        writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
    code, status = await answered(reader)
    assert (code, status["reason"]) == (413, "RequestEntityTooLarge")
    writer.close()
    await is_well(connect)


async def test_who_asks_first_and_is_silent_then_is_kept(connect: Connect) -> None:
    reader, writer = await connect()
    writer.write(asked(MAPS))
    await answered(reader)
    await asyncio.sleep(1.2)  # longer than the first request may take
    writer.write(asked(MAPS))
    assert (await answered(reader))[0] == 200
    writer.close()


async def test_many_questions_at_once_are_answered_in_their_order(connect: Connect) -> None:
    reader, writer = await connect()
    names = [f"none-{number}" for number in range(200)]
    writer.write(b"".join(asked(f"{MAPS}/{name}") for name in names))
    for name in names:
        code, status = await answered(reader)
        assert (code, status["details"]["name"]) == (404, name)
    writer.close()


async def test_a_large_answer_says_how_large_it_is(server: ApiServer, connect: Connect) -> None:
    fill(server)
    reader, writer = await connect()
    for _ in range(2):
        writer.write(asked(MAPS))
        code, document = await answered(reader)
        assert (code, len(document["items"])) == (200, LARGE // 1_000_000)
    writer.write(asked(MAPS, verb="HEAD") + asked("/readyz"))
    assert b"ok" in await reader.readuntil(b"ok")
    writer.close()


async def test_an_answer_that_nobody_reads(server: ApiServer, connect: Connect) -> None:
    fill(server)
    reader, writer = await connect()
    stop_reading(writer)
    writer.write(asked(MAPS))
    await asyncio.sleep(2.5)  # more than its patience
    read_again(writer)
    assert len(await until_the_end(reader)) < LARGE
    writer.close()
    await is_well(connect)


async def test_a_watch_that_is_over_and_that_nobody_reads(
    server: ApiServer, connect: Connect
) -> None:
    fill(server)
    reader, writer = await connect()
    stop_reading(writer)
    writer.write(asked(f"{MAPS}?watch=1&timeoutSeconds=1"))
    await asyncio.sleep(3.5)  # the second that was asked for, and its patience
    read_again(writer)
    assert len(await until_the_end(reader)) < LARGE
    writer.close()


@pytest.mark.parametrize(
    "headers",
    [
        ("Connection: Upgrade", "Upgrade: websocket"),
        ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x",
         "Sec-WebSocket-Version: 99"),
        ("Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
        ("Connection: Upgrade", "Upgrade: SPDY/3.1"),
        ("Connection: Upgrade", "Upgrade: \x7f"),
    ],
    ids=range(5),
)  # fmt: skip
async def test_an_upgrade_where_there_is_none(connect: Connect, headers: tuple[str, ...]) -> None:
    reader, writer = await connect()
    writer.write(asked(MAPS, *headers) + b"\x00\xff" * 5000)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.split(b" ")[1] in (b"200", b"400"), head
    writer.close()
    await is_well(connect)


async def test_five_thousand_watches_of_one_kind(server: ApiServer, connect: Connect) -> None:
    linux.allow_many_descriptors()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 500
    opened: list[Connection] = []
    for _ in range(0, min(5000, most), 100):
        some = [await connect() for _ in range(100)]
        for _, writer in some:
            writer.write(asked(f"{MAPS}?watch=1&resourceVersion=0"))
        for reader, _ in some:
            await reader.readuntil(b"\r\n\r\n")
        opened += some
    assert server.api.store.subscriptions("configmaps") == len(opened)
    for name in ("a", "b"):
        small(server, name)
        await is_well(connect)
    for reader, writer in opened:
        lines = b""
        while b'"name":"b"' not in lines:
            lines += await reader.readuntil(b"\n")
        assert b'"name":"a"' in lines
        writer.close()
    async with asyncio.timeout(SECONDS):
        while server.api.store.subscriptions("configmaps"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await is_well(connect)


async def test_watchers_that_do_not_read_are_cut_while_others_are_told(
    server: ApiServer, connect: Connect
) -> None:
    store = server.api.store
    sleeping: list[Connection] = []
    for _ in range(40):
        reader, writer = await connect()
        writer.write(asked(f"{MAPS}?watch=1"))
        await reader.readuntil(b"\r\n\r\n")
        stop_reading(writer)
        sleeping.append((reader, writer))
    reading, asking = await connect()
    asking.write(asked(f"{MAPS}?watch=1"))
    seen = 0
    # Each of them alone might lag that far behind.
    for _ in range(20):
        change(server, "c")
        while seen < store.revision:
            line = await reading.readuntil(b"\n")
            if b'"resourceVersion":"' in line:
                seen = int(line.partition(b'"resourceVersion":"')[2].partition(b'"')[0])
    assert store.subscriptions("configmaps") < len(sleeping) / 2, "20 MB for each are too much"
    for _, writer in (*sleeping, (reading, asking)):
        writer.close()
    await is_well(connect)
