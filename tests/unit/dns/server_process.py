"""The server as a process with a Corefile of the test's, and an API server for it."""

import asyncio
import json
import os
import re
import signal
import socket
import struct
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from podwire.dns.messages.message import Kind, Question, Rcode
from podwire.dns.messages.wire import question_packet

Json = dict[str, Any]
PATIENCE = 20.0
WEB = "web.default.svc.cluster.local."
FOR_EVER = "1h"


class Api:
    """Just enough of an API server: lists, and watches that tests push events into."""

    def __init__(self) -> None:
        self.items: dict[str, list[Json]] = {
            "namespaces": [{"metadata": {"name": "default", "resourceVersion": "1"}}],
            "services": [],
            "endpointslices": [],
        }
        self.watches: dict[str, asyncio.Queue[Json]] = {}
        self.asked = asyncio.Event()
        self.answering = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.set()
        await self.answering.wait()
        plural = request.path.rpartition("/")[2]
        if request.query.get("watch") != "true":
            return web.json_response(
                {"items": self.items[plural], "metadata": {"resourceVersion": "10"}}
            )
        response = web.StreamResponse()
        await response.prepare(request)
        queue = self.watches.setdefault(plural, asyncio.Queue())
        while True:
            await response.write(json.dumps(await queue.get()).encode() + b"\n")

    def push(self, plural: str, type_: str, obj: Json) -> None:
        self.watches.setdefault(plural, asyncio.Queue()).put_nowait({"type": type_, "object": obj})


def service(version: int, address: str = "10.96.0.7") -> Json:
    return {
        "metadata": {"name": "web", "namespace": "default", "resourceVersion": str(version)},
        "spec": {"type": "ClusterIP", "clusterIPs": [address], "ports": [{"port": 80}]},
    }


@asynccontextmanager
async def api_server(folder: Path, *services: Json) -> AsyncGenerator[Api, None]:
    """Serve an API at the socket of *folder*; with *services* it answers from the start."""
    api = Api()
    api.items["services"].extend(services)
    if services:
        api.answering.set()
    app = web.Application()
    app.router.add_get("/{tail:.*}", api.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(folder / "api.sock")).start()
        yield api
    finally:
        await runner.cleanup()


class Running:
    """A server process, and where its log says that it listens."""

    def __init__(self, process: Process, corefile: Path) -> None:
        self.process = process
        self.corefile = corefile
        self.lines: list[str] = []

    async def port(self) -> int:
        """Return the port that it answers on."""
        return int((await self.said(r"\] dns on 127\.0\.0\.1:(\d+)"))[1])

    async def said(self, pattern: str, *, after: int = 0) -> re.Match[str]:
        """Return the first match in the lines *after* so many, as soon as there is one."""
        while True:
            for line in self.lines[after:]:
                if found := re.search(pattern, line):
                    return found
            await self.read_line()

    async def read_line(self) -> None:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        assert line, "".join(self.lines)
        self.lines.append(line.decode())

    async def ended(self) -> int:
        """Return the exit status, with the rest of the log in `lines`."""
        assert self.process.stdout is not None
        self.lines += (await self.process.stdout.read()).decode().splitlines()
        return await self.process.wait()

    async def ask(self, name: str) -> bytes:
        """Return the reply to an A query over TCP."""
        reader, writer = await asyncio.open_connection("127.0.0.1", await self.port())
        packet = question_packet(5, Question(name, Kind.A))
        writer.write(struct.pack("!H", len(packet)) + packet)
        (size,) = struct.unpack("!H", await reader.readexactly(2))
        reply = await reader.readexactly(size)
        writer.close()
        return reply

    async def rcode(self, name: str) -> int:
        return (await self.ask(name))[3] & 0xF

    async def answers(self, name: str, rcode: Rcode) -> bytes:
        """Ask until the reply has that code: a change needs a moment to arrive."""
        while True:
            reply = await self.ask(name)
            if reply[3] & 0xF == rcode:
                return reply
            await asyncio.sleep(0.005)

    async def reload(self, text: str, outcome: str) -> str:
        """Have *text* read as the Corefile, and return the line that says *outcome*."""
        self.corefile.write_text(text)
        before = len(self.lines)
        self.process.send_signal(signal.SIGUSR1)
        return (await self.said(outcome, after=before)).string


@asynccontextmanager
async def running(
    folder: Path, text: str, *options: str, file: str = "Corefile"
) -> AsyncGenerator[Running, None]:
    """Run the program in *folder*, where its Corefile and the API's socket are."""
    corefile = folder / file
    corefile.write_text(text)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", "podwire.dns", f"--api={folder / 'api.sock'}"),
        *(options or ("-conf", str(corefile))),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ,
        cwd=folder,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            yield Running(process, corefile)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def corefile(*lines: str, zone: str = "cluster.local", patience: str = FOR_EVER) -> str:
    body = "\n    ".join(lines)
    return f"""\
.:0 {{
    bind 127.0.0.1
    errors
    kubernetes {zone} {{
       startup_timeout {patience}
    }}
    {body}
}}
"""


async def page(port: int, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as response,
    ):
        return response.status, await response.text()
