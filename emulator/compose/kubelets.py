"""One kubelet for each node that discovery finds; all of them in this process, on one engine."""

import asyncio

from podwire.emulator.compose.settings import Settings
from podwire.emulator.compose.surroundings import Surroundings
from podwire.emulator.discovery.discovery import DiscoveredNode
from podwire.emulator.engine.client import Engine
from podwire.emulator.kubelet.context import NodeContext
from podwire.emulator.kubelet.kubelet import Kubelet
from podwire.emulator.kubelet.resolver import parse as parse_resolver
from podwire.emulator.runtimes.docker import DockerRuntime
from podwire.emulator.runtimes.docker_requests import HONOURED, DockerNode, Project
from podwire.emulator.runtimes.engine_images import EngineImages
from podwire.kube.client import Client
from podwire.kube.clock import Clock
from podwire.kube.events import EventRecorder
from podwire.kube.informers import Informers


class Kubelets:
    """Starts a kubelet when its node runs; it stays when the node's container stops."""

    def __init__(
        self,
        engine: Engine,
        client: Client,
        informers: Informers,
        clock: Clock,
        settings: Settings,
        around: Surroundings,
    ) -> None:
        self._engine = engine
        self._client = client
        self._informers = informers
        self._clock = clock
        self._settings = settings
        self._project = Project(
            around.project,
            around.image,
            folders={str(settings.pod_files): around.pod_files},
            captures=str(settings.captures_socket),
        )
        self._places: dict[str, DockerNode] = {}
        self._runtimes: dict[str, DockerRuntime] = {}
        self._news = asyncio.Event()
        self.started: list[Kubelet] = []

    def look(self, _old: DiscoveredNode | None, new: DiscoveredNode | None) -> None:
        """Take note of a node that is there, or has changed."""
        if new is not None and new.is_up and new.address is not None:
            self._places[new.name] = DockerNode(
                new.name, new.address, new.container_id, new.pods_network_id
            )
            self._news.set()

    async def run(self) -> None:
        """Run the kubelets until cancelled; their pods' containers end with them then."""
        # Outside: what goes on for a container must outlive the kubelet.
        async with asyncio.TaskGroup() as processes, asyncio.TaskGroup() as tasks:
            while True:
                await self._news.wait()
                self._news.clear()
                for name, place in self._places.items():
                    if name not in self._runtimes:
                        runtime = DockerRuntime(self._engine, place, self._project, processes)
                        self._runtimes[name] = runtime
                        kubelet = Kubelet(self._context(place, runtime), self._informers)
                        self.started.append(kubelet)
                        tasks.create_task(kubelet.run(), name=f"kubelet {name}")
                    else:
                        self._runtimes[name].move(place)

    def _context(self, node: DockerNode, runtime: DockerRuntime) -> NodeContext:
        settings = self._settings
        return NodeContext(
            node.name,
            node.address,
            netns=settings.node_socket(node.name),
            pods=settings.pod_files,
            runtime=runtime,
            client=self._client,
            informers=self._informers,
            recorder=EventRecorder(self._client, self._clock, "kubelet", node.name),
            clock=self._clock,
            # For dnsPolicy Default: nothing listens there, so names fail at once.
            resolver=parse_resolver(f"nameserver {node.address}\n"),
            cluster_dns=str(settings.dns_service),
            domain=settings.domain,
            images=EngineImages(self._engine, self._clock),
            runtime_version=f"docker://{self._engine.release}",
            honoured=HONOURED,
        )
