"""TCP clients, most of which do not behave."""

import asyncio
import json
import random
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from podwire.dns.chain import Block, Link, Plugin, Request
from podwire.dns.cluster.options import Options
from podwire.dns.cluster.records import Table
from podwire.dns.messages.message import Kind, Question, Rcode, Record, Reply, Transport
from podwire.dns.messages.query import Query, screen
from podwire.dns.messages.wire import question_packet, read_reply
from podwire.dns.plugins.kubernetes import Kubernetes
from podwire.dns.serving import connections
from podwire.dns.serving.connections import Timeouts
from podwire.dns.serving.frontdoor import FrontDoor
from podwire.dns.serving.metrics import Metrics
from podwire.dns.serving.server import listen, serving
from podwire.dns.serving.traffic import Traffic
from podwire.testing.clock import FakeClock

Json = dict[str, Any]
TableOf = Callable[[Json, Json], Table]

FIXTURES: Json = json.loads(
    (Path(__file__).resolve().parents[2] / "data" / "dns" / "cases.json").read_text()
)["fixtures"]
WEB = "web-svc.default.svc.cluster.local."
PATIENCE = 10.0


class Slow(Plugin):
    """Answers what nobody else does, but not at once."""

    name = "forward"

    async def serve(self, request: Request, rest: Link) -> Reply:
        await asyncio.sleep(0.05)
        return Reply()


@asynccontextmanager
async def running(
    table_of: TableOf, timeouts: Timeouts | None = None, plugins: Sequence[Plugin] = ()
) -> AsyncGenerator[int, None]:
    """Run a server; gives its port."""
    table = table_of(FIXTURES["shop"], {})
    door = FrontDoor(
        revision=lambda: table.revision,
        clock=FakeClock(),
        dice=random.Random(1),
        traffic=Traffic(Metrics(), "dns://:53"),
    )
    door.open([Block((".",), (*plugins, Kubernetes(table, Options(), door.lookup), Slow()))])
    listener = listen("127.0.0.1", 0)
    async with serving([listener], door, timeouts=timeouts):
        yield listener.port


def question(ident: int, name: str = WEB, kind: int = Kind.A) -> bytes:
    return question_packet(ident, Question(name, kind))


def framed(packet: bytes) -> bytes:
    return struct.pack("!H", len(packet)) + packet


async def frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack("!H", await reader.readexactly(2))
    return await reader.readexactly(size)


QUICK = Timeouts(first_message=0.3, next_message=0.6, write=0.3)
BASELINE = question(1)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"", "nothing"),
        (b"\x00", "half a length"),
        (b"\x00\x33", "a length alone"),
        (struct.pack("!H", len(BASELINE) + 100) + BASELINE, "a length over the data"),
        (struct.pack("!H", 65535) + BASELINE, "the largest length"),
        (b"\x00\x05\x00\x00\x00\x00\x00", "a length below a header"),
        (b"\x00\x00", "an empty message"),
    ],
)
async def test_an_unfinished_message_is_closed_without_a_reply(
    sent: bytes, why: str, table_of: TableOf
) -> None:
    async with running(table_of, timeouts=QUICK) as port, asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert await reader.read() == b"", why
        writer.close()


async def test_a_slow_loris_does_not_move_its_deadline(table_of: TableOf) -> None:
    async with running(table_of, timeouts=QUICK) as port, asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        closed = asyncio.ensure_future(reader.read())  # noqa: TID251 - beside the dripping
        dripped = 0
        for byte in framed(BASELINE):
            if closed.done():
                break
            writer.write(bytes((byte,)))
            dripped += 1
            await asyncio.sleep(0.05)
        assert await closed == b""
        assert dripped < len(BASELINE)
        writer.close()


