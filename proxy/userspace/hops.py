"""How many relays a connection may still pass, by the time to live of the packets that bring it.

Endpoints written by hand may lead from one node's relay to another's and back. Packets that kernels
lead so end when their time to live does (RFC 1812, 5.3.1); relays would open one connection after
the other until files run out. So a relay goes on with what is left to its client, less HOP.
"""

import socket
import sys

USUAL = 64
"""The time to live that Linux begins with; what a client has beyond it does not count."""

HOP = 8
"""What a relay takes, where a router takes 1: the eighth ends a loop, not the sixty-fourth."""

# Not in Python's socket module (linux/tcp.h, linux/in.h).
_TCP_SAVE_SYN, _TCP_SAVED_SYN = 27, 28
_IP_RECVTTL = 12

_TTL_AT = 8  # in an IPv4 header
_HEADERS = 128  # bytes that a SYN's headers have at most, 60 each
_ANCILLARY = socket.CMSG_SPACE(4)


def count(sock: socket.socket) -> None:
    """Have the kernel tell of what comes to the listening *sock* how long it may live."""
    if sock.type == socket.SOCK_DGRAM:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
    else:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_SAVE_SYN, 1)


def left(client: socket.socket) -> int:
    """Return the time to live with which an accepted *client* goes on; 0 or less is its end."""
    syn = client.getsockopt(socket.IPPROTO_TCP, _TCP_SAVED_SYN, _HEADERS)
    # There is none if it came before the kernel was told to keep it.
    return _less(syn[_TTL_AT] if syn else USUAL)


def received(sock: socket.socket, most: int) -> tuple[bytes, tuple[str, int], int]:
    """Return a datagram, who sent it, and the time to live with which it goes on."""
    data, ancillary, _, client = sock.recvmsg(most, _ANCILLARY)
    for level, kind, value in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, socket.IP_TTL):
            return data, client, _less(int.from_bytes(value[:4], sys.byteorder))
    return data, client, _less(USUAL)


def go_on(sock: socket.socket, time_to_live: int) -> None:
    """Have what *sock* sends live that long."""
    if time_to_live != USUAL:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, time_to_live)


def _less(time_to_live: int) -> int:
    return min(time_to_live, USUAL) - HOP
