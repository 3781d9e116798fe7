"""A process behind Docker Engine: its streams, its signals and its end, owned by one task."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

from podwire.emulator.engine.client import Engine, EngineError
from podwire.emulator.engine.descriptors import Descriptors

log = logging.getLogger(__name__)

# Seconds between questions: at most so long after the end of a command is its status known.
_ASK_AGAIN = 0.02
# Seconds to wait for an engine that went away in the middle.
_ENGINE_AWAY = 0.5
# Seconds for what a container wrote last to come through after its end.
_LAST_WORDS = 2.0
_KILLED = 128 + 9


class Kind(Protocol):
    """What containers and the commands in them do differently."""

    async def status(self, output: asyncio.Task[None]) -> int:
        """Return the exit status, when it has ended."""
        ...

    async def signal(self, number: int) -> None:
        """Send a signal; raises EngineError."""
        ...

    async def resize(self, columns: int, rows: int) -> None:
        """Set the size of its terminal; raises EngineError."""
        ...


class EngineProcess:
    """A process that runs in a container. *id* is the container's or the command's."""

    def __init__(
        self,
        identity: str,
        container: str,
        kind: Kind,
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        descriptors: Descriptors,
    ) -> None:
        self.id = identity
        self.container = container
        self._kind = kind
        self._reader, self._writer = connection
        self._descriptors = descriptors
        self._orders: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None

    def live(self, tasks: asyncio.TaskGroup) -> None:
        """Let *tasks* own what goes on until the end."""
        self._task = tasks.create_task(self._live(), name=f"process {self.id[:12]}")
        # Not at the task's own end: one that is cancelled before it begins has none.
        self._task.add_done_callback(lambda _task: self.release())

    def release(self) -> None:
        """Close the connection and our descriptors."""
        self._ended.cancel()
        self._descriptors.close()
        self._writer.close()

    @property
    def running(self) -> bool:
        """Tell whether it has not ended yet."""
        return not self._ended.done()

    async def wait(self) -> int:
        """Return the exit status, or 128 + the signal that ended it; all it wrote is there then."""
        return await asyncio.shield(self._ended)

    def send_signal(self, number: int) -> None:
        """Send a signal; one that is gone gets none."""
        if self.running:
            self._orders.put_nowait(partial(self._kind.signal, number))

    def resize(self, columns: int, rows: int) -> None:
        """Set the size of its terminal."""
        if self.running:
            self._orders.put_nowait(partial(self._kind.resize, columns, rows))

    def close(self) -> None:
        """Give back what the handle holds; a container goes on."""
        # After an order to end it: that must still go out.
        if self._orders.empty() and self._task is not None:
            self._task.cancel()

    async def _live(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            output = tasks.create_task(self._copy_output())
            beside = [tasks.create_task(self._obey()), tasks.create_task(self._copy_input())]
            status = await self._kind.status(output)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS):
                    await asyncio.wait([output])
            for task in (output, *beside):
                task.cancel()
        self._ended.set_result(status)

    async def _copy_output(self) -> None:
        try:
            await self._descriptors.copy_output(self._reader)
        except (OSError, ValueError) as error:
            log.info("output of %s: %s", self.id[:12], error)

    async def _copy_input(self) -> None:
        with suppress(OSError, RuntimeError):
            if self._descriptors.stdin >= 0:
                await self._descriptors.copy_input(self._writer)

    async def _obey(self) -> None:
        while True:
            order = await self._orders.get()
            try:
                await order()
            except EngineError as error:
                # 404 and 409: it is gone, or does not run any more.
                if error.status not in (404, 409):
                    log.warning("%s: %s", self.id[:12], error)


class OfContainer:
    """A container's first process."""

    def __init__(self, engine: Engine, identity: str) -> None:
        self._engine = engine
        self._path = f"/containers/{identity}"

    async def status(self, output: asyncio.Task[None]) -> int:
        """Return the exit status; 137 for a container that was removed."""
        del output
        while True:
            try:
                answer = await self._engine.post(f"{self._path}/wait", condition="not-running")
            except EngineError as error:
                if error.status == 404:
                    return _KILLED
                # The engine restarts: what ran may still run.
                await asyncio.sleep(_ENGINE_AWAY)
            else:
                return int(answer["StatusCode"])

    async def signal(self, number: int) -> None:
        """Send a signal."""
        await self._engine.post(f"{self._path}/kill", signal=number)

    async def resize(self, columns: int, rows: int) -> None:
        """Set the size of its terminal."""
        await self._engine.post(f"{self._path}/resize", w=columns, h=rows)


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
                return _KILLED
            if not found["Running"] and found["ExitCode"] is not None:
                return int(found["ExitCode"])
            await asyncio.sleep(_ASK_AGAIN)

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
