"""Pure: capture files as pcapng blocks, written and read; no file or socket is opened here.

Little-endian, nanosecond time stamps, one interface block per hop. Source:
draft-ietf-opsawg-pcapng (section, interface description, enhanced packet and interface statistics
blocks). Reads what this module writes and what dumpcap and tcpdump write, unknown blocks skipped.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Direction = Literal["in", "out", ""]

LINKTYPE_ETHERNET = 1
LINKTYPE_RAW = 101  # tun and other links that carry bare IP packets
DEFAULT_SNAPLEN = 262144

SECTION = 0x0A0D0D0A
INTERFACE = 1
PACKET = 6
STATISTICS = 5

_ENDIAN = 0x1A2B3C4D
_NANOSECONDS = 9
_END, _COMMENT = 0, 1
# epb_flags: bits 0-1 are the direction, bit 9 says that the sender left the checksum to hardware.
_DIRECTION_BITS: Mapping[Direction, int] = {"": 0, "in": 1, "out": 2}
_DIRECTIONS: tuple[Direction, ...] = ("", "in", "out", "")
_CHECKSUM_NOT_READY = 1 << 9


@dataclass(frozen=True, slots=True)
class Interface:
    """Where frames were captured: *name* is "WHERE INTERFACE", such as "default/client eth0"."""

    name: str
    description: str = ""
    snaplen: int = DEFAULT_SNAPLEN
    linktype: int = LINKTYPE_ETHERNET
    comment: str = ""

    @property
    def where(self) -> str:
        """Return the pod ("namespace/name"), the node or the host."""
        return self.name.rpartition(" ")[0] or self.name

    @property
    def device(self) -> str:
        """Return the interface's name inside its namespace, such as eth0."""
        return self.name.rpartition(" ")[2]


@dataclass(frozen=True, slots=True)
class Frame:
    """One captured frame; *time_ns* counts nanoseconds since 1970 (kernel time stamp)."""

    interface: int
    time_ns: int
    data: bytes
    original_length: int = 0
    direction: Direction = ""
    checksum_ready: bool = True
    comments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Statistics:
    """What an interface received until *time_ns*, and how much of it the capture lost.

    *received* is None where that was not counted. Of an interface that lost frames, one without
    drops may say until when all were there.
    """

    interface: int
    received: int | None
    dropped: int
    comment: str = ""
    time_ns: int = 0


@dataclass(frozen=True, slots=True)
class Capture:
    """A whole capture."""

    interfaces: tuple[Interface, ...] = ()
    frames: tuple[Frame, ...] = ()
    statistics: tuple[Statistics, ...] = ()
    comments: tuple[str, ...] = ()
    complete: bool = field(default=True)

    @property
    def dropped(self) -> int:
        """Return how many frames the capture is known to have lost."""
        return sum(statistics.dropped for statistics in self.statistics)

    @property
    def whole_until_ns(self) -> int | None:
        """Return the time up to which nothing was lost; None if nothing was lost at all."""
        lossy = {s.interface for s in self.statistics if s.dropped}
        known = [(s.interface, s.time_ns) for s in self.statistics if not s.dropped]
        untils = (max((at for one, at in known if one == i), default=0) for i in lossy)
        return min(untils, default=None)


def section_block(*, application: str = "podwire", comments: Sequence[str] = ()) -> bytes:
    """Return the section header that begins a file."""
    body = struct.pack("<IHHq", _ENDIAN, 1, 0, -1)
    return _block(SECTION, body, [*_comments(comments), (4, application.encode())])


def interface_block(interface: Interface) -> bytes:
    """Return the description of an interface; its number is its place among these blocks."""
    options = [*_comments([interface.comment]), (2, interface.name.encode())]
    if interface.description:
        options.append((3, interface.description.encode()))
    options.append((9, bytes([_NANOSECONDS])))
    body = struct.pack("<HHI", interface.linktype, 0, interface.snaplen)
    return _block(INTERFACE, body, options)


