"""Pure: virtual servers and destinations as messages of ip_vs (generic netlink), both ways.

The numbers are the kernel's (linux/ip_vs.h). It was laid out after that header and never sent to a
kernel that has ip_vs.
"""

import struct
from collections.abc import Mapping
from ipaddress import IPv4Address

from podwire.netlink.genetlink import HEAD, NESTED, message
from podwire.netlink.present import attributes
from podwire.netlink.rtnetlink import Message, attribute
from podwire.proxy.endpoints import Backend
from podwire.proxy.ipvs.changes import (
    AddDestination,
    AddServer,
    Change,
    DeleteDestination,
    DeleteServer,
    Drain,
    ListedDestination,
    SetServer,
)
from podwire.proxy.ipvs.plan import Flag, VirtualServer
from podwire.proxy.table import Protocol
from podwire.proxy.userspace.routes import Frontend

FAMILY = "IPVS"
_VERSION = 1
_NEW_SERVICE, _SET_SERVICE, _DEL_SERVICE, _GET_SERVICE = 1, 2, 3, 4
_NEW_DEST, _SET_DEST, _DEL_DEST, _GET_DEST = 5, 6, 7, 8
_SET_CONFIG, _GET_INFO = 12, 15
_ACK, _DUMP = 0x4, 0x300

_SERVICE, _DEST = 1, 2  # of a command
_TIMEOUT_TCP, _TIMEOUT_TCP_FIN, _TIMEOUT_UDP = 4, 5, 6
_AF, _PROTOCOL, _ADDR, _PORT, _FWMARK = 1, 2, 3, 4, 5  # of a service
_SCHED_NAME, _FLAGS, _TIMEOUT, _NETMASK = 6, 7, 8, 9
_DEST_ADDR, _DEST_PORT, _FWD_METHOD, _WEIGHT, _U_THRESH, _L_THRESH = 1, 2, 3, 4, 5, 6  # of a dest
_ACTIVE_CONNS, _INACT_CONNS = 7, 8
_DEST_FAMILY = 11
_INFO_VERSION, _INFO_SIZE = 1, 2

_IPV4 = 2
_MASQUERADE = 0
_PERSISTENT = 0x1
_FLAG_BITS: Mapping[Flag, int] = {"mh-port": 0x10}
_ONE_CLIENT = 0xFFFFFFFF  # the mask of what counts as one client for persistence
_NUMBERS: Mapping[Protocol, int] = {"TCP": 6, "UDP": 17, "SCTP": 132}
_PROTOCOLS: Mapping[int, Protocol] = {number: name for name, number in _NUMBERS.items()}


def encode(change: Change, family: int) -> Message:
    """Return *change* as a message to the family of that number."""

    def command(number: int, body: bytes) -> Message:
        return message(family, number, _VERSION, _ACK, body)

    match change:
        case AddServer():
            return command(_NEW_SERVICE, _service(change.frontend, change.server))
        case SetServer():
            return command(_SET_SERVICE, _service(change.frontend, change.server))
        case DeleteServer():
            return command(_DEL_SERVICE, _service(change.frontend))
        case AddDestination():
            return command(_NEW_DEST, _service(change.frontend) + _dest(change.backend, 1))
        case Drain():
            return command(_SET_DEST, _service(change.frontend) + _dest(change.backend, 0))
        case DeleteDestination():
            return command(_DEL_DEST, _service(change.frontend) + _dest(change.backend, None))


def servers_question(family: int) -> Message:
    """Return the question for all virtual servers."""
    return message(family, _GET_SERVICE, _VERSION, _DUMP, b"")


def server_question(family: int, frontend: Frontend) -> Message:
    """Return the question for one virtual server; ESRCH says that there is none."""
    return message(family, _GET_SERVICE, _VERSION, 0, _service(frontend))


def destinations_question(family: int, frontend: Frontend) -> Message:
    """Return the question for the destinations of a virtual server."""
    return message(family, _GET_DEST, _VERSION, _DUMP, _service(frontend))


def info_question(family: int) -> Message:
    """Return the question for the version of ip_vs and the size of its table."""
    return message(family, _GET_INFO, _VERSION, 0, b"")


