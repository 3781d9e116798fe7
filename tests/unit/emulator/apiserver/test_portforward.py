"""Forwarded ports: raw SPDY, SPDY in a WebSocket, and plain WebSockets; the pods are this machine."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from podwire.emulator.apiserver.streams import portforward
from podwire.emulator.apiserver.streams.backlog import Backlog
from podwire.testing import spdy as peer
from podwire.testing.agent import FakeAgent
from podwire.testing.spdy import Seen, SpdyPeer
from tests.unit.emulator.apiserver.streaming import PODS, SECONDS, Api, Raw, serving

FORWARD = f"{PODS}/p/portforward"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path, FakeAgent()) as api:
        await api.pod()
        yield api


@pytest.fixture
async def raw(api: Api) -> AsyncIterator[Raw]:
    raw = await api.switched(FORWARD, "portforward.k8s.io")
    assert "\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\n" in raw.head
    yield raw
    await raw.close()


@asynccontextmanager
async def listening(serve: Serve) -> AsyncGenerator[int]:
    """Run a server; gives its port."""

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(closing, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Repeat what comes, and at its end say goodbye."""
    while content := await reader.read(65536):
        writer.write(content)
        await writer.drain()
    writer.write(b"bye")
    await writer.drain()


def connect(raw: Raw, n: int, port: int) -> tuple[int, int]:
    """Open the streams of connection *n* as kubectl does; returns data's and error's."""
    error, data = 4 * n + 1, 4 * n + 3
    raw.open(error, streamtype="error", port=str(port), requestid=str(n))
    raw.send(error, b"", ended=True)
    raw.open(data, streamtype="data", port=str(port), requestid=str(n))
    return data, error


async def test_a_connection_with_its_half_closes(raw: Raw) -> None:
    async with listening(echo) as port:
        data, error = connect(raw, 0, port)
        raw.send(data, b"hello ")
        await raw.until(lambda raw: raw.said(data) == b"hello ")
        raw.send(data, b"", ended=True)
        await raw.until(lambda raw: raw.ended(data, error))
    assert raw.said(data) == b"hello bye"
    assert raw.said(error) == b""
    assert [f.number for f in raw.seen if f.what == "window"] == [6]


async def test_the_pods_end_is_told_though_the_client_goes_on(raw: Raw) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"busy")

    async with listening(greet) as port:
        data, error = connect(raw, 0, port)
        await raw.until(lambda raw: raw.ended(data, error))
        assert raw.said(data) == b"busy"
        raw.writer.write(peer.reset(data))  # so does kubectl
        data, error = connect(raw, 1, port)
        await raw.until(lambda raw: raw.ended(data, error))


async def test_many_connections_at_once(raw: Raw) -> None:
    async with listening(echo) as port:
        pairs = [connect(raw, n, port) for n in range(50)]
        for n, (data, _) in enumerate(pairs):
            raw.send(data, f"number {n}".encode(), ended=True)
        await raw.until(lambda raw: raw.ended(*(stream for pair in pairs for stream in pair)))
    for n, (data, _) in enumerate(pairs):
        assert raw.said(data) == f"number {n}bye".encode()


async def test_much_in_both_directions(raw: Raw) -> None:
    sent = bytes(range(256)) * 40_000

    async def type_(data: int) -> None:
        for at in range(0, len(sent), 32768):
            raw.send(data, sent[at : at + 32768])
            await raw.writer.drain()
        raw.send(data, b"", ended=True)

    async with listening(echo) as port, asyncio.TaskGroup() as tasks:
        data, error = connect(raw, 0, port)
        tasks.create_task(type_(data))
        await raw.until(lambda raw: raw.ended(data, error))
    assert raw.said(data) == sent + b"bye"


async def test_a_port_where_nobody_listens(raw: Raw) -> None:
    async with listening(echo) as port:
        pass
    data, error = connect(raw, 0, port)
    raw.send(data, b"lost")
    await raw.until(lambda raw: raw.ended(data, error))
    text = raw.said(error).decode()
    assert text.startswith(f"error forwarding port {port} to pod p, uid ")
    assert text.endswith(": connect: connection refused")
    # The others go on.
    async with listening(echo) as port:
        data, error = connect(raw, 1, port)
        raw.send(data, b"hello", ended=True)
        await raw.until(lambda raw: raw.said(data) == b"hellobye")


