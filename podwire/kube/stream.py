"""Runs a command in a pod, on a node or on `external`: the client's side of exec."""

import os
import selectors
import signal
import sys
import termios
import tty
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, cast

from podwire.errors import ApiError
from podwire.kube import channels
from podwire.kube.plain import Connection, WebSocket

Sink = Callable[[bytes], object]

_MUST_NAME = "a container name must be specified"
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended, and what it wrote."""

    exit_code: int
    stdout: bytes
    stderr: bytes


def pod_path(namespace: str, name: str) -> str:
    """Return the path of exec in a pod."""
    return f"/api/v1/namespaces/{namespace}/pods/{name}/exec"


def host_path(host: str) -> str:
    """Return the path of exec on a node, or on `external`: Podwire's own extension."""
    return f"/apis/podwire.dev/v1/hosts/{host}/exec"


def opened(
    connection: Connection,
    path: str,
    command: Sequence[str],
    *,
    container: str = "",
    stdin: bool = False,
    terminal: bool = False,
) -> WebSocket:
    """Start *command* and return its stream; raises ApiError when it cannot be started.

    Of a pod with several containers that is in its default one, if none is named.
    """
    query = [("command", word) for word in command]
    query += [("stdin", "true")] if stdin else []
    query += [("stdout", "true"), ("tty", "true") if terminal else ("stderr", "true")]
    named = [("container", container)] if container else []
    try:
        return connection.websocket(path, [*query, *named], protocols=[channels.PROTOCOL])
    except ApiError as error:
        if container or error.code != 400 or _MUST_NAME not in error.message:
            raise
    pod = connection.get(path.removesuffix("/exec"))
    query.append(("container", default_container(pod)))
    return connection.websocket(path, query, protocols=[channels.PROTOCOL])


def default_container(pod: Mapping[str, Any]) -> str:
    """Return the container of a pod in which kubectl runs what names none."""
    names = [str(container["name"]) for container in pod["spec"]["containers"]]
    noted = cast("Mapping[str, Any]", pod["metadata"].get("annotations") or {})
    wanted = str(noted.get(_DEFAULT_CONTAINER) or "")
    return wanted if wanted in names else names[0]


def collected(
    socket: WebSocket,
    *,
    given: bytes | None = None,
    stdout: Sink | None = None,
    stderr: Sink | None = None,
) -> Result:
    """Return the command's result when it ends; *given* is its whole input.

    *stdout* and *stderr* see the output as it comes. A command that could not be run has status
    126 or 127, as in a shell. Raises ApiError when the stream breaks off without a status.
    """
    if given is not None:
        for start in range(0, len(given), 1 << 15):
            socket.send(channels.typed(given[start : start + (1 << 15)]))
        socket.send(channels.END_OF_INPUT)
    out, err = bytearray(), bytearray()
    while True:
        for message in socket.receive():
            if message.kind == "close":
                reason = message.data.decode(errors="replace")
                raise ApiError(500, "InternalError", _broken_off(reason))
            channel, data = message.data[0], message.data[1:]
            if channel == channels.STDOUT:
                (stdout or out.extend)(data)
            elif channel == channels.STDERR:
                (stderr or err.extend)(data)
            elif channel == channels.STATUS:
                code, text = channels.exit_status(data)
                return Result(code, bytes(out), bytes(err) + text.encode())


def attached(socket: WebSocket, *, stdin: int | None, terminal: bool) -> int:
    """Join this process's standard streams to the command until it ends; return its exit status.

    With *terminal*, the terminal at *stdin* is raw meanwhile and its size is passed on.
    """
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        selector.register(socket, selectors.EVENT_READ)
        if terminal and stdin is not None:
            stack.enter_context(_raw(stdin))
            socket.send(_size(stdin))
            selector.register(stack.enter_context(_resizes()), selectors.EVENT_READ)
        if stdin is not None:
            try:
                selector.register(stdin, selectors.EVENT_READ)
            except PermissionError:  # epoll refuses files; they never make anyone wait
                _send_file(socket, stdin)
        return _pump(socket, selector, stdin)


def _pump(socket: WebSocket, selector: selectors.BaseSelector, stdin: int | None) -> int:
    outputs = {channels.STDOUT: sys.stdout.buffer, channels.STDERR: sys.stderr.buffer}
    while True:
        ready = [key.fileobj for key, _ in selector.select(0 if socket.pending() else None)]
        for source in ready:
            if source == stdin and stdin is not None:
                data = os.read(stdin, 1 << 15)
                socket.send(channels.typed(data) if data else channels.END_OF_INPUT)
                if not data:
                    selector.unregister(stdin)
            elif isinstance(source, int) and stdin is not None:
                os.read(source, 512)  # the terminal was resized
                socket.send(_size(stdin))
        if socket not in ready and not socket.pending():
            continue
        for message in socket.receive():
            if message.kind == "close":
                reason = message.data.decode(errors="replace")
                raise ApiError(500, "InternalError", _broken_off(reason))
            channel, data = message.data[0], message.data[1:]
            if channel in outputs:
                outputs[channel].write(data)
                outputs[channel].flush()
            elif channel == channels.STATUS:
                code, text = channels.exit_status(data)
                if text:
                    sys.stderr.write(f"podwire: {text}\n")
                return code


def _broken_off(reason: str) -> str:
    because = f": {reason}" if reason else ""
    return f"the stream broke off{because}\n  is the cluster still there? podwire status"


def _send_file(socket: WebSocket, handle: int) -> None:
    while data := os.read(handle, 1 << 15):
        socket.send(channels.typed(data))
    socket.send(channels.END_OF_INPUT)


def _size(handle: int) -> bytes:
    size = os.get_terminal_size(handle)
    return channels.resized(size.columns, size.lines)


@contextmanager
def _raw(handle: int) -> Generator[None, None, None]:
    before = termios.tcgetattr(handle)
    tty.setraw(handle, termios.TCSADRAIN)  # what was typed ahead is for the command
    try:
        yield
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)


@contextmanager
def _resizes() -> Generator[int, None, None]:
    """Yield a descriptor that becomes readable when the terminal is resized."""
    # A handler that sent the size itself could cut into a frame that is being sent.
    read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.signal(signal.SIGWINCH, _nothing)
    woken_before = signal.set_wakeup_fd(write_end)
    try:
        yield read_end
    finally:
        signal.set_wakeup_fd(woken_before)
        signal.signal(signal.SIGWINCH, before)
        os.close(read_end)
        os.close(write_end)


def _nothing(number: int, frame: FrameType | None) -> None:
    """Handle a signal whose arrival alone matters."""
