"""One kubelet on the fake runtime, with the real API server; time jumps."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, cast

import pytest

from podwire.emulator.apiserver.agent import NodeAgent
from podwire.emulator.apiserver.server import ApiServer
from podwire.emulator.apiserver.store import Store
from podwire.emulator.kubelet.context import NodeContext
from podwire.emulator.kubelet.kubelet import Kubelet
from podwire.emulator.kubelet.resolver import Resolver
from podwire.emulator.runtimes.fake import FakeProgram, FakeRuntime
from podwire.errors import ApiError
from podwire.kube.client import Client
from podwire.kube.clock import rfc3339
from podwire.kube.cluster_objects import BoundToken
from podwire.kube.events import EventRecorder
from podwire.kube.informers import Informers
from podwire.kube.names import Key
from podwire.kube.objects import ConfigMap, Event, ObjectMeta, Pod, Secret, ServiceAccount
from podwire.kube.objects import Node as KubeNode
from podwire.testing.jumps import JumpingLoop, LoopClock

Json = dict[str, Any]
Loops = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]
DEFAULT = ObjectMeta(name="default", namespace="default")
HOURS = 10 * 3600.0


def pytest_asyncio_loop_factories(item: pytest.Item) -> Loops:
    """Run the tests of a module on the loops that it names in LOOPS."""
    default: Loops = {"asyncio": asyncio.new_event_loop}
    module: Any = item.getparent(pytest.Module)
    return getattr(module.obj, "LOOPS", default)


class TokenClient(Client):
    """A client whose API server gives tokens that say whose they are; `asked` counts them."""

    asked = 0
    refusal: ApiError | None = None

    async def request_token(
        self, account: Key, *, pod: tuple[str, str], audience: str = "", seconds: int
    ) -> BoundToken:
        if self.refusal is not None:
            raise self.refusal
        self.asked += 1
        until = rfc3339(LoopClock().now() + seconds)
        return BoundToken(f"{account}/{pod[0]}/{audience}/{self.asked}", until)


class World:
    """What a test does to the node, and what it sees of it."""

    def __init__(
        self, client: Client, informers: Informers, kubelet: Kubelet, runtime: FakeRuntime
    ) -> None:
        self.client = client
        self.node_client: TokenClient
        self.kubelet = kubelet
        self.runtime = runtime
        self._pods = informers.of(Pod)
        self._events = informers.of(Event)
        self._changed = asyncio.Event()
        self.history: list[Pod | None] = []
        self._pods.subscribe(self._pod_changed)
        self._events.subscribe(lambda _old, _new: self._changed.set())

    def _pod_changed(self, _old: Pod | None, new: Pod | None) -> None:
        self.history.append(new)
        self._changed.set()

    def node_changed(self, _old: KubeNode | None, _new: KubeNode | None) -> None:
        """Look again at what is waited for, when the kubelet hears of its node."""
        self._changed.set()

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def program(self, name: str, program: FakeProgram) -> None:
        """Let the command *name* do what *program* does."""
        self.runtime.programs[name] = program

    async def pod(
        self,
        name: str = "web",
        *commands: str,
        init: tuple[Json, ...] = (),
        containers: tuple[Json, ...] = (),
        **spec: Any,
    ) -> None:
        """Create a pod on the node with one container c0, c1, ... per command."""
        made = containers or tuple(
            {"name": f"c{n}", "image": "busybox", "command": command.split()}
            for n, command in enumerate(commands or ("builtin:pause",))
        )
        obj = {
            "metadata": {"name": name},
            "spec": {
                "nodeName": "node-1",
                "containers": made,
                **({"initContainers": init} if init else {}),
                **spec,
            },
        }
        await self.client.create_raw(Pod, "default", obj)

    async def delete(self, name: str = "web", *, grace: int | None = None) -> None:
        await self.client.delete(Pod, Key("default", name), grace=grace)

    async def config_map(self, name: str, *, namespace: str = "default", **data: str) -> None:
        obj = {"metadata": {"name": name}, "data": data}
        await self.client.create_raw(ConfigMap, namespace, obj)

    async def secret(self, name: str, **data: str) -> None:
        obj = {"metadata": {"name": name}, "stringData": data}
        await self.client.create_raw(Secret, "default", obj)

    def get(self, name: str = "web") -> Pod | None:
        return self._pods.get(Key("default", name))

    def phase(self, name: str = "web") -> str:
        """Return the pod's phase; `gone` if there is no such pod."""
        found = self.get(name)
        return found.status.phase if found else "gone"

    def ready(self, name: str = "web") -> bool:
        found = self.get(name)
        return found is not None and any(
            c.type == "Ready" and c.status == "True" for c in found.status.conditions
        )

    def states(self, name: str = "web") -> str:
        """Return the containers' states: `running`, `waiting REASON`, `exit N`, with restarts."""
        found = self.get(name)
        if found is None:
            return "gone"
        said: list[str] = []
        for status in (*found.status.init_container_statuses, *found.status.container_statuses):
            state = status.state
            text = "running"
            if state.waiting is not None:
                text = f"waiting {state.waiting.reason}"
            elif state.terminated is not None:
                text = f"exit {state.terminated.exit_code}"
            restarts = f" ({status.restart_count})" if status.restart_count else ""
            said.append(text + restarts)
        return ", ".join(said)

    def events(self, name: str = "web", *, reason: str = "") -> list[str]:
        """Return `REASON: message` of each event of a pod, in order."""
        found = sorted(
            self._events.all(), key=lambda e: int(e.metadata.name.rpartition(".")[2], 16)
        )
        return [
            f"{event.reason}: {event.message}" + (f" x{event.count}" if event.count > 1 else "")
            for event in found
            if event.involved_object.name == name and event.reason.startswith(reason)
        ]

    def address(self, name: str = "web") -> str:
        found = self.get(name)
        return found.status.pod_ip if found else ""

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait for *holds*; looked at after each change of a pod, an event or the node."""
        async with asyncio.timeout(HOURS):
            while not holds():
                self._changed.clear()
                await self._changed.wait()


Node = Callable[[], AbstractAsyncContextManager[World]]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A function that starts the node, for `async with`."""
    return lambda: _node(tmp_path)


