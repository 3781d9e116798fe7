"""`podwire down`: end clusters; their contexts go too."""

import argparse
from pathlib import Path

from podwire.commands import session
from podwire.commands.output import say
from podwire.emulator import anchor, kubeconfig
from podwire.errors import NotRunning, PodwireError, UsageError

EPILOG = """\
examples:
  podwire down                 end the cluster in use
  podwire down --name blue     end that one
  podwire down --all           end all of yours

What does not run is fine: exit status 0, so that a clean-up step may run twice.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--all", action="store_true", help="end all clusters of this user")


def run(args: argparse.Namespace) -> int:
    """End what was asked for and return when it is gone."""
    if args.all and (args.name or args.context):
        raise UsageError("--all and --name exclude each other")
    files = session.paths(args)
    names = anchor.running() if args.all else [session.cluster_name(args, files)]
    failed = list[PodwireError]()
    for name in names:
        try:
            _end(name, files)
        except PodwireError as error:
            failed.append(error)  # the others are ended all the same
    session.prune(files)
    if failed:
        raise type(failed[0])("\n".join(map(str, failed)))
    if not names:
        say("no cluster runs")
    return 0


def _end(name: str, files: list[Path]) -> None:
    try:
        kept = anchor.request(name, {"op": "status"}).get("kubeconfig")
        anchor.request(name, {"op": "stop"})
        say(f'cluster "{name}" is down')
    except NotRunning:
        kept = None
        say(f'cluster "{name}" does not run')
    for path in {*files, *([Path(kept)] if kept else [])}:
        kubeconfig.remove(path, name)
