"""Clients that leave while nobody reads what they have sent.

A process that takes no input makes everything wait before it, the client's connection too. Who
does not read learns of no end, so it is looked for.
"""

import asyncio
import socket
import struct
from collections.abc import Generator
from contextlib import contextmanager

# Seconds of silence after which the kernel asks whether the other side is still there, and between
# its questions.
_SILENCE = 30
_ASK_AGAIN = 10
# Linux, include/net/tcp_states.h. All others say that the client has closed, or that it is gone.
_ESTABLISHED = 1


def end_when_left(transport: asyncio.Transport, *, every: float = 5.0) -> None:
    """End *transport* when its client has left unheard; looked for *every* so many seconds."""
    with _socket_of(transport) as connection:
        if connection is None:
            return
        # A client with much to say that is killed never gets to its FIN.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _ASK_AGAIN)
    _look(transport, every)


def _look(transport: asyncio.Transport, every: float) -> None:
    if transport.is_closing():
        return
    if not transport.is_reading() and _has_left(transport):
        transport.abort()
        return
    asyncio.get_running_loop().call_later(every, _look, transport, every)


def _has_left(transport: asyncio.Transport) -> bool:
    with _socket_of(transport) as connection:
        if connection is None:
            return False
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    (state,) = struct.unpack("B", info)
    return bool(state != _ESTABLISHED)


@contextmanager
def _socket_of(transport: asyncio.Transport) -> Generator[socket.socket | None]:
    """Lend the socket of a TCP connection; None of anything else."""
    known = transport.get_extra_info("socket")
    if known is None or known.family not in (socket.AF_INET, socket.AF_INET6):
        yield None
        return
    # What uvloop calls a socket has no options; this one must not close what is not its own.
    borrowed = socket.socket(fileno=known.fileno())
    try:
        yield borrowed
    finally:
        borrowed.detach()
