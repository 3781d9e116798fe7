"""Pure: what a reader of a log sees of its CRI lines."""

from collections.abc import Iterator
from dataclasses import dataclass

from podwire.kube.clock import parse_rfc3339


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
