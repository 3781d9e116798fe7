"""The copy of the engine's containers: what is lost is asked for again, what is gone stays so."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from podwire.emulator.discovery import watch
from podwire.emulator.discovery.watch import Watch
from podwire.errors import EngineError
from tests.unit.emulator.discovery.conftest import CLUSTER, LIMIT, FakeEngine, Recorded


class Stumbling(FakeEngine):
    """An engine that breaks connections, or answers late, when it is asked for one container."""

    def __init__(self, recorded: Recorded) -> None:
        super().__init__(recorded)
        self.breaks = 0
        self.asked = asyncio.Event()
        self.answers_go = asyncio.Event()
        self.answers_go.set()

    async def get(self, path: str, **query: object) -> Any:
        if path in ("/info", "/networks", "/containers/json"):
            return await super().get(path, **query)
        if self.breaks:
            self.breaks -= 1
            raise EngineError(0, "connection reset")
        found = await super().get(path, **query)
        self.asked.set()
        await self.answers_go.wait()
        return found


class Copy:
    """A watch that runs, and what a test waits for."""

    def __init__(self, engine: FakeEngine) -> None:
        self._changed = asyncio.Event()
        self.watch = Watch(engine, CLUSTER, self._changed.set, survival=0.05)

    def names(self) -> list[str]:
        found = (one.name for one in self.watch.containers.values())
        return sorted(name.removeprefix(f"{CLUSTER}-") for name in found)

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(LIMIT):
            while not holds():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def copied(engine: FakeEngine) -> AsyncGenerator[Copy]:
    copy = Copy(engine)
    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(copy.watch.run())
        await copy.watch.synced.wait()
        yield copy
        running.cancel()


async def test_a_look_that_fails_alone_is_done_again(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LOOK_AGAIN", 0.01)
    engine = Stumbling(recorded)
    async with copied(engine) as copy:
        engine.breaks = 2
        engine.add("web-1")  # and the stream of events goes on
        await copy.until(lambda: copy.names() == ["web-1"])
        assert engine.breaks == 0


async def test_an_answer_from_before_the_end_brings_nothing_back(recorded: Recorded) -> None:
    engine = Stumbling(recorded)
    async with copied(engine) as copy:
        engine.add("web-1")
        await copy.until(lambda: copy.names() == ["web-1"])
        engine.asked.clear()
        engine.answers_go.clear()
        engine.health("web-1", "unhealthy")
        await engine.asked.wait()
        engine.remove("web-1")
        await copy.until(lambda: not copy.names())
        engine.answers_go.set()
        engine.add("web-2")
        await copy.until(lambda: "web-2" in copy.names())
        assert copy.names() == ["web-2"]


async def test_what_goes_while_the_engine_is_away_is_gone(recorded: Recorded) -> None:
    engine = FakeEngine(recorded)
    engine.add("web-1")
    async with copied(engine) as copy:
        engine.kill("web-1")
        await copy.until(lambda: all(one.leaving for one in copy.watch.containers.values()))
        engine.go_away()
        engine.remove("web-1")
        engine.come_back()
        await copy.until(lambda: not copy.names())
