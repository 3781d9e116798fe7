"""The whole server over real sockets: recorded sequences, hostile clients, deadlines."""

import asyncio
import json
import random
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from podwire.dns.chain import Block, Link, Plugin, Request
from podwire.dns.cluster.records import Table
from podwire.dns.cluster.sources import Sources, Wanted
from podwire.dns.cluster.watched import WatchedService
from podwire.dns.configuration import configure
from podwire.dns.messages.message import Data, Kind, Question, Rcode, Record, Reply, Soa
from podwire.dns.messages.query import Query, screen
from podwire.dns.messages.wire import question_packet, read_reply
from podwire.dns.serving.connections import Timeouts
from podwire.dns.serving.frontdoor import FrontDoor
from podwire.dns.serving.metrics import Metrics
from podwire.dns.serving.pages import PageServers
from podwire.dns.serving.server import listen, serving
from podwire.dns.serving.traffic import Traffic
from podwire.dns.site import Life, Process
from podwire.kube.codec import convert
from podwire.testing.clock import FakeClock

Json = dict[str, Any]
TableOf = Callable[[Json, Json], Table]
SummaryOf = Callable[[Reply | None], Json]
ExpectedOf = Callable[[Json], Json]

DATA = Path(__file__).resolve().parents[2] / "data" / "dns"
SEQUENCES: Json = json.loads((DATA / "sequences.json").read_text())
FIXTURES: Json = json.loads((DATA / "cases.json").read_text())["fixtures"]
HOSTILE: Json = json.loads((DATA / "hostile.json").read_text())

WEB = "web-svc.default.svc.cluster.local."
PATIENCE = 10.0

# These need the addresses of clients, replies of several messages, or the program's pages: see
# tests/system/dns, where the program plays all of them.
ELSEWHERE = {"server.autopath", "server.transfer", "server.http"}
PLAYED = [s for s in SEQUENCES["sequences"] if s["kind"] not in ELSEWHERE]


class Recursor(Plugin):
    """The upstream of the recorded sequences."""

    name = "template"

    def __init__(self, entry: Json) -> None:
        self._records = entry["records"]
        soa = entry["negative_soa"]
        words = soa["data"].split()
        self._soa = Record(
            soa["name"], Kind.SOA, soa["ttl"], Soa(words[0], words[1], *map(int, words[2:]))
        )

    async def serve(self, request: Request, rest: Link) -> Reply:
        question = request.query.question
        name = question.name.lower()
        for code in (Rcode.SERVFAIL, Rcode.REFUSED):
            if name.startswith(code.name.lower()):
                return Reply(rcode=code, recursion_available=True)
        found = [r for r in self._records if r[0] == name and r[1] == Kind(question.kind).name]
        exists = any(r[0] == name for r in self._records)
        return Reply(
            rcode=Rcode.NOERROR if exists else Rcode.NXDOMAIN,
            recursion_available=True,
            answer=tuple(Record(r[0], question.kind, r[2], data(r[1], r[3])) for r in found),
            authority=() if found else (self._soa,),
        )


def data(kind: str, text: str) -> Data:
    return ip_address(text) if kind in ("A", "AAAA") else text


class Cluster:
    """What a test needs to know of a running server."""

    def __init__(self, port: int, table: Table, clock: FakeClock, metrics: Metrics) -> None:
        self.port = port
        self.table = table
        self.clock = clock
        self.metrics = metrics


def door_of(table: Table, clock: FakeClock, metrics: Metrics, name: str = "") -> FrontDoor:
    return FrontDoor(
        revision=lambda: table.revision,
        clock=clock,
        dice=random.Random(1),
        traffic=Traffic(metrics, name),
    )


@asynccontextmanager
async def recursor(clock: FakeClock) -> AsyncGenerator[int, None]:
    """Run the upstream stub; gives its port."""
    table = Table()
    door = door_of(table, clock, Metrics())
    door.open([Block((".",), (Recursor(SEQUENCES["upstreams"]["UPSTREAM"]),))])
    listener = listen("127.0.0.1", 0)
    async with serving([listener], door):
        yield listener.port


