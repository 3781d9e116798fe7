"""The one control loop: keys in, reconcile(key) -> again after so many seconds, or None.

Three guarantees: a key is never worked on twice at once; a key added while it is worked on is
worked on again; a key whose reconcile fails is tried again after a delay that doubles.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from podwire.errors import ApiError, Conflict, UnreachableError
from podwire.kube.codec import key_of
from podwire.kube.names import Key
from podwire.kube.objects import Object

log = logging.getLogger(__name__)

FIRST_DELAY = 0.005
LAST_DELAY = 30.0


class Reconciler:
    """Calls *reconcile* for the keys that are added, at most *concurrency* at once."""

    def __init__(
        self,
        reconcile: Callable[[Key], Awaitable[float | None]],
        *,
        name: str = "",
        concurrency: int = 4,
    ) -> None:
        self._reconcile = reconcile
        self._name = name or getattr(reconcile, "__qualname__", "reconcile")
        self._concurrency = concurrency
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._waiting: set[Key] = set()
        self._working: set[Key] = set()
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        # When a key is due, in the loop's time, and what wakes us then.
        self._timers: dict[Key, tuple[float, asyncio.Handle]] = {}

    def add(self, key: Key) -> None:
        """Have *key* looked at soon."""
        _due, timer = self._timers.pop(key, (0.0, None))
        if timer is not None:
            timer.cancel()
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)

    def add_changed(self, old: Object | None, new: Object | None) -> None:
        """Have an object looked at that was made, changed or deleted; what an informer can call."""
        obj = new or old
        if obj is not None:
            self.add(key_of(obj))

    def add_after(self, key: Key, seconds: float) -> None:
        """Have *key* looked at after *seconds*, or sooner if something adds it before."""
        if seconds <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        earlier, timer = self._timers.get(key, (due, None))
        if timer is not None:
            if earlier <= due:
                return
            timer.cancel()
        self._timers[key] = (due, loop.call_later(seconds, self._due, key))

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for n in range(self._concurrency):
                    tasks.create_task(self._work(), name=f"{self._name} {n}")
        finally:
            for _due, timer in self._timers.values():
                timer.cancel()
            self._timers.clear()

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def _work(self) -> None:
        while True:
            key = await self._ready.get()
            self._waiting.discard(key)
            self._working.add(key)
            try:
                again_after = await self._reconcile(key)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - one key's failure must not stop the others
                again_after = self._failed(key, error)
            else:
                self._failures.pop(key, None)
            self._working.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            elif again_after is not None:
                self.add_after(key, again_after)

    def _failed(self, key: Key, error: Exception) -> float:
        count = self._failures[key] = self._failures.get(key, 0) + 1
        delay = min(FIRST_DELAY * 2.0 ** (count - 1), LAST_DELAY)
        if isinstance(error, Conflict):
            log.debug("%s %s: %s", self._name, key, error)
        elif isinstance(error, ApiError | UnreachableError):
            log.info("%s %s: %s; again in %.3f s", self._name, key, error, delay)
        else:
            log.exception("%s %s failed; again in %.3f s", self._name, key, delay)
        return delay
