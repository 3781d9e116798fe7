"""What the processes of a cluster use: CPU time and memory, by the kind of process."""

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Process:
    """One process; *cpu* are the seconds that it and its children that have ended computed."""

    pid: int
    parent: int
    kind: str
    cpu: float


@dataclass(frozen=True, slots=True)
class Use:
    """What all processes of one kind use together."""

    kind: str
    processes: int
    cpu: float


def descendants(root: int) -> tuple[Process, ...]:
    """Return *root* and all processes below it, as far as they still run."""
    found = {process.pid: process for process in _all()}
    below: defaultdict[int, list[Process]] = defaultdict(list)
    for process in found.values():
        below[process.parent].append(process)
    result = list[Process]()
    todo = [found[root]] if root in found else []
    while todo:
        process = todo.pop()
        result.append(process)
        todo += below[process.pid]
    return tuple(result)


def by_kind(processes: Iterable[Process]) -> tuple[Use, ...]:
    """Return what each kind uses, the busiest first."""
    kinds: defaultdict[str, list[Process]] = defaultdict(list)
    for process in processes:
        kinds[process.kind].append(process)
    uses = [Use(kind, len(of), sum(p.cpu for p in of)) for kind, of in kinds.items()]
    return tuple(sorted(uses, key=lambda use: -use.cpu))


def proportional_memory(pid: int) -> int:
    """Return a process's PSS in bytes: its own memory, and its part of what it shares.

    The sum over all processes is what they use together. 0 if the process has ended.
    """
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _all() -> Iterable[Process]:
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            text = (folder / "stat").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        yield _parsed(text)


def _parsed(stat: str) -> Process:
    # proc_pid_stat(5): the name is in parentheses and may hold any character.
    head, _, rest = stat.rpartition(")")
    pid, _, kind = head.partition(" (")
    fields = rest.split()
    ticks = sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
    return Process(int(pid), int(fields[1]), kind, ticks / _TICKS)
