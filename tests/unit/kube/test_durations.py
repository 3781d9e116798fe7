"""Spans of time as Go reads them."""

import pytest

from podwire.kube.durations import seconds, written


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


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (0, "0s"),
        (30, "30s"),
        (1.5, "1.5s"),
        (300, "5m0s"),
        (5400, "1h30m0s"),
        (86400, "24h0m0s"),
        (0.25, "250ms"),
        (0.0015, "1.5ms"),
        (1e-6, "1µs"),
        (2e-9, "2ns"),
    ],
)
def test_as_go_writes_them(span: float, text: str) -> None:
    assert written(span) == text
    assert seconds(text) == pytest.approx(span)
