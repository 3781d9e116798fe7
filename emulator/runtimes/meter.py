"""The Protocol of what measures running containers: processor time so far, and memory now."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from podwire.emulator.runtimes.runtime import RunningProcess


@dataclass(frozen=True, slots=True)
class Used:
    """Seconds of processors since the start, and bytes of memory now."""

    cpu: float
    memory: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """What containers have used, in the order asked for; None: it has ended.

    *rest* is what the cluster's other processes have used, if they are measured with them.
    """

    containers: tuple[Used | None, ...]
    rest: Used | None = None


class Meter(Protocol):
    """Measures the containers of all nodes."""

    @property
    def is_cheap(self) -> bool:
        """Tell whether measuring costs so little that it may be done all the time."""
        ...

    async def read(self, containers: Sequence[RunningProcess | str], *, memory: bool) -> Reading:
        """Measure containers, by their first processes or by what an engine calls them.

        Without *memory*, which costs more, only their processor time.
        """
        ...