def packet_block(frame: Frame) -> bytes:
    """Return one captured frame."""
    flags = _DIRECTION_BITS[frame.direction]
    if not frame.checksum_ready:
        flags |= _CHECKSUM_NOT_READY
    if not frame.comments:
        return raw_packet_block(
            frame.interface, frame.time_ns, frame.data, frame.original_length, flags
        )
    body = _packet_head(frame.interface, frame.time_ns, frame.data, frame.original_length)
    flag_option = (2, struct.pack("<I", flags))
    return _block(PACKET, body + _padded(frame.data), [*_comments(frame.comments), flag_option])


def raw_packet_block(
    interface: int, time_ns: int, data: bytes, original_length: int, flags: int
) -> bytes:
    """Return one frame without comments, quickly: the agent calls this for every packet."""
    captured = len(data)
    padding = -captured & 3
    total = 32 + captured + padding + 12
    head = _PACKET_HEAD.pack(
        PACKET,
        total,
        interface,
        time_ns >> 32,
        time_ns & 0xFFFFFFFF,
        captured,
        original_length or captured,
    )
    return b"".join((head, data, _ZEROS[padding], _PACKET_TAIL.pack(2, 4, flags, 0, total)))


def packet_flags(*, outgoing: bool, checksum_ready: bool) -> int:
    """Return epb_flags for a frame."""
    return (2 if outgoing else 1) | (0 if checksum_ready else _CHECKSUM_NOT_READY)


def statistics_block(statistics: Statistics) -> bytes:
    """Return an interface's counters, as they were at their time."""
    time_ns = statistics.time_ns
    body = struct.pack("<III", statistics.interface, time_ns >> 32, time_ns & 0xFFFFFFFF)
    options = _comments([statistics.comment])
    if statistics.received is not None:
        options.append((4, struct.pack("<Q", statistics.received)))
    options.append((5, struct.pack("<Q", statistics.dropped)))
    return _block(STATISTICS, body, options)


def encode(capture: Capture) -> Iterator[bytes]:
    """Return the blocks of a whole file, frames in order of time."""
    yield section_block(comments=capture.comments)
    for interface in capture.interfaces:
        yield interface_block(interface)
    for frame in sorted(capture.frames, key=lambda frame: frame.time_ns):
        yield packet_block(frame)
    for statistics in capture.statistics:
        yield statistics_block(statistics)


def decode(data: bytes) -> Capture:
    """Return the capture in *data*; a file cut off in the middle gives what came before the cut.

    Raises ValueError if it is not pcapng, or uses an interface that it does not describe.
    """
    reading = _Reading()
    complete = True
    for kind, body in _blocks(data, reading):
        if body is None:
            complete = False
            break
        reading.take(kind, body)
    return Capture(
        interfaces=tuple(reading.interfaces),
        frames=tuple(reading.frames),
        statistics=tuple(reading.statistics),
        comments=tuple(reading.comments),
        complete=complete,
    )


_PACKET_HEAD = struct.Struct("<IIIIIII")
_PACKET_TAIL = struct.Struct("<HHIII")
_ZEROS = (b"", b"\0", b"\0\0", b"\0\0\0")


def _packet_head(interface: int, time_ns: int, data: bytes, original_length: int) -> bytes:
    return struct.pack(
        "<IIIII",
        interface,
        time_ns >> 32,
        time_ns & 0xFFFFFFFF,
        len(data),
        original_length or len(data),
    )


def _padded(data: bytes) -> bytes:
    return data + _ZEROS[-len(data) & 3]


def _comments(texts: Iterable[str]) -> list[tuple[int, bytes]]:
    # An option holds at most 65535 bytes.
    return [(_COMMENT, text.encode()[:65535]) for text in texts if text]


def _block(kind: int, body: bytes, options: Sequence[tuple[int, bytes]]) -> bytes:
    parts = [body]
    for code, value in options:
        parts += [struct.pack("<HH", code, len(value)), _padded(value)]
    parts.append(struct.pack("<HH", _END, 0))
    content = b"".join(parts)
    total = len(content) + 12
    return struct.pack("<II", kind, total) + content + struct.pack("<I", total)