@asynccontextmanager
async def dead_port() -> AsyncGenerator[int, None]:
    """Give a port that nobody listens on: bound, so nobody else can take it, but not connected."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
        tcp.bind(("127.0.0.1", 0))
        yield tcp.getsockname()[1]


class Told(Sources):
    """Sources that have one table, whatever is wanted."""

    def __init__(self, table: Table, clock: FakeClock) -> None:
        super().__init__(api="", user="", clock=clock)
        self._table = table

    def table(self, wanted: Wanted) -> Table:
        return self._table

    def revision(self) -> int:
        return self._table.revision


@asynccontextmanager
async def running(
    table_of: TableOf, kind: str = "server.cluster", timeouts: Timeouts | None = None
) -> AsyncGenerator[Cluster, None]:
    """Run the server of a sequence's Corefile, and its upstream."""
    clock = FakeClock()
    (corefile, *_) = [s["corefile"] for s in SEQUENCES["sequences"] if s["kind"] == kind]
    table = Table() if kind == "server.notsynced" else table_of(FIXTURES["shop"], {})
    process = Process(
        corefile=Path("Corefile"),
        life=Life(),
        pages=PageServers(),
        sources=Told(table, clock),
        metrics=Metrics(),
        clock=clock,
        dice=random.Random(2),
    )
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(recursor(clock))
        dead = await stack.enter_async_context(dead_port())
        for name, number in {"UPSTREAM": port, "STUB": port, "DEAD": dead}.items():
            corefile = corefile.replace(f"${{{name}}}", f"127.0.0.1:{number}")
        configuration = configure(
            corefile,
            process,
            default_port=53,
            interfaces={},
            doors={},
            make_door=lambda name: door_of(table, clock, process.metrics, name),
        )
        (server,) = configuration.servers.values()
        server.door.open(server.blocks)
        listener = listen("127.0.0.1", 0)
        await stack.enter_async_context(serving([listener], server.door, timeouts=timeouts))
        yield Cluster(listener.port, table, clock, process.metrics)


# A client that knows nothing of the server


@asynccontextmanager
async def datagrams(port: int) -> AsyncGenerator[socket.socket, None]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0)
        sock.connect(("127.0.0.1", port))
        yield sock


async def received(sock: socket.socket) -> bytes:
    return await asyncio.get_running_loop().sock_recv(sock, 65535)


async def ask_udp(port: int, packet: bytes) -> bytes:
    async with datagrams(port) as sock, asyncio.timeout(PATIENCE):
        sock.send(packet)
        return await received(sock)


async def ask_tcp(port: int, packet: bytes) -> bytes:
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(framed(packet))
            return await frame(reader)
        finally:
            writer.close()
            await writer.wait_closed()


def framed(packet: bytes) -> bytes:
    return struct.pack("!H", len(packet)) + packet


async def frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack("!H", await reader.readexactly(2))
    return await reader.readexactly(size)


