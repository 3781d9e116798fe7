"""A container's log: what it writes to its standard streams, kept in CRI's format and rotated.

Each line is `TIME stream F|P text` (kubernetes/cri-api): P marks a part of a line that goes on.
"""

import asyncio
import math
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

# The kubelet's containerLogMaxSize is 10Mi; one rotated file is kept beside the current one.
LARGEST = 10 << 20
LONGEST_LINE = 16 << 10
# So long, in seconds, the first who attaches hears all that was said before. Kubernetes' kubelet
# looks at its containers once a second: what ends sooner has never run for kubectl, which then
# shows the log. Here `kubectl run -i` would attach to it, just too late to see anything.
_YOUTH = 1.0
_MOST_TO_RETELL = 64 << 10


class ContainerLog:
    """One container's log files, from its first start to the pod's end; the previous run's stay.

    *now* gives the time as it stands in the lines; a file is rotated when it has *largest* bytes.
    """

    def __init__(self, directory: Path, now: Callable[[], str], *, largest: int = LARGEST) -> None:
        self._directory = directory
        self._now = now
        self._largest = largest
        self._number = -1
        self._run: _RunLog | None = None
        directory.mkdir(parents=True, exist_ok=True)

    def begin(self, *, stamped: bool = False) -> tuple[int, int]:
        """Start the log of a new run; returns the descriptors for its stdout and stderr.

        The caller closes them after the container has them. With *stamped* lines come as
        `TIME F|P text`, and the time is theirs.
        """
        run = self._begin(stamped=stamped)
        return run.pipe("stdout"), run.pipe("stderr")

    def begin_terminal(self, master: int) -> None:
        """Start the log of a new run on a terminal; *master* is then ours, also to close."""
        self._begin().read("stdout", master)

    def paths(self, *, previous: bool) -> list[Path]:
        """Return the files of the current or the previous run, oldest first; may be empty."""
        current = self._path(self._number - 1 if previous else self._number)
        return [path for path in (_rotated(current), current) if path.exists()]

    async def drained(self) -> None:
        """Wait until all that the current run wrote is in the file: its streams have ended."""
        run = self._run
        while run is not None and run.open_streams:
            await run.news.wait()

    async def follow(self) -> AsyncIterator[bytes]:
        """Yield the current run's log from its beginning, then what is added, until it ends."""
        run = self._run
        if run is None:
            return
        for path in self.paths(previous=False)[:-1]:
            yield path.read_bytes()
        file = run.path.open("rb")
        try:
            while True:
                news = run.news
                chunk = file.read(1 << 16)
                if chunk:
                    yield chunk
                elif run.has_moved_on_from(file.fileno()):
                    # Rotated: what we held is read to its end.
                    file.close()
                    file = run.path.open("rb")
                elif not run.open_streams:
                    return
                else:
                    await news.wait()
        except FileNotFoundError:
            return
        finally:
            file.close()

    def listen(self, heard: Callable[[str, bytes], None]) -> Callable[[], None]:
        """Call *heard* with the stream and what the current run writes to it, as it comes.

        The first one hears what a young run has written already, too. Nothing (b"") means that no
        more will come. Returns what ends it.
        """
        run = self._run
        if run is not None:
            run.retell(heard)
        if run is None or not run.open_streams:
            heard("", b"")
            return lambda: None
        run.listeners.append(heard)
        return lambda: run.listeners.remove(heard) if heard in run.listeners else None

    def started(self) -> None:
        """Take note that the container of the current run is known to have started."""
        if self._run is not None:
            self._run.born = asyncio.get_running_loop().time()

    def is_untold(self) -> bool:
        """Tell whether the current run is young, and nobody has listened to it yet."""
        return self._run is not None and self._run.is_untold()

    def close(self) -> None:
        """Stop writing; readers come to an end."""
        if self._run is not None:
            self._run.close()

    def _begin(self, *, stamped: bool = False) -> "_RunLog":
        # A run that is over may still have something in its pipes: it goes on into its own file.
        self._number += 1
        self._run = _RunLog(self._path(self._number), self._now, self._largest, stamped=stamped)
        old = self._path(self._number - 2)
        for path in (old, _rotated(old)):
            path.unlink(missing_ok=True)
        return self._run

    def _path(self, number: int) -> Path:
        return self._directory / f"{number}.log"


