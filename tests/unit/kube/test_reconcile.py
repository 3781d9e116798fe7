import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import uvloop

from podwire.errors import Conflict, NotFound
from podwire.kube.names import Key
from podwire.kube.reconcile import LAST_DELAY, Reconciler
from podwire.testing.jumps import JumpingLoop

LOOPS = {"jumping": JumpingLoop, "uvloop": uvloop.new_event_loop}

A, B, C = (Key("default", name) for name in "abc")


@asynccontextmanager
async def working(loop: Reconciler) -> AsyncGenerator[None]:
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(loop.run())
        yield
        task.cancel()


class Work:
    """A reconcile that records when it was called, and blocks while *gate* is closed."""

    def __init__(self, result: Callable[[Key, int], float | None] | None = None) -> None:
        self.calls: list[tuple[Key, float]] = []
        self.counts: Counter[Key] = Counter()
        self.now: Counter[Key] = Counter()
        self.most: Counter[Key] = Counter()
        self.together = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._result = result
        self._changed = asyncio.Event()

    async def __call__(self, key: Key) -> float | None:
        self.calls.append((key, asyncio.get_running_loop().time()))
        self.counts[key] += 1
        self.now[key] += 1
        self.most[key] = max(self.most[key], self.now[key])
        self.together = max(self.together, sum(self.now.values()))
        self._changed.set()
        try:
            await self.gate.wait()
            return self._result(key, self.counts[key]) if self._result else None
        finally:
            self.now[key] -= 1

    async def reached(self, key: Key, count: int) -> None:
        while self.counts[key] < count:
            self._changed.clear()
            await self._changed.wait()

    def times(self, key: Key) -> list[float]:
        return [time for called, time in self.calls if called == key]


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_key_added_often_before_work_begins_is_worked_on_once() -> None:
    work = Work()
    loop = Reconciler(work)
    for _ in range(5):
        loop.add(A)
    async with working(loop):
        await work.reached(A, 1)
        await settle()
    assert work.counts == {A: 1}


async def test_a_key_is_never_worked_on_twice_at_once_and_again_if_added_meanwhile() -> None:
    work = Work()
    loop = Reconciler(work, concurrency=4)
    work.gate.clear()
    async with working(loop):
        loop.add(A)
        await work.reached(A, 1)
        loop.add(A)
        loop.add(A)
        await settle()
        assert work.counts[A] == 1
        work.gate.set()
        await work.reached(A, 2)
        await settle()
    assert work.counts[A] == 2
    assert work.most[A] == 1


async def test_different_keys_are_worked_on_at_once_up_to_the_concurrency() -> None:
    work = Work()
    loop = Reconciler(work, concurrency=2)
    work.gate.clear()
    async with working(loop):
        for key in (A, B, C):
            loop.add(key)
        await settle()
        assert set(work.counts) == {A, B}
        work.gate.set()
        await work.reached(C, 1)
    assert work.together == 2


def failing(error: Exception, *, until: int, key: Key = A) -> Callable[[Key, int], float | None]:
    def result(called: Key, count: int) -> float | None:
        if called == key and count <= until:
            raise error
        return None

    return result


async def test_a_key_that_fails_leaves_the_others_and_is_tried_again() -> None:
    work = Work(failing(RuntimeError("broken"), until=3))
    loop = Reconciler(work, concurrency=1)
    async with working(loop):
        loop.add(A)
        loop.add(B)
        await work.reached(B, 1)
        await work.reached(A, 4)
        await settle()
    assert work.counts == {A: 4, B: 1}


