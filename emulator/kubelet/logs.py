"""A container's log: what it writes to its standard streams, kept in CRI's format and rotated.

Each line is `TIME stream F|P text` (kubernetes/cri-api): P marks a part of a line that goes on.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

# The kubelet's containerLogMaxSize is 10Mi; we keep one rotated file beside the current one.
LARGEST = 10 << 20
_LONGEST_LINE = 16 << 10


class ContainerLog:
    """One container's log files, from its first start to the pod's end; *previous* ones are kept."""

    def __init__(self, directory: Path, now: Callable[[], str]) -> None:
        self._directory = directory
        self._now = now
        self._run = -1
        self._size = 0
        self._file: int = -1
        self._news = asyncio.Event()
        self._open_streams = 0
        directory.mkdir(parents=True, exist_ok=True)

    def begin(self) -> tuple[int, int]:
        """Start the log of a new run; returns the descriptors for its stdout and stderr.

        The caller closes them after the container has them.
        """
        self._run += 1
        self._rotate(self._directory / f"{self._run}.log")
        old = self._directory / f"{self._run - 2}.log"
        for path in (old, old.with_suffix(".log.1")):
            path.unlink(missing_ok=True)
        return self._stream("stdout"), self._stream("stderr")

    def add_line(self, stream: str, text: str) -> None:
        """Write a line that podwire itself has to say, such as why a program did not start."""
        self._write(stream, b"F", text.encode())

    def paths(self, *, previous: bool) -> list[Path]:
        """Return the files of the current or the previous run, oldest first; may be empty."""
        run = self._run - 1 if previous else self._run
        current = self._directory / f"{run}.log"
        return [path for path in (current.with_suffix(".log.1"), current) if path.exists()]

    @property
    def running(self) -> bool:
        """Tell whether something may still write."""
        return self._open_streams > 0

    async def follow(self) -> AsyncIterator[bytes]:
        """Yield the current run's log from its beginning, then what is added, until it ends."""
        run = self._run
        for path in self.paths(previous=False)[:-1]:
            yield path.read_bytes()
        path = self._directory / f"{run}.log"
        with path.open("rb") as file:
            while True:
                news = self._news
                chunk = file.read(1 << 16)
                if chunk:
                    yield chunk
                elif not self.running or self._run != run:
                    return
                elif file.tell() > path.stat().st_size:
                    file.seek(0)
                else:
                    await news.wait()

    def close(self) -> None:
        """Stop writing; readers come to an end."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._open_streams = 0
        self._tell()

    def _stream(self, name: str) -> int:
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(write, True)
        loop = asyncio.get_running_loop()
        rest = bytearray()
        run = self._run
        self._open_streams += 1

        def readable() -> None:
            try:
                chunk = os.read(read, 1 << 16)
            except BlockingIOError:
                return
            if chunk:
                rest.extend(chunk)
                self._split(name, rest)
                return
            loop.remove_reader(read)
            os.close(read)
            if rest:
                self._write(name, b"F", bytes(rest))
            if run == self._run:
                self._open_streams = max(0, self._open_streams - 1)
            self._tell()

        loop.add_reader(read, readable)
        return write

    def _split(self, name: str, rest: bytearray) -> None:
        *lines, last = bytes(rest).split(b"\n")
        for line in lines:
            self._write(name, b"F", line)
        while len(last) > _LONGEST_LINE:
            self._write(name, b"P", last[:_LONGEST_LINE])
            last = last[_LONGEST_LINE:]
        rest[:] = last

    def _write(self, stream: str, tag: bytes, line: bytes) -> None:
        if self._file < 0:
            return
        entry = b"%s %s %s %s\n" % (self._now().encode(), stream.encode(), tag, line)
        try:
            self._size += os.write(self._file, entry)
        except OSError:
            # A full tmpfs loses log lines, never the container.
            return
        if self._size > LARGEST:
            path = self._directory / f"{self._run}.log"
            path.replace(path.with_suffix(".log.1"))
            self._rotate(path)
        self._tell()

    def _rotate(self, path: Path) -> None:
        if self._file >= 0:
            os.close(self._file)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        self._size = 0

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
