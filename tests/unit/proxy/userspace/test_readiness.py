"""Which calls a ready socket leads to, also when others are closed meanwhile."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from podwire.proxy.userspace.readiness import Readiness


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
async def ready(stack: ExitStack) -> Readiness:
    ready = Readiness(asyncio.get_running_loop())
    stack.callback(ready.close)
    return ready


def pair(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    one, other = socket.socketpair()
    for sock in (one, other):
        sock.setblocking(False)
        stack.enter_context(sock)
    return one, other


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0.001)


async def test_reading_and_writing_are_told_apart(ready: Readiness, stack: ExitStack) -> None:
    one, other = pair(stack)
    said: list[str] = []
    ready.add_reader(one.fileno(), lambda: said.append("read"))
    await turns()
    assert not said
    ready.add_writer(one.fileno(), lambda: said.append("write"))
    await turns()
    assert set(said) == {"write"}
    ready.remove_writer(one.fileno())
    said.clear()
    other.send(b".")
    await turns()
    assert set(said) == {"read"}
    assert len(said) > 1  # until it is read
    ready.remove_reader(one.fileno())
    said.clear()
    await turns()
    assert not said
    assert len(ready) == 0


async def test_a_peer_that_is_gone_is_told_to_who_waits(ready: Readiness, stack: ExitStack) -> None:
    one, other = pair(stack)
    said: list[str] = []
    ready.add_reader(one.fileno(), lambda: said.append("read"))
    other.close()
    await turns()
    assert set(said) == {"read"}


async def test_who_is_forgotten_in_the_same_turn_is_not_called(
    ready: Readiness, stack: ExitStack
) -> None:
    """The number of a closed socket is the next one's, and the event was not for that."""
    pairs = [pair(stack) for _ in range(2)]
    said: list[int] = []

    def first(index: int) -> None:
        said.append(index)
        for sock, _ in pairs:
            ready.forget(sock.fileno())
            sock.close()
        for _ in pairs:
            new, _ = pair(stack)
            ready.add_reader(new.fileno(), lambda: said.append(-1))

    for index, (sock, peer) in enumerate(pairs):
        peer.send(b".")
        ready.add_reader(sock.fileno(), partial(first, index))
    await turns()
    assert len(said) == 1
    assert said[0] >= 0


async def test_after_its_end_nothing_is_called(ready: Readiness, stack: ExitStack) -> None:
    one, other = pair(stack)
    said: list[str] = []
    ready.add_reader(one.fileno(), lambda: said.append("read"))
    other.send(b".")
    ready.close()
    ready.close()
    await turns()
    assert not said
