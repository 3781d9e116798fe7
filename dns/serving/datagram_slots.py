"""Memory for recvmmsg(2) and sendmmsg(2): a batch of datagrams and the kernel's structures.

Made once for each socket; the numbers that the kernel reads and writes are found by their offsets.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from typing import Final

BATCH: Final = 64
LARGEST_DATAGRAM: Final = 65535

HEAD: Final = 2048
"""How much of a datagram lies close to the others: all of it, nearly always."""
HEAD_STRIDE: Final = HEAD + 64
"""Not a power of two: else the beginnings of all would share one line of the CPU's caches."""
TAIL_STRIDE: Final = LARGEST_DATAGRAM + 1 - HEAD
NAME: Final = 32
"""Room for the longest address, a sockaddr_in6, of 28 bytes."""
ORIGIN: Final = 40
"""Room for the control message with our own address; it stands right behind the other one."""
ADDRESS: Final = NAME + ORIGIN


class _Piece(ctypes.Structure):
    """A struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class Message(ctypes.Structure):
    """A struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("pieces", ctypes.c_void_p),
        ("piece_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Header(ctypes.Structure):
    """A struct mmsghdr."""

    _fields_ = (("message", Message), ("size", ctypes.c_uint32))


HEADER_SIZE: Final = ctypes.sizeof(_Header)
_PIECE_SIZE: Final = ctypes.sizeof(_Piece)


def _filled_in(count: int) -> struct.Struct:
    """Return what reads of *count* headers what the kernel fills in: sizes of control and data."""
    control, data = Message.control_size.offset, _Header.size.offset
    one = f"{control}xQ{data - control - 8}xI{HEADER_SIZE - data - 4}x"
    return struct.Struct("=" + one * count)


FILLED_IN: Final = tuple(_filled_in(count) for count in range(BATCH + 1))


class Slots:
    """Room for a batch, with the headers that tell the kernel where it is.

    The mappings hold the datagrams' heads and tails and the addresses, a slot each. What is read of
    a mapping is bytes at once, and its pages exist from when they are first touched. *addresses*
    may be those of other slots.
    """

    def __init__(
        self, addresses: mmap.mmap | None = None, name_size: int = NAME, control: int = ORIGIN
    ) -> None:
        self.heads = mmap.mmap(-1, BATCH * HEAD_STRIDE)
        self.tails = mmap.mmap(-1, BATCH * TAIL_STRIDE)
        self.addresses = addresses or mmap.mmap(-1, BATCH * ADDRESS)
        self.headers = bytearray(BATCH * HEADER_SIZE)
        self.pieces = bytearray(2 * BATCH * _PIECE_SIZE)
        heads, tails, places, pieces, self.at = (
            ctypes.addressof(ctypes.c_char.from_buffer(buffer))
            for buffer in (self.heads, self.tails, self.addresses, self.pieces, self.headers)
        )
        for nth in range(BATCH):
            head = _Piece.from_buffer(self.pieces, 2 * nth * _PIECE_SIZE)
            head.base, head.size = heads + nth * HEAD_STRIDE, HEAD
            tail = _Piece.from_buffer(self.pieces, (2 * nth + 1) * _PIECE_SIZE)
            tail.base, tail.size = tails + nth * TAIL_STRIDE, TAIL_STRIDE
            message = Message.from_buffer(self.headers, nth * HEADER_SIZE)
            message.name = places + nth * ADDRESS
            message.name_size = name_size
            message.control = message.name + NAME
            message.control_size = control
            message.pieces = pieces + 2 * nth * _PIECE_SIZE
            # Replies without work are short.
            message.piece_count = 2 if addresses is None else 1
        # The kernel writes sizes where it has read how much room there is.
        self.empty_headers = bytes(self.headers)
