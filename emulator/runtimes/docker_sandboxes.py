"""Pods' sandboxes: containers that sleep, whose namespaces the pods' other containers share."""

import asyncio
from collections.abc import Collection
from ipaddress import IPv4Address

from podwire.emulator.engine.client import Engine, EngineError
from podwire.emulator.runtimes.docker_process import ENGINE_AWAY, exit_status
from podwire.emulator.runtimes.docker_requests import (
    SANDBOX,
    DockerNode,
    Json,
    Project,
    first_name,
    in_short,
    moment,
    sandbox_body,
)
from podwire.emulator.runtimes.made import MadeContainers
from podwire.emulator.runtimes.runtime import PodRequest, PodSandbox
from podwire.lending import Place

# Seconds after which the engine surely waits for what it was asked to wait for.
_WAITS = 1.0


class Sandboxes:
    """Makes the sandboxes of pods on *node*. Every method raises EngineError, unless it says so."""

    def __init__(
        self, engine: Engine, node: DockerNode, project: Project, made: MadeContainers
    ) -> None:
        self._engine = engine
        self.node = node
        self._project = project
        self._made = made

    async def found(self, request: PodRequest) -> PodSandbox | None:
        """Return the sandbox of a pod, if it runs and has its network."""
        running = await self._made.running(request.uid, SANDBOX)
        if not running or await self._stands(running) is None:
            return None
        interface = await self._interface(running, request)
        if interface is None:
            return None
        return PodSandbox(request, running, interface[0], netns=interface[1])

    async def make(self, request: PodRequest) -> PodSandbox:
        """Make a pod's sandbox."""
        # What is left of an earlier one has lost its network. How its containers ended, `start`
        # will tell.
        await self._made.kill_pod(request.uid)
        await self._made.remove_pod(request.uid, SANDBOX)
        body = sandbox_body(self._project, self.node, request)
        made = await self._made.create(
            first_name(self._project.name, request.namespace, request.name, SANDBOX), body
        )
        await self._engine.post(f"/containers/{made}/start")
        interface = await self._interface(made, request)
        if interface is None:
            raise EngineError(500, f"the sandbox {made[:12]} has no address")
        return PodSandbox(request, made, interface[0], netns=interface[1])

    async def _interface(self, sandbox: str, request: PodRequest) -> tuple[IPv4Address, str] | None:
        """Return a sandbox's address, and where captures find its packets (empty: nowhere).

        None if it has ended, and with it its network.
        """
        if request.host_network:
            return self.node.address, ""
        found = await self._engine.get(f"/containers/{sandbox}/json")
        networks: Collection[Json] = found["NetworkSettings"]["Networks"].values()
        for network in networks:
            if network["IPAddress"]:
                lender, mac = self._project.captures, network.get("MacAddress") or ""
                place = str(Place(lender, mac, network["IPAddress"])) if lender and mac else ""
                return IPv4Address(network["IPAddress"]), place
        return None

    async def lost(self, sandbox: PodSandbox) -> None:
        """Return when the sandbox was ended by somebody else, or has lost its node's network.

        Raises nothing.
        """
        while True:
            try:
                nodes = await self._stands(sandbox.id)
                if nodes is not None:
                    await self._one_ends(sandbox.id, nodes)
                return
            except EngineError:
                await asyncio.sleep(ENGINE_AWAY)

    async def _stands(self, sandbox: str) -> list[str] | None:
        """Return the containers whose networks a sandbox that runs is in; None if it is lost."""
        found = await self._made.inspected(sandbox)
        if not found or not found["State"]["Running"]:
            return None
        if moment(found["State"]["FinishedAt"]):
            # We start it once. Somebody else did again (docker restart, perhaps while we were
            # away): it has another network, and the pod's containers are in the one before.
            return None
        mode = str(found["HostConfig"]["NetworkMode"])
        if not mode.startswith("container:"):
            return []
        node = await self._made.inspected(mode.removeprefix("container:"))
        if not node or not node["State"]["Running"]:
            return None
        # Started again, it has another network, and the sandbox is where nobody is any more.
        if moment(node["State"]["StartedAt"]) > moment(found["State"]["StartedAt"]):
            return None
        return [node["Id"]]

    async def _one_ends(self, sandbox: str, nodes: list[str]) -> None:
        async with asyncio.TaskGroup() as tasks:
            ends = [tasks.create_task(exit_status(self._engine, one)) for one in (sandbox, *nodes)]
            ended, _ = await asyncio.wait(ends, timeout=_WAITS, return_when=asyncio.FIRST_COMPLETED)
            # A busy engine begins to wait late: it may have ended before, and run again.
            if not ended and not await self._has_fallen(sandbox):
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for task in ends:
                task.cancel()

    async def _has_fallen(self, sandbox: str) -> bool:
        try:
            return await self._stands(sandbox) is None
        except EngineError:
            return False


def of_network(error: EngineError) -> str:
    """Return why a sandbox could not be made."""
    words = in_short(str(error))
    if "no available IPv4 addresses" in words:
        return f"no IP addresses available: {words}"
    return words
