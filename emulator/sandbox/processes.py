"""What is to run and where, and a process that runs: the words of both fork servers' client."""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from podwire.emulator.sandbox.messages import Mount


class StartError(Exception):
    """A process, or namespaces, could not be made; the message says why, in the kernel's words."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to run: a built-in by name, or a program of the host by *argv*."""

    argv: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict[str, str])
    builtin: str = ""
    directory: str = "/"
    tty: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where to run it: descriptors of namespaces (-1: the sandbox's own), or a container to join.

    *contain* gives the process PID and mount namespaces of its own, with *mounts* made in them;
    *pids*, a pidfd, lets it see that process's processes instead of only its own.
    *capabilities* are all that it keeps (None: those of the fork server).
    """

    net: int = -1
    uts: int = -1
    ipc: int = -1
    join: int = -1
    contain: bool = False
    pids: int = -1
    mounts: tuple[Mount, ...] = ()
    capabilities: tuple[int, ...] | None = None


class Process:
    """A process that was forked; *pid* as the sandbox sees it. Close it when done."""

    def __init__(self, pid: int, pidfd: int, ended: "asyncio.Future[int]") -> None:
        self.pid = pid
        self.pidfd = pidfd
        self._ended = ended

    async def wait(self) -> int:
        """Return the exit status, or 128 + the signal that ended it."""
        return await asyncio.shield(self._ended)

    @property
    def running(self) -> bool:
        """Tell whether it has not ended yet."""
        return not self._ended.done()

    def send_signal(self, number: int) -> None:
        """Send a signal; none is sent to a process that is gone."""
        if self.running and self.pidfd >= 0:
            try:
                signal.pidfd_send_signal(self.pidfd, number)
            except ProcessLookupError:
                return

    def resize(self, columns: int, rows: int) -> None:
        """Do nothing: the terminal is the kernel's, which tells the process."""

    def when_paused(self, told: Callable[[bool], None]) -> None:
        """Do nothing: nobody pauses it."""

    def close(self) -> None:
        """Give the descriptor back; the process goes on."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
