import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from podwire.emulator.sandbox import messages
from podwire.emulator.sandbox.channel import ForkChannel
from podwire.emulator.sandbox.processes import Place, Program


class Server:
    """A fork server and our end of its channel."""

    def __init__(self) -> None:
        ours, theirs = messages.channel()
        with theirs:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    Path(__file__).with_name("fork_server.py"),
                    str(theirs.fileno()),
                ],
                pass_fds=[theirs.fileno()],
            )
        self.socket: socket.socket = ours
        self.forks = ForkChannel(ours)

    async def run(
        self, program: Program, *, stdin: bytes = b"", place: Place | None = None
    ) -> tuple[int, str, str]:
        """Run *program* to its end; returns (status, stdout, stderr)."""
        fds = [os.memfd_create(name, os.MFD_CLOEXEC) for name in ("in", "out", "err")]
        into, out, err = fds
        try:
            os.write(into, stdin)
            os.lseek(into, 0, os.SEEK_SET)
            process = await self.forks.fork(
                program, place or Place(), stdin=into, stdout=out, stderr=err
            )
            status = await process.wait()
            process.close()
            return status, os.pread(out, 1 << 20, 0).decode(), os.pread(err, 1 << 20, 0).decode()
        finally:
            for fd in fds:
                os.close(fd)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    running = Server()
    running.forks.start()
    yield running
    running.end()
    running.socket.close()
