"""An engine that pretends, with containers as a real one described them, and the real API server."""

import asyncio
import copy
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from podwire.emulator.apiserver.agent import NodeAgent
from podwire.emulator.apiserver.server import ApiServer
from podwire.emulator.apiserver.store import Store
from podwire.emulator.discovery import facts
from podwire.emulator.discovery.discovery import Discovery
from podwire.emulator.discovery.facts import Container, Network
from podwire.errors import EngineError
from podwire.kube.client import Client
from podwire.kube.clock import SystemClock
from podwire.kube.informers import Informers
from podwire.kube.names import Key
from podwire.kube.objects import Event, Namespace, Node, Object, Pod, T

Json = dict[str, Any]

DATA = Path(__file__).parents[3] / "data" / "docker"
LIMIT = 10.0
"""Seconds after which a test gives up waiting."""
SURVIVAL = 0.05
CLUSTER = "h2c"


class Recorded:
    """What Docker 26.1.5 said of the containers of a Compose project, by their names in it."""

    def __init__(self) -> None:
        self._containers: Json = json.loads((DATA / "containers.json").read_text())
        self.networks: list[Json] = json.loads((DATA / "networks.json").read_text())

    def inspected(self, name: str) -> Json:
        found: Json = copy.deepcopy(self._containers[name])
        return found

    def container(self, name: str) -> Container:
        return facts.container(self.inspected(name))

    def known_networks(self) -> Mapping[str, Network]:
        found = [facts.network(one) for one in self.networks]
        return {one.id: one for one in found}


@pytest.fixture(scope="session")
def recorded() -> Recorded:
    return Recorded()


class FakeEngine:
    """Answers as the engine does, and tells what happens in the engine's order."""

    release = "26.1.5"

    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded
        self.networks = copy.deepcopy(recorded.networks)
        self.containers: dict[str, Json] = {}
        self.answers = asyncio.Event()
        """While it is clear, nobody is told about a container."""
        self.answers.set()
        self.inspected = 0
        self._now = 1_900_000_000.0
        self._log: list[Json] = []
        self._news = asyncio.Event()
        self._away = 0
        self._generation = 0

    # What Discovery asks.

    async def get(self, path: str, **query: object) -> Any:
        if self._away:
            raise EngineError(0, "the engine is gone")
        match path.split("/")[1:]:
            case ["info"]:
                return {"SystemTime": self._time()}
            case ["networks"]:
                return self.networks
            case ["containers", "json"]:
                return [
                    {"Id": one["Id"], "Labels": one["Config"]["Labels"]}
                    for one in self.containers.values()
                ]
            case ["containers", id_, "json"]:
                self.inspected += 1
                await self.answers.wait()
                for one in self.containers.values():
                    if one["Id"] == id_:
                        return copy.deepcopy(one)
                raise EngineError(404, f"No such container: {id_}")
            case _:
                raise AssertionError(path)

    async def lines(self, path: str, **query: object) -> AsyncIterator[Any]:
        generation, position = self._generation, 0
        since = float(cast(str, query["since"]))
        while True:
            if self._generation != generation:
                raise EngineError(0, "the engine closed the connection")
            while position < len(self._log):
                event = self._log[position]
                position += 1
                if event["timeNano"] / 1e9 >= since:
                    yield event
            self._news.clear()
            await self._news.wait()

    # What a test does to it.

    def add(self, name: str, like: str = "", labels: Mapping[str, str] | None = None) -> None:
        """Have a container as recorded (or *like* a recorded one), with other *labels* of ours."""
        found = self._recorded.inspected(like or name)
        if like:
            found["Id"] = f"{len(self.containers):02}" + found["Id"][2:]
            found["Name"] = f"/{CLUSTER}-{name}"
            found["Created"] = self._time()
        for label, value in (labels or {}).items():
            found["Config"]["Labels"][f"podwire.dev/{label}"] = value
        self.containers[name] = found
        self._tell(name, "create")

    def start(self, name: str, address: str = "") -> None:
        found = self.containers[name]
        state = found["State"]
        state.update(
            Status="running", Running=True, Paused=False, Restarting=False, StartedAt=self._time()
        )
        if state.get("Health"):
            state["Health"] = {"Status": "starting", "FailingStreak": 0, "Log": []}
        for network in found["NetworkSettings"]["Networks"].values():
            network["IPAddress"] = address or "10.195.1.200"
        self._tell_networks(name, "connect")
        self._tell(name, "start")

    def kill(self, name: str, signal: int = 15) -> None:
        self._tell(name, "kill", signal=str(signal))

    def die(self, name: str, code: int) -> None:
        found = self.containers[name]
        policy = found["HostConfig"]["RestartPolicy"]["Name"]
        again = policy == "always"
        found["State"].update(
            Status="restarting" if again else "exited",
            Running=again,
            Restarting=again,
            ExitCode=code,
            FinishedAt=self._time(),
        )
        self._tell_networks(name, "disconnect")
        for network in found["NetworkSettings"]["Networks"].values():
            network["IPAddress"] = ""
        self._tell(name, "die", exitCode=str(code))

    def restart(self, name: str, address: str = "") -> None:
        """Start it again by its restart policy."""
        self.containers[name]["RestartCount"] += 1
        self.start(name, address)

    def pause(self, name: str) -> None:
        self.containers[name]["State"].update(Status="paused", Paused=True)
        health = self.containers[name]["State"].get("Health")
        if health:
            health.update(Status="unhealthy", FailingStreak=0)
        self._tell(name, "pause")

    def unpause(self, name: str) -> None:
        self.containers[name]["State"].update(Status="running", Paused=False)
        self._tell(name, "unpause")

    def health(self, name: str, status: str, output: str = "") -> None:
        streak = 1 if status == "unhealthy" else 0
        self.containers[name]["State"]["Health"] = {
            "Status": status,
            "FailingStreak": streak,
            "Log": [{"Output": output}],
        }
        self._tell(name, f"health_status: {status}")

    def restart_policy(self, name: str, policy: str) -> None:
        self.containers[name]["HostConfig"]["RestartPolicy"]["Name"] = policy
        self._tell(name, "update")

    def remove(self, name: str) -> None:
        found = self.containers.pop(name)
        self._tell_of(found, "destroy")

    def go_away(self) -> None:
        self._away += 1
        self._generation += 1
        self._news.set()

    def come_back(self) -> None:
        self._away -= 1

    def _tell(self, name: str, action: str, **more: str) -> None:
        self._tell_of(self.containers[name], action, **more)

    def _tell_of(self, found: Json, action: str, **more: str) -> None:
        attributes = {**found["Config"]["Labels"], "name": found["Name"][1:], **more}
        self._say("container", action, found["Id"], attributes)

    def _tell_networks(self, name: str, action: str) -> None:
        found = self.containers[name]
        for network in found["NetworkSettings"]["Networks"].values():
            self._say("network", action, network["NetworkID"], {"container": found["Id"]})

    def _say(self, kind: str, action: str, id_: str, attributes: Mapping[str, str]) -> None:
        self._now += 1
        actor = {"ID": id_, "Attributes": attributes}
        at = int(self._now * 1e9)
        self._log.append({"Type": kind, "Action": action, "Actor": actor, "timeNano": at})
        self._news.set()

    def _time(self) -> str:
        self._now += 1
        return datetime.fromtimestamp(self._now, UTC).isoformat().replace("+00:00", "Z")


