"""Inside: Services that change a thousand times a second, and clients that ask all the while."""

import asyncio
import random
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

from tests.system.dns.fake_api import FakeApi
from tests.system.dns.messages import question, read
from tests.system.dns.world import Place, Server, ask_udp

Json = dict[str, Any]
State = frozenset[str]
"""The addresses of a name; empty: it does not exist."""

PER_SECOND: Final = 1000
CLUSTER_IPS: Final = 150
HEADLESS: Final = 50
ASKERS: Final = 4
NOTHING: Final = State()


@dataclass
class Name:
    """A name, and what was true of it from when on."""

    short: str
    is_headless: bool
    history: list[tuple[float, State]] = field(default_factory=list[tuple[float, State]])

    def true_between(self, first: float, last: float) -> set[State]:
        """Return all that was true at some moment from *first* to *last*."""
        ends = [at for at, _ in self.history[1:]] + [float("inf")]
        return {
            state
            for (at, state), end in zip(self.history, ends, strict=True)
            if at <= last and end >= first
        }


@dataclass(frozen=True)
class Seen:
    """One answer, and when it was asked for and came."""

    name: Name
    asked: float
    came: float
    state: State


async def change(wanted: Json) -> Json:
    """Make `changes` under the options `cache`; what was answered may be `stale` seconds old."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="podwire-dns-")))
        place = Place()
        api = FakeApi({"namespaces": [{"metadata": {"name": "default"}}]})
        await stack.enter_async_context(api.serving(folder / "api"))
        feed = Feed(api, random.Random(wanted["seed"]))
        feed.fill()
        corefile = f".:53 {{\n errors\n ready\n kubernetes cluster.local\n {wanted['cache']}\n}}\n"
        server = stack.enter_context(
            Server(place, corefile, folder / "server", api=str(folder / "api"))
        )
        await server.serves()
        await api.watched("services", "endpointslices")
        seen = list[Seen]()
        serials = list[int]()
        done = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for number in range(ASKERS):
                tasks.create_task(_ask(place, feed.names, seen, done, random.Random(number)))
            tasks.create_task(_watch_serial(place, serials, done))
            await feed.change(wanted["changes"])
            done.set()
        wrong = [one for one in seen if one.state not in _allowed(one, wanted["stale"])]
        return {
            "answers": len(seen),
            "positive": sum(1 for one in seen if one.state),
            "wrong": [
                f"{one.name.short}: {sorted(one.state)}; "
                f"true were {[sorted(s) for s in _allowed(one, wanted['stale'])]}"
                for one in wrong[:5]
            ],
            "serials": serials,
            "late": await _settle(place, feed.names, wanted["stale"]),
            "log": server.said()[-2000:],
        }


class Feed:
    """The API's side of the changes."""

    def __init__(self, api: FakeApi, dice: random.Random) -> None:
        self._api = api
        self._dice = dice
        self._next = int(IPv4Address("10.64.0.0"))
        self.names = [Name(f"plain-{n}", is_headless=False) for n in range(CLUSTER_IPS)]
        self.names += [Name(f"peers-{n}", is_headless=True) for n in range(HEADLESS)]

    def fill(self) -> None:
        """Let every name exist."""
        for name in self.names:
            if name.is_headless:
                self._api.put("services", _service(name.short, "None"))
            self._set(name, self._fresh(name))

    async def change(self, count: int) -> None:
        """Change a random name *count* times, a thousand times a second."""
        began = time.monotonic()
        for number in range(count):
            name = self._dice.choice(self.names)
            goes = name.history[-1][1] and self._dice.random() < 0.4
            self._set(name, NOTHING if goes else self._fresh(name))
            if number % 10 == 9:
                due = began + (number + 1) / PER_SECOND
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _fresh(self, name: Name) -> State:
        """Return addresses that nobody had before."""
        count = self._dice.randrange(1, 5) if name.is_headless else 1
        self._next += count
        return State(str(IPv4Address(self._next - n)) for n in range(count))

    def _set(self, name: Name, state: State) -> None:
        name.history.append((time.monotonic(), state))
        if name.is_headless:
            self._api.put("endpointslices", _slice(name.short, sorted(state)))
        elif state:
            self._api.put("services", _service(name.short, *state))
        else:
            self._api.delete("services", "default", name.short)


def _allowed(one: Seen, stale: float) -> set[State]:
    return one.name.true_between(one.asked - stale, one.came)


async def _ask(
    place: Place, names: list[Name], seen: list[Seen], done: asyncio.Event, dice: random.Random
) -> None:
    while not done.is_set():
        name = dice.choice(names)
        asked = time.monotonic()
        state = await _state(place, name, dice.getrandbits(16))
        seen.append(Seen(name, asked, time.monotonic(), state))


async def _state(place: Place, name: Name, number: int) -> State:
    step = {"qname": f"{name.short}.default.svc.cluster.local.", "qtype": "A"}
    reply = await ask_udp(place, question(step, number))
    assert reply is not None, "a query was lost"
    found = read(reply)
    assert found["id"] == number
    state = State(record["data"] for record in found["answer"])
    assert found["rcode"] == ("NOERROR" if state else "NXDOMAIN"), found
    return state


async def _watch_serial(place: Place, serials: list[int], done: asyncio.Event) -> None:
    while not done.is_set():
        reply = await ask_udp(place, question({"qname": "cluster.local.", "qtype": "SOA"}, 7))
        assert reply is not None
        (record,) = read(reply)["answer"]
        serials.append(int(record["data"].split()[2]))
        await asyncio.sleep(0.1)


async def _settle(place: Place, names: list[Name], stale: float) -> list[str]:
    """Return the names that do not tell what is true when nothing has changed for a while."""
    end = time.monotonic() + stale + 10
    late = names
    while late and time.monotonic() < end:
        late = [name for name in late if await _state(place, name, 9) != name.history[-1][1]]
        await asyncio.sleep(0.05)
    return [name.short for name in late]


def _service(name: str, address: str) -> Json:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ports": ports,
        },
    }


def _slice(name: str, addresses: list[str]) -> Json:
    return {
        "metadata": {
            "name": f"{name}-abcde",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
    }
