"""A capture over a WebSocket: its first frame, pcapng, and the word that ends it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from podwire.emulator.apiserver.agent import Instruction
from podwire.emulator.apiserver.streams.channels import Socket

Json = dict[str, Any]

_PIECE = 64 * 1024


class CaptureStart(msgspec.Struct):
    """The first text frame of a capture."""

    filter: list[Instruction] = []


async def relay_capture(
    socket: Socket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Send pcapng to the client until it says stop or goes away."""
    try:
        async with asyncio.TaskGroup() as tasks:
            packets = tasks.create_task(_send_all(socket, reader))
            words = tasks.create_task(_until_stop(socket))
            await asyncio.wait([packets, words], return_when=asyncio.FIRST_COMPLETED)
            if words.done() and words.result() and not packets.done():
                writer.write_eof()
                await packets
            if packets.done():
                await socket.close()
            packets.cancel()
            words.cancel()
    finally:
        writer.close()


async def read_start(socket: Socket) -> CaptureStart | None:
    """Return the first text frame of a capture; None if the client left or sent nonsense."""
    message = await socket.receive()
    if not isinstance(message, str):
        return None
    try:
        return msgspec.json.decode(message or "{}", type=CaptureStart)
    except msgspec.DecodeError:
        return None


async def _send_all(socket: Socket, reader: asyncio.StreamReader) -> None:
    while content := await reader.read(_PIECE):
        await socket.send(content)


async def _until_stop(socket: Socket) -> bool:
    """Return True when the client says stop, False when it is gone."""
    while True:
        message = await socket.receive()
        if message is None:
            return False
        if message == "stop":
            return True


def json_text(value: Json) -> str:
    """Return *value* as a text frame."""
    return msgspec.json.encode(value).decode()


def as_filter(start: CaptureStart) -> Sequence[Instruction]:
    """Return the BPF program that the first frame carries; empty means everything."""
    return tuple(start.filter)