class World:
    """What a test sees and does."""

    def __init__(
        self, engine: FakeEngine, client: Client, informers: Informers, discovery: Discovery
    ) -> None:
        self.engine = engine
        self.client = client
        self.discovery = discovery
        self._informers = informers
        self._changed = asyncio.Event()
        for kind in (Pod, Node, Namespace, Event):
            informers.of(kind).subscribe(self.note)

    def get(self, kind: type[T], name: str, namespace: str = "default") -> T:
        """Return the object; raises LookupError, which `until` takes for "not yet"."""
        namespace = namespace if kind.RESOURCE.namespaced else ""
        found = self._informers.of(kind).get(Key(namespace, name))
        if found is None:
            raise LookupError(f"{kind.__name__} {namespace}/{name}")
        return found

    def has(self, kind: type[Object], name: str, namespace: str = "default") -> bool:
        return _true(lambda: self.get(kind, name, namespace))

    def ready(self, name: str, namespace: str = "default") -> str:
        """Return `True`, or `False: reason: message`."""
        pod = self.get(Pod, name, namespace)
        found = next((c for c in pod.status.conditions if c.type == "Ready"), None)
        if found is None:
            raise LookupError(name)
        return found.status if found.status == "True" else f"False: {found.reason}: {found.message}"

    def events(self, reason: str) -> list[str]:
        return [one.message for one in self._informers.of(Event).all() if one.reason == reason]

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait for *holds*; looked at after each change."""
        async with asyncio.timeout(LIMIT):
            while not _true(holds):
                self._changed.clear()
                await self._changed.wait()

    async def until_ready(self, name: str, namespace: str = "default") -> None:
        await self.until(lambda: self.ready(name, namespace) == "True")

    async def until_not_ready(self, name: str, why: str, namespace: str = "default") -> None:
        await self.until(lambda: why in self.ready(name, namespace).removeprefix("True"))

    def note(self, old: Object | None, new: Object | None) -> None:
        self._changed.set()


def _true(holds: Callable[[], object]) -> bool:
    try:
        return bool(holds())
    except LookupError:
        return False


Start = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture
def cluster(tmp_path: Path, recorded: Recorded) -> Start:
    """Start a cluster of the recorded containers that a test names."""

    @asynccontextmanager
    async def start(*names: str, store: Store | None = None) -> AsyncGenerator[World]:
        engine = FakeEngine(recorded)
        for name in names:
            engine.add(name)
        socket = tmp_path / "api.sock"
        agent = cast(NodeAgent, None)
        server = ApiServer(store or Store(), agent, SystemClock(), random.Random(7))
        server.fill(6443)
        async with (
            server.serve(unix_path=socket),
            Client.unix(socket, user="system:podwire") as client,
            asyncio.timeout(LIMIT),
            asyncio.TaskGroup() as tasks,
        ):
            informers = Informers(client)
            discovery = Discovery(
                engine, client, informers, SystemClock(), CLUSTER, survival=SURVIVAL
            )
            world = World(engine, client, informers, discovery)
            running = [tasks.create_task(informers.run()), tasks.create_task(discovery.run())]
            await discovery.synced.wait()
            yield world
            for task in running:
                task.cancel()

    return start
