"""Whether the bytes of a capture are all that there should be."""

import struct

import pytest

from podwire.kube.capture import is_whole


def block(kind: int, content: bytes = b"") -> bytes:
    length = 12 + len(content)
    return struct.pack("<II", kind, length) + content + struct.pack("<I", length)


SECTION, INTERFACE, PACKET, STATISTICS = (
    block(0x0A0D0D0A, bytes(16)),
    block(1, bytes(8)),
    block(6, bytes(40)),
    block(5, bytes(12)),
)


@pytest.mark.parametrize(
    ("stream", "whole"),
    [
        ([SECTION, INTERFACE, PACKET, STATISTICS], True),
        ([SECTION], True),
        ([SECTION, INTERFACE], False),
        ([SECTION, INTERFACE, PACKET], False),
        ([SECTION, INTERFACE, STATISTICS, PACKET[:-8]], False),
        ([], False),
    ],
    ids=["ended", "no interface", "before a packet", "in the middle", "cut", "nothing"],
)
def test_a_capture_is_whole_when_its_counters_are_at_its_end(
    stream: list[bytes],
    whole: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert is_whole(b"".join(stream)) is whole
