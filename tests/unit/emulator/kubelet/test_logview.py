import pytest

from podwire.emulator.kubelet.logview import entries, last_lines, pieces, text_of

LOG = b"""\
2026-01-02T03:04:05.000000001Z stdout F one
2026-01-02T03:04:06.500000000Z stderr F
2026-01-02T03:04:07.900000000Z stdout P thr
2026-01-02T03:04:07.950000000Z stdout F ee \xff
"""
START = 1767323045.0  # 2026-01-02T03:04:05Z


def shown(log: bytes, *, timestamps: bool = False, since: float | None = None) -> bytes:
    return text_of(log, since=since, timestamps=timestamps)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 99])
def test_a_long_log_comes_in_pieces_of_whole_lines(size: int) -> None:
    log = b"a\nbb\n\nccc\n"
    found = list(pieces(log, size))
    assert b"".join(found) == log
    assert all(piece.endswith(b"\n") for piece in found)
    assert list(pieces(b"", size)) == []


def test_parts_of_a_line_are_joined() -> None:
    assert shown(LOG.replace(b"stderr F\n", b"stderr F \n")) == b"one\n\nthree \xff\n"


def test_timestamps_stand_before_every_part() -> None:
    text = shown(b"T1 stdout F one\nT2 stdout F two\n", timestamps=True)
    assert text == b"T1 one\nT2 two\n"


@pytest.mark.parametrize(
    ("since", "seen"),
    [
        (None, b"one\nthree \xff\n"),
        (START, b"one\nthree \xff\n"),
        (START + 0.5, b"three \xff\n"),
        (START + 2.9, b"three \xff\n"),
        (START + 2.92, b"ee \xff\n"),
        (START + 60, b""),
    ],
)
def test_since(since: float | None, seen: bytes) -> None:
    assert shown(LOG, since=since) == seen


@pytest.mark.parametrize("line", [b"", b"rubbish", b"T stdout", b"T stdout F"])
def test_broken_lines_are_left_out(line: bytes) -> None:
    assert list(entries(line + b"\n")) == []


@pytest.mark.parametrize(
    ("count", "tail"),
    [
        (0, b""),
        (-1, b""),
        (1, b"c\n"),
        (2, b"b\nc\n"),
        (3, b"a\nb\nc\n"),
        (9, b"a\nb\nc\n"),
    ],
)
def test_last_lines(count: int, tail: bytes) -> None:
    assert last_lines(b"a\nb\nc\n", count) == tail


def test_last_lines_of_nothing() -> None:
    assert last_lines(b"", 3) == b""
