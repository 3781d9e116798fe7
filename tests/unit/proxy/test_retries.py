"""What fails is tried again: every second, however often it changes meanwhile, and said once."""

import asyncio
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from typing import Any, cast

import pytest

from podwire.kube.names import Key
from podwire.kube.objects import ObjectMeta, Service, ServicePort, ServiceSpec
from podwire.proxy.endpoints import Backend, Place
from podwire.proxy.mode import Order, SyncFailed
from podwire.proxy.node import NodeView
from podwire.proxy.pages import Metric
from podwire.proxy.proxier import RETRY, Proxier
from podwire.proxy.table import PortName, Protocol
from podwire.testing.clock import FakeClock

WEB = Key("default", "web")


class Failing:
    """A mode that fails as it is told: *fault* is of the whole, *faults* are of Services."""

    name = "failing"
    keeps_source = True

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.faults: Mapping[Key, str] = {}
        self.looked: Exception | None = None

    async def sync(self, order: Order) -> Mapping[Key, str]:
        if self.fault is not None:
            raise self.fault
        return {key: why for key, why in self.faults.items() if key in order.services}

    async def intact(self) -> bool:
        if self.looked is not None:
            raise self.looked
        return True

    def connections(self) -> Mapping[tuple[PortName, Protocol, Backend], int]:
        return {}

    def listings(self) -> Mapping[str, str]:
        return {}

    def metrics(self) -> tuple[Metric, ...]:
        return ()

    async def close(self, *, cleanup: bool) -> None:
        del cleanup


class Timers:
    """The timers that were asked for; they run when they are told to."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], Any]] = []

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> object:
        assert delay == RETRY
        self.waiting.append(lambda: callback(*args))
        return self.waiting[-1]

    def run_all(self) -> None:
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            call()


class Scene:
    """A proxier whose mode fails."""

    def __init__(self) -> None:
        self.mode, self.timers = Failing(), Timers()
        self.proxier = Proxier(
            self.mode,
            NodeView(Place("node-1"), IPv4Address("192.168.1.10")),
            clock=FakeClock(),
            loop=cast("asyncio.AbstractEventLoop", self.timers),
            period=0.001,
        )
        self.events: list[str] = []

    def change(self) -> None:
        spec = ServiceSpec(cluster_ip="10.96.0.7", ports=(ServicePort(port=80),))
        new = Service(metadata=ObjectMeta(name="web", namespace="default"), spec=spec)
        self.proxier.sources.service(None, new)

    async def turn(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    "fault",
    [SyncFailed("no such luck"), OSError(24, "no such luck"), None],
    ids=["the whole fails", "the machine fails", "one Service fails"],
)
async def test_changes_meanwhile_add_no_more_tries(
    caplog: pytest.LogCaptureFixture, fault: Exception | None
) -> None:
    scene = Scene()
    scene.mode.fault = fault
    scene.mode.faults = {WEB: "no such luck"}
    serving = asyncio.get_running_loop().create_task(scene.proxier.serve())
    for _ in range(10):
        scene.change()
        await scene.turn()
    assert len(scene.timers.waiting) == 1
    for _ in range(3):
        scene.timers.run_all()
        await scene.turn()
        assert len(scene.timers.waiting) == 1
    assert caplog.text.count("no such luck; trying again every second") == 1
    scene.mode.fault, scene.mode.faults = None, {}
    scene.timers.run_all()
    await scene.turn()
    assert not scene.timers.waiting
    assert not scene.proxier.failed
    serving.cancel()


async def test_who_cannot_look_whether_rules_are_there_leaves_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene()
    serving = asyncio.get_running_loop().create_task(scene.proxier.serve())
    await scene.turn()
    before = scene.proxier.syncs.count
    scene.mode.looked = OSError(24, "Too many open files")
    watching = asyncio.get_running_loop().create_task(scene.proxier.watch_over())
    async with asyncio.timeout(10):
        while "cannot look after what was programmed" not in caplog.text:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert scene.proxier.syncs.count == before
    assert not watching.done()
    watching.cancel()
    serving.cancel()
