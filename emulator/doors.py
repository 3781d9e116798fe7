"""Sockets of this host that lead into the cluster: the API server's and the published ports.

A socket belongs to the namespace in which it was opened, so these are opened before the sandbox is
entered, and handed in.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from podwire.emulator.config import ClusterConfig
from podwire.errors import PortInUse


@dataclass(frozen=True, slots=True)
class Published:
    """A listening socket of this host, and the port of a node that it leads to."""

    listener: socket.socket
    node: str
    port: int


@dataclass(frozen=True, slots=True)
class Doors:
    """All listening sockets of a cluster on this host."""

    api: socket.socket
    published: Sequence[Published]

    def close(self) -> None:
        """Close them in this process."""
        self.api.close()
        for door in self.published:
            door.listener.close()


def open_doors(config: ClusterConfig) -> Doors:
    """Open the sockets that *config* asks for; raises PortInUse and leaves none open."""
    opened: list[socket.socket] = []
    try:
        api = _listen(
            config.api_server_address,
            config.api_server_port,
            "the API server",
            "networking.apiServerPort",
        )
        opened.append(api)
        published: list[Published] = []
        for node in config.nodes:
            for mapping in node.extra_port_mappings:
                what = f"port {mapping.container_port} of {node.name}"
                listener = _listen(mapping.listen_address, mapping.host_port, what, "hostPort")
                opened.append(listener)
                published.append(Published(listener, node.name, mapping.container_port))
    except PortInUse:
        for listener in opened:
            listener.close()
        raise
    return Doors(api, tuple(published))


def _listen(address: IPv4Address, port: int, what: str, setting: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((str(address), port))
    except OSError as error:
        sock.close()
        raise PortInUse(
            f"{what} cannot listen on {address}:{port}: {error.strerror}\n"
            f"  choose another {setting}, or 0 for a free one"
        ) from error
    sock.listen(128)
    return sock
