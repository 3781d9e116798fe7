"""Binds a socket to its client's address, so that the endpoint sees the client and not the node.

The kernel lets a transparent socket have any address (IP_TRANSPARENT, CAP_NET_ADMIN); `ground` has
the answers come back to it. The client's own port is taken where it is free, as it mostly is, else
any other. Where even that fails the node asks with its own address: better than not at all.
"""

import errno
import logging
import socket
from collections.abc import Callable

from podwire.proxy.endpoints import Backend
from podwire.proxy.userspace.ground_rules import FROM_HERE
from podwire.proxy.userspace.origins import Source

log = logging.getLogger(__name__)

Address = tuple[str, int]

AskAs = Callable[[str, Backend], Source]
"""Client address and backend -> with whose address the backend is asked."""

UNAVAILABLE = frozenset({errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.EPERM})
IP_TRANSPARENT = 19  # linux/in.h; Python's socket module has it from 3.14 on


def as_node(client: str, backend: Backend) -> Source:
    """Return that *backend* is asked with the node's address."""
    del client, backend
    return "node"


class Borrowing:
    """Lends clients' addresses to sockets, and counts: on *other_ports*, and *failures*."""

    def __init__(self) -> None:
        self.other_ports = 0
        self.failures = 0

    def bind(self, sock: socket.socket, client: Address, source: Source) -> bool:
        """Bind *sock* to the address of *client*; return False if it stays without one."""
        try:
            sock.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
            if source == "client, to this node":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, FROM_HERE)
            try:
                sock.bind(client)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                self.other_ports += 1
                sock.bind((client[0], 0))
        except OSError as error:
            self.failed(client, error)
            return False
        return True

    def failed(self, client: Address, error: OSError) -> None:
        """Count that *client* is carried with the node's address; the first time is logged."""
        self.failures += 1
        if self.failures == 1:
            log.warning(
                "%s is carried with the node's address: %s; said once, counted as"
                " podwire_proxy_sources_lost_total",
                *(client[0], error),
            )
