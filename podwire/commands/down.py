"""`podwire down`: end clusters; their contexts go too."""

import argparse
from pathlib import Path

from podwire.commands import session
from podwire.commands.output import say
from podwire.emulator import anchor, kubeconfig
from podwire.errors import NotRunning, TimedOut, UsageError

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
    hanging = list[str]()
    for name in names:
        try:
            say(_end(name, files))
        except TimedOut as error:
            hanging.append(str(error))  # the others are ended all the same
    session.prune(files)
    if hanging:
        raise TimedOut("\n".join(hanging))
    if not names:
        say("no cluster runs")
    return 0


def _end(name: str, files: list[Path]) -> str:
    try:
        kept = anchor.request(name, {"op": "status"}).get("kubeconfig")
        anchor.request(name, {"op": "stop"})
        text = f'cluster "{name}" is down'
    except NotRunning:
        kept, text = None, f'cluster "{name}" does not run'
    for path in {*files, *([Path(kept)] if kept else [])}:
        kubeconfig.remove(path, name)
    return text
