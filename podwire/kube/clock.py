"""Time as an argument: the wall clock and the monotonic one."""

import time
from typing import Protocol

from podwire.kube.times import parse_rfc3339, rfc3339, rfc3339_micro

__all__ = ["Clock", "SystemClock", "parse_rfc3339", "rfc3339", "rfc3339_micro"]


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> float:
        """Return seconds since 1970, UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never jump; only differences mean something."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        """Return seconds since 1970, UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never jump."""
        return time.monotonic()
