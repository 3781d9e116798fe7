"""Coroutines that need a task only when they must wait."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from podwire.dns.chain import waiting
from podwire.dns.serving.stepping import begin

Work = Callable[[list[str]], Coroutine[Any, Any, None]]


async def at_once(done: list[str]) -> None:
    done.append(f"in a task: {in_a_task_of_its_own()}")


async def after_waiting(done: list[str]) -> None:
    await waiting()
    async with asyncio.timeout(5):
        await asyncio.sleep(0.001)
    done.append(f"in a task: {in_a_task_of_its_own()}")


async def after_a_future(done: list[str]) -> None:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, "in a task: True")
    done.append(await future)


async def after_many_turns(done: list[str]) -> None:
    for _ in range(3):
        await asyncio.sleep(0)
    done.append(f"in a task: {in_a_task_of_its_own()}")


async def after_an_error(done: list[str]) -> None:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_exception, OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        await future
    done.append(f"in a task: {in_a_task_of_its_own()}")


async def after_a_timeout(done: list[str]) -> None:
    await waiting()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()
    done.append(f"in a task: {in_a_task_of_its_own()}")


def in_a_task_of_its_own() -> bool:
    task = asyncio.current_task()
    return task is not None and task.get_name() != "the test"


@pytest.mark.parametrize(
    ("work", "is_done_at_once"),
    [
        (at_once, True),
        (after_waiting, False),
        (after_a_future, False),
        (after_many_turns, False),
        (after_an_error, False),
        (after_a_timeout, False),
    ],
)
async def test_work_is_done_at_once_or_in_a_task(work: Work, *, is_done_at_once: bool) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.set_name("the test")
    done: list[str] = []
    async with asyncio.TaskGroup() as tasks:
        begin(work(done), tasks)
        assert bool(done) == is_done_at_once
    assert done == [f"in a task: {not is_done_at_once}"]


async def test_turns_leave_the_loop_to_others() -> None:
    turns: list[str] = []

    async def work() -> None:
        for n in range(3):
            turns.append(f"work {n}")
            await asyncio.sleep(0)

    async def other() -> None:
        for n in range(3):
            turns.append(f"other {n}")
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        begin(work(), tasks)
        tasks.create_task(other())
    assert turns == ["work 0", "work 1", "other 0", "work 2", "other 1", "other 2"]


async def test_a_cancelled_task_cancels_the_work() -> None:
    ends: list[str] = []
    is_waiting = asyncio.Event()

    async def work() -> None:
        await waiting()
        is_waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async def serve() -> None:
        async with asyncio.TaskGroup() as tasks:
            begin(work(), tasks)
            await is_waiting.wait()
            raise OSError("the end")

    with pytest.raises(ExceptionGroup, match="unhandled"):
        await serve()
    assert ends == ["cancelled"]


async def test_an_error_before_the_first_wait_is_the_callers() -> None:
    async def work() -> None:
        raise ValueError("a bug")

    async with asyncio.TaskGroup() as tasks:
        with pytest.raises(ValueError, match="a bug"):
            begin(work(), tasks)
