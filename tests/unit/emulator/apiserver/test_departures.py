"""Clients that leave while nobody reads what they have sent."""

import asyncio
import socket

import pytest

from podwire.emulator.apiserver.streams.departures import end_when_left


class Heard(asyncio.Protocol):
    """A connection that is read or not, and whether it has ended."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.ended.set()


@pytest.mark.parametrize("leaves", ["with FIN", "with RST", "not"])
async def test_a_client_that_leaves_unheard(leaves: str) -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    transport, heard = await loop.connect_accepted_socket(Heard, accepted)
    transport.pause_reading()
    client.sendall(b"nobody reads this")
    end_when_left(transport, every=0.01)
    match leaves:
        case "with FIN":
            client.close()
        case "with RST":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
        case _:
            await asyncio.sleep(0.05)
            assert not heard.ended.is_set()
            transport.abort()
            client.close()
    await heard.ended.wait()
