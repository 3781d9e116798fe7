"""Signals as Docker writes them."""

import pytest

from podwire.emulator.engine.signals import signal_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("15", 15),
        ("SIGTERM", 15),
        ("quit", 3),
        ("RTMIN", 34),
        ("RTMIN+3", 37),
        ("SIGRTMIN+3", 37),
        ("sigrtmax", 64),
        ("RTMAX-1", 63),
        ("SIGRTMAX-14", 50),
        ("RTMAX+1", 0),
        ("RTMIN-1", 0),
        ("RTMIN+99", 0),
        ("TERM+1", 0),
        ("SIGRTMIN+x", 0),
        ("0", 0),
        ("99", 0),
        ("", 0),
        ("no", 0),
    ],
)
def test_signals(text: str, number: int) -> None:
    assert signal_number(text) == number