class _RunLog:
    """The log of one run of a container."""

    def __init__(self, path: Path, now: Callable[[], str], largest: int, *, stamped: bool) -> None:
        self.path = path
        self.news = asyncio.Event()
        self.listeners: list[Callable[[str, bytes], None]] = []
        self._now = now
        self._largest = largest
        self._stamped = stamped
        self._readers: set[int] = set()
        self._size = 0
        self._file = _opened(path)
        # When it was known to have started: an engine may take its time to say so.
        self.born = math.inf
        # What a young run has written; None when it is not to be told again.
        self._first: list[tuple[str, bytes]] | None = None if stamped else []

    @property
    def open_streams(self) -> int:
        """Return how many streams may still bring something."""
        return len(self._readers)

    def has_moved_on_from(self, fd: int) -> bool:
        """Tell whether *fd* is a file that has been rotated away; raises FileNotFoundError."""
        return os.fstat(fd).st_ino != self.path.stat().st_ino

    def pipe(self, stream: str) -> int:
        """Return the write end of a pipe whose other end is read into the log."""
        read, write = os.pipe2(os.O_CLOEXEC)
        self.read(stream, read)
        return write

    def read(self, stream: str, fd: int) -> None:
        """Read *fd* into the log until it ends, then close it."""
        os.set_blocking(fd, False)
        loop = asyncio.get_running_loop()
        rest = bytearray()
        self._readers.add(fd)

        def readable() -> None:
            try:
                chunk = os.read(fd, 1 << 16)
            except BlockingIOError:
                return
            except OSError:
                chunk = b""  # EIO: nobody has the terminal open any more
            if chunk and self._stamped:
                rest.extend(chunk)
                self._take(stream, rest)
                return
            if chunk:
                self._hear(stream, chunk)
                rest.extend(chunk)
                self._split(stream, rest)
                return
            if rest and not self._stamped:
                self._write(stream, b"F", bytes(rest))
            self._end(fd)

        loop.add_reader(fd, readable)

    def close(self) -> None:
        """Stop reading and writing."""
        for fd in tuple(self._readers):
            self._end(fd)
        self._close_file()
        self._tell()

    def _end(self, fd: int) -> None:
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)
        self._readers.discard(fd)
        if not self._readers:
            self._close_file()
            while self.listeners:
                self.listeners.pop()("", b"")
        self._tell()

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def is_untold(self) -> bool:
        """Tell whether `retell` has something to tell, as far as something was written."""
        young = asyncio.get_running_loop().time() - self.born < _YOUTH
        if not young:
            self._first = None
        return self._first is not None

    def retell(self, heard: Callable[[str, bytes], None]) -> None:
        """Tell *heard* what a young run has written; nobody else will be told."""
        if self.is_untold():
            for stream, chunk in self._first or ():
                heard(stream, chunk)
            self._first = None

    def _hear(self, stream: str, chunk: bytes) -> None:
        if self._first is not None and self.is_untold():
            self._first.append((stream, chunk))
            if sum(len(said) for _, said in self._first) > _MOST_TO_RETELL:
                self._first = None
        for heard in tuple(self.listeners):
            heard(stream, chunk)

    def _take(self, stream: str, rest: bytearray) -> None:
        *lines, last = bytes(rest).split(b"\n")
        for line in lines:
            time, _, tagged = line.partition(b" ")
            tag, _, text = tagged.partition(b" ")
            self._hear(stream, text + (b"\n" if tag == b"F" else b""))
            self._write(stream, tag, text, time)
        rest[:] = last

    def _split(self, stream: str, rest: bytearray) -> None:
        *lines, last = bytes(rest).split(b"\n")
        for line in lines:
            self._write(stream, b"F", self._without_parts(stream, line))
        rest[:] = self._without_parts(stream, last)

    def _without_parts(self, stream: str, line: bytes) -> bytes:
        while len(line) > LONGEST_LINE:
            self._write(stream, b"P", line[:LONGEST_LINE])
            line = line[LONGEST_LINE:]
        return line

    def _write(self, stream: str, tag: bytes, line: bytes, time: bytes = b"") -> None:
        if self._file < 0:
            return
        entry = b"%s %s %s %s\n" % (time or self._now().encode(), stream.encode(), tag, line)
        try:
            self._size += os.write(self._file, entry)
            if self._size >= self._largest:
                self._rotate()
        except OSError:
            # A full tmpfs loses log lines, never the container.
            return
        self._tell()

    def _rotate(self) -> None:
        self.path.replace(_rotated(self.path))
        fresh = _opened(self.path)
        self._close_file()
        self._file, self._size = fresh, 0

    def _tell(self) -> None:
        news, self.news = self.news, asyncio.Event()
        news.set()


def _opened(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def _rotated(path: Path) -> Path:
    return path.with_suffix(".log.1")
