"""Follows the engine: a copy of a cluster's containers and networks that is as true as its events.

First the time is noted, then everything is listed, then the events since that time are read; so
nothing is lost between. When the engine goes away the copy stays, and all is done again.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

from podwire.emulator.discovery import facts
from podwire.emulator.discovery.facts import Container, Event, Network
from podwire.emulator.discovery.labels import belongs
from podwire.emulator.discovery.news import News
from podwire.errors import EngineError
from podwire.kube.clock import parse_rfc3339
from podwire.kube.names import Key
from podwire.kube.reconcile import Reconciler

log = logging.getLogger(__name__)

FIRST_RETRY = 0.05
LAST_RETRY = 5.0
LOOK_AGAIN = 1.0
# A container that lives so many seconds after the time that it has to end was not ended: it is
# looked at again. With the engine's 10 s between SIGTERM and SIGKILL: 15 s.
SURVIVAL = 5.0
# Health checks are executed in the container: without a filter most events would be of those.
FILTERS = {
    "type": ["container", "network"],
    "event": [
        "create", "start", "die", "kill", "stop", "restart", "pause", "unpause", "health_status",
        "rename", "update", "destroy", "connect", "disconnect",
    ],
}  # fmt: skip


class Asked(Protocol):
    """What is asked of an engine; podwire.emulator.engine.client has one."""

    @property
    def release(self) -> str:
        """Return its version."""
        ...

    async def get(self, path: str, **query: object) -> Any:
        """Return the decoded JSON of *path*; raises EngineError."""
        ...

    def lines(self, path: str, **query: object) -> AsyncIterator[Any]:
        """Yield the JSON values of a stream; raises EngineError."""
        ...


class Watch:
    """The containers of *cluster* and the networks of the engine; *changed* is called after each.

    `synced` is set once everything has been listed.
    """

    def __init__(
        self,
        engine: Asked,
        cluster: str,
        changed: Callable[[], None],
        *,
        survival: float = SURVIVAL,
    ) -> None:
        self.synced = asyncio.Event()
        self._engine = engine
        self._cluster = cluster
        self._changed = changed
        self._survival = survival
        self._containers: dict[str, Container] = {}
        self._networks: dict[str, Network] = {}
        # Until when a container that was told to end may take its time, in the loop's time.
        self._leaving: dict[str, float] = {}
        # An answer that is older than the news is thrown away.
        self._news = News()
        self._looks = Reconciler(self._look, name="containers", concurrency=8)

    @property
    def containers(self) -> Mapping[str, Container]:
        """Return the containers by id."""
        return self._containers

    @property
    def networks(self) -> Mapping[str, Network]:
        """Return the networks by id."""
        return self._networks

    async def run(self) -> None:
        """Follow the engine until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._looks.run(), name="look at containers")
            tasks.create_task(self._follow(), name="events of the engine")

    async def _follow(self) -> None:
        clock = asyncio.get_running_loop().time
        delay, lost = FIRST_RETRY, False
        while True:
            began = clock()
            try:
                since = parse_rfc3339((await self._engine.get("/info"))["SystemTime"])
                await self._list()
                if lost:
                    log.warning("Docker Engine is back; all containers were looked at again")
                lost = False
                self.synced.set()
                async for value in self._engine.lines(
                    "/events", since=f"{since:.6f}", filters=FILTERS
                ):
                    event = facts.event(value)
                    if event is not None:
                        self._saw(event)
                trouble = "the engine ended the stream of events"
            except EngineError as error:
                trouble = str(error)
            if clock() - began > LAST_RETRY:
                delay = FIRST_RETRY
            level = logging.INFO if lost else logging.WARNING
            log.log(level, "%s; the cluster stays as it was; again in %.2f s", trouble, delay)
            lost = True
            await asyncio.sleep(delay)
            delay = min(delay * 2, LAST_RETRY)

    async def _list(self) -> None:
        await self._list_networks()
        listed = await self._engine.get("/containers/json", all=True)
        ours = {one["Id"] for one in listed if belongs(one.get("Labels") or {}, self._cluster)}
        found = await asyncio.gather(*(self._inspect(id_) for id_ in ours))
        self._containers = {one.id: one for one in found if one is not None}
        self._leaving = {i: until for i, until in self._leaving.items() if i in self._containers}
        self._news.all_of(self._containers)
        self._changed()

    async def _list_networks(self) -> None:
        listed = [facts.network(one) for one in await self._engine.get("/networks")]
        self._networks = {one.id: one for one in listed}

    async def _inspect(self, id_: str) -> Container | None:
        """Ask for one container; None if there is no such."""
        try:
            return self._noted(facts.container(await self._engine.get(f"/containers/{id_}/json")))
        except EngineError as error:
            if error.status != 404:
                raise
            return None

    def _noted(self, found: Container) -> Container:
        """Return *found* with what no inspect tells: that it was told to end."""
        known = self._containers.get(found.id)
        if found.id not in self._leaving:
            return found
        again = known is not None and known.started != found.started
        if again or not found.has_processes or self._left(found.id) <= 0:
            del self._leaving[found.id]
            return found
        return facts.told_to_end(found)

    def _left(self, id_: str) -> float:
        return self._leaving[id_] - asyncio.get_running_loop().time()

    async def _look(self, key: Key) -> float | None:
        """Ask for the container named by *key*, after an event."""
        asked = self._news.asked(key.name)
        try:
            found = await self._inspect(key.name)
            if found is not None and not self._networks_known(found):
                await self._list_networks()
        except EngineError as error:
            # Also without a status: that one connection broke does not mean that all did.
            log.info("container %s: %s; again in %.2f s", key.name[:12], error, LOOK_AGAIN)
            return LOOK_AGAIN
        if not self._news.silent_since(key.name, asked):
            return 0.0
        self._put(key.name, found)
        return max(self._left(key.name), 0.001) if key.name in self._leaving else None

    def _networks_known(self, container: Container) -> bool:
        names = {network.name for network in self._networks.values()}
        return all(
            one.network_id in self._networks if one.network_id else one.network in names
            for one in container.networks
        )

    def _put(self, id_: str, found: Container | None) -> None:
        if found is None:
            self._news.forget(id_)
            self._leaving.pop(id_, None)
        if found == self._containers.get(id_):
            return
        if found is None:
            del self._containers[id_]
        else:
            self._containers[id_] = found
        self._changed()

    def _saw(self, event: Event) -> None:
        known = self._containers.get(event.container)
        if event.kind == "network" and not event.container:
            # A network came or went: whoever needs it will ask.
            self._networks.pop(event.network, None)
            return
        if known is None:
            if event.kind == "container" and belongs(event.attributes, self._cluster):
                self._looks.add(Key("", event.container))
            return
        self._news.heard(known.id)
        if event.action == "destroy":
            self._put(known.id, None)
            return
        told = facts.after(known, event)
        if told.leaving and facts.ends(known, event):
            self._wait_for_end(known)
        # At once, and then the engine is asked: traffic must stop before the process does.
        self._put(known.id, told)
        if event.action != "kill":
            self._looks.add(Key("", known.id))

    def _wait_for_end(self, container: Container) -> None:
        patience = container.stop_timeout + self._survival
        self._leaving[container.id] = asyncio.get_running_loop().time() + patience
        self._looks.add_after(Key("", container.id), patience)
