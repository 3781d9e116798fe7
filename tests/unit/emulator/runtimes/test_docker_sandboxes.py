"""When a pod's network is lost."""

import asyncio
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
POD = PodRequest("default", "web", "uid", "web", host_network=True)


class Late:
    """An engine that is slow to begin to wait for the end of a container."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.get = engine.get
        self.delete = engine.delete
        self.asked = asyncio.Event()
        self.begins = asyncio.Event()

    async def post(self, path: str, body: object = None, **query: object) -> Any:
        if path.endswith("/wait"):
            self.asked.set()
            await self.begins.wait()
        return await self._engine.post(path, body, **query)


async def test_a_node_that_restarts_before_the_engine_waits_for_it_is_noticed(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_sandboxes, "_WAITS", 0.05)
    async with engines() as (fake, engine), asyncio.TaskGroup() as tasks:
        fake.images[IMAGE] = {"Id": "sha256:1", "Config": {"Cmd": ["builtin:pause"]}}
        body = {"Image": IMAGE, "Cmd": ["builtin:pause"]}
        node = (await engine.post("/containers/create", body, name="node"))["Id"]
        await engine.post(f"/containers/{node}/start")
        late = Late(engine)
        sandboxes = Sandboxes(
            cast(Engine, late),
            DockerNode("node-a", IPv4Address("10.201.0.11"), node, "pods"),
            Project("shop", IMAGE, ("builtin:pause",)),
            MadeContainers(engine, "shop"),
        )
        sandbox = await sandboxes.make(POD)
        lost = tasks.create_task(sandboxes.lost(sandbox))
        await late.asked.wait()
        await engine.post(f"/containers/{node}/kill")
        await engine.post(f"/containers/{node}/start")
        late.begins.set()
        await lost
