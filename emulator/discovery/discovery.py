"""Containers as nodes and pods: what the engine runs is what the API shows."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from podwire.emulator.discovery.labels import Mistake
from podwire.emulator.discovery.node_writer import NodeWriter
from podwire.emulator.discovery.pod_writer import PodWriter
from podwire.emulator.discovery.watch import SURVIVAL, Asked, Watch
from podwire.emulator.discovery.world import NodeView, PodView, World, arrange
from podwire.kube.client import Client
from podwire.kube.clock import Clock
from podwire.kube.events import EventRecorder
from podwire.kube.informers import Informers
from podwire.kube.names import Key
from podwire.kube.objects import Namespace, Object, ObjectMeta

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DiscoveredNode:
    """A node for whoever works on it; *address* is None until its container has had one."""

    name: str
    address: IPv4Address | None
    pod_cidr: IPv4Network
    labels: Mapping[str, str]
    container_id: str
    # The network of its pods, in the engine.
    pods_network_id: str
    # Its processes run, whatever a health check says.
    is_up: bool


@dataclass(frozen=True, slots=True)
class Interface:
    """The eth0 of a pod, as captures find it."""

    mac: str
    address: IPv4Address


@dataclass(frozen=True, slots=True)
class RunningMember:
    """A container of a mirror pod that runs, by the name that it has in the pod."""

    node: str
    pod: Key
    name: str
    container_id: str


NodeChanged = Callable[[DiscoveredNode | None, DiscoveredNode | None], None]


class Discovery:
    """Keeps Nodes and mirror Pods true to the containers of *cluster*.

    `synced` is set once every container that was there at the start has its object.
    """

    def __init__(
        self,
        engine: Asked,
        client: Client,
        informers: Informers,
        clock: Clock,
        cluster: str,
        *,
        survival: float = SURVIVAL,
    ) -> None:
        self.synced = asyncio.Event()
        self._informers = informers
        self._recorder = EventRecorder(client, clock, "podwire-docker")
        self._world = World()
        self._nodes: dict[str, DiscoveredNode] = {}
        self._subscribers: list[NodeChanged] = []
        self._waits = 2
        self._writing = False
        self._watch = Watch(engine, cluster, self._changed, survival=survival)
        runtime = f"docker://{engine.release}"
        self._pod_writer = PodWriter(client, informers, clock, self._recorder, self._wanted_pods)
        self._node_writer = NodeWriter(client, informers, clock, runtime, self._wanted_nodes)

    async def run(self) -> None:
        """Follow the engine and write objects until cancelled."""
        await self._informers.synced()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._recorder.run(), name="events of discovery")
            tasks.create_task(self._node_writer.run(), name="nodes")
            tasks.create_task(self._pod_writer.run(), name="mirror pods")
            tasks.create_task(self._watch.run(), name="watch of the engine")
            await self._watch.synced.wait()
            # Not before: who does not know all containers would delete the pods of the others.
            self._writing = True
            self._node_writer.start(self._wrote)
            self._pod_writer.start(self._wrote)

    def containers(self, pod: Key) -> Mapping[str, str]:
        """Return the ids of a mirror pod's containers by their names; empty for other pods."""
        view = self._world.pods.get(pod)
        return {member.name: member.container.id for member in view.members} if view else {}

    def running(self) -> Sequence[RunningMember]:
        """Return the containers of mirror pods that run."""
        return [
            RunningMember(view.node, key, member.name, member.container.id)
            for key, view in sorted(self._world.pods.items())
            for member in view.members
            if member.container.up
        ]

    def interfaces(self) -> Mapping[Key, Interface]:
        """Return the interfaces of the mirror pods that have one of their own."""
        return {
            key: Interface(view.mac, view.address)
            for key, view in sorted(self._world.pods.items())
            if view.mac and view.address is not None
        }

    def nodes(self) -> tuple[DiscoveredNode, ...]:
        """Return the nodes, sorted by name."""
        return tuple(self._nodes[name] for name in sorted(self._nodes))

    def subscribe(self, changed: NodeChanged) -> None:
        """Call *changed(old, new)* for each change of a node, and now for each known one."""
        self._subscribers.append(changed)
        for node in self.nodes():
            changed(None, node)

    def mistakes(self) -> tuple[Mistake, ...]:
        """Return what is wrong with containers at the moment."""
        return self._world.mistakes

    def _wanted_pods(self) -> Mapping[Key, PodView]:
        return self._world.pods

    def _wanted_nodes(self) -> Mapping[str, NodeView]:
        return self._world.nodes

    def _changed(self) -> None:
        """Look at all containers together, and have written what that changes."""
        old = self._world
        new = arrange(self._watch.containers.values(), self._watch.networks)
        self._world = new
        if self._writing:
            for key in old.pods.keys() | new.pods.keys():
                if old.pods.get(key) != new.pods.get(key):
                    self._pod_writer.look(key)
            for name in old.nodes.keys() | new.nodes.keys():
                if old.nodes.get(name) != new.nodes.get(name):
                    self._node_writer.look(name)
        for mistake in new.mistakes:
            if mistake not in old.mistakes:
                log.warning("%s", mistake.text)
                self._recorder.event(self._about(mistake), "Warning", mistake.reason, mistake.text)
        self._tell_nodes(new)

    def _about(self, mistake: Mistake) -> Object:
        """Return what to hang the event on: the pod if there is one, else its namespace."""
        if mistake.pod is not None:
            present = self._pod_writer.present(mistake.pod)
            if present is not None:
                return present
        return Namespace(
            metadata=ObjectMeta(name=mistake.pod.namespace if mistake.pod else "default")
        )

    def _tell_nodes(self, world: World) -> None:
        found = {name: _discovered(view) for name, view in world.nodes.items()}
        known, self._nodes = self._nodes, found
        for name in sorted(known.keys() | found.keys()):
            old, new = known.get(name), found.get(name)
            if old != new:
                for changed in self._subscribers:
                    changed(old, new)

    def _wrote(self) -> None:
        self._waits -= 1
        if self._waits == 0:
            self.synced.set()


def _discovered(view: NodeView) -> DiscoveredNode:
    return DiscoveredNode(
        view.name,
        view.address,
        view.pod_cidr,
        view.labels,
        view.container.id,
        view.pods_network_id,
        is_up=view.container.up,
    )
