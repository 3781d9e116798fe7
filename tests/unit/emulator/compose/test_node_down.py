"""A node's container stops and comes back: all who write statuses of pods, together."""

import asyncio
import random
from ipaddress import IPv4Address
from pathlib import Path
from typing import cast

from podwire.emulator.apiserver.agent import NodeAgent
from podwire.emulator.apiserver.server import ApiServer
from podwire.emulator.apiserver.store import Store
from podwire.emulator.controllers import registry
from podwire.emulator.discovery.discovery import Discovery
from podwire.emulator.kubelet.context import NodeContext
from podwire.emulator.kubelet.kubelet import Kubelet
from podwire.emulator.kubelet.resolver import Resolver
from podwire.emulator.runtimes.fake import FakeRuntime
from podwire.kube.client import Client
from podwire.kube.clock import SystemClock
from podwire.kube.events import EventRecorder
from podwire.kube.informers import Informers
from podwire.kube.objects import EndpointSlice, Pod, Service
from tests.unit.emulator.discovery.conftest import (
    CLUSTER,
    LIMIT,
    SURVIVAL,
    FakeEngine,
    Recorded,
    World,
    recorded,
)

__all__ = ["recorded"]

WORDS = "NodeNotReady: node node-a does not run"


async def test_pods_of_both_kinds_lose_readiness_and_get_it_back(
    tmp_path: Path, recorded: Recorded
) -> None:
    engine, clock, rng = FakeEngine(recorded), SystemClock(), random.Random(7)
    for name in ("node-a-1", "node-b-1", "web-1"):
        engine.add(name)
    server = ApiServer(Store(), cast(NodeAgent, None), clock, rng)
    server.fill(6443)
    socket = tmp_path / "api.sock"
    async with (
        server.serve(unix_path=socket),
        Client.unix(socket, user="system:podwire") as client,
        asyncio.timeout(LIMIT),
        asyncio.TaskGroup() as tasks,
    ):
        informers = Informers(client)
        discovery = Discovery(engine, client, informers, clock, CLUSTER, survival=SURVIVAL)
        kubelet = Kubelet(_context(tmp_path, tasks, client, informers), informers)
        world = World(engine, client, informers, discovery)
        slices = informers.of(EndpointSlice)
        slices.subscribe(world.note)
        controllers = registry.controllers(client, clock, rng, informers=informers, root_ca="CA")
        works = (informers.run(), discovery.run(), registry.run(controllers), kubelet.run())
        running = [tasks.create_task(work) for work in works]
        await discovery.synced.wait()

        def endpoints() -> set[str]:
            return {
                one.target_ref.name
                for found in slices.all()
                for one in found.endpoints or ()
                if one.target_ref is not None and one.conditions.ready
            }

        ports = [{"port": 80}]
        service = {"selector": {"app": "web"}, "ports": ports}
        await client.create_raw(Service, "default", {"metadata": {"name": "w"}, "spec": service})
        made = {
            "metadata": {"name": "made", "labels": {"app": "web"}},
            "spec": {
                "nodeName": "node-a",
                "containers": [
                    {"name": "main", "image": "busybox", "command": ["builtin:pause"]},
                ],
            },
        }
        await client.create_raw(Pod, "default", made)
        await world.until(lambda: endpoints() == {"web-1", "made"})
        engine.kill("node-a-1", 9)
        engine.die("node-a-1", 137)
        await world.until(lambda: not endpoints())
        await world.until_not_ready("web-1", WORDS)
        await world.until_not_ready("made", WORDS)
        await world.until(lambda: len(world.events("NodeNotReady")) >= 2)
        engine.start("node-a-1", "10.194.0.11")
        await world.until(lambda: endpoints() == {"web-1", "made"})
        versions = {name: world.get(Pod, name).metadata.resource_version for name in endpoints()}
        engine.health("node-a-1", "healthy")
        engine.add("web-2")
        await world.until(lambda: endpoints() == {"web-1", "web-2", "made"})
        for name, version in versions.items():
            # They agree: nobody writes any more.
            assert world.get(Pod, name).metadata.resource_version == version
        for task in running:
            task.cancel()


def _context(
    directory: Path, tasks: asyncio.TaskGroup, client: Client, informers: Informers
) -> NodeContext:
    clock = SystemClock()
    return NodeContext(
        "node-a",
        IPv4Address("10.194.0.11"),
        netns=Path("/proc/self/ns/net"),
        pods=directory / "pods",
        runtime=FakeRuntime(tasks),
        client=client,
        informers=informers,
        recorder=EventRecorder(client, clock, "kubelet", "node-a"),
        clock=clock,
        resolver=Resolver(("192.168.1.1",)),
        cluster_dns="10.96.0.10",
        domain="cluster.local",
    )
