"""`podwire capture`: record packets of many places into one pcapng file."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from podwire.commands import session
from podwire.commands.output import give_to_its_folder, note, number, say, say_json, say_table
from podwire.errors import NotFound, PodwireError, UsageError
from podwire.kube import places

if TYPE_CHECKING:
    from podwire.kube.capture import Capture
    from podwire.kube.config import Access

EPILOG = """\
examples:
  podwire capture                              everywhere, until Ctrl-C
  podwire capture client node/node-1 -f 'port 80'
  podwire capture -w web.pcapng --duration 5
  podwire capture -w - | wireshark -k -i -
  podwire capture --list                       the places where packets can be recorded

Every interface of a place becomes an interface of the file, named "PLACE INTERFACE". Ctrl-C,
SIGTERM or SIGHUP ends the capture in order; the file is whole.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("place", nargs="*", metavar="PLACE", help=places.HELP + " (default: all)")
    parser.add_argument("-f", "--filter", default="", metavar="BPF", help="in tcpdump's words")
    parser.add_argument("-w", "--write", metavar="FILE", help="the file; - is standard output")
    parser.add_argument("-n", "--namespace", default="", help="the pods' namespace")
    parser.add_argument("--duration", metavar="SECONDS", help="end after so long")
    parser.add_argument("--list", action="store_true", help="list the places")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Record until Ctrl-C, or for so long; then say what was recorded."""
    duration = number(args.duration, "--duration", least=0.001) if args.duration else None
    if args.list and (args.place or args.filter or args.write or args.duration):
        raise UsageError("--list records nothing\n  leave out --list, or all but it")
    if args.write == "-" and args.output == "json":
        raise UsageError("standard output gets the packets\n  leave out -o json, or use -w FILE")
    access = session.access(args)
    from podwire.kube import capture  # noqa: PLC0415 - after all that can be wrong is checked
    from podwire.kube.plain import Connection  # noqa: PLC0415

    with Connection(access) as connection:
        if args.list:
            return _list(args, capture.points(connection))
        program = _program(args.filter)
        at = [session.place(args, access, text) for text in args.place]
        points = [place.point for place in at]
        name = args.write or f"capture-{time.strftime('%H%M%S')}.pcapng"
        if name == "-" and sys.stdout.isatty():
            raise UsageError("a capture is no text for a terminal\n  use -w FILE, or | wireshark")
        with Writer(name) as writer:
            everywhere = points or list(capture.points(connection))
            try:
                with session.naming(access, *at):
                    running = capture.started(connection, everywhere, writer.write, program=program)
            except NotFound as error:
                if hint := _hint(access):
                    raise PodwireError(f"{error.message}\n  {hint}") from error
                raise
            where = ", ".join(args.place) or "all places"
            try:
                record(running, writer, duration, said=f"capturing at {where}; Ctrl-C ends it")
            finally:
                running.close()
    if name != "-" and Path(name).is_file():  # a device or a pipe cannot be read again
        _summary(args, Path(name))
    return 0


# As of tcpdump: what was recorded so far is a whole file.
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Writer:
    """A file that is taken away again unless it is finished; devices and pipes stay."""

    def __init__(self, name: str) -> None:
        self._path = None if name == "-" else Path(name)
        self._file: BinaryIO = sys.stdout.buffer
        self._finished = False

    def __enter__(self) -> Writer:
        if self._path is not None:
            try:
                self._file = self._path.open("wb")
            except OSError as error:
                raise UsageError(f"cannot write {self._path}: {error.strerror}") from error
        return self

    def write(self, data: bytes) -> None:
        """Write and flush, so that a reader at the other end of a pipe sees packets at once."""
        with self._told():
            self._file.write(data)
            self._file.flush()

    def finish(self) -> None:
        """Close the file, which is whole now, and keep it."""
        if self._path is not None:
            with self._told():
                self._file.close()  # a full disk may show only now
            give_to_its_folder(self._path)
        self._finished = True

    def __exit__(self, *_: object) -> None:
        if self._path is None or self._finished:
            return
        with suppress(OSError):
            self._file.close()
        if self._path.is_file():
            self._path.unlink()

    @contextmanager
    def _told(self) -> Generator[None, None, None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise PodwireError(
                f"cannot write {self._path or 'standard output'}: {error.strerror}\n"
                "  make room, or record less: -f BPF, fewer places"
            ) from error


def record(running: Capture, writer: Writer, duration: float | None, *, said: str) -> None:
    """Record until Ctrl-C or another wish to end, or for *duration*; say so when that counts.

    Until the file is finished a second wish changes nothing, unless it is the same signal again.
    """
    read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    heard = [number for number in _ENDS if not _outlives_its_terminal(number)]
    before = {number: signal.signal(number, _ended_by(write_end)) for number in heard}
    note(said)
    try:
        running.record(read_end, duration)
        writer.finish()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(read_end)
        os.close(write_end)


def _outlives_its_terminal(number: int) -> bool:
    # nohup says so, and tcpdump heeds it. Not so with SIGINT, which shells have what is in the
    # background ignore: a script ends its capture by it all the same.
    return number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


def _ended_by(write_end: int) -> Callable[[int, FrameType | None], None]:
    def handler(number: int, _frame: FrameType | None) -> None:
        os.write(write_end, b"\0")
        # A second one means it.
        hard = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, hard)

    return handler


def _summary(args: argparse.Namespace, path: Path) -> None:
    from podwire.emulator.trace import pcapng  # noqa: PLC0415 - only for a finished file

    found = pcapng.decode(path.read_bytes())
    busy = len({frame.interface for frame in found.frames})
    if args.output == "json":
        say_json(
            {
                "pcap": str(path),
                "interfaces": len(found.interfaces),
                "packets": len(found.frames),
                "dropped": found.dropped,
            }
        )
        return
    for comment in found.comments:
        note(comment)  # what could not be captured, and why
    say(
        f"wrote {path} ({len(found.interfaces)} interfaces, {busy} with packets; "
        f"{len(found.frames)} packets, {found.dropped} dropped)"
    )


def _hint(access: Access) -> str:
    """Return how this cluster's pods can be captured, where they are not always."""
    from podwire.emulator import addons  # noqa: PLC0415 - for a mistake only
    from podwire.kube.plain import Connection  # noqa: PLC0415

    path = f"/api/v1/namespaces/{addons.NAMESPACE}/configmaps/{addons.NETWORK}"
    with Connection(access) as connection:
        found = connection.find(path) or {}
    return str(cast("dict[str, Any]", found.get("data") or {}).get("hint") or "")


def _program(expression: str) -> Sequence[tuple[int, int, int, int]]:
    if not expression:
        return ()
    from podwire.emulator.trace.bpf import compile_filter  # noqa: PLC0415 - loads libpcap

    return compile_filter(expression)


def _list(args: argparse.Namespace, points: dict[str, dict[str, Any]]) -> int:
    if args.output == "json":
        say_json(list(points.values()))
        return 0
    rows = [(where, ", ".join(item.get("interfaces") or [])) for where, item in points.items()]
    say_table(("PLACE", "INTERFACES"), rows)
    return 0
