"""The capture agent: a program that records frames of many namespaces and streams them as pcapng.

It listens on a Unix socket. A caller sends one JSON line (see `Order`); the answer begins when
every socket is armed, so its first byte is the signal to start what shall be captured. After
the line "stop" what is still on its way is read, the counters follow, and the stream ends. An
answer that begins with "{" is an error. Each caller is served by a child process of its own.
"""

import bisect
import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podwire import linux, unix
from podwire.emulator.trace import pcapng
from podwire.emulator.trace.ring import (
    RETIRE_MS,
    Device,
    Instruction,
    Opened,
    RawFrame,
    Ring,
    is_lent,
    open_socket,
)

SOCKET_PATH = "/run/podwire/capture.sock"

NOT_CAPTURED = "not captured: "
"""Begins a comment of the file: then come the place and why."""

_FRESH_NS = 1_000_000  # what is younger may not stand in its ring yet
_AFTERMATH_NS = 10_000_000  # the goodbyes of what was captured still belong to it
_SETTLE_LIMIT_NS = 1_000_000_000
_MOST_BUFFERED = 64 << 20  # bytes kept for a slow caller; after that the rings fill and drop
_RING_BUDGET = 64 << 20
_FOREVER = 1 << 63
_LONGEST_ORDER = 4 << 20


