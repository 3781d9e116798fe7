import struct
import subprocess
from pathlib import Path

import pytest

from podwire.emulator.trace import pcapng
from podwire.emulator.trace.pcapng import Capture, Frame, Interface, Statistics
from tests.needs import need

FRAME = bytes.fromhex("ffffffffffff0200000000010806000108000604000102000000000a000000000000")

CAPTURE = Capture(
    interfaces=(
        Interface("default/client eth0", "default/client", comment="the client"),
        Interface("node-1 tun0", linktype=pcapng.LINKTYPE_RAW, snaplen=64),
    ),
    frames=(
        Frame(0, 1_700_000_000_123_456_789, FRAME, 100, "out", comments=("hop 1", "a rule")),
        Frame(1, 1_700_000_000_123_456_790, FRAME[:13], 13, "in", checksum_ready=False),
        Frame(0, 1_700_000_000_123_456_791, FRAME, len(FRAME)),
    ),
    statistics=(
        Statistics(0, None, 0, time_ns=1_700_000_000_123_456_790),
        Statistics(0, 12, 3, "of all", 1_700_000_000_123_456_795),
        Statistics(1, 1, 0, time_ns=1_700_000_000_123_456_795),
    ),
    comments=("GET http://web-svc/",),
)


def test_what_is_written_can_be_read() -> None:
    data = b"".join(pcapng.encode(CAPTURE))
    assert pcapng.decode(data) == CAPTURE
    assert CAPTURE.dropped == 3
    assert CAPTURE.whole_until_ns == 1_700_000_000_123_456_790
    assert (CAPTURE.interfaces[0].where, CAPTURE.interfaces[0].device) == ("default/client", "eth0")


@pytest.mark.parametrize(
    ("statistics", "until"),
    [
        ((), None),
        ((Statistics(0, 9, 0, time_ns=5), Statistics(1, 9, 0, time_ns=6)), None),
        ((Statistics(0, 9, 1, time_ns=5), Statistics(1, 9, 0, time_ns=6)), 0),
        (
            (
                *(Statistics(0, None, 0, time_ns=2), Statistics(0, 9, 1, time_ns=5)),
                *(Statistics(1, None, 0, time_ns=3), Statistics(1, 9, 1, time_ns=5)),
            ),
            2,
        ),
    ],
)
def test_until_when_nothing_was_lost(statistics: tuple[Statistics, ...], until: int | None) -> None:
    assert Capture(CAPTURE.interfaces, statistics=statistics).whole_until_ns == until


def test_frames_are_written_in_order_of_time() -> None:
    late, early = Frame(0, 2, FRAME, 34), Frame(0, 1, FRAME, 34)
    data = b"".join(pcapng.encode(Capture(CAPTURE.interfaces, (late, early))))
    assert pcapng.decode(data).frames == (early, late)


def test_a_file_cut_off_gives_what_came_before() -> None:
    data = b"".join(pcapng.encode(CAPTURE))
    end = data.rindex(FRAME) + 5
    read = pcapng.decode(data[:end])
    assert not read.complete
    assert read.frames == CAPTURE.frames[:2]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xd4\xc3\xb2\xa1" + bytes(20), "not a pcapng file"),
        (b"", "not a pcapng file"),
        (pcapng.section_block() + struct.pack("<III", 6, 5, 0), "a block of 5 bytes"),
        (
            pcapng.section_block() + pcapng.packet_block(Frame(0, 0, FRAME)),
            "interface 0 is used but not described",
        ),
    ],
)
def test_broken_files(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pcapng.decode(data)


def test_the_other_byte_order_and_microseconds() -> None:
    def block(kind: int, body: bytes) -> bytes:
        total = len(body) + 12
        return struct.pack(">II", kind, total) + body + struct.pack(">I", total)

    data = block(0x0A0D0D0A, struct.pack(">IHHq", 0x1A2B3C4D, 1, 0, -1))
    data += block(1, struct.pack(">HHI", 1, 0, 96))
    data += block(6, struct.pack(">IIIII", 0, 0, 5_000_000, 4, 60) + b"abcd")
    read = pcapng.decode(data)
    assert read.frames == (Frame(0, 5_000_000_000, b"abcd", 60),)
    assert read.interfaces[0].snaplen == 96


def test_tshark_shows_names_comments_and_nanoseconds(tmp_path: Path) -> None:
    need("tshark")
    file = tmp_path / "x.pcapng"
    file.write_bytes(b"".join(pcapng.encode(CAPTURE)))
    fields = ["frame.interface_name", "frame.comment", "frame.time_epoch", "frame.len"]
    command = ["tshark", "-r", str(file), "-T", "fields"]
    for field in fields:
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == [
        "default/client eth0",
        "node-1 tun0",
        "default/client eth0",
    ]
    assert rows[0][1:] == ["hop 1,a rule", "1700000000.123456789", "100"]
    assert "expert" not in done.stderr