async def replies_to(port: int, stream: bytes, count: int) -> list[bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(PATIENCE):
        writer.write(stream)
        found = [await frame(reader) for _ in range(count)]
    writer.close()
    return found


def numbered(idents: Iterable[int]) -> bytes:
    return b"".join(framed(question(n)) for n in idents)


async def test_pipelined_queries_are_answered_in_order(table_of: TableOf) -> None:
    async with running(table_of) as port:
        replies = await replies_to(port, numbered(range(200)), 200)
    assert [int.from_bytes(r[:2], "big") for r in replies] == list(range(200))


async def test_a_query_then_a_half_close_is_answered(table_of: TableOf) -> None:
    async with running(table_of) as port, asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(framed(question(1, "www.example.com.")))
        writer.write_eof()
        reply = await frame(reader)
        assert reply[3] & 0xF == Rcode.NOERROR
        assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize(
    ("first", "codes"),
    [
        (b"\x12\x34\x09\x00" + BASELINE[4:], [Rcode.NOTIMP, Rcode.NOERROR]),
        (BASELINE[:-4], [Rcode.FORMERR, Rcode.NOERROR]),
        (BASELINE[:2] + b"\x81\x00" + BASELINE[4:], [Rcode.NOERROR]),
    ],
    ids=["unknown opcode", "cut question", "a response"],
)
async def test_a_bad_message_does_not_end_the_connection(
    first: bytes, codes: list[Rcode], table_of: TableOf
) -> None:
    async with running(table_of) as port:
        replies = await replies_to(port, framed(first) + framed(BASELINE), len(codes))
    assert [r[3] & 0xF for r in replies] == codes


async def test_idle_connections_do_not_keep_others_out(table_of: TableOf) -> None:
    async with running(table_of) as port:
        count = connections.MOST_CONNECTIONS_OF_ONE + 20
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
        assert (await replies_to(port, framed(BASELINE), 1))[0][3] & 0xF == Rcode.NOERROR
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0)
            sock.connect(("127.0.0.1", port))
            sock.send(BASELINE)
            async with asyncio.timeout(PATIENCE):
                reply = await asyncio.get_running_loop().sock_recv(sock, 512)
        assert reply[3] & 0xF == Rcode.NOERROR
        for _, writer in idle:
            writer.transport.abort()


async def test_a_client_that_never_reads_is_closed(table_of: TableOf) -> None:
    big = question(1, "_http._tcp.many.default.svc.cluster.local.", Kind.SRV)
    async with running(table_of, timeouts=QUICK) as port, asyncio.timeout(PATIENCE):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(0)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, ("127.0.0.1", port))
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                await loop.sock_sendall(sock, framed(big) * 100_000)


class Zone(Plugin):
    """Has a zone to transfer that is worth many messages."""

    name = "transfer"
    records = tuple(
        Record(f"svc-{n}.cluster.local.", Kind.A, 5, ip_address("10.0.0.0") + n)
        for n in range(20_000)
    )

    async def serve(self, request: Request, rest: Link) -> Reply:
        if request.query.question.kind == Kind.AXFR:
            return Reply(answer=self.records, is_transfer=True)
        return await rest(request)


async def test_others_are_answered_while_a_zone_is_transferred(table_of: TableOf) -> None:
    asked = screen(question(1, "cluster.local.", Kind.AXFR))
    assert isinstance(asked, Query)
    async with running(table_of, plugins=(Zone(),)) as port, asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        # A question behind the transfer has its turn after it.
        writer.write(framed(asked.packet) + framed(question(2)))
        found = [*read_reply(await frame(reader), asked).answer]
        assert len(await replies_to(port, framed(BASELINE), 1)) == 1
        while len(found) < len(Zone.records):
            found += read_reply(await frame(reader), asked).answer
        assert tuple(found) == Zone.records
        assert (await frame(reader))[:2] == b"\x00\x02"
        writer.close()


class Pausable(asyncio.Transport):
    """A transport that notes whether it reads."""

    def __init__(self) -> None:
        super().__init__({"peername": ("10.0.0.1", 1)})
        self.is_read = True

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        del high, low

    def write(self, data: bytes | bytearray | memoryview) -> None:
        del data


class Stopped:
    """Answers nothing before it may."""

    def __init__(self) -> None:
        self.may = asyncio.Event()

    def kept(self, transport: Transport) -> Callable[[bytes], bytes | None]:
        del transport
        return lambda _: None

    async def answer(
        self, packet: bytes, client: tuple[str, int], transport: Transport
    ) -> Iterable[bytes]:
        del client, transport
        await self.may.wait()
        return (packet,)


@pytest.mark.parametrize(
    ("size", "count", "is_read"),
    [(40, 10, True), (40, 64, False), (65000, 1, True), (65000, 3, False)],
)
async def test_what_waits_is_bounded_in_number_and_bytes(
    size: int, count: int, *, is_read: bool
) -> None:
    transport, answers = Pausable(), Stopped()
    async with asyncio.TaskGroup() as tasks:
        connection = connections.Connection(
            answers, tasks, connections.Connections(), connections.Timeouts()
        )
        connection.connection_made(transport)
        connection.data_received(framed(question(1)))
        for _ in range(count):
            connection.data_received(framed(bytes(size)))
        assert transport.is_read == is_read
        answers.may.set()
    assert transport.is_read
    connection.connection_lost(None)
