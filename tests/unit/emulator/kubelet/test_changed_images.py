"""Another image in a pod that is there: who is started again, at once or at the next attempt."""

import asyncio
import json
import signal
from typing import Any

import pytest

from podwire.emulator.runtimes.fake import FakeProcess, pause
from podwire.emulator.runtimes.runtime import PodSandbox
from podwire.kube.client import path_of
from podwire.kube.names import Key
from podwire.kube.objects import ContainerStatus, Pod
from podwire.testing.jumps import JumpingLoop
from tests.unit.emulator.kubelet.conftest import HOURS, Json, Node, World
from tests.unit.emulator.kubelet.containers import (
    container,
    exec_probe,
    killings,
    settle,
    sidecar,
)

LOOPS = {"jumping": JumpingLoop}
WEB = Key("default", "web")
CHANGED = "Killing: Container c0 definition changed, will be restarted"


async def set_image(world: World, name: str, image: str) -> None:
    """Do what `kubectl set image pod/web NAME=IMAGE` does."""
    spec = json.loads(await world.client.get_path(path_of(Pod.RESOURCE, WEB)))["spec"]
    kinds = [kind for kind in ("containers", "initContainers") if kind in spec]
    for one in (one for kind in kinds for one in spec[kind] if one["name"] == name):
        one["image"] = image
    await world.client.patch(Pod, WEB, {"spec": {kind: spec[kind] for kind in kinds}})


def status(world: World, name: str = "c0") -> ContainerStatus:
    found = world.get()
    assert found is not None
    every = (*found.status.init_container_statuses, *found.status.container_statuses)
    return next(one for one in every if one.name == name)


def images(world: World) -> list[str]:
    """Return the images of all containers that were started, in order."""
    return [request.image for request in world.runtime.requests]


def phases(world: World) -> set[str]:
    return {pod.status.phase for pod in world.history if pod is not None}


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
async def test_a_container_that_runs_is_started_again_with_the_new_image(
    node: Node, policy: str
) -> None:
    async with node() as world:
        await world.pod(restartPolicy=policy)
        await world.until(world.ready)
        assert status(world).image == "busybox"
        address = world.address()
        await set_image(world, "c0", "alpine:3.20")
        await world.until(lambda: world.states() == "running (1)" and world.ready())
        assert images(world) == ["busybox", "alpine:3.20"]
        assert (status(world).image, status(world).image_id) == ("alpine:3.20", "alpine:3.20")
        ended = status(world).last_state.terminated
        assert ended is not None
        assert ended.exit_code == 0
        await world.until(lambda: killings(world))
        assert killings(world) == [CHANGED]
        assert world.address() == address
        # Once is enough, and nobody has taken the pod for one that is over.
        await asyncio.sleep(1000)
        assert world.states() == "running (1)"
        assert phases(world) == {"Pending", "Running"}


async def test_a_container_has_its_grace_and_its_hook(node: Node) -> None:
    hooks: list[str] = []

    async def hook(process: FakeProcess) -> int:
        hooks.append(process.request.image)
        return 0

    async with node() as world:
        world.program("hook", hook)
        lifecycle = {"preStop": {"exec": {"command": ["hook"]}}}
        await world.pod(
            containers=(container("c0", "sleep 36000", lifecycle=lifecycle),),
            terminationGracePeriodSeconds=20,
            restartPolicy="Never",
        )
        await world.until(world.ready)
        began = world.now
        await set_image(world, "c0", "alpine:3.20")
        await world.until(lambda: world.states() == "running (1)")
        assert 20 <= world.now - began <= 21
        assert hooks == ["busybox"]
        ended = status(world).last_state.terminated
        assert ended is not None
        assert ended.exit_code == 128 + signal.SIGKILL
        assert phases(world) == {"Pending", "Running"}


async def test_the_others_of_the_pod_run_on(node: Node) -> None:
    async with node() as world:
        await world.pod("web", "builtin:pause", "builtin:pause")
        await world.until(world.ready)
        await set_image(world, "c1", "alpine:3.20")
        await world.until(lambda: world.states() == "running, running (1)")
        assert (status(world, "c0").image, status(world, "c1").image) == ("busybox", "alpine:3.20")


async def test_a_pod_that_waits_for_its_image_runs_with_a_good_one_at_once(node: Node) -> None:
    async with node() as world:
        await world.pod(containers=(container("c0", "builtin:pause") | {"image": "no/such"},))
        for _ in range(4):
            await world.until(lambda: world.states() == "waiting ErrImagePull")
            await world.until(lambda: world.states() == "waiting ImagePullBackOff")
        began = world.now
        await set_image(world, "c0", "no/such-either")
        await world.until(lambda: world.states() == "waiting ErrImagePull")
        assert world.now - began < 1
        assert status(world).image == "no/such-either"
        # What it waited for the other image is not held against this one.
        began = world.now
        await world.until(lambda: world.states() == "waiting ImagePullBackOff")
        await world.until(lambda: world.states() == "waiting ErrImagePull")
        assert world.now - began == pytest.approx(10, abs=0.5)
        began = world.now
        await set_image(world, "c0", "alpine:3.20")
        await world.until(world.ready)
        assert world.now - began < 1
        assert world.states() == "running"
        assert (status(world).image, images(world)) == ("alpine:3.20", ["alpine:3.20"])
        assert killings(world) == []