async def test_what_the_pod_does_not_read_does_not_pile_up(raw: Raw) -> None:
    reading = asyncio.Event()
    taken = bytearray()

    async def slow(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reading.wait()
        while content := await reader.read(1 << 20):
            taken.extend(content)

    async with listening(slow) as port:
        data, error = connect(raw, 0, port)
        for _ in range(40 << 5):
            raw.send(data, bytes(32768))
        await asyncio.sleep(0.3)
        assert raw.writer.transport.get_write_buffer_size() > 16 << 20
        reading.set()
        raw.send(data, b"", ended=True)
        await raw.until(lambda raw: raw.ended(data, error))
    assert len(taken) == 40 << 20


async def test_a_client_that_resets_a_connection_ends_it_in_the_pod(raw: Raw) -> None:
    over = asyncio.Event()

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(bytes(65536))
                await writer.drain()
        except ConnectionError:
            over.set()

    async with listening(endless) as port:
        data, error = connect(raw, 0, port)
        await raw.until(lambda raw: len(raw.said(data)) > 1 << 20)
        raw.writer.write(peer.reset(data))
        async with asyncio.timeout(SECONDS):
            await over.wait()
        await raw.until(lambda raw: raw.ended(error))


async def test_a_reset_by_the_pod_does_not_end_the_others(raw: Raw) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()

    async with listening(reset) as port, listening(echo) as other:
        data, error = connect(raw, 0, port)
        raw.send(data, b"0123456789" * 1000)
        await raw.until(lambda raw: raw.ended(data, error))
        assert raw.said(error) == b""
        data, error = connect(raw, 1, other)
        raw.send(data, b"hello", ended=True)
        await raw.until(lambda raw: raw.said(data) == b"hellobye")


async def test_a_client_that_leaves_ends_its_connections(api: Api) -> None:
    raw, over = await api.switched(FORWARD, "portforward.k8s.io"), asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"here")
        with suppress(ConnectionError):
            await reader.read()
        over.set()

    async with listening(hold) as port:
        data, _ = connect(raw, 0, port)
        await raw.until(lambda raw: raw.said(data) == b"here")
        await raw.close()
        async with asyncio.timeout(SECONDS):
            await over.wait()


async def test_streams_that_make_no_sense_are_refused(raw: Raw) -> None:
    raw.open(1, streamtype="data", requestid="0")
    raw.open(3, streamtype="data", requestid="0", port="0")
    raw.open(5, streamtype="data", requestid="0", port="65536")
    raw.open(7, streamtype="data", requestid="0", port="http")
    raw.open(9, streamtype="video", requestid="0", port="80")
    raw.open(11, streamtype="data", requestid="1", port="80")
    raw.open(13, streamtype="data", requestid="1", port="80")
    await raw.until(lambda raw: raw.ended(1, 3, 5, 7, 9, 13))
    assert [f.stream for f in raw.seen if f.what == "reply"] == [11]


async def test_clients_that_name_no_request(raw: Raw) -> None:
    async with listening(echo) as port:
        raw.open(1, streamtype="error", port=str(port))
        raw.open(3, streamtype="data", port=str(port))
        raw.send(3, b"old", ended=True)
        await raw.until(lambda raw: raw.ended(1, 3))
    assert raw.said(3) == b"oldbye"


# --- WebSockets ------------------------------------------------------------------------------------


async def test_spdy_in_a_websocket(api: Api) -> None:
    """As kubectl from 1.31 on: messages end anywhere."""
    client, seen = SpdyPeer(), list[Seen]()
    async with (
        listening(echo) as port,
        asyncio.timeout(SECONDS),
        api.http.ws_connect(FORWARD, protocols=(portforward.TUNNEL,)) as socket,
    ):
        assert socket.protocol == portforward.TUNNEL
        sent = (
            client.open(1, streamtype="error", port=str(port), requestid="0")
            + client.open(3, streamtype="data", port=str(port), requestid="0")
            + peer.data(3, b"hello", ended=True)
        )
        for at in range(0, len(sent), 9):
            await socket.send_bytes(sent[at : at + 9])
        while len([f for f in seen if f.ended]) < 2:
            seen += client.seen(await socket.receive_bytes())
    assert b"".join(f.content for f in seen if f.stream == 3) == b"hellobye"


async def test_channels_of_the_python_client(api: Api) -> None:
    async with (
        listening(echo) as one,
        listening(echo) as two,
        asyncio.timeout(SECONDS),
        api.http.ws_connect(
            f"{FORWARD}?ports={one},{two}", protocols=("v4.channel.k8s.io",)
        ) as socket,
    ):
        ports = [await socket.receive_bytes() for _ in range(4)]
        assert ports == [
            bytes([n]) + port.to_bytes(2, "little") for n, port in enumerate((one, one, two, two))
        ]
        await socket.send_bytes(b"\x02second")
        assert await socket.receive_bytes() == b"\x02second"
        await socket.send_bytes(b"\x00first")
        assert await socket.receive_bytes() == b"\x00first"
        for nonsense in (b"", b"\x01x", b"\x09x"):
            await socket.send_bytes(nonsense)


async def test_a_websocket_ends_when_all_its_connections_have(api: Api) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hi")

    async with listening(echo) as refused:
        pass
    seen: list[bytes] = []
    async with (
        listening(greet) as port,
        asyncio.timeout(SECONDS),
        api.http.ws_connect(f"{FORWARD}?ports={port}&ports={refused}") as socket,
    ):
        async for message in socket:
            seen.append(message.data)
        assert socket.close_code == 1000
    assert b"\x00hi" in seen
    assert any(frame.startswith(b"\x03error forwarding port") for frame in seen)


@pytest.mark.parametrize("query", ["", "?ports=", "?ports=0", "?ports=80,http", "?ports=99999"])
async def test_ports_that_make_no_sense(api: Api, query: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await api.http.ws_connect(f"{FORWARD}{query}", protocols=("v4.channel.k8s.io",))
    assert refused.value.status == 400


# --- what waits ------------------------------------------------------------------------------------


async def test_a_backlog_that_is_given_up_lets_everybody_go() -> None:
    backlog = Backlog()
    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
        tasks.create_task(backlog.put(bytes(2 << 20)))
        tasks.create_task(backlog.broken())
        await asyncio.sleep(0)
        backlog.give_up()
    async with asyncio.timeout(SECONDS):
        await backlog.put(bytes(2 << 20))
        assert await backlog.get() == b""
