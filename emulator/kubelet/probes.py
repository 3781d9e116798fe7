"""Ask a container how it is: httpGet, tcpSocket, exec; from the node, as the kubelet does."""

import asyncio
import json
import os
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from podwire.emulator.kubelet.dial import dialled, without_verification
from podwire.kube.objects import Container, HTTPGetAction, IntOrString, Probe

_LARGEST_ANSWER = 10 << 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer of one probe; *message* is the kubelet's text for the event."""

    success: bool
    message: str = ""


def failure(message: str) -> Outcome:
    """Return the outcome of a probe that failed."""
    return Outcome(success=False, message=message)


SUCCESS = Outcome(success=True)


# Runs a command in the container: exit status and output. Cancelled, the command is killed.
Execute = Callable[[Sequence[str]], Awaitable[tuple[int, str]]]


async def ask(
    probe: Probe, container: Container, address: str, node_netns: Path, execute: Execute
) -> Outcome:
    """Run one probe against *address* from the node's network namespace.

    Of a gRPC probe only the connection is tried (unsupported.py says so to the user).
    """
    try:
        async with asyncio.timeout(probe.timeout_seconds):
            if probe.http_get is not None:
                return await _http(probe.http_get, container, address, node_netns)
            if probe.tcp_socket is not None:
                host = probe.tcp_socket.host or address
                port = port_number(probe.tcp_socket.port, container)
                (await dialled(node_netns, host, port)).close()
                return SUCCESS
            if probe.grpc is not None:
                (await dialled(node_netns, address, int(probe.grpc.get("port", 0)))).close()
                return SUCCESS
            if probe.exec is not None:
                status, output = await execute(probe.exec.command)
                return SUCCESS if status == 0 else failure(output)
            return failure("the probe asks nothing")
    except TimeoutError:
        if probe.exec is not None:
            command = " ".join(probe.exec.command)
            after = f"timed out after {probe.timeout_seconds}s"
            return failure(f"command timed out: {json.dumps(command)} {after}")
        return failure(_in_go_words(TimeoutError(), probe, container, address))
    except (OSError, ValueError) as error:
        return failure(_in_go_words(error, probe, container, address))


def port_number(port: IntOrString, container: Container) -> int:
    """Return the number of a port given by number or by a container port's name."""
    if isinstance(port, int):
        return port
    for known in container.ports:
        if known.name == port:
            return known.container_port
    if port.isdigit():
        return int(port)
    raise ValueError(f"couldn't find port: {port}")


async def _http(
    action: HTTPGetAction, container: Container, address: str, node_netns: Path
) -> Outcome:
    host, port = action.host or address, port_number(action.port, container)
    sock = await dialled(node_netns, host, port)
    try:
        # As the kubelet: what a probe talks to need not prove who it is.
        context = without_verification() if action.scheme == "HTTPS" else None
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=context, server_hostname=host if context else None
        )
    except BaseException:
        sock.close()
        raise
    try:
        writer.write(request_of(action, host, port))
        answer = b""
        while b"\n" not in answer and len(answer) < _LARGEST_ANSWER:
            chunk = await reader.read(4096)
            if not chunk:
                break
            answer += chunk
    finally:
        writer.transport.abort()
    return outcome_of(answer, f"{action.scheme.lower()}://{host}:{port}{action.path}")


def request_of(action: HTTPGetAction, host: str, port: int) -> bytes:
    """Return the request that the kubelet sends; the probe's own headers win."""
    headers = {"Host": f"{host}:{port}", "User-Agent": "kube-probe/1.32", "Accept": "*/*"}
    for header in action.http_headers:
        name = next((n for n in headers if n.lower() == header.name.lower()), header.name)
        headers[name] = header.value
    path = action.path if action.path.startswith("/") else f"/{action.path}"
    lines = [f"GET {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode()


def outcome_of(answer: bytes, url: str) -> Outcome:
    """Return what the beginning of an HTTP answer means."""
    words = answer.split(None, 2)
    if not answer:
        return failure(f'Get "{url}": EOF')
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        line = answer.partition(b"\n")[0].strip().decode(errors="replace")
        return failure(f'Get "{url}": net/http: HTTP/1.x transport connection broken: '
                       f'malformed HTTP response "{line}"')  # fmt: skip
    code = int(words[1])
    if 200 <= code < 400:
        return SUCCESS
    return failure(f"HTTP probe failed with statuscode: {code}")


def _in_go_words(error: Exception, probe: Probe, container: Container, address: str) -> str:
    if probe.http_get is not None:
        host, port = probe.http_get.host, probe.http_get.port
    elif probe.tcp_socket is not None:
        host, port = probe.tcp_socket.host, probe.tcp_socket.port
    elif probe.grpc is not None:
        host, port = "", int(probe.grpc.get("port", 0))
    else:
        return str(error)
    # ssl.SSLError is an OSError, and some of its kinds are ValueErrors, too.
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return str(error)
    target = f"{host or address}:{port_number(port, container)}"
    if type(error) is TimeoutError:
        text = (
            "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            if probe.http_get is not None
            else f"dial tcp {target}: i/o timeout"
        )
    elif isinstance(error, ssl.SSLError):
        text = f"tls: {(error.reason or str(error)).lower().replace('_', ' ')}"
    elif isinstance(error, ConnectionResetError):
        text = f"read tcp {target}: read: connection reset by peer"
    else:
        words = (
            os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        )
        text = f"dial tcp {target}: connect: {words.lower()}"
    if probe.http_get is None:
        return text
    scheme, path = probe.http_get.scheme.lower(), probe.http_get.path
    return f'Get "{scheme}://{target}{path}": {text}'
