"""Ask a container how it is: httpGet, tcpSocket, exec; from the node, as the kubelet does."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from podwire import linux
from podwire.kube.objects import Container, HTTPGetAction, IntOrString, Probe

# How a first success is waited for: a fresh container is asked again soon, then less and less often,
# up to the probe's own period. (The kubelet waits a whole period, 1 s at least.)
FIRST_RETRY = 0.004
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


Execute = Callable[[Sequence[str], float], Awaitable[tuple[int, str]]]


async def ask(
    probe: Probe, container: Container, address: str, node_netns: Path, execute: Execute
) -> Outcome:
    """Run one probe against *address* from the node's network namespace."""
    try:
        async with asyncio.timeout(probe.timeout_seconds):
            if probe.http_get is not None:
                return await _http(probe.http_get, container, address, node_netns)
            if probe.tcp_socket is not None:
                host = probe.tcp_socket.host or address
                port = port_number(probe.tcp_socket.port, container)
                (await _connect(host, port, node_netns)).close()
                return SUCCESS
            if probe.exec is not None:
                status, output = await execute(probe.exec.command, probe.timeout_seconds)
                return SUCCESS if status == 0 else failure(output)
            return failure("this kind of probe is not supported (grpc)")
    except TimeoutError:
        return failure(f"probe timed out after {probe.timeout_seconds}s")
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


async def _connect(host: str, port: int, node_netns: Path) -> socket.socket:
    sock = linux.socket_in(node_netns, socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def _http(
    action: HTTPGetAction, container: Container, address: str, node_netns: Path
) -> Outcome:
    port = port_number(action.port, container)
    host = action.host or address
    if action.scheme == "HTTPS":
        return failure("https probes are not supported; use tcpSocket or exec")
    headers = {"Host": f"{host}:{port}", "User-Agent": "kube-probe/1.32", "Accept": "*/*"}
    headers.update({header.name: header.value for header in action.http_headers})
    lines = [f"GET {action.path or '/'} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    request = "\r\n".join([*lines, "Connection: close", "", ""]).encode()
    loop = asyncio.get_running_loop()
    sock = await _connect(host, port, node_netns)
    try:
        await loop.sock_sendall(sock, request)
        answer = b""
        while b"\r\n" not in answer and len(answer) < _LARGEST_ANSWER:
            chunk = await loop.sock_recv(sock, 4096)
            if not chunk:
                break
            answer += chunk
    finally:
        sock.close()
    words = answer.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return failure(f'Get "http://{host}:{port}{action.path}": malformed HTTP response')
    code = int(words[1])
    if 200 <= code < 400:
        return SUCCESS
    return failure(f"HTTP probe failed with statuscode: {code}")


def _in_go_words(error: Exception, probe: Probe, container: Container, address: str) -> str:
    action = probe.http_get or probe.tcp_socket
    if isinstance(error, ValueError) or action is None:
        return str(error)
    target = f"{action.host or address}:{port_number(action.port, container)}"
    text = (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
    dial = f"dial tcp {target}: connect: {text}"
    if probe.http_get is not None:
        return f'Get "http://{target}{probe.http_get.path}": {dial}'
    return dial
