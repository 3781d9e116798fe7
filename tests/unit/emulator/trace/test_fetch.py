"""The built-in client against servers on loopback."""

import json
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest

from podwire.emulator.trace import fetch
from podwire.emulator.trace.dnsmessage import decode

Serve = Callable[[socket.socket], None]


@contextmanager
def tcp(serve: Serve) -> Generator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            connection, _ = server.accept()
            with connection:
                serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(5)


def http(status: str) -> Serve:
    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok".encode())

    return serve


def hold(connection: socket.socket) -> None:
    connection.recv(4096)


def leave(connection: socket.socket) -> None:
    """Close without a word."""


def run(url: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, object]]:
    code = fetch.main(["--timeout", "0.5", url], {})
    said: dict[str, object] = json.loads(capsys.readouterr().out)
    assert isinstance(said["ms"], float)
    return code, said


@pytest.mark.parametrize("status", [200, 404, 503])
def test_get(status: int, capsys: pytest.CaptureFixture[str]) -> None:
    with tcp(http(f"{status} Word")) as port:
        code, said = run(f"http://127.0.0.1:{port}/a", capsys)
    assert (code, said["outcome"], said["status"]) == (0, "answered", status)
    assert said["local_port"]


@pytest.mark.parametrize(
    ("serve", "scheme", "code", "outcome"),
    [
        (hold, "tcp", 0, "answered"),
        (http("200 OK"), "http", 0, "answered"),
        (leave, "tcp", fetch.NO_ANSWER, "refused"),
        (leave, "http", fetch.NO_ANSWER, "refused"),
    ],
)
def test_outcomes(
    serve: Serve, scheme: str, code: int, outcome: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with tcp(serve) as port:
        found, said = run(f"{scheme}://127.0.0.1:{port}", capsys)
    assert (found, said["outcome"]) == (code, outcome)


@pytest.mark.parametrize("scheme", ["tcp", "http", "udp"])
def test_refused(scheme: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code, said = run(f"{scheme}://127.0.0.1:{port}", capsys)
    assert (code, said["outcome"]) == (fetch.REFUSED, "refused")


def test_datagrams(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        url = f"udp://127.0.0.1:{server.getsockname()[1]}"

        def echo() -> None:
            data, peer = server.recvfrom(100)
            server.sendto(data, peer)

        thread = threading.Thread(target=echo, daemon=True)
        thread.start()
        assert run(url, capsys)[0] == 0
        thread.join(5)
        code, said = run(url, capsys)
        assert (code, said["outcome"]) == (fetch.TIMED_OUT, "timed out")


def test_a_dns_server_is_asked_in_its_own_words() -> None:
    asked = decode(fetch._question("10.96.0.10"))  # pyright: ignore[reportPrivateUsage]
    assert asked is not None
    assert asked.summary() == "PTR? 10.0.96.10.in-addr.arpa."
