"""Processes and captures over a WebSocket: v5/v4.channel.k8s.io, without knowing its library.

A binary frame is a channel number and bytes: 0 input, 1 output, 2 errors, 3 the final Status, 4
the size of the terminal; v5 adds 255 and a number, "this channel has ended".
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from podwire.emulator.apiserver import descriptors
from podwire.emulator.apiserver.agent import Instruction, Session

Json = dict[str, Any]

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
"""What is spoken, best first."""

_STDIN, _STDOUT, _STDERR, _STATUS, _RESIZE, _END = 0, 1, 2, 3, 4, 255
_PIECE = 64 * 1024


class Socket(Protocol):
    """One WebSocket."""

    async def receive(self) -> bytes | str | None:
        """Return the next message, or None when the other side is gone."""
        ...

    async def send(self, message: bytes | str) -> None:
        """Send one message, waiting while the other side does not read."""
        ...

    async def close(self) -> None:
        """Say that all is well and done (1000)."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which streams a client asked for."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False


class _Size(msgspec.Struct):
    Width: int = 0
    Height: int = 0


class CaptureStart(msgspec.Struct):
    """The first text frame of a capture."""

    filter: list[Instruction] = []


async def run(socket: Socket, session: Session, wanted: Wanted) -> None:
    """Relay *session* until its process ends, say how it ended, and close everything."""
    open_ = {fd for fd in (session.stdin, session.stdout, session.stderr) if fd is not None}
    for fd in open_:
        os.set_blocking(fd, False)
    try:
        async with asyncio.TaskGroup() as tasks:
            input_ = tasks.create_task(_input(socket, session, open_, wanted))
            outputs = [
                tasks.create_task(_output(socket, session.stdout, _STDOUT, show=wanted.stdout))
            ]
            if session.stderr is not None:
                outputs.append(
                    tasks.create_task(_output(socket, session.stderr, _STDERR, show=wanted.stderr))
                )
            ended = tasks.create_task(session.wait())
            # A client that goes away ends the input; nobody waits for the process then.
            await asyncio.wait([ended, input_], return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                # The last words are still in the pipes. A grandchild may hold them open for ever.
                await asyncio.wait(outputs, timeout=_LAST_WORDS)
                await socket.send(bytes([_STATUS]) + msgspec.json.encode(_outcome(ended.result())))
                await socket.close()
            for task in (input_, ended, *outputs):
                task.cancel()
    finally:
        for fd in open_:
            os.close(fd)
        session.close()


_LAST_WORDS = 0.5
"""Seconds to wait for the end of the output after the process has ended."""


async def refuse(socket: Socket, status: Json) -> None:
    """Tell a client that is connected already why its process could not be started."""
    await socket.send(bytes([_STATUS]) + msgspec.json.encode(status))
    await socket.close()


async def relay_capture(
    socket: Socket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Send pcapng to the client until it says stop or goes away."""
    try:
        async with asyncio.TaskGroup() as tasks:
            packets = tasks.create_task(_send_all(socket, reader))
            words = tasks.create_task(_until_stop(socket))
            await asyncio.wait([packets, words], return_when=asyncio.FIRST_COMPLETED)
            if words.done() and words.result() and not packets.done():
                writer.write_eof()
                await packets
            if packets.done():
                await socket.close()
            packets.cancel()
            words.cancel()
    finally:
        writer.close()


async def read_start(socket: Socket) -> CaptureStart | None:
    """Return the first text frame of a capture; None if the client left or sent nonsense."""
    message = await socket.receive()
    if not isinstance(message, str):
        return None
    try:
        return msgspec.json.decode(message or "{}", type=CaptureStart)
    except msgspec.DecodeError:
        return None


async def _input(socket: Socket, session: Session, open_: set[int], wanted: Wanted) -> None:
    """Carry the client's frames to the process; return when the client is gone."""
    stdin = session.stdin if wanted.stdin else None
    while True:
        message = await socket.receive()
        if message is None:
            return
        if not isinstance(message, bytes) or not message:
            continue
        channel, content = message[0], message[1:]
        if channel == _STDIN and stdin is not None:
            try:
                await descriptors.write(stdin, content)
            except (BrokenPipeError, OSError):
                stdin = None  # the process does not read any more: not the client's fault
        elif channel == _RESIZE:
            _resize(session, content)
        elif channel == _END and content[:1] == bytes([_STDIN]) and stdin is not None:
            if stdin != session.stdout and stdin in open_:
                open_.discard(stdin)
                os.close(stdin)
            stdin = None


async def _output(socket: Socket, fd: int, channel: int, *, show: bool) -> None:
    prefix = bytes([channel])
    while content := await descriptors.read(fd):
        if show:
            await socket.send(prefix + content)


def _resize(session: Session, content: bytes) -> None:
    try:
        size = msgspec.json.decode(content, type=_Size)
    except msgspec.DecodeError:
        return
    if 0 < size.Width < 65536 and 0 < size.Height < 65536:
        session.resize(size.Width, size.Height)


def _outcome(code: int) -> Json:
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


async def _send_all(socket: Socket, reader: asyncio.StreamReader) -> None:
    while content := await reader.read(_PIECE):
        await socket.send(content)


async def _until_stop(socket: Socket) -> bool:
    """Return True when the client says stop, False when it is gone."""
    while True:
        message = await socket.receive()
        if message is None:
            return False
        if message == "stop":
            return True


def json_text(value: Json) -> str:
    """Return *value* as a text frame."""
    return msgspec.json.encode(value).decode()


def as_filter(start: CaptureStart) -> Sequence[Instruction]:
    """Return the BPF program that the first frame carries; empty means everything."""
    return tuple(start.filter)
