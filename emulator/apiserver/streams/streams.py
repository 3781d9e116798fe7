"""A process and the client that looks at it: input, output, errors, the size of the terminal.

The numbers of the channels are those of v4/v5.channel.k8s.io; over SPDY each has a stream.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from podwire.emulator.apiserver.agent import Session
from podwire.emulator.apiserver.streams import descriptors

Json = dict[str, Any]

STDIN, STDOUT, STDERR, STATUS, RESIZE, END = 0, 1, 2, 3, 4, 255
"""Input, output, errors, the final Status, `{"Width":..,"Height":..}`, "channel n has ended"."""

_LAST_WORDS = 0.5
"""Seconds to wait for the end of the output after the process has ended."""
_FAREWELL = 5.0
"""Seconds that a client has to leave after it was told how its process ended."""


class Client(Protocol):
    """Who asked for a process."""

    async def receive(self) -> tuple[int, bytes] | None:
        """Return a channel and what came on it, or None when the client is gone."""
        ...

    async def send(self, channel: int, content: bytes) -> None:
        """Send, waiting while the client does not read."""
        ...

    async def finish(self, status: Json) -> None:
        """Say how it ended, and that all is said."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which streams a client asked for."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False
    exit_code: bool = True
    """Say how the process ended; who attached is not told (kubelet, remotecommand/attach.go)."""


class _Size(msgspec.Struct):
    Width: int = 0
    Height: int = 0


async def run(client: Client, session: Session, wanted: Wanted) -> None:
    """Relay *session* until its process ends, say how it ended, and close everything."""
    open_ = {fd for fd in (session.stdin, session.stdout, session.stderr) if fd is not None}
    for fd in open_:
        os.set_blocking(fd, False)
    try:
        async with asyncio.TaskGroup() as tasks:
            input_ = tasks.create_task(_input(client, session, open_, wanted))
            taps = [_Tap(session.stdout, STDOUT, shown=wanted.stdout)]
            if session.stderr is not None:
                taps.append(_Tap(session.stderr, STDERR, shown=wanted.stderr))
            outputs = [tasks.create_task(tap.run(client)) for tap in taps]
            ended = tasks.create_task(session.wait())
            # A client that goes away ends the input; nobody waits for the process then.
            await asyncio.wait([ended, input_], return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                await _last_words(taps, outputs, input_)
                await client.finish(_outcome(ended.result() if wanted.exit_code else 0))
                await asyncio.wait([input_], timeout=_FAREWELL)
            for task in (input_, ended, *outputs):
                task.cancel()
    finally:
        for fd in open_:
            os.close(fd)
        session.close()


async def until_gone(client: Client) -> None:
    """Wait until a client that was told everything has left, for a while."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_FAREWELL):
            while await client.receive() is not None:
                pass


async def _input(client: Client, session: Session, open_: set[int], wanted: Wanted) -> None:
    """Carry what the client types to the process; return when the client is gone."""
    stdin = session.stdin if wanted.stdin else None
    while True:
        message = await client.receive()
        if message is None:
            return
        channel, content = message
        if channel == STDIN and stdin is not None:
            try:
                await descriptors.write(stdin, content)
            except (BrokenPipeError, OSError):
                stdin = None  # the process does not read any more: not the client's fault
        elif channel == RESIZE:
            _resize(session, content)
        elif channel == END and content[:1] == bytes([STDIN]) and stdin is not None:
            if stdin != session.stdout and stdin in open_:
                open_.discard(stdin)
                os.close(stdin)
            stdin = None


class _Tap:
    """One output of a process."""

    def __init__(self, fd: int, channel: int, *, shown: bool) -> None:
        self._fd, self._channel, self._shown = fd, channel, shown
        self.moved = 0
        """Bytes that came out so far."""
        self.is_sending = False
        """The client has not taken the last ones yet."""

    async def run(self, client: Client) -> None:
        while content := await descriptors.read(self._fd):
            self.moved += len(content)
            if self._shown:
                self.is_sending = True
                await client.send(self._channel, content)
                self.is_sending = False


async def _last_words(
    taps: Sequence[_Tap], outputs: Sequence[asyncio.Task[None]], leaving: asyncio.Task[None]
) -> None:
    """Wait until a process that has ended has said all, or the client has left.

    What it wrote is still in the pipes, and a client may take its time to read. But a grandchild
    may hold them open for ever, and say nothing.
    """
    open_ = set(outputs)
    while open_ and not leaving.done():
        before = sum(tap.moved for tap in taps)
        done, _ = await asyncio.wait(
            {*open_, leaving}, timeout=_LAST_WORDS, return_when=asyncio.FIRST_COMPLETED
        )
        open_ -= done
        moves = before != sum(tap.moved for tap in taps) or any(tap.is_sending for tap in taps)
        if not done and not moves:
            return


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
