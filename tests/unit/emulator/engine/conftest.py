"""An engine that pretends, with a client of it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from podwire.emulator.engine.client import Engine
from tests.unit.emulator.engine.fake_engine import FakeEngine

Engines = Callable[[], AbstractAsyncContextManager[tuple[FakeEngine, Engine]]]


@pytest.fixture
def engines(tmp_path: Path) -> Engines:
    """A function that starts an engine, for `async with`: what it holds, and a client of it."""
    return lambda: _engine(tmp_path / "docker.sock")


@asynccontextmanager
async def _engine(socket: Path) -> AsyncGenerator[tuple[FakeEngine, Engine]]:
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        fake = FakeEngine(tasks)
        async with fake.serving(socket) as path, Engine.connect(path) as engine:
            yield fake, engine