def timeouts(family: int, *, tcp: float, tcp_fin: float, udp: float) -> Message:
    """Return the order to set the timeouts, in seconds; 0 leaves one as it is."""
    body = b"".join(
        attribute(kind, _u32(int(seconds)))
        for kind, seconds in ((_TIMEOUT_TCP, tcp), (_TIMEOUT_TCP_FIN, tcp_fin), (_TIMEOUT_UDP, udp))
        if seconds
    )
    return message(family, _SET_CONFIG, _VERSION, _ACK, body)


def server(body: bytes) -> tuple[Frontend, VirtualServer] | None:
    """Read a virtual server; None if it goes by a firewall mark or is not of IPv4."""
    found = dict(attributes(dict(attributes(body, HEAD))[_SERVICE]))
    if _FWMARK in found or _read_u16(found[_AF]) != _IPV4:
        return None
    protocol = _PROTOCOLS.get(_read_u16(found[_PROTOCOL]))
    if protocol is None:
        return None
    address = IPv4Address(found[_ADDR][:4])
    flags = _read_u32(found[_FLAGS])
    return (
        Frontend(address, int.from_bytes(found[_PORT][:2], "big"), protocol),
        VirtualServer(
            scheduler=found[_SCHED_NAME].rstrip(b"\0").decode(errors="replace"),
            persistent=_read_u32(found[_TIMEOUT]) if flags & _PERSISTENT else 0,
            flags=frozenset(name for name, bit in _FLAG_BITS.items() if flags & bit),
        ),
    )


def destination(body: bytes) -> tuple[Backend, ListedDestination]:
    """Read a destination."""
    found = dict(attributes(dict(attributes(body, HEAD))[_DEST]))
    port = int.from_bytes(found[_DEST_PORT][:2], "big")
    return (
        Backend(IPv4Address(found[_DEST_ADDR][:4]), port),
        ListedDestination(
            weight=_read_u32(found[_WEIGHT]),
            active=_read_u32(found[_ACTIVE_CONNS]),
            inactive=_read_u32(found[_INACT_CONNS]),
        ),
    )


def info(body: bytes) -> tuple[tuple[int, int, int], int]:
    """Read the version, in three parts, and how many places the table of connections has."""
    found = dict(attributes(body, HEAD))
    version = _read_u32(found[_INFO_VERSION])
    return (version >> 16 & 0xFF, version >> 8 & 0xFF, version & 0xFF), _read_u32(found[_INFO_SIZE])


def _service(frontend: Frontend, server: VirtualServer | None = None) -> bytes:
    """Return the attribute that names a virtual server, and says how it serves if *server*."""
    body = attribute(_AF, _u16(_IPV4))
    body += attribute(_PROTOCOL, _u16(_NUMBERS[frontend.protocol]))
    body += attribute(_ADDR, _address(frontend.address))
    body += attribute(_PORT, struct.pack("!H", frontend.port))
    if server is not None:
        flags = _PERSISTENT if server.persistent else 0
        for flag in server.flags:
            flags |= _FLAG_BITS[flag]
        body += attribute(_SCHED_NAME, server.scheduler.encode() + b"\0")
        # struct ip_vs_flags: the bits, and which bits are meant.
        body += attribute(_FLAGS, _u32(flags) + _u32(0xFFFFFFFF))
        body += attribute(_TIMEOUT, _u32(server.persistent))
        body += attribute(_NETMASK, _u32(_ONE_CLIENT))
    return attribute(NESTED | _SERVICE, body)


def _dest(backend: Backend, weight: int | None) -> bytes:
    """Return the attribute that names a destination, and its weight unless None."""
    body = attribute(_DEST_ADDR, _address(backend.address))
    body += attribute(_DEST_PORT, struct.pack("!H", backend.port))
    body += attribute(_DEST_FAMILY, _u16(_IPV4))
    if weight is not None:
        body += attribute(_FWD_METHOD, _u32(_MASQUERADE)) + attribute(_WEIGHT, _u32(weight))
        body += attribute(_U_THRESH, _u32(0)) + attribute(_L_THRESH, _u32(0))
    return attribute(NESTED | _DEST, body)


def _address(address: IPv4Address) -> bytes:
    return address.packed + bytes(12)  # union nf_inet_addr


def _u16(value: int) -> bytes:
    return struct.pack("=H", value)


def _u32(value: int) -> bytes:
    return struct.pack("=I", value)


def _read_u16(payload: bytes) -> int:
    return int(struct.unpack_from("=H", payload)[0])


def _read_u32(payload: bytes) -> int:
    return int(struct.unpack_from("=I", payload)[0])
