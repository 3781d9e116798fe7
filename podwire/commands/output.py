"""What verbs write: lines, tables and JSON on standard output, progress on standard error."""

import errno
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from podwire.errors import UsageError


def say(text: str = "") -> None:
    """Write a line of the answer."""
    sys.stdout.write(text + "\n")


def is_of_output(error: BaseException) -> bool:
    """Tell whether *error* is one of writing standard output; errors of files have their name."""
    full = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO)
    return isinstance(error, OSError) and error.errno in full and error.filename is None


def drop_output() -> None:
    """Write no more: nobody reads, or nothing can be written. Python would try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def note(text: str) -> None:
    """Write a line about the way, not the answer."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def say_json(value: object) -> None:
    """Write *value* as JSON."""
    say(json.dumps(value, indent=2))


def say_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write columns as kubectl does: capitals on top, three spaces between."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        cells = zip(line, widths, strict=True)
        say("   ".join(cell.ljust(width) for cell, width in cells).rstrip())


def give_to_its_folder(path: Path) -> None:
    """Give a file that root has written to the owner of its folder; others' files stay as they are.

    So what `docker compose exec api podwire trace` leaves in the user's folder is the user's.
    """
    if os.geteuid() == 0 and path.is_file():
        with suppress(OSError):  # it is readable all the same
            owner = path.absolute().parent.stat()
            os.chown(path, owner.st_uid, owner.st_gid)


def age(seconds: float) -> str:
    """Return a duration as kubectl writes an age: 42s, 7m, 3h, 2d."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(max(0, seconds))}s"


def number(text: str, what: str, *, least: float = 0) -> float:
    """Return the number that *text* writes; raises UsageError. A duration may end in s or m."""
    factor = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:], 0.0)
    digits = text[:-1] if factor else text
    try:
        value = float(digits) * (factor or 1.0)
    except ValueError as error:
        raise UsageError(f"{what}: {text!r} is no number\n  examples: 60, 30s, 2m") from error
    if not least <= value < float("inf"):
        raise UsageError(f"{what}: {text} is out of range (at least {least:g})")
    return value
