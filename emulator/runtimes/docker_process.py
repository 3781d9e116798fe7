"""A process behind Docker Engine: its streams, its signals and its end, owned by one task."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

from podwire.emulator.engine.client import Engine, EngineError
from podwire.emulator.engine.descriptors import Descriptors
from podwire.emulator.engine.streams import demultiplexed, pieces, stamped

log = logging.getLogger(__name__)

# Seconds to wait for an engine that went away in the middle.
ENGINE_AWAY = 0.5
# The status of what is gone.
KILLED = 128 + 9
# Seconds for what a container wrote last to come through after its end.
_LAST_WORDS = 2.0


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

    async def watch(self, told: Callable[[bool], None]) -> None:
        """Tell whether it is paused, now and whenever that changes."""
        ...


class Connection(Protocol):
    """Where its output comes from, and its input goes to."""

    async def copy_output(self, descriptors: Descriptors) -> None:
        """Write what it writes, until its end."""
        ...

    async def copy_input(self, descriptors: Descriptors) -> None:
        """Let it read what is typed."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class EngineProcess:
    """A process that runs in a container. *id* is the container's or the command's.

    *began* and *ended* are seconds since 1970 of one that was found, 0: not known.
    """

    def __init__(
        self,
        identity: str,
        container: str,
        kind: Kind,
        connection: Connection,
        descriptors: Descriptors,
        *,
        began: float = 0.0,
        ended: float = 0.0,
    ) -> None:
        self.id = identity
        self.container = container
        self.began = began
        self.ended = ended
        self._kind = kind
        self._connection = connection
        self._descriptors = descriptors
        self._orders: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self._paused = False
        self._told: Callable[[bool], None] | None = None

    def live(self, tasks: asyncio.TaskGroup) -> None:
        """Let *tasks* own what goes on until the end."""
        self._task = tasks.create_task(self._live(), name=f"process {self.id[:12]}")
        # Not at the task's own end: one that is cancelled before it begins has none.
        self._task.add_done_callback(lambda _task: self.release())

    def release(self) -> None:
        """Close the connection and our descriptors."""
        self._ended.cancel()
        self._descriptors.close()
        self._connection.close()

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

    def when_paused(self, told: Callable[[bool], None]) -> None:
        """Call *told* with True when somebody pauses it, and with False when it goes on."""
        self._told = told
        if self._paused:
            told(True)

    def close(self) -> None:
        """Give back what the handle holds; a container goes on."""
        self._told = None
        # After an order to end it: that must still go out.
        if self._orders.empty() and self._task is not None:
            self._task.cancel()

    async def _live(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            output = tasks.create_task(self._copy_output())
            beside = [
                tasks.create_task(work)
                for work in (self._obey(), self._copy_input(), self._kind.watch(self._noticed))
            ]
            status = await self._kind.status(output)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS):
                    await asyncio.wait([output])
            for task in (output, *beside):
                task.cancel()
        self._ended.set_result(status)

    def _noticed(self, paused: bool) -> None:  # noqa: FBT001 - a callback's only argument
        if paused != self._paused:
            self._paused = paused
            if self._told is not None:
                self._told(paused)

    async def _copy_output(self) -> None:
        try:
            await self._connection.copy_output(self._descriptors)
        except (OSError, ValueError, EngineError) as error:
            log.info("output of %s: %s", self.id[:12], error)

    async def _copy_input(self) -> None:
        with suppress(OSError, RuntimeError):
            if self._descriptors.stdin >= 0:
                await self._connection.copy_input(self._descriptors)

    async def _obey(self) -> None:
        while True:
            order = await self._orders.get()
            try:
                await order()
            except EngineError as error:
                # 404 and 409: it is gone, or does not run any more.
                if error.status not in (404, 409):
                    log.warning("%s: %s", self.id[:12], error)


class Attached:
    """The raw connection of a process that is attached to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def copy_output(self, descriptors: Descriptors) -> None:
        """Write what comes, until the engine closes it."""
        parts = demultiplexed(pieces(self._reader), tty=descriptors.terminal)
        await descriptors.copy_output(parts)

    async def copy_input(self, descriptors: Descriptors) -> None:
        """Send what is typed."""
        await descriptors.copy_input(self._writer)

    def close(self) -> None:
        """Close it."""
        self._writer.close()


class Logged:
    """The engine's log of a container, from its beginning to its end.

    *stamped*: as lines that tell when they were written (Streams).
    """

    def __init__(self, engine: Engine, container: str, *, stamped: bool) -> None:
        self._engine = engine
        self._path = f"/containers/{container}/logs"
        self._stamped = stamped

    async def copy_output(self, descriptors: Descriptors) -> None:
        """Write what is in the log, and what is added."""
        chunks = self._engine.chunks(
            self._path, follow=True, stdout=True, stderr=True, timestamps=self._stamped
        )
        if self._stamped:
            await descriptors.copy_output(stamped(chunks))
        else:
            await descriptors.copy_output(demultiplexed(chunks, tty=descriptors.terminal))

    async def copy_input(self, descriptors: Descriptors) -> None:
        """Do nothing: the input of what runs stays where it was."""

    def close(self) -> None:
        """Do nothing: it ends with its reader."""


class OfContainer:
    """A container's first process."""

    def __init__(self, engine: Engine, identity: str) -> None:
        self._engine = engine
        self._id = identity
        self._path = f"/containers/{identity}"

    async def status(self, output: asyncio.Task[None]) -> int:
        """Return the exit status; 137 for a container that was removed."""
        del output
        return await exit_status(self._engine, self._id)

    async def signal(self, number: int) -> None:
        """Send a signal."""
        await self._engine.post(f"{self._path}/kill", signal=number)

    async def resize(self, columns: int, rows: int) -> None:
        """Set the size of its terminal."""
        await self._engine.post(f"{self._path}/resize", w=columns, h=rows)

    async def watch(self, told: Callable[[bool], None]) -> None:
        """Tell whether it is paused, now and whenever that changes."""
        wanted = {"type": ["container"], "event": ["pause", "unpause"], "container": [self._id]}
        while True:
            # What happens between the two questions is told twice rather than not at all.
            since = f"{time.time():.6f}"
            with suppress(EngineError):
                found = await self._engine.get(f"{self._path}/json")
                told(bool(found["State"].get("Paused")))
                async for event in self._engine.lines("/events", since=since, filters=wanted):
                    told(event.get("Action") == "pause")
            await asyncio.sleep(ENGINE_AWAY)


async def exit_status(engine: Engine, container: str) -> int:
    """Return the exit status of a container when it does not run; 137 if it is gone."""
    while True:
        try:
            answer = await engine.post(f"/containers/{container}/wait", condition="not-running")
        except EngineError as error:
            if error.status == 404:
                return KILLED
            # The engine restarts: what ran may still run.
            await asyncio.sleep(ENGINE_AWAY)
        else:
            return int(answer["StatusCode"])
