"""Pure: frames of SPDY/3.1, the server's end: bytes in, frames out.

What kubectl speaks raw (`Upgrade: SPDY/3.1`) and inside of a WebSocket (KEP-4006). Source: SPDY
Protocol, Draft 3.1. Nothing here waits or remembers more than one frame, and of a DATA frame not
even that: its bytes are handed on as they come.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from podwire.emulator.apiserver.streams.spdy_dictionary import DICTIONARY

_VERSION = 3
_CONTROL = 0x8000
_FIN = 1
_HEAD = struct.Struct(">HHI")  # control bit and version, type; flags and length
_WORD = struct.Struct(">I")
_TWO_WORDS = struct.Struct(">II")

_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _SETTINGS, _PING = 1, 2, 3, 4, 6
_GOAWAY, _HEADERS, _WINDOW_UPDATE = 7, 8, 9
# How many bytes a control frame has at least.
_LEAST = {
    _SYN_STREAM: 10,
    _SYN_REPLY: 4,
    _RST_STREAM: 8,
    _SETTINGS: 4,
    _PING: 4,
    _GOAWAY: 8,
    _HEADERS: 4,
    _WINDOW_UPDATE: 8,
}
_LARGEST_CONTROL = 16 << 10
_LARGEST_HEADERS = 64 << 10
LARGEST_DATA = (1 << 24) - 1
"""Bytes that one DATA frame can carry."""

PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, CANCEL = 1, 2, 3, 5
"""Why a stream is reset."""


class SpdyError(Exception):
    """The other side does not speak SPDY/3.1: the connection must end (GOAWAY)."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The client opened a stream; *ended*: it will not send on it."""

    stream: int
    headers: Mapping[str, str]
    ended: bool


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a stream, maybe none; *ended*: the last ones."""

    stream: int
    content: bytes
    ended: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """The client wants no more of a stream, in either direction."""

    stream: int


@dataclass(frozen=True, slots=True)
class Ping:
    """The client asks whether we are there; the answer is the same frame."""

    number: int


@dataclass(frozen=True, slots=True)
class Leaving:
    """The client opens no more streams."""


Frame = Opened | Data | Reset | Ping | Leaving


class Framing:
    """Both directions of one connection; header compression makes each depend on what was."""

    def __init__(self) -> None:
        self._inflating = zlib.decompressobj(zdict=DICTIONARY)
        self._deflating = zlib.compressobj(zdict=DICTIONARY)
        self._buffer = bytearray()
        # Of the DATA frame that is being read: its stream, whether it ends it, bytes to come.
        self._stream, self._ends, self._left = 0, False, 0
        self.last = 0
        """The highest stream that the client opened."""

    def receive(self, content: bytes) -> Iterator[Frame]:
        """Yield what *content* completes; raises SpdyError."""
        self._buffer += content
        while True:
            if self._left:
                if not self._buffer:
                    return
                yield self._part()
            elif len(self._buffer) < _HEAD.size:
                return
            elif self._buffer[0] & 0x80:
                frame = self._control()
                if frame is None:
                    return
                yield from frame
            else:
                stream, rest = _TWO_WORDS.unpack_from(self._buffer)
                if not stream:
                    raise SpdyError("data on stream 0")
                del self._buffer[: _HEAD.size]
                self._stream, self._left = stream, rest & 0xFFFFFF
                self._ends = bool(rest >> 24 & _FIN)
                if not self._left:
                    yield Data(stream, b"", self._ends)

    def reply(self, stream: int) -> bytes:
        """Return the frame that accepts a stream."""
        block = self._deflating.compress(_WORD.pack(0)) + self._deflating.flush(zlib.Z_SYNC_FLUSH)
        return _control(_SYN_REPLY, _WORD.pack(stream) + block)

    def _part(self) -> Data:
        with memoryview(self._buffer) as view:
            content = bytes(view[: self._left])
        del self._buffer[: len(content)]
        self._left -= len(content)
        return Data(self._stream, content, self._ends and not self._left)

    def _control(self) -> list[Frame] | None:
        """Return the buffer's first frame, nothing if it is of no interest, None if it is cut."""
        version, kind, rest = _HEAD.unpack_from(self._buffer)
        flags, length = rest >> 24, rest & 0xFFFFFF
        if version != _CONTROL | _VERSION:
            raise SpdyError(f"version {version & ~_CONTROL} of SPDY instead of {_VERSION}")
        if not _LEAST.get(kind, 0) <= length <= _LARGEST_CONTROL:
            raise SpdyError(f"a control frame of type {kind} with {length} bytes")
        end = _HEAD.size + length
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[_HEAD.size : end])
        del self._buffer[:end]
        frame = self._frame(kind, flags, body)
        return [] if frame is None else [frame]

    def _frame(self, kind: int, flags: int, body: bytes) -> Frame | None:
        (first,) = _WORD.unpack_from(body) if len(body) >= _WORD.size else (0,)
        match kind:
            case _ if kind == _SYN_STREAM:
                return self._opened(first, body[10:], ended=bool(flags & _FIN))
            case _ if kind in (_SYN_REPLY, _HEADERS):
                # Of no interest; but what comes after it is compressed with what stood in it.
                self._headers(body[4:])
            case _ if kind == _RST_STREAM:
                return Reset(first)
            case _ if kind == _PING and first & 1:  # the others are answers to ours
                return Ping(first)
            case _ if kind == _GOAWAY:
                return Leaving()
            case _:
                # SETTINGS and WINDOW_UPDATE: see `window_update`. Others: to be ignored (2.2.1).
                pass
        return None

    def _opened(self, stream: int, block: bytes, *, ended: bool) -> Opened:
        if not stream & 1 or stream >> 31 or stream <= self.last:
            raise SpdyError(f"stream {stream} is opened after stream {self.last}")
        self.last = stream
        return Opened(stream, self._headers(block), ended)

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            text = self._inflating.decompress(block, _LARGEST_HEADERS)
        except zlib.error as error:
            raise SpdyError(f"headers that cannot be read: {error}") from error
        if self._inflating.unconsumed_tail or self._inflating.eof:
            raise SpdyError(f"headers of more than {_LARGEST_HEADERS} bytes")
        try:
            return dict(_pairs(text))
        except (struct.error, UnicodeDecodeError) as error:
            raise SpdyError(f"headers that cannot be read: {error}") from error