@dataclass(frozen=True, slots=True)
class Point:
    """A place to capture at, and the name under which its frames appear.

    *netns* is a namespace's file or a lender of its sockets (podwire.lending.Place).
    """

    where: str
    netns: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """What a caller wants: points, bytes kept of each frame, and a BPF program or none."""

    points: tuple[Point, ...]
    snaplen: int = pcapng.DEFAULT_SNAPLEN
    filter: tuple[Instruction, ...] = ()

    def line(self) -> bytes:
        """Return the request as the agent reads it."""
        points = [{"where": p.where, "netns": p.netns, "comment": p.comment} for p in self.points]
        fields = {"points": points, "snaplen": self.snaplen, "filter": self.filter or None}
        return json.dumps(fields).encode() + b"\n"

    @staticmethod
    def parse(line: bytes) -> "Order":
        """Read a request; raises ValueError if it makes no sense."""
        try:
            fields: dict[str, Any] = json.loads(line)
            points = tuple(
                Point(str(p["where"]), str(p["netns"]), str(p.get("comment") or ""))
                for p in fields["points"]
            )
            program = tuple(
                (int(code), int(jt), int(jf), int(k))
                for code, jt, jf, k in fields.get("filter") or ()
            )
            snaplen = int(fields.get("snaplen") or pcapng.DEFAULT_SNAPLEN)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"broken capture request: {error!r}") from error
        return Order(points, max(1, min(snaplen, pcapng.DEFAULT_SNAPLEN)), program)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Serve captures on the Unix socket argv[0] (default SOCKET_PATH) until terminated."""
    path = Path(argv[0] if argv else SOCKET_PATH)
    server = unix.listening(path, backlog=16)
    # Children are not waited for: the kernel forgets them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.freeze()
    while True:
        connection, _ = server.accept()
        if os.fork() == 0:
            server.close()
            os._exit(_serve(connection))
        connection.close()


def _serve(connection: socket.socket) -> int:
    try:
        _capture(connection)
    except (BrokenPipeError, ConnectionResetError):
        return 0  # the caller has left
    except (OSError, ValueError) as error:
        with contextlib.suppress(OSError):
            connection.setblocking(True)
            connection.sendall(json.dumps({"error": str(error)}).encode() + b"\n")
        return 1
    return 0


def _capture(connection: socket.socket) -> None:
    order = Order.parse(_line(connection))
    session = _Session(order)
    outbox = bytearray(session.head())
    connection.setblocking(False)
    poll = select.poll()
    for ring in session.rings:
        poll.register(ring.fileno(), select.POLLIN)
    stopping = False
    while not stopping or outbox:
        if len(outbox) >= _MOST_BUFFERED:
            select.select([], [connection], [])  # let the rings fill, and count what they drop
        poll.register(connection, select.POLLIN | (select.POLLOUT if outbox else 0))
        # Frames on hold become due without an event.
        events = dict(poll.poll(RETIRE_MS if session.holds else None))
        if connection.fileno() in events and not stopping and _told_to_stop(connection):
            stopping = True
            outbox += session.settle()
            outbox += session.tail()
            for ring in session.rings:
                poll.unregister(ring.fileno())
        elif not stopping and len(outbox) < _MOST_BUFFERED:
            outbox += session.pending()
        _send(connection, outbox)
    # Now, not when this process has ended: the kernel takes its time to dissolve each ring.
    connection.close()


def _line(connection: socket.socket) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n"):
        chunk = connection.recv(65536)
        if not chunk or len(received) > _LONGEST_ORDER:
            raise ValueError("a capture request is one line of JSON")
        received += chunk
    return bytes(received)


def _told_to_stop(connection: socket.socket) -> bool:
    """Return whether the caller said stop, or will say nothing more (it half-closed)."""
    try:
        word = connection.recv(64)
    except BlockingIOError:
        return False
    return not word or b"stop" in word


def _send(connection: socket.socket, outbox: bytearray) -> None:
    """Send what the caller takes now and remove it from *outbox*."""
    with contextlib.suppress(BlockingIOError):
        while outbox:
            with memoryview(outbox) as view:
                sent = connection.send(view[: 1 << 20])
            del outbox[:sent]


class _Session:
    """The rings of one capture and the numbers of their interfaces in the file."""

    def __init__(self, order: Order) -> None:
        self._points: list[Point] = []
        self._missing: list[str] = []
        self._snaplen = order.snaplen
        self._interfaces: list[pcapng.Interface] = []
        self._numbers: dict[tuple[int, int], int] = {}
        self._counts: list[int] = []
        self._held: list[tuple[int, int, RawFrame]] = []
        opened: list[Opened] = []
        with ThreadPoolExecutor(max_workers=64) as threads:
            # Lenders may be slow, and should be so all at once; our own namespaces are not.
            lent = {
                point: threads.submit(open_socket, point.netns)
                for point in order.points
                if is_lent(point.netns)
            }
            for point in order.points:
                try:
                    borrowing = lent.get(point)
                    opened.append(borrowing.result() if borrowing else open_socket(point.netns))
                except OSError as error:
                    # A pod may end while we come: the file says so, the rest is captured.
                    self._missing.append(f"{NOT_CAPTURED}{point.where}: {error.strerror}")
                    continue
                self._points.append(point)
            size = min(8 << 20, _RING_BUDGET // max(1, len(opened)))

            def arm(found: Opened) -> Ring:
                return Ring(found, size=size, snaplen=order.snaplen, program=order.filter)

            self.rings = list(threads.map(arm, opened))
        for ring, found in enumerate(opened):
            for device in found.devices:
                self._number(ring, device)

    @property
    def holds(self) -> bool:
        """Return whether frames wait to be put in order."""
        return bool(self._held)

    def head(self) -> bytes:
        """Return the section header and all interfaces known so far."""
        section = pcapng.section_block(application="podwire capture", comments=self._missing)
        return section + b"".join(map(pcapng.interface_block, self._interfaces))

    def pending(self) -> bytes:
        """Read the rings; return, in order, the frames that no later one can be older than."""
        parts = self._read()
        waiting = (ring.waiting_since() for ring in self.rings)
        limits = [since for since in waiting if since is not None]
        parts.append(self._due(min([*limits, time.time_ns() - _FRESH_NS])))
        return b"".join(parts)

    def settle(self) -> bytes:
        """Wait until every ring has handed over all from before now; return frames as pending."""
        until = time.time_ns() + _AFTERMATH_NS
        parts: list[bytes] = []
        while time.time_ns() < until + _SETTLE_LIMIT_NS:
            begun = time.time_ns()
            parts += self._read()
            waiting = [ring.waiting_since() for ring in self.rings]
            if begun > until and all(since is None or since > until for since in waiting):
                break
            time.sleep(RETIRE_MS / 1000)
        return b"".join(parts)

    def tail(self) -> bytes:
        """Return all remaining frames and the counters."""
        now = time.time_ns()
        parts = [*self._read(), self._due(_FOREVER)]
        for index, ring in enumerate(self.rings):
            ring.count()
            lost = ring.dropped
            for (owner, _), number in self._numbers.items():
                if owner != index:
                    continue
                where = self._points[index].where
                comment = f"the kernel counts drops for all of {where} together" if lost else ""
                if lost:
                    intact = pcapng.Statistics(number, None, 0, time_ns=ring.whole_until_ns)
                    parts.append(pcapng.statistics_block(intact))
                received = self._counts[number] + lost
                counters = pcapng.Statistics(number, received, lost, comment, now)
                parts.append(pcapng.statistics_block(counters))
                lost = 0
        return b"".join(parts)

    def _read(self) -> list[bytes]:
        """Take what the rings have; return descriptions of interfaces that are new."""
        new: list[bytes] = []
        for index, ring in enumerate(self.rings):
            for frame in ring.read():
                number = self._numbers.get((index, frame.device))
                if number is None:
                    number, block = self._appeared(index, frame.device)
                    new.append(block)
                self._counts[number] += 1
                self._held.append((frame.time_ns, number, frame))
        return new

    def _due(self, until_ns: int) -> bytes:
        """Return, in order, the frames that are older than *until_ns*, and forget them."""
        held = self._held
        held.sort(key=_time)
        due = bisect.bisect_left(held, until_ns, key=_time)
        blocks = b"".join(
            pcapng.raw_packet_block(
                number,
                time_ns,
                frame.data,
                frame.length,
                pcapng.packet_flags(outgoing=frame.outgoing, checksum_ready=frame.checksum_ready),
            )
            for time_ns, number, frame in held[:due]
        )
        del held[:due]
        return blocks

    def _appeared(self, ring: int, index: int) -> tuple[int, bytes]:
        device = self.rings[ring].device(index)
        if device is None:
            device = Device(index, f"if{index}", pcapng.LINKTYPE_ETHERNET)
        number = self._number(ring, device)
        return number, pcapng.interface_block(self._interfaces[number])

    def _number(self, ring: int, device: Device) -> int:
        point = self._points[ring]
        number = self._numbers[ring, device.index] = len(self._interfaces)
        self._counts.append(0)
        self._interfaces.append(
            pcapng.Interface(
                name=f"{point.where} {device.name}",
                description=point.comment,
                snaplen=self._snaplen,
                linktype=device.linktype,
                comment="checksums may be unfinished here: senders leave them to the hardware",
            )
        )
        return number


def _time(held: tuple[int, int, RawFrame]) -> int:
    return held[0]


if __name__ == "__main__":
    linux.die_with_parent()
    sys.exit(main(sys.argv[1:], os.environ))
