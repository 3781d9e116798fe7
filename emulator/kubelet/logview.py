"""Pure: what a reader of a log sees of its CRI lines."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from podwire.kube.times import parse_rfc3339

# What is shown of a line: to its end, or of a part without it.
_LINE = re.compile(rb"^[^ \n]* [^ \n]* (?:F (.*\n)|[^ \n]* (.*)\n)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line `TIME stream F|P text` of a log file."""

    time: bytes
    whole: bool
    text: bytes

    def shown(self, *, timestamps: bool) -> bytes:
        """Return the line as `kubectl logs` prints it."""
        prefix = self.time + b" " if timestamps else b""
        return prefix + self.text + (b"\n" if self.whole else b"")


def entries(text: bytes) -> Iterator[Entry]:
    """Yield the entries of a log; broken lines are left out."""
    for line in text.split(b"\n"):
        time, _, rest = line.partition(b" ")
        _stream, _, rest = rest.partition(b" ")
        tag, space, content = rest.partition(b" ")
        if space:
            yield Entry(time, tag == b"F", content)


def selected(entry: Entry, since: float | None) -> bool:
    """Tell whether *entry* is not older than *since* (seconds since 1970)."""
    if since is None:
        return True
    # Nine decimals: Python reads six.
    whole, _, fraction = entry.time.decode().rstrip("Z").partition(".")
    return parse_rfc3339(f"{whole}Z") + float(f"0.{fraction or 0}") >= since


def text_of(log: bytes, *, since: float | None, timestamps: bool) -> bytes:
    """Return what `kubectl logs` prints of whole lines of a log, from *since* on."""
    if since is None and not timestamps:  # most often, and a log may be long
        return b"".join(itertools.chain.from_iterable(_LINE.findall(log)))
    return b"".join(
        entry.shown(timestamps=timestamps) for entry in entries(log) if selected(entry, since)
    )


def pieces(log: bytes, size: int) -> Iterator[bytes]:
    """Yield *log* in pieces of about *size* bytes that end where lines end."""
    at = 0
    while at < len(log):
        end = log.find(b"\n", at + size) + 1 or len(log)
        yield log[at:end]
        at = end


def last_lines(text: bytes, count: int) -> bytes:
    """Return the last *count* lines of a log."""
    if count <= 0:
        return b""
    at = len(text.rstrip(b"\n"))
    for _ in range(count):
        at = text.rfind(b"\n", 0, at)
        if at < 0:
            return text
    return text[at + 1 :]
