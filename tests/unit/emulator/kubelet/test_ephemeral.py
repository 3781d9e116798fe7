"""Ephemeral containers: started when they are added, shown in the status, never started again."""

import asyncio
import signal
from typing import Any

from podwire.emulator.kubelet.agent import ClusterAgent
from podwire.emulator.runtimes.fake import FakeProcess
from podwire.kube.names import Key
from podwire.kube.objects import Pod
from podwire.testing.jumps import JumpingLoop
from tests.unit.emulator.kubelet.conftest import Json, Node, World
from tests.unit.emulator.kubelet.test_agent import agent

LOOPS = {"jumping": JumpingLoop}


def debugger(command: str, name: str = "debugger", **fields: Any) -> Json:
    return {"name": name, "image": "busybox", "command": command.split(), **fields}


async def add(world: World, *containers: Json) -> None:
    patch = {"spec": {"ephemeralContainers": containers}}
    await world.client.patch(Pod, Key("default", "web"), patch, subresource="ephemeralcontainers")


def added(world: World) -> str:
    """Return the state of each ephemeral container: `NAME running`, `NAME exit 0`."""
    found = world.get()
    assert found is not None
    said: list[str] = []
    for status in found.status.ephemeral_container_statuses:
        state = status.state
        text = "running"
        if state.waiting is not None:
            text = f"waiting {state.waiting.reason}"
        elif state.terminated is not None:
            text = f"exit {state.terminated.exit_code}"
        said.append(f"{status.name} {text}")
    return ", ".join(said)


async def test_it_is_started_in_a_pod_that_runs(node: Node) -> None:
    async with node() as world:
        await world.pod()
        await world.until(world.ready)
        await add(world, debugger("builtin:pause"))
        await world.until(lambda: added(world) == "debugger running")
        assert (world.phase(), world.ready(), world.states()) == ("Running", True, "running")
        found = world.get()
        assert found is not None
        (status,) = found.status.ephemeral_container_statuses
        assert (status.ready, status.started) == (False, None)
        assert status.container_id.startswith("podwire://")
        await world.until(lambda: len(world.events(reason="Started")) == 2)
        assert world.events(reason="Started")[1] == "Started: Started container debugger"


async def test_its_end_is_final_and_nobodys_business(node: Node) -> None:
    async with node() as world:
        await world.pod(restartPolicy="Always")
        await world.until(world.ready)
        await add(world, debugger("false"))
        await world.until(lambda: added(world) == "debugger exit 1")
        await asyncio.sleep(1000)
        assert added(world) == "debugger exit 1"
        assert (world.phase(), world.ready()) == ("Running", True)
        # One more beside it.
        await add(world, debugger("false"), debugger("builtin:pause", "second"))
        await world.until(lambda: added(world) == "debugger exit 1, second running")


async def test_it_may_be_added_while_an_init_container_hangs(node: Node) -> None:
    async with node() as world:
        init = {"name": "init", "image": "busybox", "command": ["builtin:pause"]}
        await world.pod(init=(init,))
        await world.until(lambda: world.states().startswith("running"))
        await add(world, debugger("builtin:pause"))
        await world.until(lambda: added(world) == "debugger running")
        assert world.phase() == "Pending"


async def test_it_ends_with_the_pods_work(node: Node) -> None:
    async with node() as world:
        await world.pod("web", "sleep 100", restartPolicy="Never")
        await world.until(world.ready)
        await add(world, debugger("builtin:pause"))
        await world.until(lambda: added(world) == "debugger running")
        await world.until(lambda: world.phase() == "Succeeded")
        await world.until(lambda: added(world) == "debugger exit 137")


async def test_it_is_asked_to_end_with_the_pod(node: Node) -> None:
    async with node() as world:
        stopped: list[int] = []

        async def look(process: FakeProcess) -> int:
            end = asyncio.Event()
            process.handle(signal.SIGTERM, end.set)
            await end.wait()
            stopped.append(signal.SIGTERM)
            return 0

        world.program("look", look)
        await world.pod()
        await world.until(world.ready)
        await add(world, debugger("look"))
        await world.until(lambda: added(world) == "debugger running")
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
        assert stopped == [signal.SIGTERM]


async def test_it_sees_the_processes_of_its_target(node: Node) -> None:
    async with node() as world:
        await world.pod()
        await world.until(world.ready)
        life = world.kubelet.life(Key("default", "web"))
        assert life is not None
        target = life.container("c0")
        assert target is not None
        await add(world, debugger("builtin:pause", targetContainerName="c0"))
        await world.until(lambda: added(world) == "debugger running")
        assert world.runtime.requests[-1].beside is target.process
        # Without a target it has its own.
        assert world.runtime.requests[0].beside is None


async def test_commands_run_in_it(node: Node) -> None:
    async with node() as world:
        await world.pod()
        await world.until(world.ready)
        await add(world, debugger("builtin:pause", env=[{"name": "WHO", "value": "me"}]))
        await world.until(lambda: added(world) == "debugger running")
        nodes: ClusterAgent = agent(world)
        session = await nodes.exec(
            "default",
            "web",
            "debugger",
            ["printenv", "WHO"],
            stdin=False,
            stdout=True,
            stderr=False,
            tty=False,
        )
        assert await session.wait() == 0
