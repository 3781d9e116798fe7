"""Frames of one network namespace from the kernel's packet ring (AF_PACKET, TPACKET_V3).

A ring is shared memory: the kernel lays whole blocks of frames into it and no call is needed per
frame. Its size is not bound by net.core.rmem_max, which an ordinary user cannot raise, so bursts
fit without root. Time stamps, drop counters and "checksum not ready" come with each frame.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from podwire import lending, linux
from podwire.emulator.trace.pcapng import LINKTYPE_ETHERNET, LINKTYPE_RAW

Instruction = tuple[int, int, int, int]
"""One BPF instruction: code, jump if true, jump if false, constant."""

RETIRE_MS = 5  # the kernel hands over a block that is not full some time after this
_BLOCK = 1 << 17  # holds a 64 KiB frame: veth passes TCP segments unsplit

_SOL_PACKET = 263
_PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION = 5, 6, 10
_TPACKET_V3 = 2
_SO_ATTACH_FILTER = 26
_ETH_P_ALL = 3
_ALL = 0  # in the place of an interface's index
_SIOCGIFNAME, _SIOCGIFHWADDR = 0x8910, 0x8927
_ARPHRD_ETHER, _ARPHRD_LOOPBACK = 1, 772
_TP_STATUS_LOSING, _TP_STATUS_CSUMNOTREADY = 1 << 2, 1 << 3
_PACKET_OUTGOING = 4
_RETURN_CONSTANT = 0x06

# struct tpacket_block_desc up to blk_len; tpacket3_hdr and the sockaddr_ll that follows it.
_BLOCK_HEAD = struct.Struct("=IIIIII")
_BLOCK_COUNT = struct.Struct("=I")
_BLOCK_OPENED = struct.Struct("=II")
_FRAME_HEAD = struct.Struct("=IIIIIIH2x20x4xiHB")


class RawFrame(NamedTuple):
    """A frame as the ring holds it; *device* is the interface's index in its namespace."""

    time_ns: int
    device: int
    data: bytes
    length: int
    outgoing: bool
    checksum_ready: bool


