"""Inside: a thousand TCP clients that are slow, half-open or silent, beside one that asks by UDP."""

import asyncio
import socket
import struct
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from tests.system.dns.attacks import KUBEADM, WEB
from tests.system.dns.fake_api import FakeApi
from tests.system.dns.messages import question
from tests.system.dns.objects import objects
from tests.system.dns.world import HERE, Place, Server, ask_tcp, ask_udp

Json = dict[str, Any]

CLIENTS: Final = 1000
QUERIES: Final = 400
LOOKS: Final = 3
"""How often it is measured beside the crowd: what others take of the machine comes and goes."""

AGAIN: Final = 2.0
"""Seconds after which a client that was closed comes again."""

ALL_HERE: Final = "all are here"
ADDRESSES: Final = tuple(f"192.0.2.{n}" for n in range(1, 9))

QUERY = question({"qname": WEB, "qtype": "A"}, 5)
FRAME = struct.pack("!H", len(QUERY)) + QUERY


async def crowd(wanted: Json) -> Json:
    """Ask by UDP alone, then beside the crowd; returns seconds, sorted, and who still gets what.

    Beside the crowd that is a list for each look; `grown` are the bytes that the crowd costs.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="podwire-dns-")))
        place = Place(strangers=ADDRESSES)
        await stack.enter_async_context(FakeApi(objects(wanted["fixture"])).serving(folder / "api"))
        server = stack.enter_context(
            Server(place, KUBEADM, folder / "server", api=str(folder / "api"))
        )
        await server.serves()
        alone, memory = await _times(place), server.memory()
        # In a process of its own, so that it keeps only the server busy.
        log = folder / "crowd"
        command = (sys.executable, "-P", "-m", __name__)
        crowding = stack.enter_context(place.start(*command, folder=folder, log=log))
        stack.callback(crowding.kill)
        while ALL_HERE not in log.read_text():
            assert crowding.poll() is None, log.read_text()
            await asyncio.sleep(0.05)
        beside = [await _times(place) for _ in range(LOOKS)]
        return {
            "alone": alone,
            "beside": beside,
            "tcp": await ask_tcp(place, QUERY) is not None,
            "grown": server.memory() - memory,
            "ended": server.process.poll(),
            "log": server.said()[-4000:],
        }


async def _times(place: Place) -> list[float]:
    found = list[float]()
    for _ in range(QUERIES):
        began = time.monotonic()
        assert await ask_udp(place, QUERY) is not None, "a query was lost"
        found.append(time.monotonic() - began)
        await asyncio.sleep(0.002)
    return sorted(found)


async def be_many() -> None:
    """Be the crowd: clients that come again a while after the server has closed them."""
    first = asyncio.Barrier(CLIENTS + 1)
    async with asyncio.TaskGroup() as tasks:
        for number in range(CLIENTS):
            tasks.create_task(_be(number, first))
        await first.wait()
        sys.stdout.write(ALL_HERE)
        sys.stdout.flush()


async def _be(number: int, first: asyncio.Barrier) -> None:
    loop = asyncio.get_running_loop()
    manners = (_silent, _drip, _half_a_frame, _never_read)
    is_new = True
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            sock.bind((ADDRESSES[number % len(ADDRESSES)], 0))
            try:
                await loop.sock_connect(sock, (HERE, 53))
                if is_new:
                    is_new = False
                    await first.wait()
                await manners[number % len(manners)](loop, sock)
            except OSError:
                pass
        await asyncio.sleep(AGAIN)


async def _silent(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    """Say nothing."""
    await loop.sock_recv(sock, 1)


async def _drip(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    """Send a byte from time to time."""
    while True:
        for byte in FRAME:
            await loop.sock_sendall(sock, bytes((byte,)))
            await asyncio.sleep(0.3)


async def _half_a_frame(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    """Ask once, then send half a question."""
    await loop.sock_sendall(sock, FRAME + FRAME[: len(FRAME) // 2])
    while await loop.sock_recv(sock, 4096):
        pass


async def _never_read(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    """Ask and ask, and read no answer."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    while True:
        await loop.sock_sendall(sock, FRAME * 20)
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(be_many())
