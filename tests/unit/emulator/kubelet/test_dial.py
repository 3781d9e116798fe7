"""Connections out of a network namespace, here that of a lender: this process itself."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from podwire.emulator.apiserver.agent import AgentError
from podwire.emulator.kubelet.dial import connected, connected_inside, dialled
from podwire.lender import Lender

SECONDS = 10


@pytest.fixture
async def netns(tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "node.sock"
    async with asyncio.TaskGroup() as tasks:
        lending = tasks.create_task(Lender().serve(path))
        await asyncio.sleep(0)
        yield path
        lending.cancel()


@asynccontextmanager
async def echo(address: str = "127.0.0.1") -> AsyncGenerator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()

    server = await asyncio.start_server(serve, address, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"hello")
    writer.write_eof()
    async with asyncio.timeout(SECONDS):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_connection_with_its_half_close(netns: Path) -> None:
    async with echo() as port:
        assert await exchange(*await connected(netns, "127.0.0.1", port)) == b"hello"


async def test_localhost_has_two_addresses(netns: Path) -> None:
    async with echo() as port:
        assert await exchange(*await connected_inside(str(netns), port)) == b"hello"
    if socket.has_ipv6:
        async with echo("::1") as port:
            assert await exchange(*await connected_inside(str(netns), port)) == b"hello"


async def test_nobody_listens(netns: Path) -> None:
    async with echo() as port:
        pass
    with pytest.raises(ConnectionRefusedError):
        await dialled(netns, "127.0.0.1", port)
    with pytest.raises(AgentError) as refused:
        await connected_inside(str(netns), port)
    # In containerd's words: people search for them.
    assert refused.value.message.startswith(
        f'failed to execute portforward in network namespace "{netns}": failed to connect to '
        f'localhost:{port} inside namespace "{netns}", IPv4: dial tcp4 127.0.0.1:{port}: connect: '
        "connection refused"
    )


async def test_there_is_no_such_namespace(tmp_path: Path) -> None:
    with pytest.raises(AgentError):
        await connected_inside(str(tmp_path / "gone"), 80)
    with pytest.raises(OSError, match="gone"):
        await connected(tmp_path / "gone", "127.0.0.1", 80)
