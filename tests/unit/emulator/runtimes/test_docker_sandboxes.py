"""When a pod's network is lost."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any, cast

import pytest

from podwire.emulator.engine.client import Engine
from podwire.emulator.runtimes import docker_sandboxes
from podwire.emulator.runtimes.docker_requests import DockerNode, Project
from podwire.emulator.runtimes.docker_sandboxes import Sandboxes
from podwire.emulator.runtimes.made import MadeContainers
from podwire.emulator.runtimes.runtime import PodRequest
from tests.unit.emulator.engine.conftest import Engines
from tests.unit.emulator.engine.conftest import engines as engines

IMAGE = "podwire:1"
POD = PodRequest("default", "web", "uid", "web", host_network=False)
ON_THE_HOST = replace(POD, host_network=True)


class Late:
    """An engine that is slow to begin to wait for the end of a container."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.get = engine.get
        self.delete = engine.delete
        self.asked = asyncio.Event()
        self.begins = asyncio.Event()

    async def post(self, path: str, body: object = None, **query: object) -> Any:
        if path.endswith("/wait"):
            self.asked.set()
            await self.begins.wait()
        return await self.engine.post(path, body, **query)


async def restart(engine: Engine, container: str) -> None:
    await engine.post(f"/containers/{container}/kill")
    await engine.post(f"/containers/{container}/start")


@asynccontextmanager
async def on_a_node(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[tuple[Late, str, Sandboxes]]:
    """Give an engine, the node's container on it, and what makes sandboxes there."""
    monkeypatch.setattr(docker_sandboxes, "_WAITS", 0.05)
    async with engines() as (fake, engine):
        fake.images[IMAGE] = {"Id": "sha256:1", "Config": {"Cmd": ["builtin:pause"]}}
        body = {"Image": IMAGE, "Cmd": ["builtin:pause"]}
        node = (await engine.post("/containers/create", body, name="node"))["Id"]
        await engine.post(f"/containers/{node}/start")
        late = Late(engine)
        yield (
            late,
            node,
            Sandboxes(
                cast(Engine, late),
                DockerNode("node-a", IPv4Address("10.201.0.11"), node, "pods"),
                Project("shop", IMAGE, ("builtin:pause",)),
                MadeContainers(engine, "shop"),
            ),
        )


@pytest.mark.parametrize(
    ("pod", "restarted"), [(ON_THE_HOST, "node"), (POD, "sandbox")], ids=["its node", "itself"]
)
async def test_what_restarts_before_the_engine_waits_for_it_is_noticed(
    engines: Engines, monkeypatch: pytest.MonkeyPatch, pod: PodRequest, restarted: str
) -> None:
    async with (
        on_a_node(engines, monkeypatch) as (late, node, sandboxes),
        asyncio.timeout(10),
        asyncio.TaskGroup() as tasks,
    ):
        sandbox = await sandboxes.make(pod)
        lost = tasks.create_task(sandboxes.lost(sandbox))
        await late.asked.wait()
        await restart(late.engine, node if restarted == "node" else sandbox.id)
        late.begins.set()
        await lost


async def test_a_sandbox_that_restarted_while_we_were_away_is_made_anew(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with on_a_node(engines, monkeypatch) as (late, _node, sandboxes):
        sandbox = await sandboxes.make(POD)
        found = await sandboxes.found(POD)
        assert found is not None
        assert found.id == sandbox.id
        await restart(late.engine, sandbox.id)
        assert await sandboxes.found(POD) is None
