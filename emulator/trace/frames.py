"""Pure: captured frames -> plain packets, quickly: headers by struct, the rest on demand.

Understands Ethernet, ARP, IPv4, TCP, UDP, ICMP with the packet that an error quotes, and VXLAN with
the packet inside. Anything else becomes a packet of protocol "other".
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Literal, NamedTuple

from podwire.emulator.trace import dnsmessage, pcapng
from podwire.emulator.trace.dnsmessage import DnsMessage

Protocol = Literal["TCP", "UDP", "ICMP", "ARP", "other"]

NOWHERE = IPv4Address(0)
# flannel sends VXLAN to the kernel's old port, not to IANA's 4789; either is understood.
VXLAN_PORTS = frozenset({8472, 4789})

_FLAGS = ((0x02, "S"), (0x10, "A"), (0x08, "P"), (0x01, "F"), (0x04, "R"))
_ICMP_UNREACHABLE, _ICMP_EXCEEDED = 3, 11
_ICMP_WORDS = {
    (3, 0): "network unreachable",
    (3, 1): "host unreachable",
    (3, 2): "protocol unreachable",
    (3, 3): "port unreachable",
    (3, 4): "fragmentation needed",
    (3, 9): "network prohibited",
    (3, 10): "host prohibited",
    (3, 13): "communication prohibited",
    (11, 0): "time to live exceeded",
    (0, 0): "echo reply",
    (8, 0): "echo request",
    (5, 1): "redirect",
}


class Flow(NamedTuple):
    """Who talks to whom: one direction of a connection, or of datagrams."""

    protocol: Protocol
    src: IPv4Address
    sport: int
    dst: IPv4Address
    dport: int

    def reversed(self) -> "Flow":
        """Return the direction of the answers."""
        return Flow(self.protocol, self.dst, self.dport, self.src, self.sport)

    def __str__(self) -> str:
        return f"{self.src}:{self.sport} > {self.dst}:{self.dport}"


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet at one interface. Of a VXLAN packet, *inner* is what it carries.

    *checksum_ready* is false where the sender left the checksum to the hardware: such a checksum
    is unfinished, not wrong. *payload* is what was captured of TCP's or UDP's bytes, *length* how
    many were sent. For ARP, *src* asks or answers, *dst* is who is asked, and *flags* is
    "request" or "reply". *icmp* is an ICMP message in words; an error quotes its cause. *ttl* is
    the time to live of an IPv4 packet.
    """

    number: int
    time_ns: int
    where: str
    interface: str
    direction: pcapng.Direction
    checksum_ready: bool
    protocol: Protocol
    src: IPv4Address = NOWHERE
    dst: IPv4Address = NOWHERE
    sport: int = 0
    dport: int = 0
    flags: str = ""
    seq: int = 0
    ack: int = 0
    payload: bytes = b""
    ether_src: bytes = b""
    ether_dst: bytes = b""
    icmp: str = ""
    quoted: "Packet | None" = None
    inner: "Packet | None" = None
    length: int = 0
    ttl: int = 0

    @property
    def core(self) -> "Packet":
        """Return the packet that two pods exchange: the inner one of a VXLAN packet, or itself."""
        return self if self.inner is None else self.inner

    @property
    def flow(self) -> Flow:
        """Return addresses and ports of this packet."""
        return Flow(self.protocol, self.src, self.sport, self.dst, self.dport)

    @property
    def opens(self) -> bool:
        """Return whether this is the first packet of a TCP connection."""
        return self.flags == "S"

    @property
    def dns(self) -> DnsMessage | None:
        """Return the DNS message in this packet, if it is to or from port 53.

        Of TCP that is the first one, if it begins here and is whole.
        """
        if not self.payload or 53 not in {self.sport, self.dport}:
            return None
        if self.protocol == "UDP":
            return dnsmessage.decode(self.payload)
        return next(iter(dnsmessage.of_stream(self.payload)), None)


def packets(capture: pcapng.Capture) -> tuple[Packet, ...]:
    """Return all packets of *capture*, in order of time; `number` is the place in the file."""
    return tuple(_packets(capture))


def _packets(capture: pcapng.Capture) -> Iterator[Packet]:
    places = [(i.where, i.device, i.linktype) for i in capture.interfaces]
    frames = sorted(capture.frames, key=lambda frame: frame.time_ns)
    for number, frame in enumerate(frames, 1):
        where, interface, linktype = places[frame.interface]
        place = _Place(
            number, frame.time_ns, where, interface, frame.direction, frame.checksum_ready
        )
        if linktype == pcapng.LINKTYPE_RAW:
            yield _ip(place, frame.data, 0, b"", b"")
        else:
            yield _ethernet(place, frame.data, 0)