async def test_a_bad_image_is_no_restart_until_another_one_is_there(node: Node) -> None:
    async with node() as world:
        await world.pod()
        await world.until(world.ready)
        await set_image(world, "c0", "no/such")
        await world.until(lambda: world.states() == "waiting ImagePullBackOff")
        # The status tells of the container that was there last.
        assert status(world).image == "busybox"
        assert status(world).last_state.terminated is not None
        assert world.phase() == "Running"
        await set_image(world, "c0", "busybox")
        await world.until(lambda: world.states() == "running (1)")


@pytest.mark.parametrize(
    ("policy", "command", "phase", "states"),
    [
        ("Never", "builtin:pause", "Succeeded", "exit 0"),
        ("Never", "sleep 36000", "Failed", "exit 137"),
        ("OnFailure", "builtin:pause", "Succeeded", "exit 0"),
    ],
)
async def test_a_bad_image_ends_a_pod_whose_policy_does_not_try_again(
    node: Node, policy: str, command: str, phase: str, states: str
) -> None:
    """The kubelet skips the policy for one attempt only."""
    async with node() as world:
        await world.pod("web", command, restartPolicy=policy, terminationGracePeriodSeconds=1)
        await world.until(world.ready)
        await set_image(world, "c0", "no/such")
        await world.until(lambda: world.phase() in ("Succeeded", "Failed"))
        assert (world.phase(), world.states()) == (phase, states)
        assert status(world).last_state.terminated is None
        await settle()
        assert not world.runtime.sandboxes
        assert "Failed: Error: ErrImagePull" in world.events()


async def test_another_image_ends_the_wait_for_a_restart(node: Node) -> None:
    async with node() as world:
        await world.pod("web", "false")
        await world.until(lambda: world.states() == "waiting CrashLoopBackOff (4)")
        began = world.now
        await set_image(world, "c0", "alpine:3.20")
        # It fails as the other one did, and has a back-off of its own: 10 s.
        await world.until(lambda: world.states() == "waiting CrashLoopBackOff (5)")
        assert world.now - began < 1
        assert status(world).image == "alpine:3.20"
        await world.until(lambda: world.states() == "waiting CrashLoopBackOff (6)")
        assert world.now - began == pytest.approx(10, abs=0.5)


async def test_what_is_over_stays_over(node: Node) -> None:
    async with node() as world:
        await world.pod("web", "true", restartPolicy="Never")
        await world.until(lambda: world.phase() == "Succeeded")
        await set_image(world, "c0", "alpine:3.20")
        await asyncio.sleep(100)
        assert (world.phase(), world.states()) == ("Succeeded", "exit 0")
        assert (status(world).image, images(world)) == ("busybox", ["busybox"])


async def test_a_pod_that_is_deleted_meanwhile_ends(node: Node) -> None:
    async with node() as world:
        await world.pod("web", "sleep 36000", terminationGracePeriodSeconds=20)
        await world.until(world.ready)
        await set_image(world, "c0", "alpine:3.20")
        await world.until(lambda: killings(world))
        await world.delete(grace=1)
        await world.until(lambda: world.phase() == "gone")
        assert images(world) == ["busybox"]


async def test_a_change_while_it_starts_is_seen(node: Node) -> None:
    async with node() as world:
        await world.pod()
        await world.until(lambda: world.address() != "")
        world.runtime.gate.clear()
        await settle()
        await set_image(world, "c0", "alpine:3.20")
        await settle()
        world.runtime.gate.set()
        await world.until(lambda: status(world).image == "alpine:3.20" and world.ready())
        assert images(world)[-1] == "alpine:3.20"


async def test_probes_of_a_container_that_is_replaced_kill_nobody(node: Node) -> None:
    async with node() as world:
        ill = exec_probe("false", periodSeconds=1, failureThreshold=1, initialDelaySeconds=5)
        await world.pod(
            containers=(container("c0", "sleep 36000", livenessProbe=ill),),
            terminationGracePeriodSeconds=20,
        )
        await world.until(world.ready)
        await set_image(world, "c0", "alpine:3.20")
        await world.until(lambda: world.states() == "running (1)")
        await world.until(lambda: killings(world))
        assert killings(world) == [CHANGED]


@pytest.mark.parametrize("kind", ["livenessProbe", "startupProbe"])
async def test_a_container_that_a_probe_ends_already_is_ended_once(node: Node, kind: str) -> None:
    hooks: list[str] = []
    begun = asyncio.Event()

    async def hook(process: FakeProcess) -> int:
        hooks.append(process.request.image)
        begun.set()
        await asyncio.sleep(5)
        return 0

    async def probe(process: FakeProcess) -> int:
        return 1 if process.request.image == "busybox" else 0

    async with node() as world:
        world.program("hook", hook)
        world.program("probe", probe)
        ill = exec_probe("probe", periodSeconds=1, failureThreshold=1, initialDelaySeconds=5)
        fields = {kind: ill, "lifecycle": {"preStop": {"exec": {"command": ["hook"]}}}}
        await world.pod(
            containers=(container("c0", "sleep 36000", **fields),),
            terminationGracePeriodSeconds=20,
        )
        await begun.wait()
        await set_image(world, "c0", "alpine:3.20")
        await world.until(lambda: world.states() == "running (1)")
        assert hooks == ["busybox"]
        assert status(world).image == "alpine:3.20"
        await world.until(lambda: killings(world))
        name = kind.removesuffix("Probe")
        assert killings(world) == [f"Killing: Container c0 failed {name} probe, will be restarted"]


