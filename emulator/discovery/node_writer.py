"""Writes the Node objects: each pass makes one Node what its container is."""

from collections.abc import Callable, Mapping
from contextlib import suppress

from podwire.emulator.discovery import node_mirror
from podwire.emulator.discovery.first_round import FirstRound
from podwire.emulator.discovery.latest import Latest
from podwire.emulator.discovery.world import NodeView
from podwire.errors import NotFound
from podwire.kube.client import Client
from podwire.kube.clock import Clock, rfc3339
from podwire.kube.informers import Informers
from podwire.kube.names import Key
from podwire.kube.objects import Node
from podwire.kube.reconcile import Reconciler


class NodeWriter:
    """Keeps the nodes as *wanted* says, by their names; does nothing before `start`."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        clock: Clock,
        runtime: str,
        wanted: Callable[[], Mapping[str, NodeView]],
    ) -> None:
        self._client = client
        self._clock = clock
        self._runtime = runtime
        self._wanted = wanted
        self._first = FirstRound()
        self._informer = informers.of(Node)
        self._nodes = Latest(self._informer, self._node_changed)
        self._loop = Reconciler(self.reconcile, name="nodes")

    async def run(self) -> None:
        """Work until cancelled."""
        await self._loop.run()

    def start(self, done: Callable[[], None]) -> None:
        """Begin, now that all is known that should be; *done* is called when it is so."""
        keys = {Key("", name) for name in self._wanted()}
        keys |= {Key("", node.metadata.name) for node in self._informer.all()}
        self._nodes.follow()
        self._first.begin(keys, self._loop.add, done)

    def look(self, name: str) -> None:
        """Have the node *name* looked at."""
        self._loop.add(Key("", name))

    async def reconcile(self, key: Key) -> float | None:
        """Make the Node of *key* what its container is."""
        if not self._first.begun:
            return None
        try:
            return await self._reconcile(key)
        finally:
            self._first.through(key)

    async def _reconcile(self, key: Key) -> float | None:
        view, present = self._wanted().get(key.name), self._nodes.get(key)
        if present is not None and (view is None or node_mirror.replaced(view, present)):
            await self._delete(key, present)
            present = None
        if view is None:
            return None
        now = rfc3339(self._clock.now())
        if present is None:
            manifest = node_mirror.manifest(view, self._runtime, now)
            present = await self._client.create_raw(Node, "", manifest)
            self._nodes.wrote(present)
        try:
            status = node_mirror.status(view, present, now)
            if status is not None:
                written = await self._client.patch(
                    Node, key, {"status": status}, subresource="status"
                )
                self._nodes.wrote(written)
            correction = node_mirror.correction(view, present)
            if correction is not None:
                self._nodes.wrote(await self._client.patch(Node, key, correction))
        except NotFound:
            self._nodes.removed(present)
            return 0.0
        return None

    async def _delete(self, key: Key, present: Node) -> None:
        with suppress(NotFound):
            await self._client.delete(Node, key, uid=present.metadata.uid)
        self._nodes.removed(present)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        node = new or old
        if node is not None:
            self._loop.add(Key("", node.metadata.name))
