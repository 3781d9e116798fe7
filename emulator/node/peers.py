"""Keeps the ways to other nodes as the Node objects say, as flannel does.

While the API server is away, also at the start, the kernel keeps what it has.
"""

import asyncio
import logging
from collections.abc import Iterable

from podwire.emulator.node.kernel import NodeNetwork
from podwire.emulator.node.roster import Peer, peers_of
from podwire.errors import ApiError, UnreachableError
from podwire.kube.client import Client
from podwire.kube.informer import Informer
from podwire.kube.names import Key
from podwire.kube.objects import Node
from podwire.netlink.client import NetlinkError

log = logging.getLogger(__name__)

BACKEND_ANNOTATION = "podwire.dev/backend"
"""On a Node: how its packets reach the pods of other nodes, vxlan or host-gw."""

RETRY = 1.0
"""Seconds until what the kernel or the API server refused is tried again."""


class Peers:
    """Follows the Nodes; `joined` is set when they have been applied and our own is among them.

    An API server that does not know this node is only just starting: its list is not whole.
    """

    def __init__(self, client: Client, network: NodeNetwork) -> None:
        self.joined = asyncio.Event()
        self._client = client
        self._network = network
        self._changed = asyncio.Event()
        self._known: tuple[Peer, ...] | None = None
        self._faults: tuple[str, ...] = ()

    async def run(self) -> None:
        """Follow the API server until cancelled."""
        nodes = Informer(self._client, Node)
        nodes.subscribe(lambda _old, _new: self._changed.set())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(nodes.run())
            await nodes.synced.wait()
            name = self._network.settings.name
            if nodes.get(Key("", name)) is None:
                log.info("waiting for the Node %s: its container's label podwire.dev/node", name)
            while True:
                self._changed.clear()
                own = nodes.get(Key("", name))
                done = own is None or self._apply(nodes.all())
                if own is not None and done:
                    self.joined.set()
                    done = await self._announce(own)
                try:
                    async with asyncio.timeout(None if done else RETRY):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    def _apply(self, nodes: Iterable[Node]) -> bool:
        peers, faults = peers_of(nodes, self._network.settings)
        for fault in faults:
            if fault not in self._faults:
                log.warning("%s", fault)
        self._faults = faults
        if peers == self._known:
            return True
        try:
            self._network.connect(peers)
        except NetlinkError as error:
            log.warning("the ways to other nodes: %s; again in %g s", error.strerror, RETRY)
            return False
        before = self._known or ()
        for peer in peers:
            if peer not in before:
                log.info("%s: pods %s at %s", peer.name, peer.pods, peer.address)
        for gone in {peer.name for peer in before} - {peer.name for peer in peers}:
            log.info("%s is gone", gone)
        self._known = peers
        return True

    async def _announce(self, own: Node) -> bool:
        """Note the backend on our Node, where whoever explains a packet's way looks for it."""
        backend = self._network.backend
        if own.metadata.annotations.get(BACKEND_ANNOTATION) == backend:
            return True
        change = {"metadata": {"annotations": {BACKEND_ANNOTATION: backend}}}
        try:
            await self._client.patch(Node, Key("", own.metadata.name), change)
        except (ApiError, UnreachableError) as error:
            log.debug("the annotation %s: %s", BACKEND_ANNOTATION, error)
            return False
        return True
