"""SPDY/3.1 on the wire: what is read, what is answered, and what ends the connection."""

import asyncio
import random
import struct
import tracemalloc
import zlib
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from podwire.emulator.apiserver.streams import spdy
from podwire.emulator.apiserver.streams.spdy import (
    Data,
    Framing,
    Leaving,
    Opened,
    Ping,
    Reset,
    SpdyError,
)
from podwire.emulator.apiserver.streams.spdy_connection import Connection
from podwire.emulator.apiserver.streams.spdy_dictionary import DICTIONARY
from podwire.testing import spdy as peer
from podwire.testing.spdy import Seen, SpdyPeer

SECONDS = 10


def test_the_dictionary_is_that_of_the_specification() -> None:
    # Its Adler-32 stands in every stream that was compressed with it: kubectl's begin so.
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_frames_are_read_however_they_are_cut(size: int) -> None:
    client = SpdyPeer()
    sent = (
        client.open(1, streamtype="error", port="80")
        + client.open(3, ended=True, Streamtype="data")
        + peer.data(1, b"0123456789")
        + peer.ping(1)
        + peer.control(4, struct.pack(">III", 1, 7, 65536))  # SETTINGS
        + peer.control(8, struct.pack(">I", 1) + client.block(more="x"))  # HEADERS
        + peer.control(9, struct.pack(">II", 1, 1))  # WINDOW_UPDATE
        + peer.control(12, b"?")  # of a later version: to be ignored
        + peer.ping(2)  # an answer to something that we never ask
        + peer.data(1, b"", ended=True)
        + client.open(5, again="after HEADERS")
        + peer.reset(1)
        + peer.leave()
    )
    framing, seen = Framing(), list[spdy.Frame]()
    for at in range(0, len(sent), size):
        seen += framing.receive(sent[at : at + size])
    pieces = [f.content for f in seen if isinstance(f, Data)]
    assert b"".join(pieces) == b"0123456789"
    assert [f for f in seen if not isinstance(f, Data)] == [
        Opened(1, {"streamtype": "error", "port": "80"}, ended=False),
        Opened(3, {"streamtype": "data"}, ended=True),
        Ping(1),
        Opened(5, {"again": "after HEADERS"}, ended=False),
        Reset(1),
        Leaving(),
    ]
    assert [f.ended for f in seen if isinstance(f, Data)] == [False] * (len(pieces) - 1) + [True]


def test_the_bytes_of_a_frame_are_handed_on_before_it_is_whole() -> None:
    framing = Framing()
    head = struct.pack(">II", 1, 1 << 24 | spdy.LARGEST_DATA)
    assert [*framing.receive(head + b"abc")] == [Data(1, b"abc", ended=False)]
    rest = bytes(spdy.LARGEST_DATA - 3)
    assert [*framing.receive(rest)] == [Data(1, rest, ended=True)]


SYN = struct.pack(">IIBB", 1, 0, 0, 0)


def hostile() -> dict[str, bytes]:
    client = SpdyPeer()
    bomb = SpdyPeer().deflated(bytes(1_000_000))
    cut = SpdyPeer().deflated(struct.pack(">II", 2, 4) + b"name")
    beyond = SpdyPeer().deflated(struct.pack(">II", 1, 0xFFFFFFFF) + b"name")
    binary = SpdyPeer().deflated(struct.pack(">II", 1, 1) + b"\xff" + struct.pack(">I", 0))
    finished = zlib.compressobj(zdict=DICTIONARY)
    ended = finished.compress(bytes(4)) + finished.flush()
    return {
        "another version": peer.control(6, bytes(4), version=2),
        "a request of HTTP": b"\x80ET / HTTP/1.1\r\n\r\n",
        "a control frame without end": struct.pack(">HHI", 0x8003, 8, 0xFFFFFF),
        "SYN_STREAM without a body": peer.control(1, b""),
        "SYN_STREAM without headers": peer.control(1, SYN),
        "a reset that is cut": peer.control(3, bytes(4)),
        "a ping that is cut": peer.control(6, b""),
        "GOAWAY that is cut": peer.control(7, bytes(4)),
        "headers that are not compressed": peer.control(1, SYN + b"streamtype: error"),
        "headers with another dictionary": peer.control(1, SYN + zlib.compress(bytes(4))),
        "a bomb": peer.control(1, SYN + bomb),
        "headers that are cut": peer.control(1, SYN + cut),
        "headers beyond the end": peer.control(1, SYN + beyond),
        "headers that are no text": peer.control(1, SYN + binary),
        "compression that has ended": peer.control(1, SYN + ended),
        "stream 0": client.open(0),
        "data on stream 0": bytes(8),
        "a stream of the server": client.open(2),
        "a stream that was there": SpdyPeer().open(1) + SpdyPeer().open(1),
        "bad HEADERS": peer.control(8, bytes(4) + b"?"),
    }


@pytest.mark.parametrize("what", hostile())
async def test_what_ends_the_connection(what: str) -> None:
    with pytest.raises(SpdyError):
        list(Framing().receive(hostile()[what]))
    line = Line([hostile()[what], peer.ping(1)])
    connection = Connection(line)
    while event := await connection.next():
        assert isinstance(event, Opened)
    assert line.seen()[-1].what == "goaway"
    assert Seen("ping", number=1) not in line.seen()


