"""Probes on real sockets, from the network namespace that the test is in."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from podwire.emulator.kubelet.probes import Outcome, ask, outcome_of, port_number, request_of
from podwire.kube.objects import Container, HTTPGetAction, Probe
from podwire.lender import Lender
from tests.needs import need_admin

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
HERE = Path("/proc/self/ns/net")
URL = "http://127.0.0.1:80/"


def probe(**fields: Any) -> Probe:
    return msgspec.convert(fields, Probe)


def container(port: int = 80) -> Container:
    ports = [{"name": "web", "containerPort": port}]
    return msgspec.convert({"name": "c", "ports": ports}, Container)


async def no_command(_command: Sequence[str]) -> tuple[int, str]:
    raise AssertionError("no command was to be run")


async def asked(wanted: Probe, port: int = 80, execute: Any = no_command) -> Outcome:
    return await ask(wanted, container(port), "127.0.0.1", HERE, execute)


class Server:
    """Answers every connection with the same bytes, and keeps what it was asked."""

    def __init__(self, answer: bytes, delay: float) -> None:
        self.answer, self.delay = answer, delay
        self.port = 0
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            await asyncio.sleep(self.delay)
            writer.write(self.answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(
    answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n",
    *,
    delay: float = 0.0,
    tls: ssl.SSLContext | None = None,
) -> AsyncGenerator[Server]:
    need_admin()  # a probe enters the node's network namespace, though here it is its own
    server = Server(answer, delay)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.0 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", ""),
        (b"HTTP/1.1 399 Odd\n\n", ""),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP probe failed with statuscode: 400"),
        (b"HTTP/1.1 503\r\n\r\n", "HTTP probe failed with statuscode: 503"),
        (b"", f'Get "{URL}": EOF'),
        (
            b"220 mail ready\r\n",
            f'Get "{URL}": net/http: HTTP/1.x transport connection broken: '
            'malformed HTTP response "220 mail ready"',
        ),
    ],
)
def test_what_an_answer_means(answer: bytes, message: str) -> None:
    assert outcome_of(answer, URL) == Outcome(success=not message, message=message)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ({"port": 80}, "GET / HTTP/1.1|Host: h:80|User-Agent: kube-probe/1.32|Accept: */*|Connection: close||"),
        ({"port": 80, "path": "health?x=1"}, "GET /health?x=1 HTTP/1.1|Host: h:80|User-Agent: kube-probe/1.32|Accept: */*|Connection: close||"),
        (
            {"port": 80, "httpHeaders": [{"name": "host", "value": "shop"}, {"name": "X-A", "value": "1"}]},
            "GET / HTTP/1.1|Host: shop|User-Agent: kube-probe/1.32|Accept: */*|X-A: 1|Connection: close||",
        ),
    ],
)  # fmt: skip
def test_what_is_asked(action: dict[str, Any], expected: str) -> None:
    made = request_of(msgspec.convert(action, HTTPGetAction), "h", 80)
    assert made.decode().replace("\r\n", "|") == expected


@pytest.mark.parametrize(("port", "number"), [(8080, 8080), ("8080", 8080), ("web", 80)])
def test_ports_by_number_and_by_name(port: int | str, number: int) -> None:
    assert port_number(port, container()) == number


async def test_a_port_name_that_nobody_has() -> None:
    outcome = await asked(probe(tcpSocket={"port": "none"}))
    assert outcome == Outcome(success=False, message="couldn't find port: none")


async def test_http() -> None:
    async with serving() as server:
        action = {"port": "web", "path": "/healthz"}
        assert (await asked(probe(httpGet=action), server.port)).success
    assert server.requests[0].startswith(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:")


async def test_http_of_another_host() -> None:
    async with serving() as server:
        action = {"port": server.port, "host": "127.0.0.1"}
        outcome = await ask(probe(httpGet=action), container(), "192.0.2.1", HERE, no_command)
        assert outcome.success


async def test_https_without_looking_at_the_certificate(tmp_path: Path) -> None:
    async with serving(tls=certified(tmp_path)) as server:
        action = {"port": server.port, "scheme": "HTTPS"}
        assert await asked(probe(httpGet=action)) == Outcome(success=True)


async def test_https_where_there_is_only_http() -> None:
    async with serving(b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        action = {"port": server.port, "scheme": "HTTPS"}
        # What comes is no TLS; a server may also just hang up. Either is a failure.
        outcome = await asked(probe(httpGet=action, timeoutSeconds=1))
        assert not outcome.success


async def test_tcp_and_grpc_only_connect() -> None:
    async with serving() as server:
        assert (await asked(probe(tcpSocket={"port": server.port}))).success
        assert (await asked(probe(grpc={"port": server.port}))).success


async def test_through_a_lender_of_the_nodes_sockets(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    async with serving() as server, asyncio.TaskGroup() as tasks:
        lending = tasks.create_task(Lender().serve(path))
        await asyncio.sleep(0)
        assert path.is_socket()
        # The lender is on this loop: whoever waits for it must not block it.
        wanted = probe(httpGet={"port": server.port})
        outcome = await ask(wanted, container(), "127.0.0.1", path, no_command)
        assert outcome.success, outcome
        lending.cancel()


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("httpGet", 'Get "http://127.0.0.1:{port}/": ', ""),
        ("tcpSocket", "", ""),
        ("grpc", "", ""),
    ],
)
async def test_nobody_listens(kind: str, before: str, after: str) -> None:
    need_admin()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outcome = await asked(probe(**{kind: {"port": port}}))
    refused = f"dial tcp 127.0.0.1:{port}: connect: connection refused"
    assert outcome == Outcome(success=False, message=before.format(port=port) + refused + after)


async def test_an_answer_that_takes_too_long() -> None:
    async with serving(delay=30) as server:
        outcome = await asked(probe(httpGet={"port": server.port}, timeoutSeconds=1))
    waited = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    message = f'Get "http://127.0.0.1:{server.port}/": {waited}'
    assert outcome == Outcome(success=False, message=message)


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        ((0, "fine"), Outcome(success=True)),
        ((1, "sick\n"), Outcome(success=False, message="sick\n")),
        ((126, "exec: no"), Outcome(success=False, message="exec: no")),
    ],
)
async def test_a_command(result: tuple[int, str], outcome: Outcome) -> None:
    async def execute(command: Sequence[str]) -> tuple[int, str]:
        assert list(command) == ["check", "me"]
        return result

    assert await asked(probe(exec={"command": ["check", "me"]}), execute=execute) == outcome


async def test_a_probe_that_asks_nothing() -> None:
    assert not (await asked(probe())).success


def certified(directory: Path) -> ssl.SSLContext:
    """Return a server's TLS with a certificate that nobody should trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody else")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=9))
        .not_valid_after(now - datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("192.0.2.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    file = directory / "server.pem"
    encoding = serialization.Encoding.PEM
    file.write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(encoding)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
