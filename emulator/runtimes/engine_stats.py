"""Processor time and memory of containers of an engine, from its statistics."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from podwire.emulator.engine.client import Engine, EngineError
from podwire.emulator.runtimes.docker_process import EngineProcess
from podwire.emulator.runtimes.meter import Reading, Used
from podwire.emulator.runtimes.runtime import RunningProcess

Json = dict[str, Any]

# Each question makes the engine read a dozen files: not all at once.
_AT_ONCE = 8


class EngineStats:
    """Measures containers by asking their engine."""

    is_cheap = False

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def read(self, containers: Sequence[RunningProcess | str], *, memory: bool) -> Reading:
        """Measure containers; memory comes with it."""
        del memory
        ids = [_id(container) for container in containers]
        return Reading(tuple(await asyncio.gather(*(self._one(identity) for identity in ids))))

    async def _one(self, identity: str) -> Used | None:
        query: dict[str, object] = {"stream": False, "one-shot": True}
        async with self._room:
            try:
                found = await self._engine.get(f"/containers/{identity}/stats", **query)
            except EngineError:
                return None
        return used(found)


def _id(container: RunningProcess | str) -> str:
    return container if isinstance(container, str) else cast("EngineProcess", container).container


def used(stats: Json) -> Used | None:
    """Read the engine's statistics of a container; None if it does not run."""
    cpu: Json = stats.get("cpu_stats") or {}
    times: Json = cpu.get("cpu_usage") or {}
    time: int = times.get("total_usage") or 0
    memory: Json = stats.get("memory_stats") or {}
    if not time or "usage" not in memory:
        return None
    details: Json = memory.get("stats") or {}
    # What could be dropped at once is no working set. The names are of cgroup v1 and v2.
    idle: int = details.get("total_inactive_file") or details.get("inactive_file") or 0
    return Used(time / 1e9, max(int(memory["usage"]) - int(idle), 0))
