"""A client's end of SPDY/3.1, for tests: frames to send, and those of the server as values."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from podwire.emulator.apiserver.streams.spdy_dictionary import DICTIONARY

NAMES = {2: "reply", 3: "reset", 6: "ping", 7: "goaway", 9: "window"}


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame of the server; of a reset or a GOAWAY *number* is the reason, of a ping its own."""

    what: str
    stream: int = 0
    number: int = 0
    content: bytes = b""
    ended: bool = False


class SpdyPeer:
    """Makes frames of a client, and reads those of the server."""

    def __init__(self) -> None:
        self._deflating = zlib.compressobj(zdict=DICTIONARY)
        self._inflating = zlib.decompressobj(zdict=DICTIONARY)
        self._buffer = b""

    def block(self, **headers: str) -> bytes:
        """Return compressed headers."""
        text = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for part in (name.encode(), value.encode()):
                text += struct.pack(">I", len(part)) + part
        return self.deflated(text)

    def deflated(self, text: bytes) -> bytes:
        """Return any bytes, compressed as headers are."""
        return self._deflating.compress(text) + self._deflating.flush(zlib.Z_SYNC_FLUSH)

    def open(self, stream: int, /, *, ended: bool = False, **headers: str) -> bytes:
        """Return what opens a stream."""
        body = struct.pack(">IIBB", stream, 0, 0, 0) + self.block(**headers)
        return control(1, body, flags=int(ended))

    def seen(self, content: bytes) -> Iterator[Seen]:
        """Yield the server's frames."""
        self._buffer += content
        while len(self._buffer) >= 8:
            first, rest = struct.unpack_from(">II", self._buffer)
            flags, length = rest >> 24, rest & 0xFFFFFF
            if len(self._buffer) < 8 + length:
                return
            body, self._buffer = self._buffer[8 : 8 + length], self._buffer[8 + length :]
            if not first >> 31:
                yield Seen("data", first, content=body, ended=bool(flags & 1))
                continue
            assert first >> 16 == 0x8003, hex(first)
            yield self._control(NAMES[first & 0xFFFF], body)

    def _control(self, what: str, body: bytes) -> Seen:
        words = struct.unpack_from(f">{min(2, len(body) // 4)}I", body)
        match what:
            case "reply":
                assert self._inflating.decompress(body[4:]) == bytes(4)
                return Seen(what, words[0])
            case "ping":
                return Seen(what, number=words[0])
            case _:
                return Seen(what, words[0], words[1])


def control(kind: int, body: bytes, *, flags: int = 0, version: int = 3) -> bytes:
    """Return a control frame."""
    return struct.pack(">HHI", 0x8000 | version, kind, flags << 24 | len(body)) + body


def data(stream: int, content: bytes, *, ended: bool = False) -> bytes:
    """Return a DATA frame."""
    return struct.pack(">II", stream, int(ended) << 24 | len(content)) + content


def ping(number: int) -> bytes:
    """Return a PING frame."""
    return control(6, struct.pack(">I", number))


def reset(stream: int) -> bytes:
    """Return a RST_STREAM frame: cancelled."""
    return control(3, struct.pack(">II", stream, 5))


def leave() -> bytes:
    """Return a GOAWAY frame: all is well."""
    return control(7, bytes(8))
