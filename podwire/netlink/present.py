"""Pure: what the kernel says is there (links, addresses, routes, neighbours), as values."""

import struct
from collections.abc import Iterator
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Interface,
    IPv6Network,
    ip_address,
)
from typing import NamedTuple

from podwire.netlink.changes import Address, Interface, Network, Rule, RuleAction
from podwire.netlink.rtnetlink import AF_BRIDGE, FAMILY, IFF_PROMISC, IFF_UP, ONLINK, RULE_ACTIONS

OPERSTATE_UP = 6
_NOTHING = b"\xff\xff\xff\xff"  # a rule's suppress_prefixlength that suppresses nothing


class Link(NamedTuple):
    """A network interface. *peer* is the other end's number; *master* 0 means none."""

    number: int
    name: str
    kind: str
    mac: str
    mtu: int
    up: bool
    operstate: int
    master: int
    peer: int
    alias: str
    hairpin: bool
    isolated: bool
    promiscuous: bool = False


class LinkAddress(NamedTuple):
    """An address on the link of that number."""

    link: int
    address: Interface


class Route(NamedTuple):
    """A route; *kind* is the kernel's number (1 unicast, 2 local), *protocol* says who made it."""

    destination: Network
    gateway: Address | None
    link: int
    table: int
    kind: int
    onlink: bool
    protocol: int = 0


class Neighbour(NamedTuple):
    """A neighbour, or with *forwarding* a forwarding entry of a VXLAN device."""

    link: int
    address: Address | None
    mac: str
    permanent: bool
    forwarding: bool


def link(body: bytes) -> Link:
    """Read the body of an RTM_NEWLINK message."""
    _, _, index, flags, _ = struct.unpack_from("=BxHiII", body)
    found = dict(attributes(body, 16))
    info = dict(attributes(found.get(18, b"")))
    slave = dict(attributes(info.get(5, b""))) if info.get(4, b"").startswith(b"bridge\0") else {}
    return Link(
        number=index,
        name=_text(found.get(3, b"")),
        kind=_text(info.get(1, b"")),
        mac=_mac(found.get(1, b"")),
        mtu=_u32(found.get(4)),
        up=bool(flags & IFF_UP),
        operstate=found.get(16, b"\0")[0],
        master=_u32(found.get(10)),
        peer=_u32(found.get(5)),
        alias=_text(found.get(20, b"")),
        hairpin=slave.get(4, b"\0") != b"\0",
        isolated=slave.get(33, b"\0") != b"\0",
        promiscuous=bool(flags & IFF_PROMISC),
    )


def link_address(body: bytes) -> LinkAddress:
    """Read the body of an RTM_NEWADDR message."""
    family, prefix, _, _, index = struct.unpack_from("=BBBBI", body)
    found = dict(attributes(body, 8))
    # On a point-to-point link IFA_ADDRESS is the peer's: IFA_LOCAL is ours where both are there.
    packed = found.get(2) or found[1]
    if family == FAMILY[4]:
        return LinkAddress(index, IPv4Interface((packed, prefix)))
    return LinkAddress(index, IPv6Interface((packed, prefix)))


def route(body: bytes) -> Route:
    """Read the body of an RTM_NEWROUTE message."""
    family, length, _, _, table, protocol, _, kind, flags = struct.unpack_from("=BBBBBBBBI", body)
    found = dict(attributes(body, 12))
    destination: Network
    if family == FAMILY[4]:
        destination = IPv4Network((found.get(1, bytes(4)), length))
    else:
        destination = IPv6Network((found.get(1, bytes(16)), length))
    gateway = found.get(5)
    return Route(
        destination=destination,
        gateway=None if gateway is None else ip_address(gateway),
        link=_u32(found.get(4)),
        table=_u32(found.get(15)) or table,
        kind=kind,
        onlink=bool(flags & ONLINK),
        protocol=protocol,
    )


def neighbour(body: bytes) -> Neighbour:
    """Read the body of an RTM_NEWNEIGH message."""
    family, index, state, _, _ = struct.unpack_from("=BxxxiHBB", body)
    found = dict(attributes(body, 12))
    address = found.get(1)
    return Neighbour(
        link=index,
        address=None if address is None else ip_address(address),
        mac=_mac(found.get(2, b"")),
        permanent=bool(state & 0x80),
        forwarding=family == AF_BRIDGE,
    )


def rule(body: bytes) -> Rule | None:
    """Read the body of an RTM_NEWRULE message; None if it has an action that we never use."""
    _, length, _, _, table, action, _ = struct.unpack_from("=BBBBBxxBI", body)
    words: dict[int, RuleAction] = {number: word for word, number in RULE_ACTIONS.items()}
    if action not in words:
        return None
    found = dict(attributes(body, 12))
    suppress = found.get(14, _NOTHING)
    mark = _u32(found.get(10))
    return Rule(
        priority=_u32(found.get(6)),
        action=words[action],
        table=_u32(found.get(15)) or table,
        arriving=_text(found.get(3, b"")),
        to=IPv4Network((found[1], length)) if 1 in found else None,
        protocol=found.get(22, b"\0")[0],
        suppress_prefix_length=None if suppress == _NOTHING else _u32(suppress),
        mark=mark,
        mask=_u32(found.get(16)) if mark else 0,
    )


def attributes(data: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield (kind, payload) of each attribute; flags in the kind are cut off."""
    while start + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, start)
        if length < 4:
            return
        yield kind & 0x3FFF, data[start + 4 : start + length]
        start += (length + 3) & ~3


def _u32(payload: bytes | None) -> int:
    return 0 if payload is None else int(struct.unpack_from("=I", payload)[0])


def _text(payload: bytes) -> str:
    return payload.rstrip(b"\0").decode(errors="replace")


def _mac(payload: bytes) -> str:
    return payload.hex(":")
