"""Processor time and memory of containers that are processes: /proc, looked at once for all."""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from podwire.emulator.runtimes.meter import Reading, Used
from podwire.emulator.runtimes.runtime import RunningProcess
from podwire.emulator.sandbox.processes import Process

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Entry:
    """A process: *ticks* of the clock are its own and those of its children that have ended."""

    pid: int
    parent: int
    ticks: int
    resident: int


class ProcessTable:
    """Measures containers by what /proc at *root* tells of their processes."""

    is_cheap = True

    def __init__(self, root: Path = Path("/proc")) -> None:
        self._root = root

    async def read(self, containers: Sequence[RunningProcess | str], *, memory: bool) -> Reading:
        """Measure containers, and all other processes that there are."""
        firsts = [p.pid if p.running else -1 for p in cast("Sequence[Process]", containers)]
        # A thread: with a thousand pods it takes as long as some requests.
        return await asyncio.to_thread(self._read, firsts, memory=memory)

    def _read(self, firsts: Sequence[int], *, memory: bool) -> Reading:
        table = {entry.pid: entry for entry in self._entries()}
        owners = Owners(table, firsts, self._namespace)
        ticks: dict[int, int] = {}
        used: dict[int, int] = {}
        for entry in table.values():
            owner = owners.of(entry.pid)
            ticks[owner] = ticks.get(owner, 0) + entry.ticks
            if memory:
                used[owner] = used.get(owner, 0) + self._memory(entry)
        found = {owner: Used(n / _TICK, used.get(owner, 0)) for owner, n in ticks.items()}
        return Reading(tuple(found.get(pid) for pid in firsts), found.get(_NOBODY))

    def _entries(self) -> Iterable[Entry]:
        for directory in self._root.iterdir():
            if directory.name.isdecimal():
                try:
                    text = (directory / "stat").read_bytes()
                except OSError:
                    continue  # it has just ended
                yield entry_of(text)

    def _namespace(self, pid: int) -> int:
        """Return which namespace of processes a process is in, 0 if it has just ended."""
        try:
            return (self._root / str(pid) / "ns" / "pid").stat().st_ino
        except OSError:
            return 0

    def _memory(self, entry: Entry) -> int:
        """Return a process's memory, and its part of what it shares with others."""
        # Our own programs are forks, and share nearly all that they hold: counted whole, each
        # would weigh ten times of what it takes.
        try:
            text = (self._root / str(entry.pid) / "smaps_rollup").read_bytes()
        except OSError:
            return entry.resident
        _, found, rest = text.partition(b"\nPss:")
        return int(rest.split(None, 1)[0]) * 1024 if found else entry.resident


_NOBODY = 0


class Owners:
    """Pure: which container each process belongs to, by the container's first process.

    A process belongs to the container that an ancestor of it is the first process of. One that
    entered a container from outside (exec), or outlived its parent there, belongs to the container
    whose namespace of processes it is in.
    """

    def __init__(
        self, table: Mapping[int, Entry], firsts: Sequence[int], namespace: Callable[[int], int]
    ) -> None:
        self._table = table
        self._namespace = namespace
        self._owner: dict[int, int] = {pid: pid for pid in firsts if pid in table}
        self._by_namespace: dict[int, int] = {}
        for pid in self._owner:
            self._by_namespace.setdefault(namespace(pid), pid)
        self._by_namespace.pop(0, None)

    def of(self, pid: int) -> int:
        """Return the first process of the container that *pid* belongs to; 0: of none."""
        owner = self._owner.get(pid)
        if owner is None:
            entry = self._table.get(pid)
            owner = _NOBODY if entry is None else self.of(entry.parent)
            if owner == _NOBODY and entry is not None:
                owner = self._by_namespace.get(self._namespace(pid), _NOBODY)
            self._owner[pid] = owner
        return owner


def entry_of(stat: bytes) -> Entry:
    """Read a line of /proc/PID/stat (proc(5))."""
    # The name may hold anything, brackets and blanks too.
    head, _, rest = stat.rpartition(b")")
    fields = rest.split()
    ticks = sum(int(field) for field in fields[11:15])
    return Entry(int(head.split(None, 1)[0]), int(fields[1]), ticks, int(fields[21]) * _PAGE)
