"""`podwire shell`: exec -it with a shell."""

import argparse
import importlib
import sys

from podwire.errors import UsageError
from podwire.kube import places

EPILOG = """\
examples:
  podwire shell client
  podwire shell node/node-1        then: ip addr; nft list ruleset; cat /etc/cni/net.d/*
  podwire shell external

exit status: that of the shell.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("place", metavar="PLACE", help=places.HELP)
    parser.add_argument("-c", "--container", default="", help="which container of the pod")
    parser.add_argument("-n", "--namespace", default="", help="the pod's namespace")
    parser.add_argument("--shell", default="", help="which shell (default: bash, else sh)")


def run(args: argparse.Namespace) -> int:
    """Open it and return its exit status."""
    if not sys.stdin.isatty():
        raise UsageError(
            "a shell needs a terminal\n  for a script: podwire exec -i PLACE -- sh < script"
        )
    args.stdin = args.tty = True
    # bash where the place has one: editing and history are what a shell is opened for.
    default = ["sh", "-c", "command -v bash >/dev/null && exec bash || exec sh"]
    # `exec` is a word of Python's, which an import statement would stumble over.
    verb = importlib.import_module("podwire.commands.exec")
    status: int = verb.attach(args, [args.shell] if args.shell else default)
    return status