def test_noise_is_never_more_than_an_error() -> None:
    for seed in range(300):
        dice = random.Random(seed)
        client = SpdyPeer()
        parts = [
            client.open(1, streamtype="data", port="80"),
            peer.data(1, dice.randbytes(dice.randrange(40))),
            peer.ping(1),
            client.open(3, streamtype="error"),
        ]
        sent = bytearray(b"".join(parts))
        for _ in range(dice.randrange(1, 4)):
            sent[dice.randrange(len(sent))] = dice.randrange(256)
        with suppress(SpdyError):
            list(Framing().receive(bytes(sent)))


# --- a connection ----------------------------------------------------------------------------------


@dataclass
class Line:
    """A client that sends what it is given and then leaves."""

    pieces: list[bytes] = field(default_factory=list[bytes])
    heard: list[bytes] = field(default_factory=list[bytes])
    reads: int = 0

    async def read(self) -> bytes:
        self.reads += 1
        await asyncio.sleep(0)
        return self.pieces.pop(0) if self.pieces else b""

    async def write(self, content: bytes) -> None:
        self.heard.append(content)

    def seen(self) -> list[Seen]:
        return list(SpdyPeer().seen(b"".join(self.heard)))


async def test_a_stream_is_accepted_used_and_ended() -> None:
    client = SpdyPeer()
    line = Line([client.open(1, streamtype="data"), peer.data(1, b"hello", ended=True)])
    connection = Connection(line)
    assert await connection.next() == Opened(1, {"streamtype": "data"}, ended=False)
    await connection.accept(1)
    assert await connection.next() == Data(1, b"hello", ended=True)
    await connection.send(1, b"x" * 3_000_000)
    await connection.end(1)
    await connection.send(1, b"too late")
    await connection.end(1)
    await connection.reset(1, spdy.CANCEL)
    assert await connection.next() is None
    reply, *rest = line.seen()
    assert reply == Seen("reply", 1)
    assert b"".join(frame.content for frame in rest) == b"x" * 3_000_000
    assert [frame.ended for frame in rest].count(True) == 1


async def test_what_comes_for_streams_that_are_not_there() -> None:
    client = SpdyPeer()
    line = Line(
        [
            client.open(1),
            peer.data(1, b"", ended=True),
            peer.data(1, b"after its end"),
            peer.reset(7),
            peer.data(9, b"never opened"),
            peer.data(2, b"never opened by us"),
            peer.reset(1),
            peer.data(1, b"after its reset"),
            peer.leave(),
            peer.ping(5),
        ]
    )
    connection = Connection(line)
    events = list[object]()
    while event := await connection.next():
        events.append(event)
    assert events == [Opened(1, {}, ended=False), Data(1, b"", ended=True), Reset(1)]
    assert line.seen() == [
        Seen("reset", 9, spdy.INVALID_STREAM),
        Seen("reset", 2, spdy.INVALID_STREAM),
        Seen("ping", number=5),
    ]


async def test_windows_are_opened_for_what_was_taken() -> None:
    line = Line([SpdyPeer().open(1)])
    connection = Connection(line)
    await connection.next()
    await connection.taken(1, 1000)
    await connection.taken(1, 0)
    await connection.taken(3, 1000)
    assert line.seen() == [Seen("window", 1, 1000)]


async def test_a_client_waits_while_nobody_asks_for_events() -> None:
    line = Line([SpdyPeer().open(1), *(peer.data(1, b"x") for _ in range(100))])
    connection = Connection(line)
    await connection.next()
    await asyncio.sleep(0)
    assert line.reads == 1


async def test_a_flood_of_streams_is_refused_and_takes_no_memory() -> None:
    client = SpdyPeer()
    line = Line([client.open(2 * n + 1, name="x" * 50) for n in range(5000)])
    connection = Connection(line)
    opened = 0
    while await connection.next():
        opened += 1
    refused = [frame for frame in line.seen() if frame.number == spdy.REFUSED_STREAM]
    assert opened == 2048
    assert opened + len(refused) == 5000


@pytest.mark.parametrize("kind", ["pings", "data for nobody", "resets", "settings", "a long frame"])
async def test_floods_take_no_memory(kind: str) -> None:
    flood = {
        "pings": peer.ping(1) * 100,
        "data for nobody": peer.data(1, bytes(16000)),
        "resets": peer.reset(1) * 100,
        "settings": peer.control(4, bytes(16000)),
        "a long frame": struct.pack(">II", 1, 2000) + bytes(2000),
    }[kind]

    class Endless(Line):
        async def read(self) -> bytes:
            self.reads += 1
            return flood if self.reads < 300 else b""

        async def write(self, content: bytes) -> None:
            del content

    connection = Connection(Endless())
    tracemalloc.start()
    try:
        while await connection.next():
            pass
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1 << 20


def test_compression_goes_on_over_replies() -> None:
    framing, client = Framing(), SpdyPeer()
    answers = b"".join(framing.reply(stream) for stream in range(1, 99, 2))
    assert [frame.stream for frame in client.seen(answers)] == list(range(1, 99, 2))