@asynccontextmanager
async def _node(directory: Path) -> AsyncGenerator[World]:
    clock = LoopClock()
    server = ApiServer(Store(), cast(NodeAgent, None), clock, random.Random(7))
    server.fill(6443)
    path = directory / "api.sock"
    async with (
        server.serve(unix_path=path),
        TokenClient.unix(path, user="system:node:node-1") as client,
        Client.unix(path, user="system:test") as test_client,
        asyncio.TaskGroup() as tasks,
    ):
        runtime = FakeRuntime(tasks)
        informers, test_informers = Informers(client), Informers(test_client)
        context = NodeContext(
            "node-1",
            IPv4Address("192.168.1.10"),
            netns=Path("/proc/self/ns/net"),
            pods=directory / "pods",
            runtime=runtime,
            client=client,
            informers=informers,
            recorder=EventRecorder(client, clock, "kubelet", "node-1"),
            clock=clock,
            resolver=Resolver(("192.168.1.1",)),
            cluster_dns="10.96.0.10",
            domain="cluster.local",
        )
        kubelet = Kubelet(context, informers, "10.244.1.0/24", {})
        world = World(test_client, test_informers, kubelet, runtime)
        world.node_client = client
        informers.of(KubeNode).subscribe(world.node_changed)
        await test_client.create(ServiceAccount(metadata=DEFAULT))
        await world.config_map("kube-root-ca.crt", **{"ca.crt": "authority"})
        running = [
            tasks.create_task(work)
            for work in (informers.run(), test_informers.run(), kubelet.run())
        ]
        await test_informers.synced()
        await informers.synced()
        yield world
        for task in running:
            task.cancel()


LOOPS: Loops = {"jumping": JumpingLoop}