def request(step: Mapping[str, Any], ident: int = 77) -> bytes:
    """Return the packet of a step's query."""
    kind = Kind[step["qtype"]]
    packet = bytearray(question_packet(ident, Question(step["qname"], kind)))
    if step.get("rd") is False:
        packet[2] &= 0xFE
    if step.get("qclass") == "ANY":
        packet[-2:] = b"\x00\xff"
    if "edns" in step:
        edns = step["edns"]
        options = b"".join(
            struct.pack("!2H", code, len(value) // 2) + bytes.fromhex(value)
            for code, value in edns.get("options", ())
        )
        ttl = 0x8000 if edns.get("do") else 0
        packet[11] = 1
        packet += struct.pack("!BHHIH", 0, 41, edns["udp_size"], ttl, len(options)) + options
    return bytes(packet)


def opt_of(reply: bytes) -> Json | None:
    """Return what the OPT of a reply says; ours is always the last record."""
    for size in range(11, min(80, len(reply))):
        tail = reply[-size:]
        kind, udp_size, ttl, length = struct.unpack("!HHIH", tail[1:11])
        if tail[0] or kind != Kind.OPT or length != size - 11 or not reply[11]:
            continue
        options: list[int] = []
        rest = tail[11:]
        while rest:
            code, count = struct.unpack("!2H", rest[:4])
            options.append(code)
            rest = rest[4 + count :]
        return {
            "version": ttl >> 16 & 0xFF,
            "udp_size": udp_size,
            "do": bool(ttl & 0x8000),
            "options": options,
        }
    return None


@pytest.mark.parametrize("sequence", PLAYED, ids=lambda s: s["id"])
async def test_sequence(
    sequence: Json, table_of: TableOf, summary_of: SummaryOf, expected_of: ExpectedOf
) -> None:
    async with running(table_of, sequence["kind"]) as cluster:
        for nth, step in enumerate(sequence["steps"]):
            match step["op"]:
                case "wait":
                    cluster.clock.advance(step["seconds"])
                case "query":
                    await check_step(cluster.port, step, nth, summary_of, expected_of)
                case "http":
                    pass  # The program's pages: see test_program.py.
                case other:
                    raise AssertionError(other)


async def check_step(
    port: int, step: Json, nth: int, summary_of: SummaryOf, expected_of: ExpectedOf
) -> None:
    packet = request(step, nth)
    asked = screen(packet)
    query = asked if isinstance(asked, Query) else getattr(asked, "query", None)
    assert query is not None
    transport = ask_tcp if step.get("transport") == "tcp" else ask_udp
    message = await transport(port, packet)
    expect = step["expect"]
    reply = read_reply(message, query)
    flags = message[2] << 8 | message[3]
    assert message[:2] == packet[:2]
    assert (bool(flags & 0x0100), bool(flags & 0x0080)) == (expect["rd"], expect["ra"])
    assert message[12 : query.question_end] == query.question_bytes
    assert len(message) <= expect.get("max_size", 65535)
    assert opt_of(message) == expect["edns"]
    full = {"answer", "authority", "additional"} <= set(expect)
    if full and not expect["tc"]:
        assert summary_of(reply) == expected_of(expect)
    else:
        assert (reply.truncated, reply.authoritative) == (expect["tc"], expect["aa"])
        if not expect["tc"]:
            assert len(reply.answer) == expect["answer_count"]
            assert len(reply.additional) == expect.get("additional_count", 0)


async def test_every_hostile_packet_leaves_the_server_alive(table_of: TableOf) -> None:
    baseline = b"\xab\xcd" + bytes.fromhex(HOSTILE["packets"][0]["hex"])[2:]
    async with running(table_of) as cluster, datagrams(cluster.port) as sock:
        for entry in HOSTILE["packets"]:
            packet = bytes.fromhex(entry["hex"])
            good = [entry["expect"], *entry.get("also_acceptable", ())]
            is_dropped = entry["expect"] in ("drop", "close or ignore")
            if entry["transport"] == "tcp":
                count = 1 if is_dropped else 2
                replies = await replies_to(cluster.port, framed(packet) + framed(baseline), count)
            else:
                sock.send(packet)
                sock.send(baseline)
                async with asyncio.timeout(PATIENCE):
                    replies = [await received(sock) for _ in range(1 if is_dropped else 2)]
            codes = {reply[:2]: Rcode(reply[3] & 0xF).name for reply in replies}
            assert codes.pop(b"\xab\xcd") == "NOERROR", entry["name"]
            for code in codes.values():
                # BADVERS has its high bits in the OPT.
                low = "BADVERS" if entry["expect"] == "BADVERS" else code
                assert any(text.startswith((low, "not FORMERR")) for text in good), (
                    f"{entry['name']}: {code}"
                )


async def test_a_long_udp_query_is_answered(table_of: TableOf) -> None:
    padded = request(
        {"qname": WEB, "qtype": "A", "edns": {"udp_size": 1232, "options": [[12, "00" * 600]]}}
    )
    assert len(padded) > 600
    async with running(table_of) as cluster:
        reply = await ask_udp(cluster.port, padded)
    assert reply[3] & 0xF == Rcode.NOERROR


def addresses(message: bytes, name: str) -> tuple[Record, ...]:
    asked = screen(question_packet(0, Question(name, Kind.A)))
    assert isinstance(asked, Query)
    return read_reply(message, asked).answer


async def test_a_new_service_shows_at_once_and_a_deleted_one_goes(
    table_of: TableOf,
) -> None:
    service = convert(
        WatchedService,
        {
            "metadata": {"name": "new", "namespace": "default"},
            "spec": {"clusterIPs": ["10.96.77.7"], "ports": [{"port": 80}]},
        },
    )
    packet = request({"qname": "new.default.svc.cluster.local.", "qtype": "A"})
    async with running(table_of) as cluster:
        codes: list[int] = []
        for old, new in ((None, None), (None, service), (service, None)):
            if old or new:
                cluster.table.change_service(old, new, now=cluster.clock.now())
            for _ in range(2):
                codes.append((await ask_udp(cluster.port, packet))[3] & 0xF)
    assert codes == [3, 3, 0, 0, 3, 3]


async def test_addresses_are_shuffled_in_each_reply(table_of: TableOf) -> None:
    name = "many.default.svc.cluster.local."
    packet = request({"qname": name, "qtype": "A", "edns": {"udp_size": 1232}})
    async with running(table_of) as cluster:
        orders = {addresses(await ask_udp(cluster.port, packet), name) for _ in range(10)}
    assert len(orders) == 10
    assert len({frozenset(order) for order in orders}) == 1


async def test_requests_are_counted(table_of: TableOf) -> None:
    packet = request({"qname": WEB, "qtype": "A"})
    async with running(table_of) as cluster:
        for _ in range(3):
            await ask_udp(cluster.port, packet)
        await ask_tcp(cluster.port, packet)
        text = cluster.metrics.text()
    where = 'server="dns://:53",%sview="",zone="."'
    asked = 'coredns_dns_requests_total{family="1",proto="%s",' + where % 'type="A",' + "} %d\n"
    assert asked % ("udp", 3) in text
    assert asked % ("tcp", 1) in text
    answered = 'coredns_dns_responses_total{plugin="kubernetes",rcode="NOERROR",'
    assert answered + where % "" + "} 4\n" in text


async def replies_to(port: int, stream: bytes, count: int) -> list[bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(PATIENCE):
        writer.write(stream)
        found = [await frame(reader) for _ in range(count)]
    writer.close()
    return found


async def test_a_dead_upstream_is_told_at_once(table_of: TableOf) -> None:
    packet = request({"qname": "www.example.com.", "qtype": "A"})
    async with running(table_of, "server.upstream_down") as cluster:
        for ask in (ask_udp, ask_tcp):
            # The clock stands still: only what the kernel reports can have ended the wait.
            assert (await ask(cluster.port, packet))[3] & 0xF == Rcode.SERVFAIL
