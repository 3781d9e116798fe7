"""The client's side of a WebSocket (RFC 6455), without I/O: bytes in, messages out, and back.

For the streams of the API server (exec, capture). Text and binary messages, no extensions. The
command line uses it because aiohttp alone would double the time that `podwire exec` takes.
"""

import base64
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from podwire.errors import ApiError

Kind = Literal["text", "binary", "close"]

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
LARGEST_MESSAGE = 64 << 20


@dataclass(frozen=True, slots=True)
class Message:
    """One whole message; of a close, *data* is the reason."""

    kind: Kind
    data: bytes


def upgrade_headers(protocols: Sequence[str]) -> dict[str, str]:
    """Return the request headers that ask for a WebSocket and offer *protocols*."""
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
    }
    if protocols:
        headers["Sec-WebSocket-Protocol"] = ", ".join(protocols)
    return headers


def frame(data: bytes, *, text: bool = False) -> bytes:
    """Return *data* as one frame to the server."""
    return _frame(_TEXT if text else _BINARY, data)


def close_frame() -> bytes:
    """Return the frame that ends the conversation."""
    return _frame(_CLOSE, struct.pack("!H", 1000))  # normal closure (RFC 6455, 7.4.1)


class Parser:
    """Turns the server's bytes into messages; `replies` are the bytes that must go back."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._parts = bytearray()
        self._kind: Kind = "binary"
        self.replies = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that *data* completes.

        Raises ApiError when the server breaks the protocol.
        """
        self._buffer += data
        messages = list[Message]()
        while (taken := self._take_frame()) is not None:
            opcode, final, payload = taken
            if opcode == _PING:
                self.replies += _frame(_PONG, payload)
            elif opcode == _CLOSE:
                self.replies += _frame(_CLOSE, payload[:2])
                messages.append(Message("close", payload[2:]))
            elif opcode != _PONG:
                if opcode:
                    self._kind = "text" if opcode == _TEXT else "binary"
                self._parts += payload
                if final:
                    messages.append(Message(self._kind, bytes(self._parts)))
                    self._parts.clear()
        return messages

    def _take_frame(self) -> tuple[int, bool, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        final, opcode, length, start = bool(buffer[0] & 0x80), buffer[0] & 0x0F, buffer[1] & 0x7F, 2
        if buffer[0] & 0x70 or buffer[1] & 0x80 or opcode not in (0, 1, 2, 8, 9, 10):
            raise ApiError(502, "InternalError", "the server broke the WebSocket protocol")
        if length >= 126:
            start, shape = (4, "!H") if length == 126 else (10, "!Q")
            if len(buffer) < start:
                return None
            (length,) = struct.unpack_from(shape, buffer, 2)
        if length > LARGEST_MESSAGE:
            raise ApiError(502, "InternalError", f"a frame of {length} bytes is too large")
        if len(buffer) < start + length:
            return None
        payload = bytes(buffer[start : start + length])
        del buffer[: start + length]
        return opcode, final, payload


def _frame(opcode: int, data: bytes) -> bytes:
    length = len(data)
    if length < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, length)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, length)
    mask = os.urandom(4)
    # One big integer operation masks everything: a loop over bytes takes 100 ms per MiB.
    repeated = (mask * (length // 4 + 1))[:length]
    masked = int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")
    return head + mask + masked.to_bytes(length, "little")