def _blocks(data: bytes, reading: "_Reading") -> Iterator[tuple[int, bytes | None]]:
    """Yield type and body of each block; the body is None where the data ends too early."""
    offset = 0
    if data[:4] != b"\x0a\x0d\x0d\x0a":
        raise ValueError("this is not a pcapng file")
    while offset < len(data):
        if len(data) - offset < 12:
            yield 0, None
            return
        if data[offset : offset + 4] == b"\x0a\x0d\x0d\x0a":
            magic = data[offset + 8 : offset + 12]
            reading.begin_section("<" if magic == struct.pack("<I", _ENDIAN) else ">")
        kind, total = struct.unpack_from(reading.order + "II", data, offset)
        if total < 12 or total % 4:
            raise ValueError(f"broken pcapng: a block of {total} bytes at {offset}")
        if offset + total > len(data):
            yield kind, None
            return
        yield kind, data[offset + 8 : offset + total - 4]
        offset += total


class _Reading:
    """What has been read so far; interfaces of later sections are numbered on."""

    def __init__(self) -> None:
        self.order = "<"
        self.interfaces: list[Interface] = []
        self.frames: list[Frame] = []
        self.statistics: list[Statistics] = []
        self.comments: list[str] = []
        self._units: list[int] = []
        self._first = 0

    def begin_section(self, order: str) -> None:
        self.order = order
        self._first = len(self.interfaces)

    def take(self, kind: int, body: bytes) -> None:
        if kind == SECTION:
            self.comments += _texts(self._options(body, 16), _COMMENT)
        elif kind == INTERFACE:
            self._take_interface(body)
        elif kind == PACKET:
            self._take_packet(body)
        elif kind == STATISTICS:
            self._take_statistics(body)

    def _take_interface(self, body: bytes) -> None:
        linktype, _, snaplen = struct.unpack_from(self.order + "HHI", body)
        options = self._options(body, 8)
        resolution = dict(options).get(9, b"\x06")[0]
        base = 2 if resolution & 0x80 else 10
        self._units.append(base ** (resolution & 0x7F))
        self.interfaces.append(
            Interface(
                name="".join(_texts(options, 2)[:1]),
                description="".join(_texts(options, 3)[:1]),
                snaplen=snaplen,
                linktype=linktype,
                comment="\n".join(_texts(options, _COMMENT)),
            )
        )

    def _take_packet(self, body: bytes) -> None:
        number, high, low, captured, original = struct.unpack_from(self.order + "IIIII", body)
        interface = self._interface(number)
        options = self._options(body, 20 + captured + (-captured & 3))
        flags = 0
        if options:
            flags = int(struct.unpack(self.order + "I", dict(options).get(2, b"\0\0\0\0"))[0])
        self.frames.append(
            Frame(
                interface=interface,
                time_ns=self._nanoseconds(interface, high, low),
                data=body[20 : 20 + captured],
                original_length=original,
                direction=_DIRECTIONS[flags & 3],
                checksum_ready=not flags & _CHECKSUM_NOT_READY,
                comments=tuple(_texts(options, _COMMENT)),
            )
        )

    def _take_statistics(self, body: bytes) -> None:
        number, high, low = struct.unpack_from(self.order + "III", body)
        interface = self._interface(number)
        options = self._options(body, 12)
        values = dict(options)
        self.statistics.append(
            Statistics(
                interface=interface,
                received=self._counter(values, 4),
                dropped=self._counter(values, 5) or 0,
                comment="\n".join(_texts(options, _COMMENT)),
                time_ns=self._nanoseconds(interface, high, low),
            )
        )

    def _interface(self, number: int) -> int:
        index = self._first + number
        if index >= len(self.interfaces):
            raise ValueError(f"broken pcapng: interface {number} is used but not described")
        return index

    def _nanoseconds(self, interface: int, high: int, low: int) -> int:
        return ((high << 32) | low) * 1_000_000_000 // self._units[interface]

    def _counter(self, values: Mapping[int, bytes], code: int) -> int | None:
        found = values.get(code)
        return None if found is None else int(struct.unpack(self.order + "Q", found)[0])

    def _options(self, body: bytes, offset: int) -> list[tuple[int, bytes]]:
        options: list[tuple[int, bytes]] = []
        while offset + 4 <= len(body):
            code, length = struct.unpack_from(self.order + "HH", body, offset)
            if code == _END:
                break
            options.append((code, body[offset + 4 : offset + 4 + length]))
            offset += 4 + length + (-length & 3)
        return options


def _texts(options: Iterable[tuple[int, bytes]], code: int) -> list[str]:
    return [value.decode(errors="replace") for kind, value in options if kind == code]
