"""Sessions whose client goes away, and a watch whose client does not read."""

import asyncio
from dataclasses import dataclass, field

from podwire.emulator.apiserver.streams import streams
from podwire.emulator.apiserver.streams.channels import ChannelClient
from podwire.emulator.apiserver.streams.streams import Wanted
from podwire.testing.agent import FakeAgent

SECONDS = 10
MAPS = "/api/v1/namespaces/default/configmaps"


@dataclass
class Line:
    """A client that sends what it is given and then leaves."""

    frames: list[bytes] = field(default_factory=list[bytes])
    heard: list[bytes | str] = field(default_factory=list[bytes | str])

    async def receive(self) -> bytes | str | None:
        return self.frames.pop(0) if self.frames else None

    async def send(self, message: bytes | str) -> None:
        self.heard.append(message)

    async def close(self) -> None:
        self.heard.append("closed")


async def test_a_client_that_leaves_ends_its_process() -> None:
    agent, line = FakeAgent(), Line([b"\x00hello"])
    session = await agent.exec_host("node-1", ["sleep", "1000"], stdin=True, tty=False)
    async with asyncio.timeout(SECONDS):
        await streams.run(ChannelClient(line), session, Wanted(stdin=True, stdout=True))
        assert await session.wait() == 137
    assert "closed" not in line.heard


async def test_nonsense_from_the_client_is_ignored() -> None:
    agent = FakeAgent()
    line = Line(
        [b"", b"\x04not json", b'\x04{"Width":-1,"Height":1}', b"\x09?", b"\xff", b"\xff\x01"]
    )
    session = await agent.exec_host("node-1", ["cat"], stdin=True, tty=False)
    async with asyncio.timeout(SECONDS):
        await streams.run(ChannelClient(line), session, Wanted(stdin=True, stdout=True))
        await session.wait()
