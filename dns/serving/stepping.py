"""Coroutines that run at once as far as they get, and need a task only if they must wait.

A task for each datagram costs as much as finding the answer, and most answers wait for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any


def begin(coroutine: Coroutine[Any, Any, None], tasks: asyncio.TaskGroup) -> None:
    """Run *coroutine* until it ends or first waits; a task of *tasks* does the rest of it.

    Until then it is in no task: what needs one (`asyncio.timeout`) must wait for something before,
    `podwire.dns.chain.waiting` for instance.
    """
    try:
        waits_for = coroutine.send(None)
    except StopIteration:
        return
    tasks.create_task(_finish(_Rest(coroutine, waits_for)))


async def _finish(rest: _Rest) -> None:
    await rest


class _Rest:
    """What is left of *coroutine*, which has been stepped to where it waits for *waits_for*."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        waits_for = self._waits_for
        # A bare yield asks to be called again later: coming into a task was that.
        is_due = waits_for is None
        while True:
            given: Any = None
            error: BaseException | None = None
            if not is_due:
                try:
                    given = yield waits_for
                except BaseException as caught:  # noqa: BLE001 - cancellation too is for the coroutine
                    error = caught
            is_due = False
            try:
                if error is None:
                    waits_for = self._coroutine.send(given)
                else:
                    waits_for = self._coroutine.throw(error)
            except StopIteration:
                return
