"""`podwire ls`: the clusters of this user."""

import argparse
import time
from typing import Any

from podwire.commands import session
from podwire.commands.output import age, note, say, say_json, say_table
from podwire.emulator import anchor, kubeconfig
from podwire.errors import NotRunning, TimedOut

Json = dict[str, Any]

EPILOG = """\
examples:
  podwire ls
  podwire ls -o json | jq -r '.[].server'
  podwire ls -o name
  podwire ls --name blue -o json           that one, if it runs
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("-o", "--output", choices=("text", "json", "name"), default="text")


def run(args: argparse.Namespace) -> int:
    """List them, or the one that is named."""
    files = session.paths(args)
    session.prune(files)
    wanted = session.cluster_name(args, files) if args.name or args.context else ""
    clusters, hanging = list[Json](), list[str]()
    for name in anchor.running():
        if wanted not in ("", name):
            continue
        try:
            status = anchor.request(name, {"op": "status"})
        except NotRunning:
            continue  # it ended just now
        except TimedOut as error:
            hanging.append(str(error))  # the others are listed all the same
            continue
        clusters.append({**status, "context": kubeconfig.context_name(name)})
    if args.output == "json":
        say_json(clusters)
    elif args.output == "name":
        for cluster in clusters:
            say(str(cluster["name"]))
    elif not clusters and not hanging:
        if wanted:
            note(f"cluster {wanted!r} does not run")
        else:
            say("no cluster runs; start one: podwire up")
    else:
        say_table(("NAME", "NODES", "SERVER", "CONTEXT", "AGE"), [_row(one) for one in clusters])
    if hanging:
        raise TimedOut("\n".join(hanging))
    return 0


def _row(cluster: Json) -> tuple[str, ...]:
    return (
        str(cluster["name"]),
        str(len(cluster["nodes"])),
        str(cluster.get("server", "")),
        str(cluster["context"]),
        age(time.time() - float(cluster["started"])),
    )
