"""Frames of standard output and error, however they are cut."""

import struct

import pytest

from podwire.emulator.engine.streams import Frames


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