def data(stream: int, content: bytes, *, ended: bool = False) -> bytes:
    """Return a DATA frame; *content* has at most LARGEST_DATA bytes."""
    return _TWO_WORDS.pack(stream, (_FIN << 24 if ended else 0) | len(content)) + content


def reset(stream: int, why: int) -> bytes:
    """Return the frame that ends a stream in both directions."""
    return _control(_RST_STREAM, _TWO_WORDS.pack(stream, why))


def pong(ping: Ping) -> bytes:
    """Return the answer to a ping."""
    return _control(_PING, _WORD.pack(ping.number))


def go_away(last: int, why: int) -> bytes:
    """Return the frame that says that no stream after *last* was looked at (0: all is well)."""
    return _control(_GOAWAY, _TWO_WORDS.pack(last, why))


def window_update(stream: int, count: int) -> bytes:
    """Return the frame that lets the client send *count* more bytes on a stream.

    The client's own windows are not looked at, as Kubernetes' servers do not: kubectl's SPDY
    (moby/spdystream) never opens one again, and would get 64 KiB. TCP slows us down instead.
    """
    return _control(_WINDOW_UPDATE, _TWO_WORDS.pack(stream, count))


def _control(kind: int, body: bytes) -> bytes:
    return _HEAD.pack(_CONTROL | _VERSION, kind, len(body)) + body


def _pairs(text: bytes) -> Iterator[tuple[str, str]]:
    (count,) = _WORD.unpack_from(text)
    at = _WORD.size
    for _ in range(count):
        name, at = _text(text, at)
        value, at = _text(text, at)
        yield name.lower(), value


def _text(text: bytes, at: int) -> tuple[str, int]:
    (length,) = _WORD.unpack_from(text, at)
    at += _WORD.size
    if length > len(text) - at:
        raise struct.error("a length beyond the end")
    return text[at : at + length].decode(), at + length
