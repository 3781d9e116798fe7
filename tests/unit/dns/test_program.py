"""The program: its options, its life from first sync to lame duck, its Corefile read again."""

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
import pytest
from aiohttp import web

from podwire.dns import program, settings
from podwire.dns.messages.message import Kind, Question, Rcode
from podwire.dns.messages.wire import question_packet
from podwire.dns.settings import parse
from podwire.errors import UsageError

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


async def test_a_whole_run(tmp_path: Path) -> None:
    health, ready, metrics = free_port(), free_port(), free_port()
    text = corefile(
        f"health 127.0.0.1:{health} {{\n lameduck {FOR_EVER}\n }}",
        f"ready 127.0.0.1:{ready}",
        f"prometheus 127.0.0.1:{metrics}",
        "loadbalance",
        patience="10ms",
    )
    async with api_server(tmp_path) as api, running(tmp_path, text) as server:
        # The API server does not answer.
        assert await server.rcode(WEB) == Rcode.SERVFAIL
        assert await page(health, "/health") == (200, "OK")
        assert (await page(health, "/"))[0] == 404
        assert await page(ready, "/ready") == (503, "kubernetes")
        assert (await page(ready, "/"))[0] == 404
        await server.said("WARNING.*starting server with unsynced Kubernetes API")

        api.answering.set()
        await server.answers(WEB, Rcode.NXDOMAIN)
        assert await page(ready, "/ready") == (200, "OK")
        api.push("services", "ADDED", service(11))
        assert (await server.answers(WEB, Rcode.NOERROR))[-4:] == bytes((10, 96, 0, 7))
        api.push("services", "DELETED", service(12))
        await server.answers(WEB, Rcode.NXDOMAIN)
        status, shown = await page(metrics, "/metrics")
        assert status == 200
        assert re.search(r'coredns_dns_responses_total\{.*rcode="NXDOMAIN".*\} \d', shown)
        assert "coredns_plugin_enabled" in shown

        server.process.send_signal(signal.SIGTERM)
        await server.said("shutting down after a lame duck of 3600 s")
        assert await page(ready, "/ready") == (503, "Shutting down")
        assert await page(health, "/health") == (200, "OK")
        assert await server.rcode(WEB) == Rcode.NXDOMAIN
        server.process.send_signal(signal.SIGTERM)
        assert await server.ended() == 0


async def test_what_was_known_is_served_while_the_api_server_is_away(tmp_path: Path) -> None:
    async with running(tmp_path, corefile()) as server:
        async with api_server(tmp_path, service(5)):
            await server.answers(WEB, Rcode.NOERROR)
        await server.said("watch of services: .*tried again")
        assert await server.rcode(WEB) == Rcode.NOERROR
        async with api_server(tmp_path, service(5, "10.96.0.8")):
            await server.said("watch of services works again after")
            while (await server.ask(WEB))[-4:] != bytes((10, 96, 0, 8)):
                pass
        # However often it was tried.
        assert sum("watch of services: " in line for line in server.lines) == 1


async def test_until_the_first_sync_requests_wait(tmp_path: Path) -> None:
    port = free_port()
    text = corefile().replace(".:0", f".:{port}")
    async with api_server(tmp_path) as api, running(tmp_path, text):
        await api.asked.wait()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        packet = question_packet(5, Question(WEB, Kind.A))
        writer.write(struct.pack("!H", len(packet)) + packet)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.readexactly(1)
        api.answering.set()
        reply = await reader.readexactly(6)
        assert reply[5] & 0xF == Rcode.NXDOMAIN
        writer.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_who_is_ended_before_the_first_sync_is_no_lame_duck(
    tmp_path: Path, number: signal.Signals
) -> None:
    text = corefile(f"health 127.0.0.1:{free_port()} {{\n lameduck {FOR_EVER}\n }}")
    async with api_server(tmp_path) as api, running(tmp_path, text) as server:
        await api.asked.wait()
        server.process.send_signal(number)
        assert await server.ended() == 0


async def test_an_end_during_a_reload_leaves_what_is_served(tmp_path: Path) -> None:
    duck = "health 127.0.0.1:0 {\n lameduck 1h\n }"
    # The API server here knows no pods, so the wait for them has no end.
    pods = corefile(duck).replace("startup_timeout", "pods verified\n startup_timeout")
    nothing = f"nothing.{WEB}"
    async with api_server(tmp_path, service(5)), running(tmp_path, corefile(duck)) as server:
        assert await server.rcode(nothing) == Rcode.NXDOMAIN
        await server.reload(pods, "Reloading")
        assert await server.rcode(nothing) == Rcode.NXDOMAIN
        server.process.send_signal(signal.SIGTERM)
        await server.said("lame duck")
        assert await server.rcode(nothing) == Rcode.NXDOMAIN
        server.process.send_signal(signal.SIGTERM)
        assert await server.ended() == 0


