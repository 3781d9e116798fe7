"""Datagrams of one UDP socket, many with each system call: recvmmsg(2) and sendmmsg(2).

Python has neither, and its recvfrom and sendto with their addresses as text cost more than an
answer that is kept. Buffers and the kernel's structures are made once; addresses stay bytes.

On a socket that is bound to every address, an address says as well which of ours was asked (ip(7),
IP_PKTINFO), and the reply comes from there: who asked one address takes no reply from another.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import socket
import sys
from collections import deque
from collections.abc import Callable
from typing import Final

from podwire.dns.serving.datagram_slots import (
    ADDRESS,
    BATCH,
    FILLED_IN,
    HEAD,
    HEAD_STRIDE,
    HEADER_SIZE,
    NAME,
    TAIL_STRIDE,
    Message,
    Slots,
)

MOST_UNSENT: Final = 4096
EVERYWHERE: Final = ("0.0.0.0", "::")

_IP_PKTINFO: Final = 8
_ADDRESS_WORDS: Final = ADDRESS // 4
_NO_INTERFACES: Final = memoryview(bytes(4 * BATCH)).cast("I")
_CONTROL_HEADER: Final = 16
_CONTROL_V4: Final = 32
_CONTROL_V6: Final = 40
"""How long the control message is, header and filling included."""
_NOTHING_NOW: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR, errno.ENOBUFS})

_libc: Final = ctypes.CDLL(None, use_errno=True)
_recvmmsg: Final = _libc.recvmmsg
_recvmmsg.argtypes = (
    ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p,
)  # fmt: skip
_sendmmsg: Final = _libc.sendmmsg
_sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)

log = logging.getLogger("podwire.dns")

Reply = Callable[[bytes], bytes | None]
"""Datagram -> the reply to it, if there is one at hand; both without their first two bytes."""
_Slot = Callable[[int], tuple[bytes, bytes]]


def bind(sock: socket.socket, address: str, port: int) -> None:
    """Bind a UDP socket that a `Datagrams` will read; raises OSError."""
    if address in EVERYWHERE:
        # Before the first datagram comes: it is noted when they arrive.
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    sock.bind((address, port))


class Datagrams:
    """The datagrams of *sock*, bound by `bind`. Not for use from several threads."""

    def __init__(self, sock: socket.socket) -> None:
        self._fd = sock.fileno()
        self._in = Slots()
        self._out = Slots()
        self._out_sizes = memoryview(self._out.pieces).cast("L")[1::2]
        self._out_lengths = [-1] * BATCH
        self._filled = 0
        self._unsent: deque[tuple[bytes, bytes]] = deque(maxlen=MOST_UNSENT)
        is_v6 = sock.family == socket.AF_INET6
        self._name_size = 28 if is_v6 else 16
        # in6_pktinfo is address, interface; in_pktinfo is interface, address, address.
        self._interface_at = NAME + _CONTROL_HEADER + (16 if is_v6 else 0)
        self._tells_origin = sock.getsockname()[:1] in [(place,) for place in EVERYWHERE]
        self._control_size = (_CONTROL_V6 if is_v6 else _CONTROL_V4) if self._tells_origin else 0
        words = memoryview(self._in.addresses).cast("B").cast("I")
        self._interfaces = words[self._interface_at // 4 :]
        # Replies that need no work go from where their requests came from.
        self._back = Slots(self._in.addresses, self._name_size, self._control_size)
        self._back_sizes = memoryview(self._back.pieces).cast("L")[1::4]

    @property
    def has_unsent(self) -> bool:
        """Return whether datagrams wait for the kernel to have room."""
        return bool(self._unsent)

    def receive(self) -> list[tuple[bytes, bytes]]:
        """Return what has arrived, a batch at most: datagrams, each with its raw address."""
        return self.exchange(_no_reply)

    def exchange(self, reply_to: Reply) -> list[tuple[bytes, bytes]]:
        """Receive a batch and reply to what *reply_to* knows a reply to; return the rest.

        *reply_to* sees neither the first two bytes of a datagram nor of its reply: they are the
        same.
        """
        slots = self._in
        slots.headers[:] = slots.empty_headers
        count: int = _recvmmsg(self._fd, slots.at, BATCH, socket.MSG_DONTWAIT, None)
        if count < 0:
            number = ctypes.get_errno()
            if number not in _NOTHING_NOW:
                log.debug("udp read: %s", os.strerror(number))
            return []
        sizes: tuple[int, ...] = FILLED_IN[count].unpack_from(slots.headers)
        if self._tells_origin:
            # The way back is the routes' matter.
            self._interfaces[: count * _ADDRESS_WORDS : _ADDRESS_WORDS] = _NO_INTERFACES[:count]
        heads, back, back_sizes = slots.heads, self._back.heads, self._back_sizes
        is_direct = not self._unsent
        found: list[tuple[bytes, bytes]] = []
        first = head = 0
        for nth in range(count):
            control, size = sizes[2 * nth], sizes[2 * nth + 1]
            if size <= HEAD and control == self._control_size and is_direct:
                reply = reply_to(heads[head + 2 : head + size])
                if reply is not None and len(reply) <= HEAD - 2:
                    end = head + 2 + len(reply)
                    back[head:end] = heads[head : head + 2] + reply
                    back_sizes[nth] = end - head
                    head += HEAD_STRIDE
                    continue
            # Replies go out in runs, between those that have to wait.
            self._send(self._back.at, first, nth, self._back_slot)
            first = nth + 1
            head += HEAD_STRIDE
            found.append(self._slot_in(nth, size, control))
        self._send(self._back.at, first, count, self._back_slot)
        return found

    def _slot_in(self, nth: int, size: int, control: int) -> tuple[bytes, bytes]:
        slots = self._in
        head, tail, place = nth * HEAD_STRIDE, nth * TAIL_STRIDE, nth * ADDRESS
        length = NAME + control if self._tells_origin else self._name_size
        datagram = slots.heads[head : head + min(size, HEAD)]
        if size > HEAD:
            datagram += slots.tails[tail : tail + size - HEAD]
        return datagram, slots.addresses[place : place + length]

    def _back_slot(self, nth: int) -> tuple[bytes, bytes]:
        head, place = nth * HEAD_STRIDE, nth * ADDRESS
        length = NAME + self._control_size if self._tells_origin else self._name_size
        datagram = self._back.heads[head : head + self._back_sizes[nth]]
        return datagram, self._in.addresses[place : place + length]

    def put(self, datagram: bytes, address: bytes) -> None:
        """Have *datagram* sent to the raw *address* with the next `flush`, or sooner."""
        if self._unsent:
            self._unsent.append((datagram, address))
            return
        if self._filled == BATCH:
            self.flush()
            if self._unsent:
                self._unsent.append((datagram, address))
                return
        slots, nth = self._out, self._filled
        size, length = len(datagram), len(address)
        head, place = nth * HEAD_STRIDE, nth * ADDRESS
        if size <= HEAD:
            slots.heads[head : head + size] = datagram
            self._out_sizes[2 * nth] = size
            self._out_sizes[2 * nth + 1] = 0
        else:
            tail = nth * TAIL_STRIDE
            slots.heads[head : head + HEAD] = datagram[:HEAD]
            slots.tails[tail : tail + size - HEAD] = datagram[HEAD:]
            self._out_sizes[2 * nth] = HEAD
            self._out_sizes[2 * nth + 1] = size - HEAD
        slots.addresses[place : place + length] = address
        if length != self._out_lengths[nth]:
            # Nearly all have the same.
            message = Message.from_buffer(slots.headers, nth * HEADER_SIZE)
            message.name_size = min(length, self._name_size)
            message.control_size = max(length - NAME, 0)
            self._out_lengths[nth] = length
        self._filled = nth + 1

    def flush(self) -> None:
        """Send what was put. What the kernel has no room for waits for `retry`."""
        count, self._filled = self._filled, 0
        self._send(self._out.at, 0, count, self._slot)

    def _send(self, headers: int, first: int, end: int, slot: _Slot) -> None:
        while first < end:
            done = _sendmmsg(
                self._fd, headers + first * HEADER_SIZE, end - first, socket.MSG_DONTWAIT
            )
            if done > 0:
                first += done
                continue
            number = ctypes.get_errno()
            if number in _NOTHING_NOW:
                self._unsent.extend(slot(nth) for nth in range(first, end))
                return
            # The client is unreachable or its port is 0: nobody is left to tell.
            log.debug("udp reply to %s: %s", host_and_port(slot(first)[1]), os.strerror(number))
            first += 1

    def retry(self) -> None:
        """Send what waits, as far as the kernel has room now."""
        waiting = list(self._unsent)
        self._unsent.clear()
        for datagram, address in waiting:
            self.put(datagram, address)
        self.flush()

    def forget(self) -> None:
        """Drop what has not been sent."""
        self._filled = 0
        self._unsent.clear()

    def _slot(self, nth: int) -> tuple[bytes, bytes]:
        slots = self._out
        head, tail, place = nth * HEAD_STRIDE, nth * TAIL_STRIDE, nth * ADDRESS
        size, rest = self._out_sizes[2 * nth], self._out_sizes[2 * nth + 1]
        datagram = slots.heads[head : head + size] + slots.tails[tail : tail + rest]
        return datagram, slots.addresses[place : place + self._out_lengths[nth]]


def host_and_port(address: bytes) -> tuple[str, int]:
    """Return what a raw sockaddr_in or sockaddr_in6 says."""
    port = address[2] << 8 | address[3]
    if int.from_bytes(address[:2], sys.byteorder) == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, address[8:24]), port
    return socket.inet_ntop(socket.AF_INET, address[4:8]), port


def _no_reply(request: bytes) -> None:
    """Know no reply to anything."""
