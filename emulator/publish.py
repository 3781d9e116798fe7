"""Published ports: what connects to a port of this host reaches a port of a node.

The connection goes on from `external`, so it crosses the router as any client's from outside does.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address

from podwire.emulator.doors import Published

_CHUNK = 1 << 16


async def publish(
    doors: Sequence[Published],
    address_of: Callable[[str], IPv4Address],
    open_socket: Callable[[], socket.socket],
) -> None:
    """Serve *doors* until cancelled; *open_socket* gives a TCP socket outside of the cluster."""
    async with contextlib.AsyncExitStack() as stack:
        for door in doors:
            target = (str(address_of(door.node)), door.port)

            async def relay(
                reader: asyncio.StreamReader,
                writer: asyncio.StreamWriter,
                target: tuple[str, int] = target,
            ) -> None:
                await _relay(reader, writer, target, open_socket)

            await stack.enter_async_context(
                await asyncio.start_server(relay, sock=door.listener, limit=_CHUNK)
            )
        await asyncio.Event().wait()


async def _relay(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    target: tuple[str, int],
    open_socket: Callable[[], socket.socket],
) -> None:
    sock = open_socket()
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, target)
    except OSError:
        sock.close()
        writer.transport.abort()
        return
    node_reader, node_writer = await asyncio.open_connection(sock=sock, limit=_CHUNK)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_pump(reader, node_writer))
        tasks.create_task(_pump(node_reader, writer))
    for end in (writer, node_writer):
        end.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
