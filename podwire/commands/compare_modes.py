"""`podwire compare-modes`: one request in several modes of the proxy, side by side."""

import argparse
import shutil

from podwire.commands import session
from podwire.commands.output import note, number, say, say_json
from podwire.commands.trace import status_without_verdict
from podwire.errors import PodwireError, UsageError
from podwire.kube import places

EPILOG = """\
examples:
  podwire compare-modes client http://web-svc
  podwire compare-modes external http://192.168.1.10:30080 --modes userspace,nftables
  podwire compare-modes client web-svc:81 -o json

It switches the cluster: it edits the ConfigMap kube-system/kube-proxy, restarts the proxies as
`kubectl rollout restart` does, traces, and puts the mode back that the cluster had, after Ctrl-C,
too. Connections that are open meanwhile may break.

exit status: that of the worst trace (0 confirmed, 1 refuted, 2 inconclusive); 64, 69, 70 as trace.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("place", metavar="FROM", help=places.FROM)
    parser.add_argument("target", metavar="URL|HOST:PORT[/udp]", help="what to ask")
    parser.add_argument("-n", "--namespace", default="", help="the pod's namespace")
    parser.add_argument("--modes", default="", metavar="A,B,...", help="which (default: all)")
    parser.add_argument("--timeout", default="10", metavar="SECONDS", help="the client's limit")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Compare, show, and return the worst verdict as exit status."""
    limit = number(args.timeout, "--timeout", least=0.001)
    access = session.access(args)
    where = session.place(args, access, args.place).where
    import asyncio  # noqa: PLC0415 - the judge and its loop are for this verb alone

    from podwire.emulator.trace import request  # noqa: PLC0415
    from podwire.kube.proxy_modes import MODES  # noqa: PLC0415
    from podwire.testing import modes  # noqa: PLC0415

    wanted = request.parse(args.target)
    names = [word.strip() for word in args.modes.split(",") if word.strip()] or list(MODES)
    if args.modes and set(names) - set(MODES):
        raise UsageError(f"--modes {args.modes}?\n  modes: {', '.join(MODES)}")
    try:
        found = asyncio.run(
            modes.compared(access, where, wanted, modes=names, limit=limit, told=note)
        )
    except PodwireError as error:
        error.exit_status = status_without_verdict(error)
        raise
    if args.output == "json":
        say_json(found.document())
    else:
        say(found.render(shutil.get_terminal_size((96, 24)).columns))
    return found.exit_status
