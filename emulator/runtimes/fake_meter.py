"""A meter that pretends, for tests: figures from a table."""

from collections.abc import Sequence

from podwire.emulator.runtimes.meter import Reading, Used
from podwire.emulator.runtimes.runtime import RunningProcess


class FakeMeter:
    """Says of each container what `used` holds, by the process or its id; else nothing."""

    def __init__(self, *, is_cheap: bool = True) -> None:
        self.is_cheap = is_cheap
        self.used: dict[RunningProcess | str, Used] = {}
        self.rest: Used | None = None
        # How often it was asked, without and with memory.
        self.looks: list[bool] = []

    async def read(self, containers: Sequence[RunningProcess | str], *, memory: bool) -> Reading:
        """Say what is in the table."""
        self.looks.append(memory)
        return Reading(tuple(self.used.get(container) for container in containers), self.rest)
