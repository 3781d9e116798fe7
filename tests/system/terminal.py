"""kubectl at a terminal, as people have it."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Generator
from contextlib import contextmanager

from tests.system.kubectl import Kubectl


@contextmanager
def at_a_terminal(
    kubectl: Kubectl, *words: str
) -> Generator[tuple["subprocess.Popen[bytes]", int], None, None]:
    """Run kubectl at a terminal of 33 rows and 101 columns; give it and the terminal's other end."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    command = ["timeout", "--foreground", "20", "kubectl", *words]
    with subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=kubectl.environ
    ) as running:
        os.close(slave)
        try:
            yield running, master
        finally:
            running.kill()
            os.close(master)


def read_until(terminal: int, words: bytes) -> bytes:
    said = b""
    while words not in said:
        said += os.read(terminal, 4096)  # fails when the other end is closed
    return said
