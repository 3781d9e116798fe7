"""Listening sockets: what each is set to, and a filter for those that hear only some clients."""

import contextlib
import ctypes
import socket
import struct
from ipaddress import IPv4Network

from podwire.proxy.userspace import filters
from podwire.proxy.userspace.borrowing import IP_TRANSPARENT
from podwire.proxy.userspace.limits import check_room
from podwire.proxy.userspace.routes import Frontend, Route

# Not in Python's socket module (asm-generic/socket.h, linux/in.h).
_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27
_IP_FREEBIND = 15
_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT = 10, 0


def bound(frontend: Frontend, route: Route) -> socket.socket:
    """Return a non-blocking socket at *frontend*; raises OSError, also when files run out."""
    kind = socket.SOCK_STREAM if frontend.protocol == "TCP" else socket.SOCK_DGRAM
    sock = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
    try:
        check_room(sock.fileno())
        if frontend.protocol == "TCP":
            # Accepted sockets inherit all of these.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _keep_alive(sock)
        else:
            # The way to a pod may be narrower than the node's own (VXLAN): who forwards an answer
            # may then split it. Else the first long one would be lost.
            sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
        if route.kind in ("ExternalIP", "LoadBalancer"):
            # Nothing says that these addresses are routed to this node yet, nor that they must be.
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            # To answer from an address that is not the node's; who may not has it as a local route.
            with contextlib.suppress(PermissionError):
                sock.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
        sock.bind((str(frontend.address), frontend.port))
    except OSError:
        sock.close()
        raise
    return sock


def hear_only(sock: socket.socket, networks: tuple[IPv4Network, ...] | None) -> None:
    """Have *sock* get packets from *networks* only, all others meet silence; None is everyone."""
    if networks is None:
        with contextlib.suppress(FileNotFoundError):  # there was no filter
            sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
        return
    program = ctypes.create_string_buffer(filters.only_from(networks))
    length = (len(program) - 1) // filters.INSTRUCTION
    # struct sock_fprog: a 16-bit count and a pointer, aligned by the C compiler's rules.
    described = struct.pack("@HP", length, ctypes.addressof(program))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)


def _keep_alive(sock: socket.socket) -> None:
    """Let the kernel notice within two minutes that the peer of *sock* has vanished silently."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
