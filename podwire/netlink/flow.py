"""Pure: the kernel's messages about connections (ctnetlink, IPv4), as values.

The numbers are the kernel's (linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_tcp.h).
"""

import functools
import struct
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any, Literal

from podwire.netlink.nfnetlink import HEAD
from podwire.netlink.present import attributes

FlowProtocol = Literal["TCP", "UDP", "SCTP"]
PROTOCOLS: dict[int, FlowProtocol] = {6: "TCP", 17: "UDP", 132: "SCTP"}

ORIGINAL, ID = 1, 12
_NESTED = 0x8000
_REPLY, _PROTOCOL_STATE = 2, 4
# Of TCP: LAST_ACK, TIME_WAIT, CLOSE. Nobody sends in them any more.
_OVER = frozenset({6, 7, 8})
_SYN_SENT = 1

# How the kernel has always laid an end of an IPv4 flow with ports: 52 bytes, in which only
# addresses, protocol and ports vary. Attribute by attribute a full table would take a second.
# Every other field is what never varies.
_END = struct.Struct("!12s4s4s4s8sB3x4sH2x4sH2x")
_ENDS = struct.Struct(_END.format + _END.format[1:])


def _fixed(kind: int) -> tuple[bytes, ...]:
    """Return what is between the varying parts of the end that is *kind*."""
    pack = struct.Struct("=HH").pack
    return (
        pack(_END.size, _NESTED | kind) + pack(20, _NESTED | 1) + pack(8, 1),
        pack(8, 2),
        pack(28, _NESTED | 2) + pack(5, 1),
        pack(6, 2),
        pack(6, 3),
    )


_AS_EVER = (*_fixed(ORIGINAL), *_fixed(_REPLY))


@dataclass(frozen=True, slots=True)
class Flow:
    """A connection or UDP flow that passed this machine.

    The client sent from *source* to *destination*; answers come from *answering*, which differs
    from *destination* where the packets are led elsewhere. *open* is false for a TCP connection
    that is not set up yet or is over.
    """

    protocol: FlowProtocol
    source: IPv4Address
    source_port: int
    destination: IPv4Address
    destination_port: int
    answering: IPv4Address
    answering_port: int
    open: bool = True
    # What the kernel knows it by, and all that it said of it besides.
    original: bytes = field(default=b"", repr=False, compare=False)
    rest: bytes = field(default=b"", repr=False, compare=False)

    @property
    def number(self) -> bytes:
        """Return the number that tells it from a later flow of the same ends."""
        return dict(attributes(self.rest)).get(ID, b"")


def parse(body: bytes, protocols: frozenset[FlowProtocol]) -> Flow | None:
    """Return the flow in the body of a message, or None if it is of none of *protocols*."""
    ends: tuple[Any, ...] = ()
    if len(body) >= HEAD + _ENDS.size:
        ends = _ENDS.unpack_from(body, HEAD)
    if ends[::2] != _AS_EVER:
        return _parse_any(body, protocols)
    source, destination, number, source_port, destination_port, answering, _, _, port, _ = ends[
        1::2
    ]
    protocol = PROTOCOLS.get(number)
    if protocol is None or protocol not in protocols:
        return None
    rest = body[HEAD + _ENDS.size :]
    return Flow(
        protocol,
        _address(source),
        source_port,
        _address(destination),
        destination_port,
        _address(answering),
        port,
        protocol != "TCP" or _is_open(dict(attributes(rest)).get(_PROTOCOL_STATE, b"")),
        body[HEAD + 4 : HEAD + _END.size],
        rest,
    )


def _parse_any(body: bytes, protocols: frozenset[FlowProtocol]) -> Flow | None:
    """Return the flow, whatever the order of its attributes and whichever there are."""
    found = dict(attributes(body, HEAD))
    original = _tuple(found[ORIGINAL])
    if original is None or original[0] not in protocols:
        return None
    reply = _tuple(found[_REPLY])
    if reply is None:
        return None
    protocol, source, source_port, destination, destination_port = original
    return Flow(
        protocol=protocol,
        source=source,
        source_port=source_port,
        destination=destination,
        destination_port=destination_port,
        answering=reply[1],
        answering_port=reply[2],
        open=_is_open(found.get(_PROTOCOL_STATE, b"")),
        original=found[ORIGINAL],
        rest=body[HEAD:],
    )


def _tuple(data: bytes) -> tuple[FlowProtocol, IPv4Address, int, IPv4Address, int] | None:
    parts = dict(attributes(data))
    ports = dict(attributes(parts[2]))
    protocol = PROTOCOLS.get(ports[1][0])
    if protocol is None:
        return None
    addresses = dict(attributes(parts[1]))
    return (
        protocol,
        IPv4Address(addresses[1]),
        _port(ports[2]),
        IPv4Address(addresses[2]),
        _port(ports[3]),
    )


def _is_open(state: bytes) -> bool:
    tcp = dict(attributes(state)).get(1)
    if tcp is None:
        return True
    number = dict(attributes(tcp)).get(1, b"\0")[0]
    return number not in _OVER and number != _SYN_SENT


@functools.lru_cache(maxsize=4096)
def _address(data: bytes) -> IPv4Address:
    """Return the address; few are behind many flows."""
    return IPv4Address(data)


def _port(data: bytes) -> int:
    return int(struct.unpack("!H", data)[0])
