"""What containers use: figures from looks, and their sums for pods and nodes."""

import asyncio
from collections.abc import Hashable

import pytest

from podwire.emulator.apiserver.agent import ContainerUsage, NodeUsage, PodUsage, Usages
from podwire.emulator.kubelet.usage import REST, Figures, Look, Running, Usage, figures_of
from podwire.emulator.kubelet.usage_report import Where, report
from podwire.emulator.runtimes.fake_meter import FakeMeter
from podwire.emulator.runtimes.meter import Used
from podwire.kube.names import Key
from podwire.testing.jumps import JumpingLoop, LoopClock
from tests.unit.emulator.kubelet.conftest import Node
from tests.unit.emulator.kubelet.test_agent import agent

LOOPS = {"jumping": JumpingLoop}


def looks(*pairs: tuple[float, float]) -> tuple[Look, ...]:
    """Return looks by (time, processor seconds so far)."""
    return tuple(Look(at, {"c": Used(cpu, 100)}) for at, cpu in pairs)


@pytest.mark.parametrize(
    ("last", "earlier", "began", "expected"),
    [
        # The latest look that is old enough.
        ((100.0, 20.0), [(70.0, 1.0), (85.0, 5.0)], 10.0, Figures(1.0, 100, 15.0)),
        ((87.0, 8.4), [(70.0, 1.0), (85.0, 5.0)], 10.0, Figures(7.4 / 17, 100, 17.0)),
        # It is younger than all of them: since its beginning.
        ((100.0, 2.0), [], 96.0, Figures(0.5, 100, 4.0)),
        ((100.0, 2.0), [(85.0, 50.0)], 96.0, Figures(0.5, 100, 4.0)),
        # Seen only a moment ago, and nobody knows since when it runs.
        ((100.0, 6.0), [(99.0, 5.0)], 0.0, Figures(1.0, 100, 1.0)),
        ((100.0, 6.0), [(99.0, 5.0)], 10.0, Figures(1.0, 100, 1.0)),
        # Too young, or never seen.
        ((100.0, 2.0), [], 99.9, None),
        ((100.0, 2.0), [], 0.0, None),
        # Time that nobody counted.
        ((100.0, 4.0), [(85.0, 5.0)], 10.0, Figures(0.0, 100, 15.0)),
    ],
)
def test_a_figure_is_over_the_last_seconds(
    last: tuple[float, float],
    earlier: list[tuple[float, float]],
    began: float,
    expected: Figures | None,
) -> None:
    (now,) = looks(last)
    found = figures_of("c", now, looks(*earlier), began)
    if expected is None or found is None:
        assert found == expected
        return
    assert found.cpu == pytest.approx(expected.cpu)
    assert (found.memory, found.window) == (expected.memory, expected.window)


async def test_cheap_looks_go_on_all_the_time_and_dear_ones_only_when_somebody_asks() -> None:
    for is_cheap, expected in ((True, 4), (False, 0)):
        meter = FakeMeter(is_cheap=is_cheap)
        usage = Usage(lambda: [Running("c", "c", 1.0)], meter, LoopClock())
        meter.used["c"] = Used(1.0, 5)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(usage.run())
            await asyncio.sleep(61)
            assert len(meter.looks) == expected
            _at, figures = await usage.figures()
            assert figures["c"] == Figures(0.0, 5, pytest.approx(16.0 if is_cheap else 1.0))  # type: ignore[arg-type]
            asked = len(meter.looks)
            await asyncio.sleep(61)
            assert len(meter.looks) >= asked + 4
            await asyncio.sleep(200)
            asked = len(meter.looks)
            await asyncio.sleep(61)
            assert len(meter.looks) - asked == expected
            running.cancel()


POD = Key("default", "web")


def test_pods_and_nodes_are_sums() -> None:
    a = Where("node-1", POD, "a", "id-a")
    b = Where("node-1", POD, "b", "id-b")
    other = Where("node-2", Key("default", "other"), "c", "id-c")
    young = Where("node-2", Key("default", "other"), "young", "id-y")
    own = Where("node-1", None, "", "id-n")
    twice = Where("node-1", Key("kube-system", "kube-proxy"), "kube-proxy", "id-n")
    figures: dict[Hashable, Figures] = {
        a: Figures(0.25, 100, 15.0),
        b: Figures(0.5, 200, 5.0),
        other: Figures(1.0, 50, 15.0),
        own: Figures(0.1, 10, 15.0),
        twice: Figures(0.1, 10, 15.0),
        REST: Figures(0.2, 1000, 15.0),
    }
    running = [a, b, other, young, own, twice]
    assert report(9.0, figures, running, ["node-1", "node-2"]) == Usages(
        (
            PodUsage(
                "default",
                "web",
                9.0,
                15.0,
                (ContainerUsage("a", 250_000_000, 100), ContainerUsage("b", 500_000_000, 200)),
            ),
            PodUsage(
                "kube-system",
                "kube-proxy",
                9.0,
                15.0,
                (ContainerUsage("kube-proxy", 100_000_000, 10),),
            ),
        ),
        (
            NodeUsage("node-1", 9.0, 15.0, 950_000_000, 810),
            NodeUsage("node-2", 9.0, 15.0, 1_100_000_000, 550),
        ),
    )


async def test_the_kubelets_containers_are_measured(node: Node) -> None:
    async with node() as world:
        await world.pod()
        await world.until(world.ready)
        (running,) = agent(world).containers()
        where = running.key
        assert isinstance(where, Where)
        assert (where.node, where.pod, where.container) == ("node-1", POD, "c0")
        assert where.id
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
        assert agent(world).containers() == []