async def test_a_terminal_that_goes_away_ends_nothing(tmp_path: Path) -> None:
    async with api_server(tmp_path, service(5)), running(tmp_path, corefile()) as server:
        await server.answers(WEB, Rcode.NOERROR)
        server.process.send_signal(signal.SIGHUP)
        assert await server.rcode(WEB) == Rcode.NOERROR


async def test_a_changed_corefile_is_served_and_a_broken_one_is_not(tmp_path: Path) -> None:
    metrics, taken = free_port(), free_port()
    page_of = f"prometheus 127.0.0.1:{metrics}"
    async with (
        api_server(tmp_path, service(5)),
        running(tmp_path, corefile(page_of)) as server,
    ):
        other = WEB.replace("cluster.local", "corp.example")
        assert await server.rcode(WEB) == Rcode.NOERROR
        assert await server.rcode(other) == Rcode.SERVFAIL

        await server.reload(corefile(page_of, zone="corp.example"), "Reloading complete")
        assert await server.rcode(WEB) == Rcode.SERVFAIL
        assert await server.rcode(other) == Rcode.NOERROR

        said = await server.reload(corefile("foobar"), "Restart failed")
        assert re.search(r"ERROR.*Corefile:7 - .*foobar.*known are: .*kubernetes", said)
        assert await server.rcode(other) == Rcode.NOERROR

        with socket.create_server(("127.0.0.1", taken)):
            also = f"\ncorp.test:{taken} {{\n bind 127.0.0.1\n errors\n}}\n"
            said = await server.reload(corefile(page_of) + also, "Restart failed")
            assert f"127.0.0.1 port {taken}" in said
            assert await server.rcode(other) == Rcode.NOERROR
            assert await server.rcode(WEB) == Rcode.SERVFAIL

        server.corefile.unlink()
        server.process.send_signal(signal.SIGUSR1)
        await server.said("Restart failed: .*cannot be read")
        assert await server.rcode(other) == Rcode.NOERROR
        assert "coredns_reload_failed_total 3" in (await page(metrics, "/metrics"))[1]

        await server.reload(corefile(), "Reloading complete")
        assert await server.rcode(WEB) == Rcode.NOERROR


async def test_an_address_beside_all_addresses(tmp_path: Path) -> None:
    port = free_port()
    everywhere = f".:{port} {{\n template IN A . {{\n rcode NXDOMAIN\n }}\n}}\n"
    here = f".:{port} {{\n bind 127.0.0.1\n template IN A . {{\n rcode REFUSED\n }}\n}}\n"
    both = everywhere + here.replace(".:", "a.test:", 1)
    async with running(tmp_path, both) as server:
        # The kernel hands out what is closest.
        assert await server.rcode("a.test.") == Rcode.REFUSED
        for text, rcode in ((here, Rcode.REFUSED), (everywhere, Rcode.NXDOMAIN)) * 2:
            await server.reload(text, "Reloading complete")
            assert await server.rcode("b.test.") == rcode
        # Others cannot have it all the same.
        with pytest.raises(OSError, match="in use"), socket.create_server(("127.0.0.1", port)):
            pass
        async with running(tmp_path, here, file="Corefile2") as other:
            assert await other.ended() == 69


@pytest.mark.parametrize("what", ["dns", "health"])
async def test_a_port_in_use_is_said(tmp_path: Path, what: str) -> None:
    port = free_port()
    text = {
        "dns": corefile().replace(".:0", f".:{port}"),
        "health": corefile(f"health 127.0.0.1:{port}"),
    }[what]
    with socket.create_server(("127.0.0.1", port)):
        async with running(tmp_path, text) as server:
            assert await server.ended() == 69
            assert re.match(
                rf"\[ERROR\] cannot (listen|serve) .*127\.0\.0\.1.*{port}", server.lines[-1]
            )


async def test_a_port_in_use_for_ipv6_alone_is_said(tmp_path: Path) -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        async with running(tmp_path, f".:{port} {{\n whoami\n}}\n") as server:
            assert await server.ended() == 69
            assert f"cannot listen on :: port {port}" in server.lines[-1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (".:0 {\n errors\n foobar\n}\n", r"Corefile:3 - .*foobar.*known are: .*kubernetes"),
        (".:0 {\n errors\n", r"Corefile:2 - .*EOF"),
        (".:0 {\n kubernetes cluster.local {\n  ttl 9999\n }\n}\n", r"Corefile:3 - .*ttl.*3600"),
        (".:0 {\n kubernetes cluster.local {\n  pods all\n }\n}\n", r"Corefile:3 - .*verified"),
    ],
)
async def test_a_broken_corefile_is_refused_with_the_line(
    tmp_path: Path, text: str, said: str
) -> None:
    async with running(tmp_path, text) as server:
        assert await server.ended() == UsageError.exit_status
        assert re.search(said, server.lines[-1]), server.lines


