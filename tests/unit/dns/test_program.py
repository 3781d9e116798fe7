"""The program: its options, its pages, and one whole run against an API server of four lists."""

import asyncio
import json
import os
import re
import signal
import struct
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from podwire.dns import program, settings
from podwire.dns.message import Kind, Question, Rcode
from podwire.dns.settings import Settings, parse
from podwire.dns.wire import question_packet
from podwire.errors import UsageError

Json = dict[str, Any]
PATIENCE = 20.0
WEB = "web.default.svc.cluster.local."


class Api:
    """Just enough of an API server: lists, and watches that tests push events into."""

    def __init__(self) -> None:
        self.items: dict[str, list[Json]] = {
            "namespaces": [{"metadata": {"name": "default", "resourceVersion": "1"}}],
            "services": [],
            "endpointslices": [],
        }
        self.watches: dict[str, asyncio.Queue[Json]] = {}
        self.answering = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
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
async def api_server(path: Path) -> AsyncGenerator[Api, None]:
    api = Api()
    app = web.Application()
    app.router.add_get("/{tail:.*}", api.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(path)).start()
        yield api
    finally:
        await runner.cleanup()


class Running:
    """A server process, and where its log says that it listens."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def port(self, what: str) -> int:
        """Return the port that the log names after *what*."""
        while True:
            for line in self.lines:
                if found := re.search(rf"\] {what} on 127\.0\.0\.1:(\d+)", line):
                    return int(found[1])
            await self.read_line()

    async def read_line(self) -> None:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        assert line, "".join(self.lines)
        self.lines.append(line.decode())

    async def ask(self, name: str) -> bytes:
        """Return the reply to an A query over TCP."""
        reader, writer = await asyncio.open_connection("127.0.0.1", await self.port("dns"))
        packet = question_packet(5, Question(name, Kind.A))
        writer.write(struct.pack("!H", len(packet)) + packet)
        (size,) = struct.unpack("!H", await reader.readexactly(2))
        reply = await reader.readexactly(size)
        writer.close()
        return reply

    async def answers(self, name: str, rcode: Rcode) -> bytes:
        """Ask until the reply has that code: a change needs a moment to arrive."""
        while True:
            reply = await self.ask(name)
            if reply[3] & 0xF == rcode:
                return reply
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(socket_path: Path, *options: str) -> AsyncGenerator[Running, None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "podwire.dns",
        f"--api={socket_path}",
        "--listen=127.0.0.1:0",
        "--health=0",
        "--ready=0",
        "--metrics=0",
        "--upstream=127.0.0.1:1",
        *options,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def page(port: int, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as response,
    ):
        return response.status, await response.text()


async def test_a_whole_run(tmp_path: Path) -> None:
    async with (
        api_server(tmp_path / "api.sock") as api,
        running(tmp_path / "api.sock", "--lameduck=0.2", "--log") as server,
    ):
        health, ready = await server.port("health"), await server.port("ready")
        assert await page(health, "/health") == (200, "OK")
        assert (await page(health, "/"))[0] == 404
        assert await page(ready, "/ready") == (503, "kubernetes")
        assert (await page(ready, "/"))[0] == 404
        api.answering.set()
        assert (await server.ask(WEB))[3] & 0xF == Rcode.NXDOMAIN
        assert await page(ready, "/ready") == (200, "OK")
        api.push("services", "ADDED", service(11))
        assert (await server.answers(WEB, Rcode.NOERROR))[-4:] == bytes((10, 96, 0, 7))
        api.push("services", "DELETED", service(12))
        await server.answers(WEB, Rcode.NXDOMAIN)
        status, text = await page(await server.port("metrics"), "/metrics")
        assert status == 200
        assert re.search(r'coredns_dns_responses_total\{.*rcode="NXDOMAIN".*\} \d', text)
        assert "coredns_plugin_enabled" in text
        server.process.send_signal(signal.SIGTERM)
        assert server.process.stdout is not None
        rest = (await server.process.stdout.read()).decode()
        assert await server.process.wait() == 0
        line = (
            rf'\[INFO\] 127\.0\.0\.1:\d+ - 5 "A IN {WEB} tcp 47 false 65535" NOERROR qr,aa,rd 63 '
        )
        assert re.search(line + r"0\.\d{9}s\n", rest), rest


async def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    async with api_server(tmp_path / "api.sock"), running(tmp_path / "api.sock") as first:
        taken = await first.port("health")
        async with running(tmp_path / "api.sock", f"--health={taken}") as second:
            assert await second.process.wait() == 69
            await second.read_line()
            assert second.lines[-1].startswith("[ERROR] cannot serve health on 127.0.0.1")


@pytest.mark.parametrize(
    ("argv", "field", "value"),
    [
        ([], "listen", (("0.0.0.0", 53),)),
        (
            ["--listen", "[::]:5353", "--listen", "10.244.1.2"],
            "listen",
            (("::", 5353), ("10.244.1.2", 53)),
        ),
        (["--zone", "Corp.Example"], "zone", "corp.example."),
        ([], "upstreams", ("/etc/resolv.conf",)),
        ([], "api", settings.API_SOCKET),
        ([], "lameduck", 5.0),
    ],
)
def test_options(argv: list[str], field: str, value: object) -> None:
    assert getattr(parse(argv, {}), field) == value


def test_inside_a_pod_the_service_account_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("t")
    monkeypatch.setattr(settings, "SERVICE_ACCOUNT", tmp_path)
    environ = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    assert parse([], environ).api == "https://10.96.0.1:443"


@pytest.mark.parametrize(
    "argv",
    [["--listen", "dns.example"], ["--listen", "10.0.0.1:x"], ["--pods", "all"], ["--ready", "x"]],
)
def test_wrong_options(argv: list[str]) -> None:
    with pytest.raises(UsageError):
        parse(argv, {})
    assert program.main(argv, {}) == UsageError.exit_status


def test_settings_are_frozen() -> None:
    assert isinstance(parse([], {}), Settings)
