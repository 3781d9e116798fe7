"""A process that runs out of files: who waits, who goes on, and what is said."""

import asyncio
import errno
import resource
import socket
from collections.abc import Generator
from contextlib import contextmanager
from ipaddress import IPv4Address

import pytest

from podwire.proxy.userspace.routes import Frontend
from tests.unit.proxy.conftest import World, free_port, new_address
from tests.unit.proxy.userspace.test_tcp import backend_of
from tests.unit.proxy.userspace.test_udp import answering, ask, client

WORDS = "clients wait to be accepted"


async def hello(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello")


@contextmanager
def files_left(number: int) -> Generator[list[socket.socket]]:
    """Leave this process *number* files, and give those that fill it up."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as last:
        resource.setrlimit(resource.RLIMIT_NOFILE, (last.fileno() + 64, before[1]))
    fillers: list[socket.socket] = []
    try:
        while True:
            try:
                fillers.append(socket.socket())
            except OSError as error:
                if error.errno != errno.EMFILE:
                    raise
                break
        for _ in range(number):
            fillers.pop().close()
        yield fillers
    finally:
        for filler in fillers:
            filler.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def answers(asker: socket.socket, frontend: Frontend) -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_connect(asker, (str(frontend.address), frontend.port))
    async with asyncio.timeout(10):
        return await loop.sock_recv(asker, 5)


async def test_it_is_said_once_however_many_wait(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    frontends = [world.frontend(world.route(await world.backend(hello))) for _ in range(3)]
    waiting = [(world.socket(), frontend) for frontend in frontends for _ in range(2)]
    async with asyncio.TaskGroup() as tasks:
        with files_left(0):
            asking = [tasks.create_task(answers(asker, frontend)) for asker, frontend in waiting]
            await world.until(lambda: WORDS in caplog.text)
            await asyncio.sleep(0.3)  # until each listener has tried again twice
            assert not any(each.done() for each in asking)
    assert [each.result() for each in asking] == [b"hello"] * len(asking)
    assert caplog.text.count(WORDS) == 1


async def test_a_client_that_was_accepted_waits_for_a_file_to_its_backend(world: World) -> None:
    # Nobody accepts there: the backend itself must need no file.
    listening = world.socket()
    listening.listen()
    frontend = world.frontend(world.route(backend_of(listening)))
    asker = world.socket()
    loop = asyncio.get_running_loop()
    with files_left(1) as fillers:
        await loop.sock_connect(asker, (str(frontend.address), frontend.port))
        await world.until(lambda: world.relay.open == 1)
        assert world.relay.connections().total() == 0
        fillers.pop().close()
        await world.until(lambda: world.relay.connections().total() == 1)
    assert world.relay.counts.failed_connections == 0


async def test_one_more_service_is_not_the_end_of_others(world: World) -> None:
    served = world.frontend(world.route(await world.backend(hello)))
    another = Frontend(IPv4Address(new_address()), free_port("TCP"), "TCP")
    route = world.route(await world.backend(hello))
    with files_left(40):
        failed = world.change(another, route)
        assert "for connections" in failed[another]
        asker = world.socket()
        assert await answers(asker, served) == b"hello"
    assert world.change(another, route) == {}


async def test_clients_of_tcp_get_the_files_of_idle_udp_flows(world: World) -> None:
    asked = world.frontend(world.route(answering(world, "a")), "UDP")
    served = world.frontend(world.route(await world.backend(hello)))
    for number in range(8):
        await ask(client(world, asked), str(number))
    asker = world.socket()
    with files_left(0):
        assert await answers(asker, served) == b"hello"
    assert world.listeners.flows == 0


async def test_a_new_udp_flow_takes_the_file_of_the_one_idle_longest(world: World) -> None:
    frontend = world.frontend(world.route(answering(world, "a")), "UDP")
    first, second, third = (client(world, frontend) for _ in range(3))
    await ask(first, "1")
    await ask(second, "2")
    with files_left(0):
        assert await ask(third, "3") == "a 3"
        assert world.listeners.flows == 2
        assert await ask(second, "4") == "a 4"
