"""Init containers one after the other, and side-cars beside the others."""

import asyncio
from typing import Any

import pytest

from podwire.emulator.runtimes.fake import FakeProcess, pause
from podwire.testing.jumps import JumpingLoop
from tests.unit.emulator.kubelet.conftest import Node
from tests.unit.emulator.kubelet.containers import container, sidecar

LOOPS = {"jumping": JumpingLoop}


async def test_init_containers_run_one_after_the_other(node: Node) -> None:
    async with node() as world:
        await world.pod(
            init=(container("i0", "sleep 5"), container("i1", "sleep 5")),
        )
        await world.until(
            lambda: (
                world.get() is not None
                and world.states() == "running, waiting PodInitializing, waiting PodInitializing"
            )
        )
        assert world.phase() == "Pending"
        await world.until(lambda: world.states() == "exit 0, running, waiting PodInitializing")
        await world.until(lambda: world.ready())
        assert world.states() == "exit 0, exit 0, running"
        found = world.get()
        assert found is not None
        assert [s.ready for s in found.status.init_container_statuses] == [True, True]


@pytest.mark.parametrize(
    ("policy", "phase", "states"),
    [
        ("Never", "Failed", "exit 1, waiting PodInitializing"),
        ("Always", "Pending", "waiting CrashLoopBackOff (2), waiting PodInitializing"),
        ("OnFailure", "Pending", "waiting CrashLoopBackOff (2), waiting PodInitializing"),
    ],
)
async def test_an_init_container_that_fails(
    node: Node, policy: str, phase: str, states: str
) -> None:
    async with node() as world:
        await world.pod(init=(container("i0", "false"),), restartPolicy=policy)
        await world.until(lambda: world.states() == states)
        assert world.phase() == phase


async def test_a_side_car_runs_beside_and_ends_with_the_pods_work(node: Node) -> None:
    order: list[str] = []

    def noted(name: str) -> Any:
        async def program(process: FakeProcess) -> int:
            order.append(f"{name} begins")
            status = await pause(process)
            order.append(f"{name} ends")
            return status

        return program

    async def work(_process: FakeProcess) -> int:
        order.append("work begins")
        await asyncio.sleep(60)
        order.append("work ends")
        return 0

    async with node() as world:
        world.program("one", noted("one"))
        world.program("two", noted("two"))
        world.program("work", work)
        await world.pod(
            "web",
            "work",
            init=(sidecar("s1", "one"), sidecar("s2", "two")),
            restartPolicy="Never",
        )
        await world.until(lambda: world.ready())
        assert world.states() == "running, running, running"
        await world.until(lambda: world.phase() == "Succeeded")
        assert world.states() == "exit 0, exit 0, exit 0"
    assert order == [
        "one begins",
        "two begins",
        "work begins",
        "work ends",
        "two ends",
        "one ends",
    ]


async def test_side_cars_end_after_the_containers_of_a_deleted_pod(node: Node) -> None:
    order: list[str] = []

    def slow(name: str) -> Any:
        async def program(process: FakeProcess) -> int:
            await pause(process)
            await asyncio.sleep(3)
            order.append(name)
            return 0

        return program

    async with node() as world:
        for name in ("one", "two", "main"):
            world.program(name, slow(name))
        await world.pod("web", "main", init=(sidecar("s1", "one"), sidecar("s2", "two")))
        await world.until(lambda: world.ready())
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
    assert order == ["main", "two", "one"]


async def test_a_side_car_that_crashes_is_started_again_and_takes_nothing_back(node: Node) -> None:
    async with node() as world:
        await world.pod(init=(sidecar("s1", "sleep 50"),))
        await world.until(lambda: world.ready())
        await world.until(lambda: "waiting CrashLoopBackOff" in world.states())
        assert world.phase() == "Running"
        found = world.get()
        assert found is not None
        assert {c.type: c.status for c in found.status.conditions}["Initialized"] == "True"