@dataclass(frozen=True, slots=True)
class Device:
    """An interface of a namespace."""

    index: int
    name: str
    linktype: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A packet socket that hears nothing yet, and the interfaces that it may hear.

    A *mirrored* one may hear only one, and hears its far end: what that sends comes in.
    """

    socket: socket.socket
    devices: tuple[Device, ...]
    mirrored: bool = False


def is_lent(place: str) -> bool:
    """Return whether a lender stands behind *place*: then to open a socket may take a second."""
    wanted = lending.Place.parse(place)
    return bool(wanted.mac) or Path(wanted.path).is_socket()


def open_socket(place: str) -> Opened:
    """Return a packet socket at *place*: a namespace's file, or a lender (podwire.lending.Place).

    For a namespace this thread enters it and comes back: call it where nothing else runs. Raises
    OSError if the namespace is gone or the lender refuses.
    """
    path, mac, address = lending.Place.parse(place)
    if is_lent(place):
        family, kind = socket.AF_PACKET, socket.SOCK_RAW
        loan = lending.borrow(path, family, kind, mac=mac, address=address)
        devices = tuple(_described(d.index, d.name, d.hardware) for d in loan.devices)
        return Opened(loan.socket, devices, loan.mirrored)
    with linux.network_namespace(path):
        # Protocol 0: the kernel delivers nothing until bind names one, so no frame from before the
        # filter can slip in.
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        found = (device_of(sock, index) for index, _ in socket.if_nameindex())
        return Opened(sock, tuple(device for device in found if device is not None))


class Ring:
    """An armed capture on all interfaces of a socket's namespace, later ones and lo included.

    A mirrored socket (`Opened`) hears only its one interface. Up to *whole_until_ns* nothing was
    lost, as far as it has been read.
    """

    def __init__(
        self, opened: Opened, *, size: int, snaplen: int, program: Sequence[Instruction]
    ) -> None:
        """Arm the socket with about *size* bytes of buffer; blocks for some milliseconds."""
        self._socket = sock = opened.socket
        self._mirrored = opened.mirrored
        self._blocks = max(4, size // _BLOCK)
        self._next = 0
        self.received = 0
        self.dropped = 0
        self.whole_until_ns = 0
        _attach(sock, _with_snaplen(program, snaplen))
        sock.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
        length = self._blocks * _BLOCK
        request = struct.pack("=7I", _BLOCK, self._blocks, 2048, length // 2048, RETIRE_MS, 0, 0)
        # Through C, which lets other threads run: the kernel waits here for all its processors,
        # and a hundred rings should wait together.
        _check(_libc.setsockopt(sock.fileno(), _SOL_PACKET, _PACKET_RX_RING, request, len(request)))
        self._memory = mmap.mmap(
            sock.fileno(), length, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE
        )
        self._view = memoryview(self._memory)
        _listen(sock, opened.devices[0].index if opened.mirrored else _ALL)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when a block is full or due."""
        return self._socket.fileno()

    def read(self) -> list[RawFrame]:
        """Return the frames of all blocks that the kernel has handed over."""
        frames: list[RawFrame] = []
        # At most one round: a flood must not keep the caller here for ever.
        for _ in range(self._blocks):
            start = self._next * _BLOCK
            _, _, status, count, first, _ = _BLOCK_HEAD.unpack_from(self._view, start)
            if not status & 1:
                break
            self._take(frames, start + first, count)
            # The kernel marks each block that it closes after a loss.
            if frames and not status & _TP_STATUS_LOSING:
                self.whole_until_ns = frames[-1].time_ns
            # Empty, and the kernel's again; in this order, for the sake of waiting_since.
            _BLOCK_COUNT.pack_into(self._view, start + 12, 0)
            _BLOCK_COUNT.pack_into(self._view, start + 8, 0)
            self._next = (self._next + 1) % self._blocks
        return frames

    def waiting_since(self) -> int | None:
        """Return a time, in ns, that no frame yet to be read is older than; None if there is none.

        Of a block that is not handed over yet the kernel shows how many frames it holds, and when
        it was opened.
        """
        start = self._next * _BLOCK
        if _BLOCK_COUNT.unpack_from(self._view, start + 12)[0] == 0:
            return None
        seconds, nanoseconds = _BLOCK_OPENED.unpack_from(self._view, start + 32)
        return int(seconds * 1_000_000_000 + nanoseconds)

    def count(self) -> None:
        """Bring *received* and *dropped* up to date."""
        # Asking sets the kernel's counters back to nought.
        raw = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 12)
        received, dropped, _ = struct.unpack("=III", raw)
        self.received += received
        self.dropped += dropped

    def device(self, index: int) -> Device | None:
        """Return the interface with that index, or None if it is gone already."""
        return device_of(self._socket, index)

    def close(self) -> None:
        """Let go of the ring; blocks for some milliseconds."""
        self._view.release()
        self._memory.close()
        self._socket.close()

    def _take(self, frames: list[RawFrame], at: int, count: int) -> None:
        view = self._view
        unpack = _FRAME_HEAD.unpack_from
        for _ in range(count):
            step, sec, nsec, captured, length, status, mac, device, hardware, kind = unpack(
                view, at
            )
            outgoing = kind == _PACKET_OUTGOING
            # Every frame on lo is seen on its way out and on its way in; one of them is enough.
            if not (outgoing and hardware == _ARPHRD_LOOPBACK):
                start = at + mac
                frames.append(
                    RawFrame(
                        sec * 1_000_000_000 + nsec,
                        device,
                        bytes(view[start : start + captured]),
                        length,
                        outgoing != self._mirrored,
                        not status & _TP_STATUS_CSUMNOTREADY,
                    )
                )
            at += step


def device_of(sock: socket.socket, index: int) -> Device | None:
    """Return an interface by its index; the socket's namespace is asked, wherever we are."""
    try:
        named = fcntl.ioctl(sock, _SIOCGIFNAME, struct.pack("=16si20x", b"", index))
        raw = named[:16]
        shown = fcntl.ioctl(sock, _SIOCGIFHWADDR, struct.pack("=16s24x", raw))
    except OSError as error:
        if error.errno in {errno.ENODEV, errno.ENXIO}:
            return None
        raise
    (hardware,) = struct.unpack_from("=H", shown, 16)
    return _described(index, raw.split(b"\0", 1)[0].decode(errors="replace"), hardware)


def _described(index: int, name: str, hardware: int) -> Device:
    framed = hardware in {_ARPHRD_ETHER, _ARPHRD_LOOPBACK}
    return Device(index, name, LINKTYPE_ETHERNET if framed else LINKTYPE_RAW)


def _with_snaplen(program: Sequence[Instruction], snaplen: int) -> list[Instruction]:
    """Return *program* accepting at most *snaplen* bytes; an empty one accepts every frame."""
    if not program:
        return [(_RETURN_CONSTANT, 0, 0, snaplen)]
    return [
        (code, jt, jf, min(k, snaplen) if code == _RETURN_CONSTANT else k)
        for code, jt, jf, k in program
    ]


def _attach(sock: socket.socket, program: Sequence[Instruction]) -> None:
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(packed, len(packed))
    head = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)


def _listen(sock: socket.socket, index: int) -> None:
    # Python's bind wants an interface name; index 0, all of them, can only be said in C.
    protocol = socket.htons(_ETH_P_ALL)
    address = struct.pack("=HHiHBB8s", socket.AF_PACKET, protocol, index, 0, 0, 0, b"")
    _check(_libc.bind(sock.fileno(), address, len(address)))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


_libc = ctypes.CDLL(None, use_errno=True)
