"""A DNS server on this machine that behaves as a test says."""

import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5
TRUNCATED = 0x0200


def reply(query: bytes, code: int = NOERROR, *, answers: int = 0, flags: int = 0) -> bytes:
    """Return the header of an answer with the question behind it; its records are not there."""
    word = (0x8100 | flags | code).to_bytes(2, "big")
    return query[:2] + word + query[4:6] + answers.to_bytes(2, "big") + bytes(4) + query[12:]


Behaviour = Callable[[bytes, int], bytes | None]
"""What a server does with its n-th query: its answer, or none."""


@dataclass
class Server:
    """A server on one port for UDP and TCP."""

    behaviour: Behaviour
    over_tcp: Behaviour
    address: str
    port: int = 0
    seen: list[bytes] = field(default_factory=list[bytes])

    def serve_udp(self, sock: socket.socket) -> None:
        with suppress(OSError):
            while True:
                query, client = sock.recvfrom(65535)
                if not query:
                    return
                self.seen.append(query)
                answer = self.behaviour(query, len(self.seen))
                if answer is not None:
                    sock.sendto(answer, client)

    def serve_tcp(self, sock: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = sock.accept()
                with connection:
                    while size := int.from_bytes(connection.recv(2), "big"):
                        answer = self.over_tcp(connection.recv(size), 1)
                        if answer is None:
                            break
                        connection.sendall(len(answer).to_bytes(2, "big") + answer)


@contextmanager
def serving(
    behaviour: Behaviour, over_tcp: Behaviour | None = None, *, at: str = "127.0.0.1", port: int = 0
) -> Generator[Server]:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
    ):
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind((at, port))
        server = Server(behaviour, over_tcp or behaviour, at, tcp.getsockname()[1])
        udp.bind((at, server.port))
        tcp.listen()
        threads = [
            threading.Thread(target=server.serve_udp, args=(udp,)),
            threading.Thread(target=server.serve_tcp, args=(tcp,)),
        ]
        for thread in threads:
            thread.start()
        try:
            yield server
        finally:
            tcp.shutdown(socket.SHUT_RDWR)  # ends accept
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", (at, server.port))
            for thread in threads:
                thread.join()
