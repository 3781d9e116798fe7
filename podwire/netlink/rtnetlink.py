"""Pure: changes as rtnetlink messages.

The numbers are the kernel's (linux/rtnetlink.h, linux/if_link.h, linux/neighbour.h); `man 7
rtnetlink` describes the messages.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple

from podwire.netlink.changes import (
    AddAddress,
    AddBridge,
    AddDummy,
    AddForwarding,
    AddNeighbour,
    Address,
    AddRoute,
    AddRule,
    AddVeth,
    AddVxlan,
    Change,
    DeleteAddress,
    DeleteForwarding,
    DeleteLink,
    DeleteNeighbour,
    DeleteRoute,
    DeleteRule,
    Interface,
    Network,
    Rule,
    RuleAction,
    SetHairpin,
    SetIsolated,
    SetLink,
)

CREATE, EXCLUSIVE, REPLACE, APPEND = 0x400, 0x200, 0x100, 0x800

NEW_LINK, DELETE_LINK, GET_LINK = 16, 17, 18
NEW_ADDRESS, DELETE_ADDRESS, GET_ADDRESS = 20, 21, 22
NEW_ROUTE, DELETE_ROUTE, GET_ROUTE = 24, 25, 26
NEW_NEIGHBOUR, DELETE_NEIGHBOUR, GET_NEIGHBOUR = 28, 29, 30
NEW_RULE, DELETE_RULE, GET_RULE = 32, 33, 34

AF_BRIDGE = 7
FAMILY = {4: 2, 6: 10}
IFF_UP, IFF_PROMISC = 1, 0x100
ONLINK = 4
SCOPE_LINK, SCOPE_HOST = 253, 254
TABLE_MAIN, TABLE_LOCAL = 254, 255
UNICAST, LOCAL = 1, 2
RULE_ACTIONS: dict[RuleAction, int] = {"lookup": 1, "blackhole": 6, "unreachable": 7}
NUD_PERMANENT = 0x80
NTF_SELF = 2

Lookup = Callable[[str], int]


class Message(NamedTuple):
    """One netlink message without its header: kind, flags beyond REQUEST and ACK, and body."""

    kind: int
    flags: int
    body: bytes


def encode(change: Change, index_of: Lookup, namespace_of: Lookup) -> Message:
    """Return *change* as a message.

    *index_of* gives the number of a link by name, *namespace_of* an open file by label.
    """
    match change:
        case AddBridge():
            body = link_body(up=True) + _named(change.name, change.mac, change.mtu)
            return Message(NEW_LINK, CREATE | EXCLUSIVE, body + _kind("bridge"))
        case AddVeth():
            peer = link_body() + _named(change.peer, change.peer_mac, change.mtu)
            peer += attribute(_IFLA_NET_NS_FD, _u32(namespace_of(change.peer_namespace)))
            body = link_body() + _named(change.name, change.mac, change.mtu)
            body += _kind("veth", attribute(_VETH_INFO_PEER, peer))
            return Message(NEW_LINK, CREATE | EXCLUSIVE, body)
        case AddVxlan():
            return Message(NEW_LINK, CREATE | EXCLUSIVE, _vxlan(change, index_of(change.device)))
        case AddDummy():
            body = link_body() + attribute(IFLA_IFNAME, _text(change.name)) + _kind("dummy")
            return Message(NEW_LINK, CREATE | EXCLUSIVE, body)
        case SetLink():
            return Message(NEW_LINK, 0, _set_link(change, index_of, namespace_of))
        case SetHairpin():
            return _set_port(index_of(change.name), _IFLA_BRPORT_MODE, change.on)
        case SetIsolated():
            return _set_port(index_of(change.name), _IFLA_BRPORT_ISOLATED, change.on)
        case DeleteLink():
            return Message(DELETE_LINK, 0, link_body() + attribute(IFLA_IFNAME, _text(change.name)))
        case AddAddress():
            body = _address(change.address, index_of(change.link))
            return Message(NEW_ADDRESS, CREATE | REPLACE, body)
        case DeleteAddress():
            return Message(DELETE_ADDRESS, 0, _address(change.address, index_of(change.link)))
        case AddRoute():
            return Message(NEW_ROUTE, CREATE | REPLACE, _route(change, index_of(change.link)))
        case DeleteRoute():
            destination = change.destination
            body = _ROUTE.pack(FAMILY[destination.version], destination.prefixlen, 0, 0, 0, 0, 255)
            body += struct.pack("=BI", 0, 0) + _destination(destination)
            body += attribute(_RTA_OIF, _u32(index_of(change.link)))
            if change.table:
                body += attribute(_RTA_TABLE, _u32(change.table))
            return Message(DELETE_ROUTE, 0, body)
        case AddNeighbour():
            body = _neighbour(change.address, index_of(change.link), NUD_PERMANENT)
            body += attribute(_NDA_LLADDR, mac_bytes(change.mac))
            return Message(NEW_NEIGHBOUR, CREATE | REPLACE, body)
        case DeleteNeighbour():
            return Message(
                DELETE_NEIGHBOUR, 0, _neighbour(change.address, index_of(change.link), 0)
            )
        case AddForwarding():
            # Many hosts behind one MAC are allowed only for the all-zero MAC (flooding); of any
            # other MAC the kernel keeps one host, so the entry of before is replaced.
            how = APPEND if change.mac == "00:00:00:00:00:00" else REPLACE
            return Message(NEW_NEIGHBOUR, CREATE | how, _forwarding(change, index_of(change.link)))
        case DeleteForwarding():
            return Message(DELETE_NEIGHBOUR, 0, _forwarding(change, index_of(change.link)))
        case AddRule():
            # Without EXCLUSIVE the kernel would add the same rule again and again.
            return Message(NEW_RULE, CREATE | EXCLUSIVE, _rule(change.rule))
        case DeleteRule():
            return Message(DELETE_RULE, 0, _rule(change.rule))


def attribute(kind: int, payload: bytes) -> bytes:
    """Return one attribute: length, kind, payload, padded to four bytes."""
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def mac_bytes(mac: str) -> bytes:
    """Return the six bytes of a MAC written as aa:bb:cc:dd:ee:ff."""
    return bytes.fromhex(mac.replace(":", ""))


def link_body(
    index: int = 0, *, up: bool | None = None, promiscuous: bool | None = None, family: int = 0
) -> bytes:
    """Return the fixed part of a link message (struct ifinfomsg)."""
    flags = (IFF_UP if up else 0) | (IFF_PROMISC if promiscuous else 0)
    change = (0 if up is None else IFF_UP) | (0 if promiscuous is None else IFF_PROMISC)
    return struct.pack("=BxHiII", family, 0, index, flags, change)


IFLA_IFNAME = 3
_IFLA_ADDRESS, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_IFALIAS = 1, 4, 10, 18, 20
_IFLA_NET_NS_FD = 28
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5
_VETH_INFO_PEER = 1
_VXLAN_ID, _VXLAN_LINK, _VXLAN_LOCAL, _VXLAN_LEARNING, _VXLAN_PORT = 1, 3, 4, 7, 15
_IFLA_BRPORT_MODE, _IFLA_BRPORT_ISOLATED = 4, 33
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4
_NO_DUPLICATE_DETECTION = 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_METRICS, _RTA_TABLE = 1, 4, 5, 6, 8, 15
_RTA_PREFSRC = 7
_RTAX_MTU, _RTAX_ADVMSS = 2, 8
_RTPROT_STATIC = 4
_NDA_DST, _NDA_LLADDR = 1, 2
_FRA_DST, _FRA_IIFNAME, _FRA_PRIORITY, _FRA_SUPPRESS_PREFIXLEN, _FRA_TABLE = 1, 3, 6, 14, 15
_FRA_FWMARK, _FRA_FWMASK, _FRA_IP_PROTO = 10, 16, 22

_ROUTE = struct.Struct("=BBBBBBB")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_RULE = struct.Struct("=BBBBBxxBI")


def _u32(value: int) -> bytes:
    return struct.pack("=I", value)


def _text(text: str) -> bytes:
    return text.encode() + b"\0"


def _named(name: str, mac: str, mtu: int) -> bytes:
    attributes = attribute(IFLA_IFNAME, _text(name)) + attribute(_IFLA_ADDRESS, mac_bytes(mac))
    return attributes + (attribute(_IFLA_MTU, _u32(mtu)) if mtu else b"")


def _kind(kind: str, data: bytes = b"") -> bytes:
    info = attribute(_INFO_KIND, _text(kind))
    return attribute(_IFLA_LINKINFO, info + (attribute(_INFO_DATA, data) if data else b""))


def _set_port(index: int, setting: int, on: bool) -> Message:  # noqa: FBT001 (the kernel's byte)
    port = attribute(setting, bytes([on]))
    slave = attribute(_INFO_SLAVE_KIND, b"bridge\0") + attribute(_INFO_SLAVE_DATA, port)
    return Message(NEW_LINK, 0, link_body(index) + attribute(_IFLA_LINKINFO, slave))


def _vxlan(change: AddVxlan, device: int) -> bytes:
    data = attribute(_VXLAN_ID, _u32(change.vni))
    data += attribute(_VXLAN_LINK, _u32(device))
    data += attribute(_VXLAN_LOCAL, change.local.packed)
    data += attribute(_VXLAN_LEARNING, b"\0")
    data += attribute(_VXLAN_PORT, struct.pack("!H", change.port))
    body = link_body(up=True) + _named(change.name, change.mac, change.mtu)
    return body + _kind("vxlan", data)


def _set_link(change: SetLink, index_of: Lookup, namespace_of: Lookup) -> bytes:
    body = link_body(index_of(change.name), up=change.up, promiscuous=change.promiscuous)
    if change.rename is not None:
        body += attribute(IFLA_IFNAME, _text(change.rename))
    if change.mac is not None:
        body += attribute(_IFLA_ADDRESS, mac_bytes(change.mac))
    if change.mtu:
        body += attribute(_IFLA_MTU, _u32(change.mtu))
    if change.master is not None:
        body += attribute(_IFLA_MASTER, _u32(index_of(change.master) if change.master else 0))
    if change.alias is not None:
        body += attribute(_IFLA_IFALIAS, change.alias.encode())
    if change.namespace is not None:
        body += attribute(_IFLA_NET_NS_FD, _u32(namespace_of(change.namespace)))
    return body


def _address(address: Interface, index: int) -> bytes:
    prefix = address.network.prefixlen
    # Nobody else has the address, so IPv6 need not ask around for two seconds before using it.
    flags = _NO_DUPLICATE_DETECTION if address.version == 6 else 0
    body = struct.pack("=BBBBI", FAMILY[address.version], prefix, flags, 0, index)
    body += attribute(_IFA_LOCAL, address.ip.packed) + attribute(_IFA_ADDRESS, address.ip.packed)
    if address.version == 4 and prefix < 31:
        body += attribute(_IFA_BROADCAST, address.network.broadcast_address.packed)
    return body


def _destination(destination: Network) -> bytes:
    if destination.prefixlen == 0:
        return b""
    return attribute(_RTA_DST, destination.network_address.packed)


def _route(change: AddRoute, index: int) -> bytes:
    table = change.table or (TABLE_LOCAL if change.local else TABLE_MAIN)
    scope = change.scope
    if scope is None:
        scope = SCOPE_HOST if change.local else 0 if change.gateway else SCOPE_LINK
    body = _ROUTE.pack(
        FAMILY[change.destination.version],
        change.destination.prefixlen,
        0,
        0,
        table if table < 256 else 0,
        change.protocol or _RTPROT_STATIC,
        scope,
    )
    body += struct.pack("=BI", LOCAL if change.local else UNICAST, ONLINK if change.onlink else 0)
    body += _destination(change.destination) + attribute(_RTA_OIF, _u32(index))
    body += attribute(_RTA_TABLE, _u32(table))
    if change.gateway is not None:
        body += attribute(_RTA_GATEWAY, change.gateway.packed)
    if change.source is not None:
        body += attribute(_RTA_PREFSRC, change.source.packed)
    if change.priority:
        body += attribute(_RTA_PRIORITY, _u32(change.priority))
    metrics = b""
    if change.mtu:
        metrics += attribute(_RTAX_MTU, _u32(change.mtu))
    if change.advmss:
        metrics += attribute(_RTAX_ADVMSS, _u32(change.advmss))
    return body + (attribute(_RTA_METRICS, metrics) if metrics else b"")


def _neighbour(address: Address, index: int, state: int) -> bytes:
    head = _NEIGHBOUR.pack(FAMILY[address.version], index, state, 0, 0)
    return head + attribute(_NDA_DST, address.packed)


def _forwarding(change: AddForwarding | DeleteForwarding, index: int) -> bytes:
    body = _NEIGHBOUR.pack(AF_BRIDGE, index, NUD_PERMANENT, NTF_SELF, 0)
    body += attribute(_NDA_DST, change.to.packed)
    return body + attribute(_NDA_LLADDR, mac_bytes(change.mac))


def _rule(rule: Rule) -> bytes:
    # struct fib_rule_hdr: family, bits of destination and source, TOS, table, action, flags.
    to = rule.to
    table = rule.table if rule.table < 256 else 0
    body = _RULE.pack(
        FAMILY[4], to.prefixlen if to else 0, 0, 0, table, RULE_ACTIONS[rule.action], 0
    )
    body += attribute(_FRA_PRIORITY, _u32(rule.priority))
    if rule.table:
        body += attribute(_FRA_TABLE, _u32(rule.table))
    if to is not None:
        body += attribute(_FRA_DST, to.network_address.packed)
    if rule.arriving:
        body += attribute(_FRA_IIFNAME, _text(rule.arriving))
    if rule.mask:
        body += attribute(_FRA_FWMARK, _u32(rule.mark)) + attribute(_FRA_FWMASK, _u32(rule.mask))
    if rule.protocol:
        body += attribute(_FRA_IP_PROTO, bytes([rule.protocol]))
    if rule.suppress_prefix_length is not None:
        body += attribute(_FRA_SUPPRESS_PREFIXLEN, _u32(rule.suppress_prefix_length))
    return body
