"""An event loop whose time jumps: when all wait, it is at once the time at which something is due.

For tests of what takes minutes, in milliseconds. Everything that is waited for must be in this
process: a message of another process takes real time, and would always come too late.
"""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any

# Seconds without a timer and without an event, after which nothing will ever happen.
_PATIENCE = 5.0


class JumpingLoop(asyncio.SelectorEventLoop):
    """The event loop; its time begins at 0."""

    def __init__(self) -> None:
        self._jumped = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Return the seconds that were jumped so far."""
        return self._jumped

    def jump(self, seconds: float) -> None:
        """Let time pass."""
        self._jumped += seconds


class LoopClock:
    """Both clocks of `podwire.kube.clock.Clock`, by the time of the running loop."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._start = start

    def now(self) -> float:
        """Return the wall time: *start* when the loop began, seconds since 1970."""
        return self._start + self.monotonic()

    def monotonic(self) -> float:
        """Return the loop's time, seconds."""
        return asyncio.get_running_loop().time()


class _JumpingSelector(selectors.BaseSelector):
    """A selector that does not wait for a time-out: it lets the loop jump there."""

    def __init__(self, loop: JumpingLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            ready = self._real.select(_PATIENCE)
            if not ready:
                raise RuntimeError("all wait for something that nobody will do")
            return ready
        # A little more, or rounding could leave the timer just short of being due.
        self._loop.jump(max(0.0, timeout) + 1e-6)
        return []

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()
