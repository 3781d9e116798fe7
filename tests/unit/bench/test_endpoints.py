"""How bench/endpoints.py reads a capture: the last SYN to a deleted backend."""

from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from podwire.emulator.trace.frames import Flow
from podwire.errors import PodwireError
from tests.by_path import loaded

FILE = Path(__file__).resolve().parents[3] / "bench" / "endpoints.py"
BACKEND = IPv4Address("10.244.1.5")


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return loaded(FILE)


def syns(bench: Any, *times: float) -> list[Any]:
    """Return SYNs of as many connections."""
    source = IPv4Address("192.168.1.10")
    flows = [Flow("TCP", source, 1024 + n, BACKEND, 80) for n, _ in enumerate(times)]
    return [bench.Syn(at, flow) for at, flow in zip(times, flows, strict=True)]


LOAD = tuple(99.0 + n / 60 for n in range(60))


@pytest.mark.parametrize(
    ("after", "at_most", "at_least"),
    [
        ((), 0.0, 0.0),
        ((100.001,), 0.001, 0.0),
        ((100.01, 100.03), 0.03, 0.025),
        # The pod is gone, its address may be another's.
        ((100.01, 101.5), 0.01, 0.005),
    ],
)
def test_delay(bench: Any, after: Sequence[float], at_most: float, at_least: float) -> None:
    deletion = bench.Deletion(str(BACKEND), sent=100.0, answered=100.005, seen=100.01, gone=101.0)
    (delay,) = bench.delays_of([deletion], {str(BACKEND): syns(bench, *LOAD, *after)})
    assert delay.at_most == pytest.approx(at_most)
    assert delay.at_least == pytest.approx(at_least)
    assert delay.load == len(LOAD)


def test_a_backend_without_load_proves_nothing(bench: Any) -> None:
    one = bench.Deletion(str(BACKEND), sent=100.0, answered=100.0, seen=100.0, gone=101.0)
    other = bench.Deletion("10.244.2.7", sent=100.0, answered=100.0, seen=100.0, gone=101.0)
    seen = {str(BACKEND): syns(bench, *LOAD), "10.244.2.7": syns(bench, 99.5)}
    assert len(bench.delays_of([one, other], seen)) == 1
    with pytest.raises(PodwireError, match="no backend had 50 connections/s"):
        bench.delays_of([other], seen)
