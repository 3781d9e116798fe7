"""The scheduler's loop, step by step: bindings that go wrong, and who is tried again when."""

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import pytest

from podwire.emulator.controllers.context import ControllerContext
from podwire.emulator.controllers.nodes.scheduler import Scheduler
from podwire.errors import Conflict, UnreachableError
from podwire.kube.client import Client
from podwire.kube.codec import convert, key_of
from podwire.kube.informer import Informer
from podwire.kube.informers import Informers
from podwire.kube.names import Key
from podwire.kube.objects import Node, Object, Pod, T
from podwire.testing import build
from podwire.testing.clock import FakeClock

Answer = Callable[[Key, str], None]


class Copy(Informer[T]):
    """An informer whose events come from the test."""

    def show(self, obj: T) -> None:
        self._change(key_of(obj), obj)

    def hide(self, obj: T) -> None:
        self._change(key_of(obj), None)


class Copies(Informers):
    """One copy of each kind."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._copies: dict[type[Object], Any] = {}
        self._from = client

    def of(self, kind: type[T]) -> Copy[T]:
        return cast(Copy[T], self._copies.setdefault(kind, Copy(self._from, kind)))


class OneDoor(Client):
    """A client that binds as the test says, and counts statuses that are written."""

    def __init__(self) -> None:
        super().__init__("http://nowhere")
        self.answer: Answer = lambda _pod, _node: None
        self.bound: list[str] = []

    async def bind(self, pod: Key, node: str, *, uid: str) -> None:
        self.answer(pod, node)
        self.bound.append(f"{pod.name} to {node}")

    async def patch(self, kind: type[T], key: Key, *_patch: object, **_how: object) -> T:
        return convert(kind, {"metadata": {"name": key.name, "namespace": key.namespace}})


class Bench:
    """A scheduler with two nodes that have room for one pod each."""

    def __init__(self) -> None:
        self.client = OneDoor()
        copies = Copies(self.client)
        self.pods = copies.of(Pod)
        context = ControllerContext(self.client, copies, FakeClock(), random.Random(7))
        self.scheduler = Scheduler(context)
        for name in ("node-1", "node-2"):
            status = {"allocatable": {"pods": "1"}}
            copies.of(Node).show(convert(Node, {"metadata": {"name": name}, "status": status}))

    def pod(self, name: str, node: str = "", uid: str = "") -> Pod:
        pod = build.pod(name, node=node, phase="Pending", uid=uid)
        self.pods.show(pod)
        return pod

    async def place(self, *names: str) -> list[str]:
        """Have the scheduler look at pods; return who was bound where by it."""
        self.client.bound.clear()
        for name in names:
            await self.scheduler.reconcile(Key("default", name))
        return self.client.bound


async def test_a_pod_that_somebody_else_bound_counts_where_it_is() -> None:
    bench = Bench()
    bench.pod("a")

    def rival(_pod: Key, _node: str) -> None:
        # Its event is here before our answer.
        bench.pod("a", "node-2")
        raise Conflict(409, "Conflict", 'pod a is already assigned to node "node-2"')

    bench.client.answer = rival
    assert await bench.place("a") == []
    bench.client.answer = lambda _pod, _node: None
    bench.pod("b")
    bench.pod("c")
    assert await bench.place("b", "c") == ["b to node-1"]


@pytest.mark.parametrize(
    "error", [Conflict(409, "Conflict", "being deleted"), UnreachableError("away")]
)
async def test_a_pod_that_was_not_bound_takes_no_room(error: Exception) -> None:
    bench = Bench()
    bench.pod("a")

    def refuse(_pod: Key, _node: str) -> None:
        raise error

    bench.client.answer = refuse
    with suppress(UnreachableError):
        await bench.place("a")
    bench.client.answer = lambda _pod, _node: None
    bench.pod("b")
    bench.pod("c")
    assert await bench.place("b", "c") == ["b to node-1", "c to node-2"]


async def test_a_namesake_that_came_meanwhile_is_another_pod() -> None:
    bench = Bench()
    bench.pod("a", uid="first")

    def renamed(_pod: Key, _node: str) -> None:
        bench.pod("a", "node-2", uid="second")
        raise Conflict(409, "Conflict", "UID in precondition")

    bench.client.answer = renamed
    await bench.place("a")
    bench.client.answer = lambda _pod, _node: None
    bench.pod("b")
    bench.pod("c")
    assert await bench.place("b", "c") == ["b to node-1"]
