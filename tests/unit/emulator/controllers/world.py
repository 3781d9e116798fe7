"""A cluster without nodes' insides: the real API server and controllers, and a kubelet that pretends."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Protocol, cast

from podwire.emulator.apiserver.agent import NodeAgent
from podwire.emulator.apiserver.server import ApiServer
from podwire.emulator.apiserver.store import Store
from podwire.emulator.controllers.podstate import is_finished, is_ready
from podwire.emulator.controllers.registry import controllers, run
from podwire.errors import NotFound
from podwire.kube.answers import Event as WatchEvent
from podwire.kube.client import Client
from podwire.kube.clock import SystemClock, rfc3339
from podwire.kube.codec import key_of
from podwire.kube.informers import Informers
from podwire.kube.names import Key
from podwire.kube.objects import (
    KINDS,
    Deployment,
    Event,
    Node,
    NodeSpec,
    Object,
    ObjectMeta,
    Pod,
    T,
)
from podwire.kube.reconcile import Reconciler

LIMIT = 20.0
"""Seconds after which a test gives up waiting."""

LABELS = {"app": "web"}
SELECTOR = {"matchLabels": LABELS}


def always(pod: Pod) -> bool:
    return True


def never(pod: Pod) -> bool:
    return False


def image_of(pod: Pod) -> str:
    return pod.spec.containers[0].image


class PretendKubelet:
    """Makes bound pods Running and Ready with an address, and ends those that are deleted."""

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._pods = informers.of(Pod)
        self._addresses: dict[str, str] = {}
        self.starts: Callable[[Pod], bool] = always
        self.ends: Callable[[Pod], bool] = always
        self.loop = Reconciler(self._reconcile, name="pretend-kubelet", concurrency=16)
        self._pods.subscribe(self._changed)

    def look_again(self) -> None:
        for pod in self._pods.all():
            self.loop.add(key_of(pod))

    def _changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is not None:
            self.loop.add(key_of(new))

    async def _reconcile(self, key: Key) -> float | None:
        pod = self._pods.get(key)
        if pod is None or not pod.spec.node_name:
            return None
        try:
            if pod.metadata.deletion_timestamp is not None:
                if self.ends(pod):
                    await self._client.delete(Pod, key, grace=0, uid=pod.metadata.uid)
            elif not is_ready(pod) and not is_finished(pod) and self.starts(pod):
                status = {"status": self._running(pod)}
                await self._client.patch(Pod, key, status, subresource="status")
        except NotFound:
            pass
        return None

    def _running(self, pod: Pod) -> dict[str, Any]:
        number = len(self._addresses)
        fresh = str(IPv4Address("10.244.0.2") + number)
        ip = self._addresses.setdefault(pod.metadata.uid, fresh)
        moment = rfc3339(SystemClock().now())
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": moment}
        scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": moment}
        return {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "hostIP": "192.168.1.10",
            "conditions": [scheduled, ready],
        }


class World:
    """What a test sees and does: a client, copies of everything, and counts of watch events."""

    def __init__(self, client: Client, informers: Informers, kubelet: PretendKubelet) -> None:
        self.client = client
        self.kubelet = kubelet
        self._informers = informers
        self._changed = asyncio.Event()
        self.seen: Counter[tuple[str, str]] = Counter()
        self.history: list[tuple[Object | None, Object | None]] = []
        for kind in KINDS:
            informers.of(kind).subscribe(self._note)

    def all(self, kind: type[T], namespace: str = "default") -> list[T]:
        found = (o for o in self._informers.of(kind).all() if o.metadata.namespace == namespace)
        return sorted(found, key=lambda o: o.metadata.name)

    def get(self, kind: type[T], name: str, namespace: str = "default") -> T:
        """Return the object; raises LookupError, which `until` takes for "not yet"."""
        found = self._informers.of(kind).get(Key(namespace, name))
        if found is None:
            raise LookupError(f"{kind.__name__} {namespace}/{name}")
        return found

    def has(self, kind: type[Object], name: str, namespace: str = "default") -> bool:
        return self._informers.of(kind).get(Key(namespace, name)) is not None

    def changes(self, kind: type[T], since: int = 0) -> Iterator[tuple[T, T | None, T | None]]:
        """Yield what changed in `history` from number *since* on, as it was before, and after."""
        for old, new in self.history[since:]:
            before, after = (one if isinstance(one, kind) else None for one in (old, new))
            changed = after or before
            if changed is not None:
                yield changed, before, after

    def messages(self, reason: str, namespace: str = "default") -> list[str]:
        events = (e for e in self.all(Event, namespace) if e.reason == reason)
        return [e.message for e in events for _ in range(e.count)]

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait for *holds*; looked at after each change that the test's own watch sees."""
        async with asyncio.timeout(LIMIT):
            while not _true(holds):
                self._changed.clear()
                await self._changed.wait()

    async def create(
        self, kind: type[T], name: str, *, namespace: str = "default", **parts: Any
    ) -> T:
        metadata = {"name": name, **parts.pop("metadata", {})}
        return await self.client.create_raw(kind, namespace, {"metadata": metadata, **parts})

    async def nodes(self, *names: str) -> None:
        for name in names:
            labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": f"zone-{name}"}
            meta = ObjectMeta(name=name, labels=labels)
            await self.client.create(Node(metadata=meta, spec=NodeSpec(pod_cidr="10.244.1.0/24")))

    @staticmethod
    def web(replicas: int = 3, image: str = "nginx:1", **spec: Any) -> dict[str, Any]:
        """Return the parts of a Deployment of pods `app: web`."""
        template = {
            "metadata": {"labels": LABELS},
            "spec": {"containers": [{"name": "main", "image": image}]},
        }
        return {"spec": {"replicas": replicas, "selector": SELECTOR, "template": template, **spec}}

    async def rolled_out(self, replicas: int) -> None:
        """Wait until the Deployment web has *replicas* new, available pods and no others."""

        def done() -> bool:
            deployment = self.get(Deployment, "web")
            status = deployment.status
            return bool(
                status.observed_generation >= deployment.metadata.generation
                and status.updated_replicas == status.replicas == replicas
                and status.available_replicas == replicas
            )

        await self.until(done)

    async def ready_with(self, *images: str) -> None:
        """Wait until just so many pods are ready, with these images."""
        await self.until(
            lambda: [image_of(p) for p in self.all(Pod) if is_ready(p)] == list(images)
        )

    async def set_image(self, image: str) -> None:
        template = {"spec": {"containers": [{"name": "main", "image": image}]}}
        await self.change({"template": template})

    async def change(self, spec: dict[str, Any]) -> None:
        """Patch the Deployment web, and wait until the test's own copy shows it."""
        changed = await self.client.patch(Deployment, Key("default", "web"), {"spec": spec})
        generation = changed.metadata.generation
        await self.until(lambda: self.get(Deployment, "web").metadata.generation >= generation)

    def _note(self, old: Object | None, new: Object | None) -> None:
        obj = cast(Object, new or old)
        type_ = "ADDED" if old is None else "DELETED" if new is None else "MODIFIED"
        self.seen[obj.RESOURCE.kind, type_] += 1
        self.history.append((old, new))
        self._changed.set()


