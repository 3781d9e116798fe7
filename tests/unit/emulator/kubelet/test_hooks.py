"""postStart and preStop: what waits for them, and what becomes of those that fail."""

import asyncio

import pytest

from podwire.emulator.runtimes.fake import FakeProcess, pause
from podwire.testing.jumps import JumpingLoop
from tests.unit.emulator.kubelet.conftest import Node
from tests.unit.emulator.kubelet.containers import container

LOOPS = {"jumping": JumpingLoop}


async def test_pre_stop_comes_before_the_signal_and_within_the_grace(node: Node) -> None:
    order: list[str] = []

    async def main(process: FakeProcess) -> int:
        await pause(process)
        order.append("told to end")
        return 0

    async def drain(_process: FakeProcess) -> int:
        order.append("drains")
        await asyncio.sleep(3)
        return 0

    async with node() as world:
        world.program("main", main)
        world.program("drain", drain)
        lifecycle = {"preStop": {"exec": {"command": ["drain"]}}}
        await world.pod(containers=(container("c0", "main", lifecycle=lifecycle),))
        await world.until(lambda: world.ready())
        began = world.now
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
        assert order == ["drains", "told to end"]
        assert world.now - began == pytest.approx(3, abs=0.5)


@pytest.mark.parametrize(
    ("hook", "main", "seconds"),
    [
        ("sleep 100", "builtin:pause", 10),  # the hook takes all the time; the rest is asked
        ("sleep 100", "sleep 36000", 12),  # two seconds more, as the kubelet gives
        ("sleep 4", "sleep 36000", 10),
    ],
)
async def test_a_pre_stop_that_takes_too_long(
    node: Node, hook: str, main: str, seconds: float
) -> None:
    lifecycle = {"preStop": {"exec": {"command": hook.split()}}}
    async with node() as world:
        await world.pod(
            containers=(container("c0", main, lifecycle=lifecycle),),
            terminationGracePeriodSeconds=10,
        )
        await world.until(lambda: world.ready())
        began = world.now
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
        assert world.now - began == pytest.approx(seconds, abs=0.5)


async def test_a_pre_stop_that_fails_is_an_event_and_nothing_more(node: Node) -> None:
    lifecycle = {"preStop": {"exec": {"command": ["false"]}}}
    async with node() as world:
        await world.pod(containers=(container("c0", "builtin:pause", lifecycle=lifecycle),))
        await world.until(lambda: world.ready())
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
        await world.until(lambda: world.events(reason="FailedPreStopHook"))
        assert "FailedPreStopHook: PreStopHook failed" in world.events()


async def test_until_post_start_is_over_the_container_is_not_running(node: Node) -> None:
    lifecycle = {"postStart": {"exec": {"command": ["sleep", "7"]}}}
    async with node() as world:
        await world.pod(containers=(container("c0", "builtin:pause", lifecycle=lifecycle),))
        await world.until(lambda: world.events(reason="Started"))
        began = world.now
        assert world.states() == "waiting ContainerCreating"
        await world.until(lambda: world.ready())
        assert world.now - began == pytest.approx(7, abs=0.5)


async def test_post_start_may_take_longer_than_an_end(node: Node) -> None:
    async def slow(_process: FakeProcess) -> int:
        await asyncio.sleep(100)
        return 0

    async with node() as world:
        world.program("slow", slow)
        lifecycle = {"postStart": {"exec": {"command": ["slow"]}}}
        await world.pod(
            containers=(container("c0", "builtin:pause", lifecycle=lifecycle),),
            terminationGracePeriodSeconds=1,
        )
        await world.until(lambda: world.ready())
        assert world.events(reason="FailedPostStartHook") == []


@pytest.mark.parametrize(
    ("hook", "second"),
    [
        (["sleep", "7"], 7),
        # A start that fails, whatever of it, is over.
        (["false"], 0),
    ],
)
async def test_the_next_container_starts_when_post_start_is_over(
    node: Node, hook: list[str], second: float
) -> None:
    lifecycle = {"postStart": {"exec": {"command": hook}}}
    async with node() as world:
        began = world.now
        await world.pod(
            containers=(
                container("c0", "builtin:pause", lifecycle=lifecycle),
                container("c1", "builtin:pause"),
            )
        )
        await world.until(lambda: "Started: Started container c1" in world.events())
        assert world.now - began == pytest.approx(second, abs=0.5)


async def test_the_next_container_starts_when_one_with_post_start_cannot(node: Node) -> None:
    lifecycle = {"postStart": {"exec": {"command": ["sleep", "7"]}}}
    async with node() as world:
        await world.pod(
            containers=(
                container("c0", "builtin:pause", lifecycle=lifecycle) | {"image": "nobody/knows"},
                container("c1", "builtin:pause"),
            )
        )
        await world.until(lambda: world.states() == "waiting ImagePullBackOff, running")


async def test_a_pod_ends_while_post_start_holds_its_containers_back(node: Node) -> None:
    lifecycle = {"postStart": {"exec": {"command": ["sleep", "7000"]}}}
    async with node() as world:
        await world.pod(
            containers=(
                container("c0", "builtin:pause", lifecycle=lifecycle),
                container("c1", "builtin:pause"),
            )
        )
        await world.until(lambda: world.events(reason="Started"))
        await world.delete(grace=1)
        await world.until(lambda: world.phase() == "gone")
        assert world.events(reason="Started") == ["Started: Started container c0"]


async def test_a_post_start_that_fails_ends_the_container(node: Node) -> None:
    lifecycle = {"postStart": {"exec": {"command": ["false"]}}}
    async with node() as world:
        await world.pod(containers=(container("c0", "builtin:pause", lifecycle=lifecycle),))
        await world.until(lambda: "CrashLoop" in world.states())
        failed = "FailedPostStartHook: PostStartHook failed x2"
        await world.until(lambda: failed in world.events())
        assert not world.ready()