@pytest.mark.asyncio(loop_factories=["jumping"])
async def test_the_delay_doubles_from_5_ms_to_30_s_and_is_forgotten_after_success() -> None:
    work = Work(failing(RuntimeError("broken"), until=16))
    loop = Reconciler(work)
    async with working_for_hours(loop):
        loop.add(A)
        await work.reached(A, 17)
        times = work.times(A)
        delays = [later - earlier for earlier, later in pairwise(times)]
        wanted = [min(0.005 * 2**n, LAST_DELAY) for n in range(16)]
        assert delays == pytest.approx(wanted, abs=0.001)
        assert wanted[-1] == 30.0
        work._result = failing(RuntimeError("again"), until=18)  # pyright: ignore[reportPrivateUsage]
        loop.add(A)
        await work.reached(A, 19)
    assert work.times(A)[-1] - work.times(A)[-2] == pytest.approx(0.005, abs=0.001)


@asynccontextmanager
async def working_for_hours(loop: Reconciler) -> AsyncGenerator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(loop.run())
        yield
        task.cancel()


@pytest.mark.asyncio(loop_factories=["jumping"])
async def test_a_key_comes_back_after_the_seconds_that_reconcile_returns() -> None:
    work = Work(lambda _key, count: 90.0 if count == 1 else None)
    loop = Reconciler(work)
    async with working_for_hours(loop):
        loop.add(A)
        await work.reached(A, 2)
    first, second = work.times(A)
    assert second - first == pytest.approx(90, abs=0.001)


# uvloop gives a plain handle, one without `when`, for a delay that rounds to nothing.
@pytest.mark.parametrize("delay", [0.0, 1e-9, 1e-4, 0.01])
async def test_add_after_even_a_tiny_delay(delay: float) -> None:
    work = Work()
    loop = Reconciler(work)
    async with working(loop):
        loop.add_after(A, delay)
        loop.add_after(A, delay)
        await work.reached(A, 1)
        await settle()
    assert work.counts[A] == 1


@pytest.mark.asyncio(loop_factories=["jumping"])
@pytest.mark.parametrize(
    ("asked", "worked_on_after"),
    [([5, 60], 5), ([60, 5], 5), ([60, 60], 60), ([60, 0], 0), ([1], 1)],
)
async def test_the_earliest_of_several_wishes_counts(
    asked: list[float], worked_on_after: float
) -> None:
    work = Work()
    loop = Reconciler(work)
    async with working_for_hours(loop):
        began = asyncio.get_running_loop().time()
        for seconds in asked:
            loop.add_after(A, seconds)
        await work.reached(A, 1)
        await asyncio.sleep(100)
    assert [time - began for time in work.times(A)] == pytest.approx([worked_on_after], abs=0.001)


async def test_an_added_key_needs_no_timer_any_more() -> None:
    work = Work()
    loop = Reconciler(work)
    async with working(loop):
        loop.add_after(A, 0.02)
        loop.add(A)
        await work.reached(A, 1)
        await asyncio.sleep(0.03)
    assert work.counts[A] == 1


@pytest.mark.parametrize(
    ("error", "level", "text"),
    [
        (Conflict(409, "Conflict", "changed meanwhile"), "DEBUG", "changed meanwhile"),
        (NotFound(404, "NotFound", "no such pod"), "INFO", "no such pod; again in 0.005 s"),
        (KeyError("fault"), "ERROR", "default/a failed; again in 0.005 s"),
    ],
)
async def test_a_failure_is_logged_by_how_bad_it_is(
    error: Exception, level: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "podwire")
    work = Work(failing(error, until=1))
    loop = Reconciler(work, name="tests")
    async with working(loop):
        loop.add(A)
        await work.reached(A, 2)
    assert [
        (r.levelname, text in r.getMessage())
        for r in caplog.records
        if r.name.startswith("podwire")
    ] == [(level, True)]


async def test_cancelling_ends_the_timers() -> None:
    work: Callable[[Key], Awaitable[float | None]] = Work()
    loop = Reconciler(work)
    async with working(loop):
        loop.add_after(A, 0.01)
        await asyncio.sleep(0)
    await asyncio.sleep(0.02)
    assert isinstance(work, Work)
    assert work.counts == {}
