"""Commands in containers of the engine, and what is left to do when their client has gone."""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podwire.emulator.apiserver.agent import AgentError
from podwire.emulator.compose.sessions import EngineSession
from podwire.emulator.engine.client import Engine, EngineError
from podwire.emulator.runtimes.docker_requests import DETACH_KEYS

log = logging.getLogger(__name__)

Json = dict[str, Any]

# Set in every process that we start for a client: how it is found when the client leaves. The
# engine's API ends no such process, and tells its number on the host only.
_MARK = "PODWIRE_SESSION"
_KILL = "for d in /proc/[0-9]*; do grep -qs {mark} $d/environ && kill -9 ${{d#/proc/}}; done"
# Seconds between looks at a command that is about to start.
_LOOK = 0.005


@dataclass(frozen=True, slots=True)
class _Errand:
    """A request to the engine whose answer nobody waits for."""

    path: str
    query: Mapping[str, int]
    body: Json | None = None
    then: Callable[[Json], "_Errand"] | None = None


class Commands:
    """Starts commands and joins first processes; `run` does what their sessions leave behind."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._errands: asyncio.Queue[_Errand] = asyncio.Queue()

    async def run(self) -> None:
        """Do errands until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                tasks.create_task(self._do(await self._errands.get()))

    async def execute(
        self, container: str, command: Sequence[str], *, stdin: bool, stderr: bool, tty: bool
    ) -> EngineSession:
        """Start *command* in *container*; raises AgentError."""
        mark = f"{_MARK}={os.urandom(8).hex()}"
        wanted: Json = {
            "Cmd": list(command),
            "AttachStdin": stdin,
            "AttachStdout": True,
            "AttachStderr": stderr,
            "Tty": tty,
            "Env": [mark, *(["TERM=xterm"] if tty else [])],
            "DetachKeys": DETACH_KEYS,
        }
        try:
            made = await self._engine.post(f"/containers/{container}/exec", wanted)
            path = f"/exec/{made['Id']}"
            connection = await self._engine.hijack(f"{path}/start", {"Detach": False, "Tty": tty})
            await self._started(path, connection)
        except EngineError as error:
            raise failed("executing command", error) from error
        return EngineSession(
            self._engine,
            path,
            connection,
            stdin=stdin,
            stderr=stderr,
            tty=tty,
            framed=not tty,
            later=self._later,
            left=lambda: self._kill(container, mark),
        )

    async def join(self, container: str, *, stdin: bool, tty: bool) -> EngineSession:
        """Join the first process of *container*, which goes on afterwards; raises AgentError."""
        try:
            terminal = bool(
                (await self._engine.get(f"/containers/{container}/json"))["Config"]["Tty"]
            )
            connection = await self._engine.hijack(
                f"/containers/{container}/attach",
                stream=True,
                stdin=stdin,
                stdout=True,
                stderr=True,
                detachKeys=DETACH_KEYS,
            )
        except EngineError as error:
            raise failed("attaching", error) from error
        return EngineSession(
            self._engine,
            f"/containers/{container}",
            connection,
            stdin=stdin,
            stderr=not tty,
            tty=tty,
            framed=not terminal,
            later=self._later,
        )

    async def _started(
        self, path: str, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    ) -> None:
        """Wait until a command runs, or has run; raises EngineError if it cannot be started."""
        reader, writer = connection
        try:
            while True:
                found = await self._engine.get(f"{path}/json")
                if found["Pid"]:
                    return
                if found["ExitCode"] is not None:
                    # The connection carries the engine's words then, in a frame or without.
                    text = (await reader.read()).partition(b"OCI runtime exec failed: ")[2]
                    raise EngineError(400, text.decode(errors="replace").strip() or "it ended")
                await asyncio.sleep(_LOOK)
        except BaseException:
            writer.close()
            raise

    def _later(self, path: str, query: Mapping[str, int]) -> None:
        self._errands.put_nowait(_Errand(path, query))

    def _kill(self, container: str, mark: str) -> None:
        script = _KILL.format(mark=mark)
        wanted = {"Cmd": ["sh", "-c", script], "AttachStdout": False, "AttachStderr": False}

        def start(made: Json) -> _Errand:
            return _Errand(f"/exec/{made['Id']}/start", {}, {"Detach": True})

        self._errands.put_nowait(_Errand(f"/containers/{container}/exec", {}, wanted, start))

    async def _do(self, errand: _Errand) -> None:
        try:
            answer = await self._engine.post(errand.path, errand.body, **errand.query)
        except EngineError as error:
            # The container is gone, or has no shell: nothing that anybody waits for.
            log.debug("%s: %s", errand.path, error)
            return
        if errand.then is not None:
            await self._do(errand.then(answer))


def failed(what: str, error: EngineError) -> AgentError:
    """Return how the API server says that the engine refused."""
    return AgentError(500, "InternalError", f"error {what}: {error}")
