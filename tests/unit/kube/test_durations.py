"""Spans of time as Go reads them."""

import pytest

from podwire.kube.durations import seconds


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("30s", 30),
        ("1h30m", 5400),
        ("1h0m0s", 3600),
        ("250ms", 0.25),
        ("1.5h", 5400),
        ("0", 0),
        ("0s", 0),
        ("+5m", 300),
        ("100us", 1e-4),
        (".5s", 0.5),
    ],
)
def test_durations(text: str, length: float) -> None:
    assert seconds(text) == pytest.approx(length)


@pytest.mark.parametrize("text", ["", "30", "s", "5 m", "1d", "-3s", "1h-2m", "1m30", "ten"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="invalid duration"):
        seconds(text)
