"""Frames of standard output and error, however they are cut."""

import struct
from collections.abc import AsyncIterator

import pytest

from podwire.emulator.engine.streams import Frames, messages, stamped_line


def frame(number: int, content: bytes) -> bytes:
    return struct.pack(">BxxxL", number, len(content)) + content


WHOLE = frame(1, b"out") + frame(2, b"") + frame(2, b"error") + frame(1, b"\x01\0\0\0\0\0\0\2")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 11, 100])
def test_frames_are_put_together(size: int) -> None:
    frames, heard = Frames(), {"stdout": b"", "stderr": b""}
    for start in range(0, len(WHOLE), size):
        for name, part in frames.feed(WHOLE[start : start + size]):
            heard[name] += part
    assert heard == {"stdout": b"out\x01\0\0\0\0\0\0\2", "stderr": b"error"}


def test_the_order_is_kept() -> None:
    parts = Frames().feed(frame(2, b"a") + frame(1, b"b") + frame(2, b"c"))
    assert parts == [("stderr", b"a"), ("stdout", b"b"), ("stderr", b"c")]


def test_what_is_no_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="no frame"):
        Frames().feed(b"plain text")


@pytest.mark.parametrize("size", [1, 7, 8, 9, 100])
async def test_messages_come_whole(size: int) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(WHOLE), size):
            yield WHOLE[start : start + size]

    assert [message async for message in messages(chunks())] == [
        ("stdout", b"out"),
        ("stderr", b""),
        ("stderr", b"error"),
        ("stdout", b"\x01\0\0\0\0\0\0\2"),
    ]


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (b"T said\n", b"T F said\n"),
        (b"T \n", b"T F \n"),
        (b"T two words\r\n", b"T F two words\r\n"),
        # The engine cuts lines of more than 16 KiB.
        (b"T a part", b"T P a part\n"),
    ],
)
def test_lines_of_a_log_with_their_times(message: bytes, line: bytes) -> None:
    assert stamped_line(message) == line
