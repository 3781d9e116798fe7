"""What containers use now: processor time over the last seconds, from two looks at its sum."""

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from podwire.emulator.runtimes.meter import Meter, Reading, Used
from podwire.emulator.runtimes.runtime import RunningProcess
from podwire.kube.clock import Clock

EVERY = 15.0
"""Seconds between looks, as metrics-server's resolution."""
# A figure is over no less than this, unless the container is younger.
_LEAST_WINDOW = 5.0
# Where looks are dear they go on for so long after somebody asked, and the first who asks waits.
_INTEREST = 120.0
_FIRST_WINDOW = 1.0


@dataclass(frozen=True, slots=True)
class Running:
    """A container that runs: since *began*, in seconds since 1970 (0: not known).

    *process* is its first one, or what an engine calls the container.
    """

    key: Hashable
    process: RunningProcess | str
    began: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Processors in use over the last *window* seconds, and bytes of memory."""

    cpu: float
    memory: int
    window: float


@dataclass(frozen=True, slots=True)
class Look:
    """What everything had used at a moment, in seconds since 1970."""

    at: float
    used: Mapping[Hashable, Used]


REST = "rest"
"""The key of all processes that are no container's."""


class Usage:
    """Measures the containers that *running* names, now and then and when asked."""

    def __init__(
        self, running: Callable[[], Sequence[Running]], meter: Meter, clock: Clock
    ) -> None:
        self._running = running
        self._meter = meter
        self._clock = clock
        self._began = clock.now()
        self._looks: tuple[Look, ...] = ()
        self._asked = 0.0

    async def run(self) -> None:
        """Look now and then until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            if self._meter.is_cheap or self._clock.now() - self._asked < _INTEREST:
                await self._look_again()
            else:
                self._looks = ()

    async def figures(self) -> tuple[float, dict[Hashable, Figures]]:
        """Return the time, and what each container uses; one that is too young is left out."""
        self._asked = self._clock.now()
        if not self._looks and not self._meter.is_cheap:
            await self._look_again()
            await asyncio.sleep(_FIRST_WINDOW)
        running = self._running()
        last = await self._look(running, memory=True)
        began = {REST: self._began} | {container.key: container.began for container in running}
        found = {key: figures_of(key, last, self._looks, began.get(key, 0.0)) for key in last.used}
        return last.at, {key: figures for key, figures in found.items() if figures is not None}

    async def _look_again(self) -> None:
        self._looks = (*self._looks[-1:], await self._look(self._running(), memory=False))

    async def _look(self, running: Sequence[Running], *, memory: bool) -> Look:
        processes = [container.process for container in running]
        reading: Reading = await self._meter.read(processes, memory=memory)
        pairs = zip(running, reading.containers, strict=True)
        used: dict[Hashable, Used] = {c.key: u for c, u in pairs if u is not None}
        if reading.rest is not None:
            used[REST] = reading.rest
        return Look(self._clock.now(), used)


def figures_of(key: Hashable, last: Look, earlier: Sequence[Look], began: float) -> Figures | None:
    """Return what *key*, which *began* then, uses as of *last*; None: it is too young."""
    now = last.used[key]
    looks = [look for look in earlier if key in look.used and look.at >= began]
    old = [look for look in looks if last.at - look.at >= _LEAST_WINDOW]
    # The latest that is old enough; else since its beginning, or as long as it is known.
    if old:
        since, before = old[-1].at, old[-1].used[key].cpu
    elif began and (not looks or last.at - began < EVERY):
        since, before = began, 0.0
    elif looks:
        since, before = looks[0].at, looks[0].used[key].cpu
    else:
        return None
    window = last.at - since
    if window < _FIRST_WINDOW / 2:
        return None
    # Children that nobody waited for take their time with them: never less than nothing.
    return Figures(max(now.cpu - before, 0.0) / window, now.memory, window)
