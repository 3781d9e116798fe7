"""Probes and readiness in the lives of pods: what they restart, and who is told."""

import asyncio
import signal

import pytest

from podwire.emulator.runtimes.fake import FakeProcess, pause
from podwire.kube.names import Key
from podwire.kube.objects import Node as NodeObject
from podwire.kube.objects import Pod
from podwire.testing.jumps import JumpingLoop
from tests.unit.emulator.kubelet.conftest import Node, World
from tests.unit.emulator.kubelet.containers import container, exec_probe, killings, settle

LOOPS = {"jumping": JumpingLoop}


class Health:
    """A program `health` whose answer the test sets; counts how often it was asked."""

    def __init__(self, world: World, *, healthy: bool) -> None:
        self.healthy = healthy
        self.asked: list[float] = []
        self._world = world
        world.program("health", self._answer)

    async def _answer(self, process: FakeProcess) -> int:
        self.asked.append(self._world.now)
        process.print("sick\n" if not self.healthy else "")
        return 0 if self.healthy else 1


async def test_readiness_follows_the_probe(node: Node) -> None:
    probe = exec_probe("health", periodSeconds=10, failureThreshold=3)
    async with node() as world:
        health = Health(world, healthy=False)
        await world.pod(containers=(container("c0", "builtin:pause", readinessProbe=probe),))
        await world.until(lambda: world.phase() == "Running")
        assert not world.ready()
        await world.until(lambda: world.events(reason="Unhealthy"))
        assert world.events(reason="Unhealthy")[0].startswith(
            "Unhealthy: Readiness probe failed: sick\n"
        )
        health.healthy = True
        await world.until(lambda: world.ready())
        began = world.now
        health.healthy = False
        await world.until(lambda: not world.ready())
        assert 20 <= world.now - began <= 30.5
        assert world.states() == "running"
        health.healthy = True
        await world.until(lambda: world.ready())


async def test_a_pod_that_is_ending_is_as_ready_as_its_probe_says(node: Node) -> None:
    # Its endpoint is `serving` for as long: open UDP flows stay with it until it says no.
    probe = exec_probe("health", periodSeconds=1, failureThreshold=2)
    lifecycle = {"preStop": {"exec": {"command": ["sleep", "20"]}}}
    async with node() as world:
        health = Health(world, healthy=True)
        await world.pod(
            containers=(
                container("c0", "builtin:pause", readinessProbe=probe, lifecycle=lifecycle),
            )
        )
        await world.until(lambda: world.ready())
        await world.delete()
        await asyncio.sleep(5)
        assert world.ready()
        health.healthy = False
        await world.until(lambda: not world.ready())
        assert world.phase() == "Running"
        health.healthy = True
        await world.until(lambda: world.ready())


async def test_a_fresh_container_is_asked_at_once_and_without_a_fuss(node: Node) -> None:
    probe = exec_probe("health", periodSeconds=10)
    async with node() as world:
        health = Health(world, healthy=False)
        await world.pod(containers=(container("c0", "builtin:pause", readinessProbe=probe),))
        await world.until(lambda: world.phase() == "Running")
        await asyncio.sleep(0.2)
        assert len(health.asked) >= 4
        health.healthy = True
        began = world.now
        await world.until(lambda: world.ready())
        assert world.now - began < 0.5
        assert world.events(reason="Unhealthy") == []


async def test_a_failing_liveness_probe_restarts_the_container(node: Node) -> None:
    probe = exec_probe("health", periodSeconds=10, failureThreshold=3)
    async with node() as world:
        health = Health(world, healthy=True)
        await world.pod(containers=(container("c0", "builtin:pause", livenessProbe=probe),))
        await world.until(lambda: world.ready())
        await asyncio.sleep(35)
        began = world.now
        health.healthy = False
        await world.until(lambda: world.states() == "running (1)")
        assert 20 <= world.now - began <= 30.5
        health.healthy = True
        assert killings(world) == ["Killing: Container c0 failed liveness probe, will be restarted"]


async def test_a_liveness_probe_kills_what_does_not_listen_after_its_own_grace(
    node: Node,
) -> None:
    probe = exec_probe(
        "health", periodSeconds=1, failureThreshold=1, terminationGracePeriodSeconds=5
    )
    async with node() as world:
        Health(world, healthy=False)
        await world.pod(containers=(container("c0", "sleep 36000", livenessProbe=probe),))
        await world.until(lambda: killings(world))
        began = world.now
        await world.until(lambda: world.states() == "running (1)")
        assert world.now - began == pytest.approx(5, abs=1.1)
        found = world.get()
        assert found is not None
        last = found.status.container_statuses[0].last_state.terminated
        assert last is not None
        assert last.exit_code == 128 + signal.SIGKILL


async def test_the_other_probes_wait_for_the_startup_probe(node: Node) -> None:
    startup = exec_probe("starting", periodSeconds=10, failureThreshold=30)
    async with node() as world:
        health, starting = Health(world, healthy=True), {"done": False}

        async def answer(_process: FakeProcess) -> int:
            return 0 if starting["done"] else 1

        world.program("starting", answer)
        fields = {"startupProbe": startup, "livenessProbe": exec_probe("health")}
        await world.pod(containers=(container("c0", "builtin:pause", **fields),))
        await world.until(lambda: world.phase() == "Running")
        await asyncio.sleep(100)
        assert health.asked == []
        assert not world.ready()
        starting["done"] = True
        await world.until(lambda: world.ready())
        await asyncio.sleep(11)
        assert health.asked


