"""The containers that we made for one cluster; never anybody else's.

Their labels alone do not make them ours: an image made of one (`docker commit`) carries them, and
so does every container of that image. Only we give the name that goes with the labels, and a place
in the network of a sandbox.
"""

import asyncio
import logging
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from podwire.emulator.engine.client import Engine, EngineError
from podwire.emulator.runtimes.docker_requests import (
    MADE_BY,
    MADE_CONTAINER,
    MADE_POD,
    POD_UID,
    SANDBOX,
    first_name,
)

log = logging.getLogger(__name__)

_JOINS = "container:"


@dataclass(frozen=True, slots=True)
class MadeContainer:
    """A container of ours, as the engine lists it. *joined*: the container whose network it has."""

    id: str
    pod_uid: str
    name: str
    running: bool
    ended: bool = False
    joined: str = ""


class MadeContainers:
    """What we made for the cluster *project*. Every method raises EngineError."""

    def __init__(self, engine: Engine, project: str) -> None:
        self._engine = engine
        self._project = project
        # Somebody else's with our labels that we have told of.
        self._told: set[str] = set()

    async def all(self) -> tuple[MadeContainer, ...]:
        """Return all of them."""
        return await self._listed()

    async def of(self, pod_uid: str, name: str = "") -> tuple[MadeContainer, ...]:
        """Return those of a pod; with *name* only those that are called so."""
        found = await self._listed(f"{POD_UID}={pod_uid}")
        return tuple(each for each in found if not name or each.name == name)

    async def running(self, pod_uid: str, name: str) -> str:
        """Return the id of a pod's container that runs, or an empty text."""
        for each in await self.of(pod_uid, name):
            # The engine's list may still say so of one whose end it has just told us.
            if each.running and (await self._state(each.id)).get("Running"):
                return each.id
        return ""

    async def ended(self, pod_uid: str, name: str) -> str:
        """Return the id of a pod's container that ran and has ended, or an empty text."""
        for each in await self.of(pod_uid, name):
            if each.ended:
                return each.id
        return ""

    async def inspected(self, identity: str) -> dict[str, Any]:
        """Return what the engine knows of a container; nothing of one that is gone."""
        try:
            found: dict[str, Any] = await self._engine.get(f"/containers/{identity}/json")
        except EngineError as error:
            if error.status == 404:
                return {}
            raise
        return found

    async def create(self, first_name: str, body: dict[str, Any]) -> str:
        """Create a container under the first name that is free, and return its id."""
        attempt = 0
        while True:
            try:
                created: dict[str, Any] = await self._engine.post(
                    "/containers/create", body, name=f"{first_name}{attempt}"
                )
            except EngineError as error:
                # A predecessor of the same name may still be about to go.
                if error.status != 409 or "name" not in str(error):
                    raise
                attempt += 1
            else:
                return str(created["Id"])

    async def kill_pod(self, pod_uid: str) -> None:
        """End what runs of a pod, but its sandbox, and leave it there with its exit status."""
        for each in await self.of(pod_uid):
            if each.running and each.name != SANDBOX:
                try:
                    await self._engine.post(f"/containers/{each.id}/kill")
                    await self._engine.post(f"/containers/{each.id}/wait", condition="not-running")
                except EngineError as error:
                    if error.status not in (404, 409):
                        raise

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
        state: dict[str, Any] = (await self.inspected(identity)).get("State", {})
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
        named = [made(each) for each in found if is_named_so(self._project, each)]
        sandboxes = {each.id for each in named if each.name == SANDBOX}
        ours = [each for each in named if await self._is_of(each, sandboxes)]
        self._tell({each["Id"]: each["Names"] for each in found}, {each.id for each in ours})
        return tuple(ours)

    async def _is_of(self, each: MadeContainer, sandboxes: Collection[str]) -> bool:
        if each.name == SANDBOX or each.joined in sandboxes:
            return True
        # Its sandbox may be gone. Nobody else can be in the network of a container that is gone.
        return bool(each.joined) and not await self.inspected(each.joined)

    def _tell(self, found: dict[str, list[str]], ours: Collection[str]) -> None:
        for identity, names in found.items():
            if identity not in ours and identity not in self._told:
                self._told.add(identity)
                log.warning(
                    "container %s has the labels of a pod's, but is not of our making (docker "
                    "commit copies labels); it is left alone",
                    names[0].removeprefix("/") if names else identity[:12],
                )


def made(listed: dict[str, Any]) -> MadeContainer:
    """Return an entry of GET /containers/json as one of ours."""
    host: dict[str, Any] = listed.get("HostConfig") or {}
    mode = str(host.get("NetworkMode") or "")
    return MadeContainer(
        listed["Id"],
        listed["Labels"].get(POD_UID, ""),
        listed["Labels"].get(MADE_CONTAINER, ""),
        # A paused one is running as well; it goes on when somebody unpauses it.
        listed["State"] in ("running", "paused"),
        listed["State"] in ("exited", "dead"),
        mode.removeprefix(_JOINS) if mode.startswith(_JOINS) else "",
    )


def is_named_so(project: str, listed: dict[str, Any]) -> bool:
    """Tell whether a container has the name that we give to one with its labels."""
    labels: dict[str, str] = listed["Labels"]
    namespace, _, pod = labels.get(MADE_POD, "").partition("/")
    name = first_name(project, namespace, pod, labels.get(MADE_CONTAINER, ""))
    pattern = re.compile(f"/{re.escape(name)}[0-9]+")
    return any(pattern.fullmatch(each) for each in listed.get("Names") or ())
