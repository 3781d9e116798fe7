"""A proxy whole: the loop, its mode, health checks, events and pages, put together.

Once for the program that is a pod, and once for the node that is a container.
"""

import asyncio
import logging
import signal
from dataclasses import replace

from podwire.errors import MachineError
from podwire.kube.client import Client
from podwire.kube.clock import SystemClock
from podwire.kube.events import EventRecorder
from podwire.kube.names import Key
from podwire.kube.objects import ObjectReference, Service
from podwire.proxy import modes, surroundings
from podwire.proxy.health_checks import HealthChecks
from podwire.proxy.mode import Mode
from podwire.proxy.node import NodeView
from podwire.proxy.proxier import Proxier
from podwire.proxy.serving import Serving

log = logging.getLogger(__name__)

UNHURRIED = 5.0
"""Seconds until a node that no proxy has noted anything on is searched for the rules of others."""


class Proxy:
    """All parts of one node's proxy. *pages* are for whoever serves them.

    *period* is syncPeriod in seconds.
    """

    def __init__(
        self,
        mode: Mode,
        view: NodeView,
        client: Client,
        loop: asyncio.AbstractEventLoop,
        period: float,
    ) -> None:
        node = view.place.node
        self._loop = loop
        self._period = period
        self._events = EventRecorder(client, SystemClock(), "kube-proxy", node)
        self._checks = HealthChecks(
            view.node_port_addresses(modes.usual_node_ports(mode.name)),
            lambda: not self.proxier.overdue(),
            self._unchecked,
        )
        self.proxier = Proxier(
            mode,
            view,
            clock=SystemClock(),
            loop=loop,
            period=period,
            obeyed=self._checks.obey,
            report=self._warn,
        )
        self.pages = Serving(self.proxier)
        # A fault for tests: a proxy that hears of changes and does nothing.
        loop.add_signal_handler(signal.SIGUSR1, self._freeze, True)
        loop.add_signal_handler(signal.SIGUSR2, self._freeze, False)

    async def run(self, client: Client) -> None:
        """Serve until cancelled."""
        node = self.proxier.sources.view.place.node
        # kube-proxy takes the name for the UID, and has no more to say (cmd/kube-proxy/app).
        itself = ObjectReference(kind="Node", name=node, uid=node)
        self._events.note(itself, "Normal", "Starting", "")
        async with asyncio.TaskGroup() as tasks:
            for part in (
                self.proxier.run(client),
                self.proxier.watch_over(),
                self._checks.run(),
                self._events.run(),
                self._settle(client),
                self._look_around(),
            ):
                tasks.create_task(part)

    async def _settle(self, client: Client) -> None:
        """Once served: remove what another mode has left on this node, and say which one serves.

        What another mode has left is known by its note on the Node. A node without a note is most
        likely new: there the look, which loads every mode, waits until others have started.
        """
        await self.proxier.synced.wait()
        mode, noted = self.proxier.mode.name, self.proxier.noted_mode
        if noted not in ("", mode):
            await modes.clean_up(self._loop, but=mode)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.proxier.announce(client))
            if not noted:
                await asyncio.sleep(UNHURRIED)
                await modes.clean_up(self._loop, but=mode)

    async def _look_around(self) -> None:
        """Every sync period see whether the node has other addresses than before."""
        sources = self.proxier.sources
        while True:
            await asyncio.sleep(self._period)
            try:
                found = surroundings.look(sources.view.address).addresses
            except MachineError as error:
                log.debug("%s", error)
                continue
            sources.see(replace(sources.view, addresses=found))

    def _freeze(self, frozen: bool) -> None:  # noqa: FBT001 - see Proxier.freeze
        log.warning("frozen: changes wait" if frozen else "thawed: changes are applied again")
        self.proxier.freeze(frozen)

    def _warn(self, service: Service, reason: str, message: str) -> None:
        self._events.event(service, "Warning", reason, message)

    def _unchecked(self, key: Key, port: int, reason: str) -> None:
        node = self.proxier.sources.view.place.node
        message = f'node {node} failed to start healthcheck "{key}" on port {port}: {reason}'
        log.error("%s", message)
        self.proxier.report(key, "FailedToStartServiceHealthcheck", message)
