"""What an engine says that a container uses."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from podwire.emulator.engine.client import Engine
from podwire.emulator.runtimes.engine_stats import EngineStats, used
from podwire.emulator.runtimes.meter import Used
from tests.unit.emulator.engine.fake_engine import FakeEngine

Json = dict[str, Any]

V1 = {
    "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}},
    "memory_stats": {"usage": 5000, "stats": {"total_inactive_file": 1000, "inactive_file": 7}},
}
V2 = {
    "cpu_stats": {"cpu_usage": {"total_usage": 1_000}},
    "memory_stats": {"usage": 5000, "stats": {"inactive_file": 500}},
}


@pytest.mark.parametrize(
    ("stats", "expected"),
    [
        (V1, Used(2.5, 4000)),
        (V2, Used(1e-6, 4500)),
        ({"cpu_stats": {"cpu_usage": {"total_usage": 0}}, "memory_stats": {}}, None),
        ({}, None),
    ],
)
def test_the_engines_statistics(stats: Json, expected: Used | None) -> None:
    assert used(stats) == expected


async def test_containers_are_measured_one_by_one(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as tasks:
        fake = FakeEngine(tasks)
        async with fake.serving(tmp_path / "sock") as path, Engine.connect(path) as engine:
            made = await engine.post("/containers/create", {"Cmd": ["sleep", "60"]}, name="a")
            fake.statistics[made["Id"]] = V2
            reading = await EngineStats(engine).read([made["Id"], "gone"], memory=True)
            assert reading.containers == (Used(1e-6, 4500), None)
            assert reading.rest is None
