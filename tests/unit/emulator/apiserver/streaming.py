"""A running server and raw connections to it, for tests of what is more than HTTP."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from podwire.emulator.apiserver.server import ApiServer
from podwire.emulator.apiserver.store import Store
from podwire.testing import spdy as peer
from podwire.testing.agent import FakeAgent
from podwire.testing.clock import FakeClock
from podwire.testing.spdy import Seen, SpdyPeer

Json = dict[str, Any]

SECONDS = 10
PODS = "/api/v1/namespaces/default/pods"
ADMIN = {"X-Remote-User": "system:admin"}


@dataclass
class Api:
    """A server on a Unix socket."""

    path: Path
    http: aiohttp.ClientSession
    agent: FakeAgent

    async def pod(self, name: str = "p", **spec: Any) -> None:
        """Create a pod that seems to run."""
        containers = [{"name": "app", "image": "nginx", "ports": [{"containerPort": 80}]}]
        body: Json = {
            "metadata": {"name": name},
            "spec": {"containers": containers, "nodeName": "node-1", **spec},
        }
        await self.ask("POST", PODS, body)
        status = {"phase": "Running", "podIP": "10.244.1.2", "podIPs": [{"ip": "10.244.1.2"}]}
        await self.ask("PATCH", f"{PODS}/{name}/status", {"status": status})

    async def ask(self, method: str, path: str, body: Json) -> Json:
        """Do what must succeed."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Content-Type": kind}
        async with self.http.request(method, path, json=body, headers=headers) as answer:
            found: Json = await answer.json()
            assert answer.status < 300, found
        return found

    async def switched(self, path: str, *protocols: str) -> "Raw":
        """Return a connection that speaks SPDY."""
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        lines = [
            f"POST {path} HTTP/1.1",
            "Host: api",
            "X-Remote-User: system:admin",
            "Connection: Upgrade",
            "Upgrade: SPDY/3.1",
            *(f"X-Stream-Protocol-Version: {protocol}" for protocol in protocols),
            "Content-Length: 0",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        return Raw(reader, writer, head)


@dataclass
class Raw:
    """A connection after its upgrade, seen as SPDY."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: str
    peer: SpdyPeer = field(default_factory=SpdyPeer)
    seen: list[Seen] = field(default_factory=list[Seen])

    def open(self, stream: int, **headers: str) -> None:
        self.writer.write(self.peer.open(stream, ended=False, **headers))

    def send(self, stream: int, content: bytes, *, ended: bool = False) -> None:
        self.writer.write(peer.data(stream, content, ended=ended))

    async def until(self, true: Callable[["Raw"], bool]) -> None:
        """Read frames until something is true."""
        async with asyncio.timeout(SECONDS):
            while not true(self):
                content = await self.reader.read(65536)
                assert content, f"the server has left: {self.seen}"
                self.seen += self.peer.seen(content)

    async def rest(self) -> None:
        """Read frames until the server has left, and leave too."""
        async with asyncio.timeout(SECONDS):
            while content := await self.reader.read(65536):
                self.seen += self.peer.seen(content)
        await self.close()

    def said(self, stream: int) -> bytes:
        """Return what came on a stream so far."""
        return b"".join(f.content for f in self.seen if f.what == "data" and f.stream == stream)

    def ended(self, *streams: int) -> bool:
        """Tell whether the server has ended all these streams."""
        over = {f.stream for f in self.seen if f.ended or f.what == "reset"}
        return over >= set(streams)

    def was_reset(self, stream: int) -> bool:
        return any(f.what == "reset" and f.stream == stream for f in self.seen)

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@asynccontextmanager
async def serving(folder: Path, agent: FakeAgent) -> AsyncGenerator[Api]:
    """Run a server."""
    server = ApiServer(Store(), agent, FakeClock(), random.Random(1))
    server.fill(6443)
    path = folder / "api.sock"
    async with server.serve(unix_path=path):
        connector = aiohttp.UnixConnector(str(path))
        async with aiohttp.ClientSession(
            "http://api", connector=connector, headers=ADMIN
        ) as client:
            yield Api(path, client, agent)
    for session in agent.started:
        await session.wait()