async def test_a_forwarding_loop_ends_the_process(tmp_path: Path) -> None:
    port = free_port()
    text = f".:{port} {{\n bind 127.0.0.1\n loop\n forward . 127.0.0.1:{port}\n}}\n"
    async with running(tmp_path, text) as server:
        assert await server.ended() == 1
        assert re.match(
            rf"\[FATAL\] plugin/loop: Loop \(127\.0\.0\.1:\d+ -> 127\.0\.0\.1:{port}\) detected",
            server.lines[-1],
        )


async def test_the_last_words_are_written_even_if_the_interpreter_says_no_goodbye(
    tmp_path: Path,
) -> None:
    # That is how the processes of containers end that were forked, not executed.
    code = "import os, podwire.dns.program as p; os._exit(p.main(['-conf', 'Corefile'], {}))"
    port = free_port()
    (tmp_path / "Corefile").write_text(
        f".:{port} {{\n bind 127.0.0.1\n loop\n forward . 127.0.0.1:{port}\n}}\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", code), stdout=asyncio.subprocess.PIPE, cwd=tmp_path
    )
    async with asyncio.timeout(PATIENCE):
        said, _ = await process.communicate()
    assert said.splitlines()[-1].startswith(b"[FATAL] plugin/loop: ")


async def test_without_a_name_the_corefile_of_the_folder_is_read(tmp_path: Path) -> None:
    port = free_port()
    text = corefile().replace(".:0", ".")
    async with (
        api_server(tmp_path, service(5)),
        running(tmp_path, text, f"-dns.port={port}") as server,
    ):
        await server.answers(WEB, Rcode.NOERROR)
        assert await server.port() == port


async def test_without_a_corefile_the_given_port_is_served(tmp_path: Path) -> None:
    port = free_port()
    async with running(tmp_path, "", f"-dns.port={port}", file="Other") as server:
        await server.said(rf"\] dns on 0\.0\.0\.0:{port}, zones \.")


async def test_a_corefile_that_is_not_there_is_said(tmp_path: Path) -> None:
    async with running(tmp_path, corefile(), "-conf", "Nothing") as server:
        assert await server.ended() == UsageError.exit_status
        assert "Nothing: cannot be read" in server.lines[-1]


@pytest.mark.parametrize(
    ("argv", "field", "value"),
    [
        (["-conf", "/etc/coredns/Corefile"], "corefile", Path("/etc/coredns/Corefile")),
        (["--conf=/etc/coredns/Corefile"], "corefile", Path("/etc/coredns/Corefile")),
        ([], "corefile", None),
        ([], "port", 53),
        (["-dns.port", "1053"], "port", 1053),
        (["-dns.port=1053"], "port", 1053),
        (["-p", "1053"], "port", 1053),
        ([], "api", settings.API_SOCKET),
        (["--api", "http://127.0.0.1:8001"], "api", "http://127.0.0.1:8001"),
        ([], "user", "system:serviceaccount:kube-system:coredns"),
    ],
)
def test_options(
    argv: list[str],
    field: str,
    value: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert getattr(parse(argv, {}), field) == value


def test_inside_a_pod_the_service_account_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("t")
    monkeypatch.setattr(settings, "SERVICE_ACCOUNT", tmp_path)
    environ = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    assert parse([], environ).api == "https://10.96.0.1:443"


@pytest.mark.parametrize(
    "argv", [["-dns.port", "x"], ["-dns.port", "70000"], ["--zone=cluster.local"], ["-conf"]]
)
def test_wrong_options(argv: list[str]) -> None:
    with pytest.raises(UsageError):
        parse(argv, {})
    assert program.main(argv, {}) == UsageError.exit_status


@pytest.mark.parametrize(
    ("flag", "line"), [("-plugins", "kubernetes"), ("-version", "podwire-dns ")]
)
def test_what_is_printed_instead_of_serving(
    flag: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([flag], {})
    assert not ended.value.code
    assert any(one.startswith(line) for one in capsys.readouterr().out.splitlines())


def test_a_manifest_that_says_quiet_is_served() -> None:
    assert parse(["-quiet", "-dns.port", "5353"], {}).port == 5353