def _true(holds: Callable[[], object]) -> bool:
    try:
        return bool(holds())
    except LookupError:
        return False


class LaggingClient(Client):
    """A client whose watches deliver each event late, one after another."""

    lag = 0.0
    """Seconds per event."""
    late: type[Object] | None = None
    """The only kind that lags; None: all of them."""

    async def watch(
        self, kind: type[T], *, since: str, namespace: str = "", labels: str = "", fields: str = ""
    ) -> AsyncGenerator[WatchEvent[T]]:
        events = super().watch(kind, since=since, namespace=namespace, labels=labels, fields=fields)
        async for event in events:
            await asyncio.sleep(self.lag if self.late in (None, kind) else 0)
            yield event


class Cluster(Protocol):
    """Starts a cluster, for `async with`.

    *lag* holds up each event that the controllers see, in seconds; of the kind *late* only.
    """

    def __call__(
        self, *, lag: float = 0.0, late: type[Object] | None = None
    ) -> AbstractAsyncContextManager[World]: ...


@asynccontextmanager
async def started_cluster(
    socket: Path, lag: float = 0.0, late: type[Object] | None = None
) -> AsyncGenerator[World]:
    """Run a cluster, its API server at *socket*; *lag* and *late* as in `Cluster`."""
    rng = random.Random(7)
    server = ApiServer(Store(), cast(NodeAgent, None), SystemClock(), rng)
    server.fill(6443)
    async with (
        server.serve(unix_path=socket),
        LaggingClient.unix(socket, user="system:kube-controller-manager") as client,
        Client.unix(socket, user="system:node:node-1") as node_client,
        Client.unix(socket, user="system:test") as test_client,
    ):
        client.lag, client.late = lag, late
        informers, node_informers = Informers(client), Informers(node_client)
        test_informers = Informers(test_client)
        kubelet = PretendKubelet(node_client, node_informers)
        world = World(test_client, test_informers, kubelet)
        started = controllers(client, SystemClock(), rng, informers=informers, root_ca="CA")
        # A controller that falls over ends the test, with its error.
        async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(work)
                for work in (
                    informers.run(),
                    node_informers.run(),
                    test_informers.run(),
                    kubelet.loop.run(),
                    run(started),
                )
            ]
            await test_informers.synced()
            yield world
            for task in running:
                task.cancel()
