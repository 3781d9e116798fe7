"""How long a pod's containers may take to end."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

# The kubelet gives a container that much after a preStop hook that took all the time there was.
AFTER_HOOK = 2.0


class Grace:
    """A moment at which the containers must have ended; it only ever comes closer."""

    def __init__(self, seconds: float) -> None:
        self._clock = asyncio.get_running_loop().time
        self._until = self._clock() + seconds
        self._limits: set[asyncio.Timeout] = set()

    @property
    def over(self) -> bool:
        """Tell whether there is no time left."""
        return self._until <= self._clock()

    def shorten(self, seconds: float) -> None:
        """Let it be over in *seconds*, unless it is over sooner anyway."""
        self._until = min(self._until, self._clock() + seconds)
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(self._until)

    @asynccontextmanager
    async def limit(self, *, at_least: float = 0.0) -> AsyncGenerator[None]:
        """End the block with TimeoutError when the time is over; *at_least* is in seconds."""
        until = max(self._until, self._clock() + at_least)
        async with asyncio.timeout_at(until) as limit:
            self._limits.add(limit)
            try:
                yield
            finally:
                self._limits.discard(limit)
