"""The built-in servers, as processes on 127.0.0.1 (their wildcard address includes it)."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from podwire.emulator.images import agnhost, web
from podwire.emulator.images.web import LONGEST_DRAIN, STILL_ACCEPTING


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("0.0.0.0", 0))
        port: int = sock.getsockname()[1]
        return port


class Server:
    def __init__(self, process: asyncio.subprocess.Process, port: int, first_line: str) -> None:
        self.process, self.port, self.first_line = process, port, first_line
        self.url = f"http://127.0.0.1:{port}"

    async def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        async with asyncio.timeout(30):
            return await self.process.wait()


@asynccontextmanager
async def running(program: str, *arguments: str) -> AsyncGenerator[Server]:
    port = free_port()
    script = (
        f"import sys; from podwire.emulator.images import {program};"
        f"sys.exit({program}.main(sys.argv[1:], {{}}))"
    )
    words = [word.replace("PORT", str(port)) for word in arguments]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-c", script, *words, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        lines = [(await process.stdout.readline()).decode()]
        while "port" not in lines[-1]:
            lines.append((await process.stdout.readline()).decode())
    try:
        yield Server(process, port, lines[0].strip())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_web_server_says_who_it_is() -> None:
    async with running("web", "--port", "PORT") as server, aiohttp.ClientSession() as session:
        async with session.post(f"{server.url}/a?b=1", data=b"x" * 100_000) as response:
            assert response.status == 200
            lines = dict(line.split(": ", 1) for line in (await response.text()).splitlines())
        assert lines["Hostname"] == socket.gethostname()
        assert lines["Address"] == "127.0.0.1"
        assert lines["Client"].startswith("127.0.0.1:")
        assert lines["Request"] == "POST /a?b=1"
        assert lines["Host"] == f"127.0.0.1:{server.port}"
        assert server.first_line.startswith(f"built-in web server on port {server.port}, pid ")
        assert await server.stop() == 0


@pytest.mark.parametrize(
    ("path", "status"),
    [("/status/503", 503), ("/status/204", 204), ("/status/99", 400), ("/status/x", 200)],
)
async def test_the_status_that_is_asked_for(path: str, status: int) -> None:
    async with (
        running("web", "--port", "PORT") as server,
        aiohttp.ClientSession() as session,
        session.get(server.url + path) as response,
    ):
        assert response.status == status


async def test_prometheus_reads_how_much_was_answered_and_by_whom() -> None:
    async with running("web", "--port", "PORT") as server, aiohttp.ClientSession() as session:
        for path in ("/", "/status/503", "/"):
            async with session.get(server.url + path):
                pass
        async with session.get(f"{server.url}/metrics") as response:
            assert response.content_type == "text/plain"
            lines = (await response.text()).splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        'http_requests_total{status="200"} 3',
        'http_requests_total{status="503"} 1',
        f'web_info{{hostname="{socket.gethostname()}"}} 1',
    ]


@pytest.mark.parametrize(
    "arguments", [("-text=hello", "-listen=:PORT"), ("--port", "PORT", "--text", "hello")]
)
async def test_a_text_of_ones_own(arguments: tuple[str, ...]) -> None:
    async with (
        running("web", *arguments) as server,
        aiohttp.ClientSession() as session,
        session.get(server.url) as response,
    ):
        assert await response.text() == "hello\n"


async def test_arguments_of_the_real_program_are_named_and_ignored() -> None:
    async with running("web", "--port", "PORT", "--level=info", "--portable") as server:
        assert server.first_line == "the built-in web server ignores: --level=info --portable"


async def test_the_web_server_drains_when_it_is_told_to_stop() -> None:
    async with (
        running("web", "--port", "PORT") as server,
        aiohttp.ClientSession() as session,
        aiohttp.ClientSession() as late,
    ):
        async with session.get(server.url) as response:
            assert "close" not in response.headers.get("Connection", "").lower()
        server.process.send_signal(signal.SIGTERM)
        # Who has a connection gets an answer on it, and hears that it is the last.
        last = ""
        while last != "close":
            async with session.get(server.url) as response:
                assert response.status == 200
                last = response.headers.get("Connection", "").lower()
        # Who did not hear of the end yet is served, too.
        async with late.get(server.url) as response:
            assert response.status == 200
        async with asyncio.timeout(STILL_ACCEPTING + LONGEST_DRAIN + 10):
            assert await server.process.wait() == 0
        with pytest.raises(aiohttp.ClientConnectionError):
            await late.get(server.url)


async def test_an_answer_that_is_under_way_is_finished() -> None:
    async with running("web", "--port", "PORT") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel")
        await writer.drain()
        server.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(STILL_ACCEPTING + 0.2)
        assert server.process.returncode is None
        writer.write(b"lo")
        async with asyncio.timeout(10):
            assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
            assert await server.process.wait() == 0
        writer.close()


async def test_echo_on_tcp_and_udp() -> None:
    async with running("echo", "--port", "PORT") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"hello")
        writer.write_eof()
        assert await reader.read() == b"hello"
        writer.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(10)
            sock.sendto(b"datagram", ("127.0.0.1", server.port))
            assert sock.recv(100) == b"datagram"
        assert await server.stop() == 0


async def test_agnhost_netexec_is_a_web_server() -> None:
    async with (
        running("agnhost", "netexec", "--http-port=PORT") as server,
        aiohttp.ClientSession() as session,
        session.get(server.url) as response,
    ):
        assert response.status == 200


def test_agnhost_without_a_sub_command_that_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert agnhost.main(["dns-server"], {}) == 1
    assert "no sub-command 'dns-server' in the stand-in; it has pause and netexec" in (
        capsys.readouterr().out
    )


def test_a_port_that_is_no_number_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        web.main(["--port", "http"], {})
    assert raised.value.code == 2
    assert "invalid int value: 'http'" in capsys.readouterr().err