async def test_a_change_while_nobody_looked_after_the_pod_is_seen(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kubelet that starts anew finds a container that runs with another image."""
    async with node() as world:
        there = iter([True])

        async def has(_sandbox: PodSandbox, _container: str) -> bool:
            return next(there, False)

        monkeypatch.setattr(world.runtime, "has", has)
        await world.pod(containers=(container("c0", "builtin:pause"),), nodeName="")
        found: Json = {"name": "c0", "image": "alpine:3.20", "containerID": "podwire://1"}
        found |= {"imageID": "", "ready": True, "restartCount": 3}
        written = {"status": {"containerStatuses": [found]}}
        bound = await world.client.patch(Pod, WEB, written, subresource="status")
        await world.client.bind(WEB, "node-1", uid=bound.metadata.uid)
        await world.until(lambda: world.states() == "running (4)" and world.ready())
        assert images(world) == ["alpine:3.20", "busybox"]
        await world.until(lambda: killings(world))
        assert killings(world) == [CHANGED]


# --- init containers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "started"),
    [
        # One that runs does its work to the end, and one that has done it does it no second time.
        ("i0", ["busybox", "busybox", "busybox"]),
        ("i1", ["busybox", "alpine:3.20", "busybox"]),
        ("c0", ["busybox", "busybox", "alpine:3.20"]),
    ],
)
async def test_init_containers_that_have_not_run_yet_have_the_new_image(
    node: Node, changed: str, started: list[str]
) -> None:
    async with node() as world:
        await world.pod(init=(container("i0", "sleep 5"), container("i1", "sleep 5")))
        waiting = "waiting PodInitializing, waiting PodInitializing"
        await world.until(
            lambda: world.get() is not None and world.states() == f"running, {waiting}"
        )
        await set_image(world, changed, "alpine:3.20")
        await world.until(world.ready)
        assert world.states() == "exit 0, exit 0, running"
        await asyncio.sleep(100)
        assert images(world) == started
        assert killings(world) == []


async def test_an_init_container_that_waits_for_its_image(node: Node) -> None:
    async with node() as world:
        await world.pod(init=(container("i0", "true") | {"image": "no/such"},))
        await world.until(
            lambda: world.states() == "waiting ImagePullBackOff, waiting PodInitializing"
        )
        await set_image(world, "i0", "alpine:3.20")
        await world.until(world.ready)
        assert status(world, "i0").image == "alpine:3.20"


async def test_an_init_container_that_fails_has_the_new_image_at_once(node: Node) -> None:
    async def fails(process: FakeProcess) -> int:
        return 1 if process.request.image == "busybox" else 0

    async with node() as world:
        world.program("work", fails)
        await world.pod(init=(container("i0", "work"),))
        await world.until(lambda: "CrashLoopBackOff (3)" in world.states())
        began = world.now
        await set_image(world, "i0", "alpine:3.20")
        await world.until(world.ready)
        assert world.now - began < 1


async def test_a_side_car_that_runs_is_started_again(node: Node) -> None:
    async with node() as world:
        await world.pod(init=(sidecar("s0", "builtin:pause"), container("i1", "sleep 5")))
        await world.until(world.ready)
        await set_image(world, "s0", "alpine:3.20")
        await world.until(lambda: world.states() == "running (1), exit 0, running")
        await world.until(lambda: killings(world))
        assert killings(world) == ["Killing: Init container s0 definition changed"]
        assert world.phase() == "Running"


async def test_a_side_car_is_let_to_start_before_it_is_started_again(node: Node) -> None:
    begun: list[tuple[str, float]] = []
    ready_at = HOURS

    async def program(process: FakeProcess) -> int:
        begun.append((process.request.image, asyncio.get_running_loop().time()))
        return await pause(process)

    async def probe(_process: FakeProcess) -> int:
        return 0 if asyncio.get_running_loop().time() >= ready_at else 1

    async with node() as world:
        ready_at = world.now + 50
        world.program("program", program)
        world.program("probe", probe)
        fields: dict[str, Any] = {
            "startupProbe": exec_probe("probe", periodSeconds=1, failureThreshold=1000)
        }
        await world.pod(init=(sidecar("s0", "program", **fields),))
        await world.until(lambda: "running" in world.states())
        await set_image(world, "s0", "alpine:3.20")
        await world.until(lambda: world.states() == "running (1), running")
        assert [image for image, _ in begun] == ["busybox", "alpine:3.20"]
        assert begun[1][1] >= ready_at
