"""What Prometheus's clients tell of their own process: time, memory, files, as /proc has them."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from podwire.dns.serving.metrics import Counters, Gauges, Readings

_SELF: Final = Path("/proc/self")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds() -> float:
    """Return how long the processor has worked for us."""
    return time.process_time()


def resident_bytes() -> float:
    """Return how much memory is ours and in RAM."""
    return float((_SELF / "statm").read_text().split()[1]) * _PAGE


def virtual_bytes() -> float:
    """Return how much memory is mapped."""
    return float((_SELF / "statm").read_text().split()[0]) * _PAGE


def open_files() -> float:
    """Return how many file descriptors are open."""
    return float(sum(1 for _ in (_SELF / "fd").iterdir()))


def most_open_files() -> float:
    """Return how many there may be."""
    return float(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def start_time() -> float:
    """Return when the process began, in Unix time."""
    # The name, which may hold anything, is in parentheses (proc(5)).
    fields = (_SELF / "stat").read_text().rpartition(")")[2].split()
    boot = next(
        line.split()[1]
        for line in Path("/proc/stat").read_text().splitlines()
        if line.startswith("btime ")
    )
    return float(boot) + float(fields[19]) / _TICKS


def _reader(read: Callable[[], float]) -> Callable[[], Readings]:
    def readings() -> Readings:
        try:
            return {(): read()}
        except (OSError, ValueError, IndexError, StopIteration):
            # A sandbox may hide parts of /proc: then it is not told.
            return {}

    return readings


READERS: Final[Mapping[Counters | Gauges, Callable[[], Readings]]] = {
    Counters(
        "process_cpu_seconds_total", "Total user and system CPU time spent in seconds."
    ): _reader(cpu_seconds),
    Gauges("process_resident_memory_bytes", "Resident memory size in bytes."): _reader(
        resident_bytes
    ),
    Gauges("process_virtual_memory_bytes", "Virtual memory size in bytes."): _reader(virtual_bytes),
    Gauges("process_open_fds", "Number of open file descriptors."): _reader(open_files),
    Gauges("process_max_fds", "Maximum number of open file descriptors."): _reader(most_open_files),
    Gauges(
        "process_start_time_seconds", "Start time of the process since unix epoch in seconds."
    ): _reader(start_time),
}
