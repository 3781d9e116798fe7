"""Pure: the kernel's messages about connections (ctnetlink, IPv4), as values.

The numbers are the kernel's (linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_tcp.h).
"""

import struct
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Literal

from podwire.netlink.nfnetlink import HEAD
from podwire.netlink.present import attributes

FlowProtocol = Literal["TCP", "UDP", "SCTP"]
PROTOCOLS: dict[int, FlowProtocol] = {6: "TCP", 17: "UDP", 132: "SCTP"}

ORIGINAL, ID = 1, 12
_REPLY, _PROTOCOL_STATE = 2, 4
# Of TCP: LAST_ACK, TIME_WAIT, CLOSE. Nobody sends in them any more.
_OVER = frozenset({6, 7, 8})
_SYN_SENT = 1


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
    # What the kernel knows it by.
    original: bytes = field(default=b"", repr=False, compare=False)
    number: bytes = field(default=b"", repr=False, compare=False)


def parse(body: bytes, protocols: frozenset[FlowProtocol]) -> Flow | None:
    """Return the flow in the body of a message, or None if it is of none of *protocols*."""
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
        number=found.get(ID, b""),
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


def _port(data: bytes) -> int:
    return int(struct.unpack("!H", data)[0])
