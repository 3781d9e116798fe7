"""How bench/containers.py reads events and metrics: when the last proxy had applied an event."""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.by_path import loaded

FILE = Path(__file__).resolve().parents[3] / "bench" / "containers.py"
EVENT = {"Action": "pause", "timeNano": 100_000_000_000}
# What both proxies said before: two changes, the last one applied long ago.
BEFORE = (99.0, 2, 90.0, 90.001)


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return loaded(FILE)


@pytest.mark.parametrize(
    ("later", "delay"),
    [
        pytest.param(((100.02, 4, 100.009, 100.01),), 0.01, id="one sync for both slices"),
        pytest.param(
            ((100.02, 3, 100.009, 100.01), (100.03, 4, 100.024, 100.025)), 0.025, id="one for each"
        ),
        pytest.param(((100.02, 3, 100.009, 100.01),), 0.0, id="one slice is missing"),
        pytest.param(((100.02, 4, 100.009, 90.001),), 0.0, id="heard of, not applied"),
        pytest.param(
            ((100.02, 4, 100.009, 90.001), (100.03, 4, 100.009, 100.02)), 0.02, id="applied later"
        ),
        # The container ends 50 ms after the signal: that is another change.
        pytest.param(
            ((100.02, 4, 100.009, 100.01), (100.06, 6, 100.05, 100.051)), 0.01, id="more follows"
        ),
        pytest.param(((100.02, 6, 100.015, 100.016),), 0.016, id="read too late: the upper bound"),
    ],
)
def test_delay(bench: Any, later: Sequence[tuple[float, int, float, float]], delay: float) -> None:
    states = [bench.State(node, *BEFORE) for node in bench.NODES]
    states.append(bench.State("node-a", 100.002, 4, 100.0005, 100.001))
    states += [bench.State("node-b", *one) for one in later]
    assert bench.delay_of("pause", 2, [EVENT], states) == pytest.approx(delay)


def test_without_the_event_there_is_no_delay_yet(bench: Any) -> None:
    states = [bench.State(node, *BEFORE) for node in bench.NODES]
    assert bench.delay_of("kill", 2, [EVENT], states) == 0.0


def test_headless_slices_are_not_the_proxy_s(bench: Any) -> None:
    def a_slice(address: str, **labels: str) -> dict[str, Any]:
        return {"metadata": {"labels": labels}, "endpoints": [{"addresses": [address]}]}

    headless = {bench.HEADLESS_LABEL: ""}
    slices = [a_slice("10.244.1.2"), a_slice("10.244.1.2", **headless), a_slice("10.244.1.3")]
    assert bench.slices_with("10.244.1.2", [*slices, {"metadata": {"labels": {}}}]) == 1


def test_the_floor_has_as_many_containers_on_as_many_networks(bench: Any) -> None:
    def container(*networks: str) -> dict[str, Any]:
        return {
            "Config": {"Image": "x:1"},
            "NetworkSettings": {"Networks": dict.fromkeys(networks)},
        }

    file = bench.floor([container("p_pods-a", "p_nodes"), container("p_pods-a"), container()])
    services = file["services"].values()
    assert [one.get("networks") for one in services] == [["net-0", "net-1"], ["net-1"], None]
    assert [one.get("network_mode") for one in services] == [None, None, "none"]
    assert set(file["networks"]) == {"net-0", "net-1"}
    assert {one["image"] for one in services} == {"x:1"}
