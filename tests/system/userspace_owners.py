"""Experiments of userspace_experiments.py: what is somebody's beside the relay stays his."""

import asyncio
import errno
import socket

from podwire.proxy.userspace.mode import Userspace
from tests.system.service_world import (
    CLIENT,
    CLUSTER_IP,
    FAR,
    NODE,
    OTHER_IP,
    WEB,
    World,
    ask,
    on_port,
    order,
    send,
    service,
    slice_of,
)


async def a_process_everywhere(mode: Userspace) -> dict[str, str]:
    """Have a process of the node listen on all its addresses: of Services it has none."""
    found: dict[str, str] = {}
    with socket.create_server(("0.0.0.0", 9191)):
        await mode.sync(order((service(port=9191, external_ips=(NODE,)), slice_of())))
        for place in ("client", "node"):
            found[f"{place} to ClusterIP"] = await ask(place, CLUSTER_IP, 9191)
        for place in ("client", "stranger", "node"):
            found[f"{place} to the node, an external IP"] = await ask(place, NODE, 9191)
        await mode.sync(order())
        found["client to another ClusterIP"] = await ask("client", OTHER_IP, 9191)
        # It says nothing, which is not to be refused.
        found["client to the node"] = await ask("client", NODE, 9191)
    return found


async def owned(world: World, mode: Userspace) -> dict[str, str]:
    """Have a Service take a port of somebody's address: what he has open with it stays his."""
    loop, found = asyncio.get_running_loop(), dict[str, str]()

    def listen(place: str, address: str) -> socket.socket:
        sock = world.socket(place, socket.SOCK_STREAM)
        sock.bind((address, 9090))
        sock.listen()
        return sock

    async def connection(place: str, listener: socket.socket) -> tuple[socket.socket, ...]:
        """Have *place* connect there by FAR; return both ends."""
        asker = world.socket(place, socket.SOCK_STREAM)
        await loop.sock_connect(asker, (FAR, 9090))
        return asker, (await loop.sock_accept(listener))[0]

    async def carried(asker: socket.socket, other: socket.socket) -> str:
        try:
            async with asyncio.timeout(0.5):
                await loop.sock_sendall(asker, b"on")
                return (await loop.sock_recv(other, 9)).decode() or "closed"
        except TimeoutError:
            return "silence"
        except OSError as error:
            return errno.errorcode[error.errno or 0]

    owner, web = listen("far", FAR), listen("web", WEB)
    earlier = {place: await connection(place, owner) for place in ("client", "node")}
    taken = service(port=9090, external_ips=(FAR,)), on_port(slice_of(WEB), 9090)
    await mode.sync(order(taken))
    for place, ends in earlier.items():
        found[f"{place}, connected before"] = await carried(*ends)
    later = {place: await connection(place, web) for place in earlier}
    await mode.sync(order())
    for place, ends in later.items():
        found[f"{place}, connected to a Service that has gone"] = await carried(*ends)
    datagrams = service(port=9090, protocol="UDP", external_ips=(FAR,))
    await mode.sync(order((datagrams, slice_of(WEB, protocol="UDP"))))
    asker = world.socket("far", socket.SOCK_DGRAM)
    asker.bind((FAR, 9090))
    found["the owner, by a datagram from there"] = await send(asker, CLIENT, 8080)
    asker = world.socket("client", socket.SOCK_DGRAM)
    found["a datagram to there"] = await send(asker, FAR, 9090)
    return found
