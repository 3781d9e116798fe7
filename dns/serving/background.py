"""Work that no client waits for: prefetches, health checks, probes. It never hurts what serves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

log = logging.getLogger("podwire.dns")


class Background:
    """Tasks of one plugin; they are cancelled at the end of the block in which it runs."""

    def __init__(self, plugin: str) -> None:
        self._plugin = plugin
        self._tasks: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Run inside the block what is started."""
        failure: Exception | None = None
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                yield
            except Exception as error:  # noqa: BLE001 - it is raised again
                # Not as one of a group: whoever runs the plugins knows it by its type.
                failure = error
            finally:
                self._tasks = None
                for task in self._running:
                    task.cancel()
        if failure is not None:
            raise failure

    def start(self, work: Coroutine[Any, Any, None]) -> bool:
        """Start *work*; False if this is not open, and then it is not done at all."""
        if self._tasks is None:
            work.close()
            return False
        task = self._tasks.create_task(self._logged(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return True

    async def _logged(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            # One of them must not take the others, and the server, along.
            log.exception("plugin/%s: bug in the background", self._plugin)
