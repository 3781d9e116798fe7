"""How pods end: asked, killed after their grace, and gone; a namesake may follow at once."""

import asyncio
from typing import Any

import pytest

from podwire.emulator.runtimes.runtime import RuntimeFailure
from podwire.kube.names import Key
from podwire.testing.jumps import JumpingLoop
from tests.unit.emulator.kubelet.conftest import Node
from tests.unit.emulator.kubelet.containers import container, exec_probe, killings, settle

LOOPS = {"jumping": JumpingLoop}


async def test_deletion_asks_first(node: Node) -> None:
    async with node() as world:
        await world.pod()
        await world.until(lambda: world.ready())
        began = world.now
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
        assert world.now - began < 1
        assert killings(world) == ["Killing: Stopping container c0"]
        last = [pod for pod in world.history if pod is not None][-1]
        assert last.status.phase == "Succeeded"
        assert last.status.container_statuses[0].state.terminated is not None
        await settle()
        assert world.runtime.sandboxes == {}
        assert world.kubelet.lives() == ()


@pytest.mark.parametrize("probes", [{}, {"livenessProbe": exec_probe("true", periodSeconds=60)}])
@pytest.mark.parametrize(("own", "asked", "seconds"), [(30, None, 30), (5, None, 5), (30, 2, 2)])
async def test_what_does_not_listen_is_killed_after_its_grace(
    node: Node, own: int, asked: int | None, seconds: float, probes: dict[str, Any]
) -> None:
    async with node() as world:
        deaf = container("c0", "sleep 36000", **probes)
        await world.pod(containers=(deaf,), terminationGracePeriodSeconds=own)
        await world.until(lambda: world.ready())
        began = world.now
        await world.delete(grace=asked)
        await world.until(lambda: world.phase() == "gone")
        assert world.now - began == pytest.approx(seconds, abs=0.5)
        last = [pod for pod in world.history if pod is not None][-1]
        terminated = last.status.container_statuses[0].state.terminated
        assert terminated is not None
        assert (terminated.exit_code, last.status.phase) == (137, "Failed")


@pytest.mark.parametrize(("own", "asked"), [(30, 0), (0, None)])
async def test_without_grace_the_pod_is_forgotten_at_once_and_killed(
    node: Node, own: int, asked: int | None
) -> None:
    async with node() as world:
        await world.pod("web", "sleep 36000", terminationGracePeriodSeconds=own)
        await world.until(lambda: world.ready())
        began = world.now
        await world.delete(grace=asked)
        await world.until(lambda: world.phase() == "gone")
        await settle()
        assert world.runtime.sandboxes == {}
        assert world.now - began < 1


@pytest.mark.parametrize("shorter", [0, 3])
async def test_a_second_deletion_may_shorten_the_first(node: Node, shorter: int) -> None:
    async with node() as world:
        await world.pod("web", "sleep 36000", terminationGracePeriodSeconds=600)
        await world.until(lambda: world.ready())
        await world.delete()
        await asyncio.sleep(100)
        began = world.now
        await world.delete(grace=shorter)
        await world.until(lambda: world.phase() == "gone")
        await settle()
        assert world.now - began == pytest.approx(shorter, abs=0.5)
        assert world.runtime.sandboxes == {}


async def test_a_pod_may_be_deleted_while_it_is_made(node: Node) -> None:
    async with node() as world:
        world.runtime.gate.clear()
        await world.pod()
        await world.until(lambda: world.phase() == "Pending" and world.kubelet.lives())
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
        world.runtime.gate.set()
        await settle()
        assert world.runtime.sandboxes == {}
        assert world.runtime.requests == []
        assert world.kubelet.lives() == ()


async def test_a_pod_may_be_deleted_while_its_container_starts(node: Node) -> None:
    async with node() as world:
        await world.pod("first")
        await world.until(lambda: world.ready("first"))
        env = [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "x"}}}]
        await world.pod("web", containers=(container("c0", "builtin:pause", env=env),))
        await world.until(lambda: world.states() == "waiting CreateContainerConfigError")
        world.runtime.gate.clear()
        await world.config_map("late", x="1")
        await settle()
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
        world.runtime.gate.set()
        await settle()
        assert len(world.runtime.requests) == 1
        assert len(world.runtime.sandboxes) == 1


@pytest.mark.parametrize("command", ["false", "no-such"])
async def test_a_pod_may_be_deleted_while_it_waits_to_start_again(node: Node, command: str) -> None:
    async with node() as world:
        await world.pod("web", command)
        await world.until(lambda: "waiting" in world.states())
        await asyncio.sleep(500)
        began = world.now
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
        assert world.now - began < 1
        await settle()
        assert world.runtime.sandboxes == {}


async def test_a_pod_may_be_deleted_in_its_init_containers(node: Node) -> None:
    async with node() as world:
        await world.pod(init=(container("i0", "builtin:pause"),))
        await world.until(lambda: world.states().startswith("running"))
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
        # The init container ended well, but nothing follows it.
        assert [request.name for request in world.runtime.requests] == ["i0"]


async def test_a_pods_address_is_free_for_the_next_one(node: Node) -> None:
    async with node() as world:
        await world.pod("a")
        await world.pod("b")
        await world.until(lambda: world.ready("a") and world.ready("b"))
        assert {world.address("a"), world.address("b")} == {"10.244.1.2", "10.244.1.3"}
        freed = world.address("a")
        await world.delete("a")
        await world.until(lambda: world.phase("a") == "gone")
        await world.pod("c")
        await world.until(lambda: world.ready("c"))
        assert world.address("c") == freed


async def test_a_pod_of_the_same_name_may_follow_at_once(node: Node) -> None:
    async with node() as world:
        await world.pod("web", "sleep 36000")
        await world.until(lambda: world.ready())
        await world.delete(grace=0)
        await world.pod("web", "builtin:pause")
        await world.until(lambda: world.ready())
        await settle()
        assert len(world.runtime.sandboxes) == 1
        life = world.kubelet.life(Key("default", "web"))
        found = world.get()
        assert life is not None
        assert found is not None
        assert life.pod.metadata.uid == found.metadata.uid


async def test_a_pod_that_cannot_be_removed_stays_until_it_can(node: Node) -> None:
    async with node() as world:
        await world.pod()
        await world.until(lambda: world.ready())
        for _ in range(3):
            world.runtime.refusals_to_remove.append(RuntimeFailure("FailedKillPod", "busy"))
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
        killed = ["FailedKillPod: error killing pod: busy x3"]
        await world.until(lambda: world.events(reason="FailedKillPod") == killed)
        assert world.runtime.sandboxes == {}


async def test_a_pod_may_be_deleted_while_what_is_over_is_removed(node: Node) -> None:
    async with node() as world:
        for _ in range(20):
            world.runtime.refusals_to_remove.append(RuntimeFailure("FailedKillPod", "busy"))
        await world.pod("web", "true", restartPolicy="Never")
        await world.until(lambda: world.phase() == "Succeeded")
        await world.until(lambda: world.events(reason="FailedKillPod"))
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
        await asyncio.sleep(200)
        assert world.runtime.sandboxes == {}
