"""Inside: runs cases and sequences of a vector file against the real program, and notes replies."""

import asyncio
import json
import os
import tempfile
import time
import traceback
from collections.abc import AsyncGenerator, Awaitable, Iterable
from contextlib import AsyncExitStack, nullcontext
from pathlib import Path
from typing import Any

from tests.system.dns import corefiles, upstream
from tests.system.dns.fake_api import FakeApi
from tests.system.dns.messages import question, read
from tests.system.dns.objects import objects
from tests.system.dns.upstream import Answer, Upstream
from tests.system.dns.world import HERE, PATIENCE, Place, Server, ask_tcp, ask_udp, connected, get

Json = dict[str, Any]

# What a sequence writes as ${NAME}; nobody listens on the last.
PLACES = {"UPSTREAM": 10053, "STUB": 10054, "DEAD": 10055}
TRANSPORTS = ("udp", "tcp")
LIMIT = 80.0
"""Seconds after which a sequence, or the question of a case, is given up."""

QUIET = 1.0
"""Seconds without another message that end a transfer of one SOA."""


async def play(vectors: Json) -> Json:
    """Return the replies to cases and sequences: id -> transport -> replies in hexadecimal."""
    replies: Json = {"cases": {}, "sequences": {}}
    starting = asyncio.Semaphore(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory(prefix="podwire-dns-") as folder:
        async with asyncio.TaskGroup() as tasks:
            # Those that begin with a time-out come first.
            for sequence in sorted(vectors["sequences"], key=_is_whole):
                for transport in TRANSPORTS:
                    run = Run(Path(folder, f"{sequence['id']}-{transport}"), starting)
                    noted = replies["sequences"].setdefault(sequence["id"], {})
                    tasks.create_task(
                        _noted(noted, transport, run.sequence(vectors, sequence, transport))
                    )
            for number, cases in enumerate(groups(vectors["cases"])):
                run = Run(Path(folder, f"group-{number}"), starting)
                tasks.create_task(run.group(vectors, cases, replies["cases"]))
    return replies


def _is_whole(sequence: Json) -> bool:
    return bool(sequence["environment"].get("api", "fixture") == "fixture")


def groups(cases: Iterable[Json]) -> list[list[Json]]:
    """Return the cases, those together that one server can answer."""
    found: dict[str, list[Json]] = {}
    for case in cases:
        config = json.dumps(case["config"], sort_keys=True)
        found.setdefault(f"{case['fixture']} {config} {case.get('op')}", []).append(case)
    return list(found.values())


async def _noted(noted: Json, key: str, work: Awaitable[Any]) -> None:
    """Note what *work* gives, or how it failed: the others go on."""
    try:
        async with asyncio.timeout(LIMIT):
            noted[key] = await work
    except Exception as error:  # noqa: BLE001 - the test that asked for it shows it
        noted[key] = {"error": "".join(traceback.format_exception(error))}


class Run:
    """One server and its surroundings."""

    def __init__(self, folder: Path, starting: asyncio.Semaphore) -> None:
        self._folder = folder
        self._starting = starting
        self._number = 0

    async def group(self, vectors: Json, cases: list[Json], noted: Json) -> None:
        """Ask all *cases* of one server over each transport."""
        config, op = cases[0]["config"], cases[0].get("op") or ""
        fixture = vectors["fixtures"][cases[0]["fixture"]]
        behind = Upstream(upstream.refusing)
        clients = {case["client_ip"] for case in cases if case.get("client_ip")}
        try:
            async with AsyncExitStack() as stack:
                place = Place(corefiles.own_addresses(config), strangers=clients)
                stack.callback(place.close)
                port = int(corefiles.NEXT.rpartition(":")[2])
                await stack.enter_async_context(behind.serving(place, port))
                held = ("serviceimports",) if config.get("not_synced") else ()
                api = FakeApi(objects(fixture), held=held)
                server = await self._serve(stack, place, corefiles.corefile(config, op), api)
                if held:
                    async with asyncio.timeout(PATIENCE):
                        await api.watched("namespaces", "services", "endpointslices")
                await self._ask_all(place, cases, behind, noted)
                for case in cases:
                    noted[case["id"]]["log"] = server.said()[-2000:]
        except Exception as error:  # noqa: BLE001 - the tests of these cases show it
            failure = {"error": "".join(traceback.format_exception(error))}
            for case in cases:
                noted.setdefault(case["id"], dict.fromkeys(TRANSPORTS, failure))

    async def sequence(self, vectors: Json, sequence: Json, transport: str) -> Json:
        """Return what each step of a sequence gave; over TCP as recorded if *transport* is udp."""
        fixture = vectors["fixtures"][sequence["fixture"]]
        environment = sequence["environment"]
        corefile = sequence["corefile"]
        for name, port in PLACES.items():
            corefile = corefile.replace(f"${{{name}}}", f"{HERE}:{port}")
        clients = {step["client"] for step in sequence["steps"] if step.get("client")}
        async with AsyncExitStack() as stack:
            place = Place(environment.get("local_ips", ()), strangers=clients)
            stack.callback(place.close)
            answer = upstream.recursor(vectors["upstreams"]["UPSTREAM"])
            for name in ("UPSTREAM", "STUB"):
                await stack.enter_async_context(Upstream(answer).serving(place, PLACES[name]))
            api = environment.get("api", "fixture")
            every = objects(fixture)
            fake = (
                None
                if api == "unreachable"
                else FakeApi(every, held=() if api == "fixture" else every)
            )
            server = await self._serve(stack, place, corefile, fake)
            seen = [noted async for noted in self._steps(place, sequence["steps"], transport)]
            # What a truncated reply was cut from is asked last: it must not change the steps.
            for step, noted in zip(sequence["steps"], seen, strict=True):
                if step.get("expect", {}).get("tc"):
                    whole = {**step, "transport": "tcp"}
                    noted["full"] = (await self._step(place, whole, "tcp"))["replies"]
            return {"steps": seen, "log": server.said()[-2000:]}

    async def _steps(self, place: Place, steps: list[Json], transport: str) -> AsyncGenerator[Json]:
        """Yield what each step gave, and by how many seconds it was `late`: waits are none."""
        began, waits = time.monotonic(), 0.0
        for step in steps:
            noted = await self._step(place, step, transport)
            waits += step.get("seconds", 0.0)
            yield {**noted, "late": time.monotonic() - began - waits}

    async def _serve(
        self, stack: AsyncExitStack, place: Place, corefile: str, api: FakeApi | None
    ) -> Server:
        """Return a server that answers, and runs for as long as *stack* lives."""
        self._folder.mkdir()
        path = self._folder / "api"
        if api is not None:
            await stack.enter_async_context(api.serving(path))
        # As many start at a time as there are processors; who only waits in vain is not counted.
        async with self._starting if api is not None else nullcontext():
            server = stack.enter_context(Server(place, corefile, self._folder, api=str(path)))
            await server.serves()
        return server

    async def _ask_all(
        self, place: Place, cases: list[Json], behind: Upstream, noted: Json
    ) -> None:
        """Ask one case after another: what is behind the server changes with them."""
        for case in cases:
            behind.answer = _behind(case)
            for transport in TRANSPORTS:
                ask = self._walk(place, case, behind, transport)
                if case.get("op") != "autopath_search":
                    ask = self._case(place, case, transport)
                await _noted(noted.setdefault(case["id"], {}), transport, ask)

    async def _case(self, place: Place, case: Json, transport: str) -> Json:
        serial = None
        if "ixfr_serial" in case:
            soa = question({"qname": case["qname"], "qtype": "SOA"}, self._next())
            found = read(await ask_tcp(place, soa) or b"")["answer"][0]["data"].split()[2]
            serial = int(found) + {"older": -1, "current": 0, "newer": 1}[case["ixfr_serial"]]
        # Long answers shall fit into a datagram; over TCP it is asked without EDNS.
        edns = {"udp_size": 4096} if transport == "udp" else None
        packet = question({"edns": edns, **case}, self._next(), soa_serial=serial)
        replies = await self._replies(
            place, packet, case["qtype"], transport, case.get("client_ip", "")
        )
        return {"replies": replies}

    async def _walk(self, place: Place, case: Json, behind: Upstream, transport: str) -> Json:
        """Note what reaches the upstream when a client asks a name that is nowhere."""
        search = case["search"]
        domain = search[0] if search else case["qname"].partition(".")[2]
        name = f"nowhere-{transport}.{domain}"
        del behind.asked[:]
        packet = question({"qname": name, "qtype": case["qtype"]}, self._next())
        await self._replies(place, packet, case["qtype"], transport, case["client_ip"])
        return {"name": name, "asked": [asked for asked, _ in behind.asked]}

    async def _step(self, place: Place, step: Json, transport: str) -> Json:
        match step["op"]:
            case "wait":
                await asyncio.sleep(step["seconds"])
                return {}
            case "http":
                status, body = await get(place, step["port"], step["url"])
                return {"status": status, "body": body}
            case "query":
                over = step.get("transport", transport)
                if is_for_udp(step):
                    over = "udp"
                packet = question(step, self._next())
                replies = await self._replies(
                    place, packet, step["qtype"], over, step.get("client", "")
                )
                return {"replies": replies, "transport": over}
            case other:
                raise ValueError(f"steps of the kind {other!r} are not known")

    async def _replies(
        self, place: Place, packet: bytes, kind: str, transport: str, client: str
    ) -> list[str]:
        if transport == "udp":
            reply = await ask_udp(place, packet, client=client)
            return [reply.hex()] if reply else []
        if kind in ("AXFR", "IXFR"):
            return [message.hex() for message in await _transferred(place, packet, client)]
        reply = await ask_tcp(place, packet, client=client)
        return [reply.hex()] if reply else []

    def _next(self) -> int:
        self._number += 1
        return self._number


def is_for_udp(step: Json) -> bool:
    """Return whether what a step expects holds over UDP only: truncation, a refused transfer."""
    if step.get("transport") == "tcp":
        return False
    return bool(step.get("expect", {}).get("tc")) or step["qtype"] in ("AXFR", "IXFR")


def _behind(case: Json) -> Answer:
    if case.get("op") == "autopath_search":
        return upstream.denying
    if "result" in case:
        return upstream.telling
    return upstream.listed(case["upstream"]) if case.get("upstream") else upstream.refusing


async def _transferred(place: Place, packet: bytes, client: str) -> list[bytes]:
    """Return the messages of a transfer, or the one that refuses it."""
    messages: list[bytes] = []
    records = list[str]()
    async with connected(place, client=client) as stream:
        stream.send(packet)
        while records.count("SOA") < 2:
            # A single SOA may be all (it is up to date), or the begin.
            message = await stream.receive(within=QUIET if records == ["SOA"] else PATIENCE)
            if message is None:
                break
            messages.append(message)
            found = read(message)["answer"]
            records += [record["type"] for record in found]
            if not found:
                break
    return messages