async def test_a_startup_probe_that_never_succeeds_restarts_the_container(node: Node) -> None:
    startup = exec_probe("false", periodSeconds=10, failureThreshold=3)
    async with node() as world:
        await world.pod(containers=(container("c0", "builtin:pause", startupProbe=startup),))
        await world.until(lambda: world.phase() == "Running")
        began = world.now
        await world.until(lambda: world.states() == "running (1)")
        assert 20 <= world.now - began <= 31
        assert killings(world) == ["Killing: Container c0 failed startup probe, will be restarted"]


async def test_a_probe_that_takes_too_long_is_killed(node: Node) -> None:
    probe = exec_probe("sleep 100", periodSeconds=10, timeoutSeconds=2)
    async with node() as world:
        await world.pod(containers=(container("c0", "builtin:pause", readinessProbe=probe),))
        await world.until(lambda: world.events(reason="Unhealthy"))
        assert 'failed: command timed out: "sleep 100" timed out after 2s' in world.events()[-1]
        life = world.kubelet.life(Key("default", "web"))
        run = life.container("") if life else None
        assert run is not None
        assert isinstance(run.process, FakeProcess)
        await asyncio.sleep(1)
        assert not any(other.running for other in run.process.others)


async def test_liveness_leaves_a_pod_in_peace_that_is_ending(node: Node) -> None:
    probe = exec_probe("health", periodSeconds=1, failureThreshold=1)
    lifecycle = {"preStop": {"exec": {"command": ["sleep", "20"]}}}
    async with node() as world:
        health = Health(world, healthy=True)
        await world.pod(
            containers=(container("c0", "builtin:pause", livenessProbe=probe, lifecycle=lifecycle),)
        )
        await world.until(lambda: world.ready())
        await world.delete()
        await asyncio.sleep(1)
        health.healthy = False
        began = world.now
        await world.until(lambda: world.phase() == "gone")
        assert world.now - began == pytest.approx(19, abs=1)
        assert killings(world) == ["Killing: Stopping container c0"]


async def test_a_startup_probe_leaves_a_pod_in_peace_that_is_ending(node: Node) -> None:
    startup = exec_probe("false", periodSeconds=2, failureThreshold=3)
    lifecycle = {"preStop": {"exec": {"command": ["sleep", "20"]}}}
    async with node() as world:
        await world.pod(
            containers=(
                container("c0", "builtin:pause", startupProbe=startup, lifecycle=lifecycle),
            )
        )
        await world.until(lambda: world.phase() == "Running")
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
        assert killings(world) == ["Killing: Stopping container c0"]


async def test_a_readiness_gate_opens_when_its_condition_comes(node: Node) -> None:
    async with node() as world:
        await world.pod(readinessGates=[{"conditionType": "example.com/lb"}])
        await world.until(lambda: world.phase() == "Running")
        assert not world.ready()
        found = world.get()
        assert found is not None
        kept = [{"type": c.type, "status": c.status} for c in found.status.conditions]
        gate = {"type": "example.com/lb", "status": "True"}
        patch = {"status": {"conditions": [*kept, gate]}}
        await world.client.patch(Pod, Key("default", "web"), patch, subresource="status")
        await world.until(lambda: world.ready())


async def node_says(world: World, status: str) -> None:
    reason = "KubeletReady" if status == "True" else "ContainerNotRunning"
    patch = {"status": {"conditions": [{"type": "Ready", "status": status, "reason": reason}]}}
    await world.client.patch(NodeObject, Key("", "node-1"), patch, subresource="status")


async def readiness_is(world: World, status: str) -> None:
    """Write it as somebody else does; who wrote the last word is then seen."""
    found = world.get()
    assert found is not None
    conditions = [
        {"type": c.type, "status": status if c.type == "Ready" else c.status}
        for c in found.status.conditions
    ]
    patch = {"status": {"conditions": conditions}}
    await world.client.patch(Pod, Key("default", "web"), patch, subresource="status")


async def test_readiness_that_somebody_took_comes_back(node: Node) -> None:
    async with node() as world:
        await world.pod()
        await world.until(lambda: world.ready())
        await readiness_is(world, "False")
        await world.until(lambda: not world.ready())
        await world.until(lambda: world.ready())


async def test_while_the_node_is_down_nobody_is_contradicted_and_then_the_truth_is_written(
    node: Node,
) -> None:
    async with node() as world:
        crash = asyncio.Event()

        async def crashes(process: FakeProcess) -> int:
            if crash.is_set():
                return await pause(process)
            await crash.wait()
            return 1

        world.program("crashes", crashes)
        await world.pod("web", "builtin:pause", "crashes")
        await world.until(lambda: world.ready())
        await node_says(world, "False")
        await settle()
        await readiness_is(world, "False")  # the node lifecycle controller
        await settle()
        assert not world.ready()
        before = len(world.history)
        crash.set()
        await world.until(lambda: world.states() == "running, running (1)")
        await settle()
        assert not any(ready_in(pod) for pod in world.history[before:])
        await node_says(world, "True")
        await world.until(lambda: world.ready())


def ready_in(pod: Pod | None) -> bool:
    conditions = pod.status.conditions if pod is not None else ()
    return any(one.type == "Ready" and one.status == "True" for one in conditions)
