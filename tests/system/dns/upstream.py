"""The server behind the server: answers from a table and remembers what it was asked."""

# dnslib has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import re
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from dnslib import AAAA, CNAME, PTR, QTYPE, RCODE, RR, SOA, TXT, A, DNSError, DNSHeader, DNSRecord

from tests.system.dns.world import HERE, Place

Json = dict[str, Any]
Answer = Callable[[DNSRecord], DNSRecord]

TELLTALE = "it reached the next plugin"


class Upstream:
    """Answers with *answer*, which may be exchanged; `asked` lists name and type as they came."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []

    @asynccontextmanager
    async def serving(
        self, place: Place, port: int, *, address: str = HERE
    ) -> AsyncGenerator[None]:
        """Serve over UDP and TCP in *place* inside the block."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        stream = place.socket(socket.SOCK_STREAM, family=family)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        datagrams = place.socket(socket.SOCK_DGRAM, family=family)
        for sock in (stream, datagrams):
            sock.bind((address, port))
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=datagrams)
        server = await asyncio.start_server(self._converse, sock=stream)
        try:
            yield
        finally:
            transport.close()
            server.close()

    def reply(self, packet: bytes, limit: int) -> bytes:
        """Return the reply to a query, cut to *limit* bytes."""
        try:
            query = DNSRecord.parse(packet)
        except DNSError:
            # A name of odd bytes is a name, but not for this library.
            return (
                packet[:2] + bytes((packet[2] | 0x80, 0x83, 0, 1, 0, 0, 0, 0, 0, 0)) + packet[12:]
            )
        self.asked.append((str(query.q.qname), QTYPE[query.q.qtype]))
        reply = self.answer(query)
        limit = max(limit, *(r.rclass for r in query.ar if r.rtype == QTYPE.OPT), 0)
        made = bytes(reply.pack())
        while len(made) > limit:
            reply.rr.pop()
            reply.header.tc = 1
            made = bytes(reply.pack())
        return made

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (size,) = struct.unpack("!H", await reader.readexactly(2))
                reply = self.reply(await reader.readexactly(size), 65535)
                writer.write(struct.pack("!H", len(reply)) + reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        self._transport.sendto(self._upstream.reply(data, 512), addr)


def refusing(query: DNSRecord) -> DNSRecord:
    """Answer REFUSED: nothing was to come here."""
    return _reply(query, "REFUSED")


def telling(query: DNSRecord) -> DNSRecord:
    """Answer with the telltale, whatever is asked."""
    reply = _reply(query, "NOERROR")
    reply.add_ar(RR("telltale.", QTYPE.TXT, rdata=TXT(TELLTALE)))
    return reply


def denying(query: DNSRecord) -> DNSRecord:
    """Answer NXDOMAIN to everything."""
    return _reply(query, "NXDOMAIN")


def listed(entries: list[Json]) -> Answer:
    """Return what answers as the `upstream` of a case says, and else NXDOMAIN."""

    def answer(query: DNSRecord) -> DNSRecord:
        name, kind = str(query.q.qname), QTYPE[query.q.qtype]
        for entry in entries:
            if entry["qname"].lower() == name.lower() and entry["qtype"] == kind:
                reply = _reply(query, entry["rcode"])
                reply.header.tc = int(entry.get("tc", False))
                reply.rr = [
                    _record(r["name"], r["type"], r["ttl"], r["data"]) for r in entry["answer"]
                ]
                return reply
        return _reply(query, "NXDOMAIN")

    return answer


def recursor(entry: Json) -> Answer:
    """Return what answers as one of a file's `upstreams` says."""
    records = [r for row in entry["records"] for r in _expanded(*row)]
    soa = entry["negative_soa"]

    def answer(query: DNSRecord) -> DNSRecord:
        name, kind = str(query.q.qname).lower(), QTYPE[query.q.qtype]
        for rcode in ("SERVFAIL", "REFUSED"):
            if name.startswith(rcode.lower() + "."):
                return _reply(query, rcode)
        there = [(asked, record) for owner, asked, record in records if owner == name]
        found = [record for asked, record in there if asked == kind]
        reply = _reply(query, "NOERROR" if there else "NXDOMAIN")
        reply.rr = [_record(*record) for record in found]
        if not found:
            reply.auth = [_record(soa["name"], "SOA", soa["ttl"], soa["data"])]
        return reply

    return answer


def _expanded(
    name: str, kind: str, ttl: int, data: str
) -> list[tuple[str, str, tuple[str, str, int, str]]]:
    """Return the rows (name asked, type asked, record) of one row of a file."""
    if not kind.endswith("-answer"):
        return [(name, kind, (name, kind, ttl, data))]
    # `CNAME www.example.com. (60) + www.example.com. A 192.0.2.10 (300)`
    rows = list[tuple[str, str, tuple[str, str, int, str]]]()
    for part in data.split(" + "):
        found = re.fullmatch(r"(?:(\S+) )??([A-Z]+) (\S+) \((\d+)\)", part)
        assert found is not None, part
        record = (found[1] or name, found[2], int(found[4]), found[3])
        rows.append((name, kind.removesuffix("-answer"), record))
    return rows


def _reply(query: DNSRecord, rcode: str) -> DNSRecord:
    code = RCODE.reverse[rcode]
    header = DNSHeader(id=query.header.id, qr=1, aa=0, ra=1, rd=query.header.rd, rcode=code)
    return DNSRecord(header, q=query.q)


def _record(name: str, kind: str, ttl: int, data: str) -> RR:
    words = data.split()
    made: dict[str, Callable[[], Any]] = {
        "A": lambda: A(data),
        "AAAA": lambda: AAAA(data),
        "CNAME": lambda: CNAME(data),
        "PTR": lambda: PTR(data),
        "TXT": lambda: TXT(data.strip('"')),
        "SOA": lambda: SOA(words[0], words[1], tuple(int(w) for w in words[2:])),
    }
    return RR(name, QTYPE.reverse[kind], ttl=ttl, rdata=made[kind]())
