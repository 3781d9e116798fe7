"""The containers that we made for one cluster, found by their labels; never anybody else's."""

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from podwire.emulator.engine.client import Engine, EngineError
from podwire.emulator.runtimes.docker_requests import MADE_BY, MADE_CONTAINER, POD_UID, SANDBOX


@dataclass(frozen=True, slots=True)
class MadeContainer:
    """A container of ours, as the engine lists it."""

    id: str
    pod_uid: str
    name: str
    running: bool


class MadeContainers:
    """What we made for the cluster *project*. Every method raises EngineError."""

    def __init__(self, engine: Engine, project: str) -> None:
        self._engine = engine
        self._project = project

    async def all(self) -> tuple[MadeContainer, ...]:
        """Return all of them."""
        return await self._listed()

    async def of(self, pod_uid: str, name: str = "") -> tuple[MadeContainer, ...]:
        """Return those of a pod; with *name* only those that are called so."""
        labels = [f"{POD_UID}={pod_uid}", *([f"{MADE_CONTAINER}={name}"] if name else [])]
        return await self._listed(*labels)

    async def running(self, pod_uid: str, name: str) -> str:
        """Return the id of a pod's container that runs, or an empty text."""
        for each in await self.of(pod_uid, name):
            # The engine's list may still say so of one whose end it has just told us.
            if each.running and (await self._state(each.id)).get("Running"):
                return each.id
        return ""

    async def remove_pod(self, pod_uid: str, name: str = "") -> None:
        """Remove all of a pod, or those called *name*; what is gone already is fine."""
        await self._remove(await self.of(pod_uid, name))

    async def remove(self, containers: Iterable[str]) -> None:
        """Remove containers by id, with what runs in them; what is gone already is fine.

        One that cannot be removed does not keep the others.
        """
        outcomes = await asyncio.gather(
            *(self._remove_one(identity) for identity in containers), return_exceptions=True
        )
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def leftovers(self, known_uids: Collection[str]) -> tuple[str, ...]:
        """Remove what pods have left that nobody knows any more; returns their uids."""
        left = [each for each in await self.all() if each.pod_uid not in known_uids]
        await self._remove(left)
        return tuple(sorted({each.pod_uid for each in left}))

    async def remove_all(self) -> None:
        """Remove everything that we made."""
        await self._remove(await self.all())

    async def _remove(self, containers: Collection[MadeContainer]) -> None:
        # The sandboxes last: the others live in their namespaces.
        await self.remove(each.id for each in containers if each.name != SANDBOX)
        await self.remove(each.id for each in containers if each.name == SANDBOX)

    async def _remove_one(self, identity: str) -> None:
        try:
            await self._engine.delete(f"/containers/{identity}", force=True, v=True)
        except EngineError as error:
            if error.status == 409:
                # Somebody else removes it: over when it is.
                await self._gone(identity)
            elif error.status != 404:
                raise

    async def _state(self, identity: str) -> dict[str, Any]:
        try:
            found = await self._engine.get(f"/containers/{identity}/json")
        except EngineError as error:
            if error.status == 404:
                return {}
            raise
        state: dict[str, Any] = found["State"]
        return state

    async def _gone(self, identity: str) -> None:
        try:
            await self._engine.post(f"/containers/{identity}/wait", condition="removed")
        except EngineError as error:
            if error.status != 404:
                raise

    async def _listed(self, *labels: str) -> tuple[MadeContainer, ...]:
        wanted = {"label": [f"{MADE_BY}={self._project}", *labels]}
        found: list[dict[str, Any]] = await self._engine.get(
            "/containers/json", all=True, filters=wanted
        )
        return tuple(
            MadeContainer(
                each["Id"],
                each["Labels"].get(POD_UID, ""),
                each["Labels"].get(MADE_CONTAINER, ""),
                # A paused one is running as well; it goes on when somebody unpauses it.
                each["State"] in ("running", "paused"),
            )
            for each in found
        )
