"""A container's standard streams: pipes or a terminal, its log, and who types into it."""

import os

from podwire.emulator.kubelet.logs import ContainerLog
from podwire.emulator.runtimes.runtime import Streams
from podwire.kube.objects import Container


class StandardStreams:
    """Made anew for each start of a container; what it prints goes to *log*."""

    def __init__(self, container: Container, log: ContainerLog) -> None:
        self._container = container
        self._log = log
        # Where to write for its standard input, -1: nowhere; with a tty, the terminal's master.
        self.stdin = -1

    def open(self, *, joins: bool) -> Streams:
        """Return the container's ends, for the caller to close; *joins*: it runs already."""
        if self._container.tty:
            master, slave = os.openpty()
            self.stdin = os.dup(master)
            self._log.begin_terminal(master)
            return Streams(slave, slave, slave)
        stdout, stderr = self._log.begin(stamped=joins)
        stdin, self.stdin = os.pipe2(os.O_CLOEXEC) if self._container.stdin else (-1, -1)
        return Streams(stdin, stdout, stderr, stamped=joins)

    def input(self) -> int | None:
        """Return a descriptor of its standard input for a client to own; None if it has none."""
        if self.stdin < 0:
            return None
        if self._container.stdin_once and not self._container.tty:
            # The end of this client's input is the end of the container's.
            given, self.stdin = self.stdin, -1
            return given
        return os.dup(self.stdin) if self._container.stdin else None

    def close(self) -> None:
        """End the container's input."""
        if self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1
