"""TCP connections out of a network namespace: probes, forwarded ports, proxied requests."""

import asyncio
import errno
import os
import socket
import ssl
from functools import cache
from pathlib import Path

from podwire import linux
from podwire.emulator.apiserver.agent import AgentError, Tcp

_LIMIT = 1 << 16


async def dialled(netns: str | Path, address: str, port: int) -> socket.socket:
    """Return a socket of *netns* that is connected; raises OSError.

    *netns* is a namespace's file, or the Unix socket of who lends its sockets.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if _is_lent(netns):
        # Its lender may keep us waiting; a namespace of our own machine does not.
        sock = await asyncio.to_thread(linux.socket_in, netns, family, socket.SOCK_STREAM)
    else:
        sock = linux.socket_in(netns, family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _is_lent(netns: str | Path) -> bool:
    return Path(netns).is_socket()


async def connected(netns: str | Path, address: str, port: int, *, tls: bool = False) -> Tcp:
    """Return a connection out of *netns*; raises OSError.

    With *tls* whoever answers is believed.
    """
    sock = await dialled(netns, address, port)
    try:
        return await asyncio.open_connection(
            sock=sock,
            limit=_LIMIT,
            ssl=without_verification() if tls else None,
            server_hostname=address if tls else None,
        )
    except BaseException:
        sock.close()
        raise


async def connected_inside(netns: str, port: int) -> Tcp:
    """Return a connection to localhost in *netns*; raises AgentError in containerd's words."""
    said: list[str] = []
    for family, address in (("4", "127.0.0.1"), ("6", "::1")):
        try:
            return await connected(netns, address, port)
        except OSError as error:
            where = f"[{address}]:{port}" if family == "6" else f"{address}:{port}"
            said.append(f"IPv{family}: dial tcp{family} {where}: connect: {words(error)}")
    raise AgentError(
        500,
        "InternalError",
        f'failed to execute portforward in network namespace "{netns}": failed to connect to '
        f'localhost:{port} inside namespace "{netns}", {" ".join(said)}',
    )


def words(error: OSError) -> str:
    """Return what Go says for an error of connect(2)."""
    if error.errno == errno.ETIMEDOUT:
        return "connection timed out"
    return (os.strerror(error.errno) if error.errno else str(error)).lower()


@cache
def without_verification() -> ssl.SSLContext:
    """Return a context for talking to who need not prove who it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
