"""`podwire trace`: one request, captured everywhere and judged hop by hop."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from podwire.commands import session
from podwire.commands.output import drop_output, give_to_its_folder, note, number, say
from podwire.errors import ApiError, NotRunning, PodwireError, UnreachableError, UsageError
from podwire.kube import places

if TYPE_CHECKING:
    from podwire.emulator.trace.trace import Trace

EPILOG = """\
examples:
  podwire trace client http://web-svc
  podwire trace client web-svc.default:80
  podwire trace deploy/front kube-dns.kube-system:53/udp
  podwire trace external http://192.168.1.10:30080
  podwire trace client -- wget -qO- http://web-svc
  podwire trace client http://web-svc -o mermaid > way.mmd

exit status: 0 confirmed, 1 refuted (the first wrong hop is marked), 2 inconclusive; without a
verdict 64 (what was asked makes no sense), 69 (no cluster answers) or 70 (a fault of podwire).
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.usage = "%(prog)s [options] FROM (URL | HOST:PORT[/udp] | -- COMMAND...)"
    parser.add_argument("place", metavar="FROM", help=places.FROM)
    parser.add_argument("target", metavar="URL|HOST:PORT[/udp]", nargs="?", help="what to ask")
    parser.add_argument("-n", "--namespace", default="", help="the pod's namespace")
    parser.add_argument("-w", "--write", metavar="FILE", help="the packets (default: by target)")
    parser.add_argument("--no-pcap", action="store_true", help="write no packets")
    parser.add_argument("--timeout", default="10", metavar="SECONDS", help="the client's limit")
    parser.add_argument("-o", "--output", choices=("table", "json", "mermaid"), default="table")


def run(args: argparse.Namespace) -> int:
    """Trace, show, and return the verdict as exit status."""
    try:
        judged, stem = _judged(args)
    except PodwireError as error:
        error.exit_status = status_without_verdict(error)
        raise
    unwritten = ""
    if not args.no_pcap:
        try:
            judged = judged.write(args.write or f"{stem}.pcapng")
            give_to_its_folder(Path(judged.pcap))
        except PodwireError as error:
            unwritten = f"podwire: {error}"  # the verdict stands without the file
    try:
        _show(judged, args.output)
    except OSError as error:
        drop_output()
        if not isinstance(error, BrokenPipeError):  # | head has seen enough; the verdict stands
            note(f"podwire: cannot write standard output: {error.strerror}")
    if unwritten:
        note(unwritten)
    return judged.exit_status


def status_without_verdict(error: PodwireError) -> int:
    """Return the exit status of a trace that failed: never 0, 1 or 2, which are verdicts."""
    if error.exit_status > 2:
        return error.exit_status
    if isinstance(error, NotRunning | UnreachableError):
        return 69
    if isinstance(error, ApiError):
        return 69 if error.code >= 500 else 64
    return 70


def _judged(args: argparse.Namespace) -> tuple[Trace, str]:
    """Return the trace, and what its file is called."""
    if bool(args.target) == bool(args.command):
        raise UsageError("trace what?\n  give either a URL, HOST:PORT[/udp], or -- COMMAND")
    if args.write and args.no_pcap:
        raise UsageError("-w and --no-pcap exclude each other")
    limit = number(args.timeout, "--timeout", least=0.001)
    access = session.access(args)
    where = session.place(args, access, args.place).where
    import asyncio  # noqa: PLC0415 - the judge and its loop are for this verb alone

    from podwire.emulator.trace import request  # noqa: PLC0415
    from podwire.testing import target  # noqa: PLC0415

    wanted = request.Command(tuple(args.command)) if args.command else request.parse(args.target)
    judged = asyncio.run(target.judged(access, where, wanted, limit=limit))
    return judged, request.file_stem(wanted)


def _show(judged: Trace, form: str) -> None:
    say(judged.render(form))
    if judged.pcap and form == "table":
        say(judged.written())
    sys.stdout.flush()
    if judged.pcap and form != "table":
        note(judged.written())
