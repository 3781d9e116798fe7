"""Commands in a container of the engine: how they are started, signalled and waited for."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from podwire.emulator.engine.client import Engine, EngineError
from podwire.emulator.engine.descriptors import Descriptors
from podwire.emulator.runtimes.docker_process import KILLED, Attached, EngineProcess
from podwire.emulator.runtimes.docker_requests import command_body, in_short
from podwire.emulator.runtimes.runtime import ContainerRequest

# Seconds between questions: at most so long after its start or its end is a command's state known.
_STARTING, _ENDING = 0.01, 0.02


async def command(
    engine: Engine, container: str, request: ContainerRequest, descriptors: Descriptors
) -> EngineProcess:
    """Start a command in a running container; raises EngineError."""
    body = command_body(request, stdin=descriptors.stdin >= 0)
    identity = (await engine.post(f"/containers/{container}/exec", body))["Id"]
    connection = await engine.hijack(
        f"/exec/{identity}/start", {"Detach": False, "Tty": request.tty}
    )
    reader, writer = connection
    try:
        while True:
            found = await engine.get(f"/exec/{identity}/json")
            if found["Pid"]:
                break
            if found["ExitCode"] is not None:
                # The connection carries the words instead of what the command would print.
                raise EngineError(400, _words(await reader.read()))
            await asyncio.sleep(_STARTING)
    except BaseException:
        writer.close()
        raise
    kind = OfCommand(engine, identity, writer, terminal=request.tty)
    return EngineProcess(identity, container, kind, Attached(*connection), descriptors)


class OfCommand:
    """A command in a container.

    The engine has no call that signals one. A signal closes the command's streams (on a terminal
    after Ctrl-C and Ctrl-D) and counts as its end here; what neither reads nor writes goes on until
    its container ends.
    """

    def __init__(
        self, engine: Engine, identity: str, writer: asyncio.StreamWriter, *, terminal: bool
    ) -> None:
        self._engine = engine
        self._path = f"/exec/{identity}"
        self._writer = writer
        self._terminal = terminal
        self._signalled: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def status(self, output: asyncio.Task[None]) -> int:
        """Return the exit status, when its streams have ended."""
        either: list[asyncio.Future[None] | asyncio.Future[int]] = [output, self._signalled]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._signalled.done():
            return self._signalled.result()
        while True:
            try:
                found = await self._engine.get(f"{self._path}/json")
            except EngineError:
                # It has gone with its container.
                return KILLED
            if not found["Running"] and found["ExitCode"] is not None:
                return int(found["ExitCode"])
            await asyncio.sleep(_ENDING)

    async def signal(self, number: int) -> None:
        """Close the streams."""
        if self._signalled.done():
            return
        self._signalled.set_result(128 + number)
        with suppress(OSError):
            if self._terminal:
                self._writer.write(b"\x03\x04")
            self._writer.close()

    async def resize(self, columns: int, rows: int) -> None:
        """Set the size of its terminal."""
        await self._engine.post(f"{self._path}/resize", w=columns, h=rows)

    async def watch(self, told: Callable[[bool], None]) -> None:
        """Do nothing: who waits for a command will see that it does not go on."""


def _words(output: bytes) -> str:
    """Return an error that came in frames, or plain."""
    text = output[8:] if output[:1] in (b"\x00", b"\x01", b"\x02") else output
    return in_short(text.decode(errors="replace").strip())
