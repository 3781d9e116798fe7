"""Who chooses the backend of a new connection: the relay's own dice, or somebody instead."""

import asyncio
from collections.abc import Callable, Collection, Sequence, Set
from dataclasses import dataclass
from typing import Protocol

from podwire.proxy.endpoints import Backend
from podwire.proxy.table import PortName
from podwire.proxy.userspace.balance import Affinity, pick, pick_for
from podwire.proxy.userspace.borrowing import Address
from podwire.proxy.userspace.origins import Origin, Origins, Source
from podwire.proxy.userspace.routes import Frontend, Route


class Picker(Protocol):
    """Chooses for every frontend, session affinity included, and hears how long it lasts."""

    def pick(
        self, frontend: Frontend, client: Address, tried: Collection[Backend]
    ) -> Backend | None:
        """Return the backend for *client*; those *tried* have not answered. None: no other."""
        ...

    def counted(self, frontend: Frontend, backend: Backend, change: int) -> None:
        """Hear that a connection or flow to *backend* has begun (1) or is over (-1)."""
        ...


@dataclass(frozen=True, slots=True)
class Carried:
    """What a connection is counted as."""

    name: PortName
    frontend: Frontend

    def __str__(self) -> str:
        return f"{self.name} at {self.frontend}"


@dataclass(frozen=True, slots=True)
class Choice:
    """How the next backend of one frontend is found, and with whose address it is asked.

    *own* is where this relay listens itself. *leads_on* says that a backend may be another relay's
    address.
    """

    route: Route
    what: Carried
    origins: Origins
    kept: frozenset[Origin]
    affinity: Affinity | None
    chance: Callable[[], float]
    loop: asyncio.AbstractEventLoop
    picker: Picker | None
    own: Set[Address]
    leads_on: bool = False

    def next(self, client: Address, tried: Collection[Backend]) -> Backend | None:
        """Return the backend for *client*, none of those *tried*; None when there is no other."""
        backends = self._backends(client[0])
        found = self._pick(client, backends, tried)
        if found is None or found.sockaddr not in self.own:
            return found
        # Endpoints that were written by hand may name a Service, which is none for kube-proxy
        # either: what was led once is not led again. Here it might go round for ever.
        others = [backend for backend in backends if backend.sockaddr not in self.own]
        return self._pick(client, others, {*tried, found})

    def _backends(self, client: str) -> Sequence[Backend]:
        inside, outside = self.route.inside, self.route.outside
        if outside is not inside and self.origins.of(client) == "outside":
            return outside.backends
        return inside.backends

    def _pick(
        self, client: Address, among: Sequence[Backend], tried: Collection[Backend]
    ) -> Backend | None:
        if self.picker is not None:
            return self.picker.pick(self.what.frontend, client, tried)
        if self.affinity is None:
            return pick(among, chance=self.chance(), tried=tried)
        return pick_for(
            client[0],
            among,
            self.affinity,
            now=self.loop.time(),
            chance=self.chance(),
            tried=tried,
        )

    def counted(self, backend: Backend, change: int) -> None:
        """Tell the picker that a connection or flow has begun (1) or is over (-1)."""
        if self.picker is not None:
            self.picker.counted(self.what.frontend, backend, change)

    def source(self, client: str, backend: Backend) -> Source:
        """Return with whose address *backend* is asked for *client*."""
        return self.origins.source(self.kept, client, backend)
