"""The built-in echo server (RFC 862): TCP and UDP on one port."""

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from typing import cast

from podwire.emulator.images.serving import until_told


def main(argv: Sequence[str], _environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM; returns the exit status."""
    parser = argparse.ArgumentParser(prog="echo", description="the built-in echo server")
    parser.add_argument("--port", type=int, default=7)
    options = parser.parse_args(argv)
    return until_told(lambda stop: serve(options.port, stop))


async def serve(port: int, stop: asyncio.Event) -> None:
    """Repeat what comes on *port*, until *stop* is set."""
    server = await asyncio.start_server(_echo, "0.0.0.0", port)
    transport, _protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        _Datagrams, local_addr=("0.0.0.0", port)
    )
    print(f"built-in echo server on TCP and UDP port {port}", flush=True)
    await stop.wait()
    server.close()
    transport.close()


class _Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio's, not their classes.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        return
    finally:
        writer.close()
