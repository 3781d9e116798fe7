"""Processes over a WebSocket: v5/v4.channel.k8s.io, without knowing its library.

A binary frame is a channel number and bytes; v5 adds 255 and a number, "this channel has ended".
"""

from typing import Any, Protocol

import msgspec

from podwire.emulator.apiserver.streams.streams import STATUS

Json = dict[str, Any]

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
"""What is spoken, best first."""


class Socket(Protocol):
    """One WebSocket."""

    async def receive(self) -> bytes | str | None:
        """Return the next message, or None when the other side is gone."""
        ...

    async def send(self, message: bytes | str) -> None:
        """Send one message, waiting while the other side does not read.

        Before the first wait the message has its place in the order.
        """
        ...

    async def close(self) -> None:
        """Say that all is well and done (1000)."""
        ...


class ChannelClient:
    """A client of a process, at the other end of *socket*."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    async def receive(self) -> tuple[int, bytes] | None:
        """Return a channel and what came on it, or None when the client is gone."""
        while True:
            message = await self._socket.receive()
            if message is None:
                return None
            content = frame_of(message)
            if content:
                return content[0], content[1:]

    async def send(self, channel: int, content: bytes) -> None:
        """Send, waiting while the client does not read."""
        await self._socket.send(bytes([channel]) + content)

    async def finish(self, status: Json) -> None:
        """Say how it ended, and close."""
        await self.send(STATUS, msgspec.json.encode(status))
        await self._socket.close()


def frame_of(message: bytes | str) -> bytes:
    """Return the bytes of a frame; the Python client sends text in frames of text."""
    return message.encode() if isinstance(message, str) else message