def parse(data: bytes) -> Packet:
    """Return the packet in one Ethernet frame of unknown time and place."""
    return _ethernet(_Place(0, 0, "", "", "", checksum_ready=True), data, 0)


class _Place(NamedTuple):
    number: int
    time_ns: int
    where: str
    interface: str
    direction: pcapng.Direction
    checksum_ready: bool


@lru_cache(maxsize=4096)
def _address(raw: bytes) -> IPv4Address:
    return IPv4Address(raw)


def _other(place: _Place, data: bytes) -> Packet:
    return Packet(*place, "other")


def _ethernet(place: _Place, data: bytes, at: int) -> Packet:
    if len(data) < at + 14:
        return _other(place, data)
    kind = data[at + 12] << 8 | data[at + 13]
    dst, src = data[at : at + 6], data[at + 6 : at + 12]
    if kind == 0x0800:
        return _ip(place, data, at + 14, src, dst)
    if kind == 0x0806 and len(data) >= at + 14 + 28:
        return _arp(place, data, at + 14, src, dst)
    return _other(place, data)


def _arp(place: _Place, data: bytes, at: int, ether_src: bytes, ether_dst: bytes) -> Packet:
    operation = data[at + 7]
    return Packet(
        *place,
        "ARP",
        src=_address(data[at + 14 : at + 18]),
        dst=_address(data[at + 24 : at + 28]),
        flags="request" if operation == 1 else "reply",
        ether_src=ether_src,
        ether_dst=ether_dst,
    )


def _ip(place: _Place, data: bytes, at: int, ether_src: bytes, ether_dst: bytes) -> Packet:
    if len(data) < at + 20 or data[at] >> 4 != 4:
        return _other(place, data)
    start = at + (data[at] & 15) * 4
    total = data[at + 2] << 8 | data[at + 3]
    # Padding of short frames is no payload; a total of 0 is a segment beyond 64 KiB.
    sent = at + total if total else len(data)
    end = min(len(data), sent)
    src, dst = _address(data[at + 12 : at + 16]), _address(data[at + 16 : at + 20])
    if (data[at + 6] & 0x1F) << 8 | data[at + 7]:
        return Packet(*place, "other", src=src, dst=dst)  # a later fragment
    protocol = data[at + 9]
    if protocol == 6 and end >= start + 20:
        sport, dport, seq, ack, offset, bits = struct.unpack_from("!HHIIBB", data, start)
        begin = start + (offset >> 4) * 4
        return Packet(
            *place, "TCP", src, dst, sport, dport,
            "".join(letter for bit, letter in _FLAGS if bits & bit),
            seq, ack, data[begin:end], ether_src, ether_dst,
            length=max(0, sent - begin), ttl=data[at + 8],
        )  # fmt: skip
    if protocol == 17 and end >= start + 8:
        sport, dport = struct.unpack_from("!HH", data, start)
        inner = None
        if dport in VXLAN_PORTS and end >= start + 16 + 14:
            inner = _ethernet(place, data[:end], start + 16)
        return Packet(
            *place, "UDP", src, dst, sport, dport,
            payload=data[start + 8 : end], ether_src=ether_src, ether_dst=ether_dst,
            inner=inner, length=max(0, sent - start - 8), ttl=data[at + 8],
        )  # fmt: skip
    if protocol == 1 and end >= start + 8:
        kind, code = data[start], data[start + 1]
        is_error = kind in {_ICMP_UNREACHABLE, _ICMP_EXCEEDED}
        return Packet(
            *place, "ICMP", src, dst,
            icmp=_ICMP_WORDS.get((kind, code), f"ICMP type {kind} code {code}"),
            quoted=_quoted(place, data[start + 8 : end]) if is_error else None,
            ttl=data[at + 8],
        )  # fmt: skip
    return Packet(*place, "other", src=src, dst=dst)


def _quoted(place: _Place, data: bytes) -> Packet | None:
    """Return the packet that an ICMP error quotes: at least its ports (RFC 792)."""
    if len(data) < 28 or data[0] >> 4 != 4:
        return None
    start = (data[0] & 15) * 4
    if len(data) < start + 8:
        return None
    word: Protocol = {6: "TCP", 17: "UDP"}.get(data[9], "other")  # type: ignore[assignment]
    sport, dport, seq = struct.unpack_from("!HHI", data, start)
    return Packet(
        *place, word, _address(data[12:16]), _address(data[16:20]), sport, dport,
        seq=seq if word == "TCP" else 0,
    )  # fmt: skip
