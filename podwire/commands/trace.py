"""`podwire trace`: one request, captured everywhere and judged hop by hop."""

import argparse

from podwire.commands import session
from podwire.commands.output import note, number, say
from podwire.errors import UsageError
from podwire.kube import places

EPILOG = """\
examples:
  podwire trace client http://web-svc
  podwire trace client web-svc.default:80
  podwire trace shop/front kube-dns.kube-system:53/udp
  podwire trace external http://192.168.1.10:30080
  podwire trace client -- wget -qO- http://web-svc
  podwire trace client http://web-svc -o mermaid > way.mmd

exit status: 0 confirmed, 1 refuted (the first wrong hop is marked), 2 inconclusive.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("place", metavar="FROM", help=places.HELP)
    parser.add_argument("target", metavar="URL|HOST:PORT[/udp]", nargs="?", help="what to ask")
    parser.add_argument("-n", "--namespace", default="", help="the pod's namespace")
    parser.add_argument("-w", "--write", metavar="FILE", help="the packets (default: by target)")
    parser.add_argument("--no-pcap", action="store_true", help="write no packets")
    parser.add_argument("--timeout", default="10", metavar="SECONDS", help="the client's limit")
    parser.add_argument("-o", "--output", choices=("table", "json", "mermaid"), default="table")


def run(args: argparse.Namespace) -> int:
    """Trace, show, and return the verdict as exit status."""
    if bool(args.target) == bool(args.command):
        raise UsageError("trace what?\n  give either a URL, HOST:PORT[/udp], or -- COMMAND")
    limit = number(args.timeout, "--timeout", least=0.001)
    access = session.access(args)
    where = places.parse(args.place, args.namespace or access.namespace).where
    import asyncio  # noqa: PLC0415 - the judge and its loop are for this verb alone

    from podwire.emulator.trace import request  # noqa: PLC0415
    from podwire.testing import target  # noqa: PLC0415

    wanted = request.parse(args.command or [args.target])
    judged = asyncio.run(target.judged(access, where, wanted, limit=limit))
    if not args.no_pcap:
        judged = judged.write(args.write or f"{request.file_stem(wanted)}.pcapng")
    say(judged.render(args.output))
    if judged.pcap and args.output == "table":
        say(judged.written())
    elif judged.pcap:
        note(judged.written())
    return judged.exit_status
