"""`podwire exec`: run a command somewhere in the cluster; its exit status becomes ours."""

import argparse
import sys

from podwire.commands import session
from podwire.errors import UsageError
from podwire.kube import places

EPILOG = """\
examples:
  podwire exec client -- curl -s http://web-svc
  podwire exec -it client -- sh
  podwire exec shop/db-0 -c sidecar -- env
  podwire exec deploy/front -- env        in one of its pods, as kubectl does
  podwire exec node/node-2 -- ip route
  podwire exec external -- curl -s http://192.168.1.10:30080
  echo hello | podwire exec -i client -- cat

exit status: the command's own; 126 if it could not be run.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.usage = "podwire exec [options] PLACE -- COMMAND..."
    parser.add_argument("place", metavar="PLACE", help=places.HELP)
    parser.add_argument("-i", "--stdin", action="store_true", help="pass standard input on")
    parser.add_argument("-t", "--tty", action="store_true", help="give the command a terminal")
    parser.add_argument("-c", "--container", default="", help="which container of the pod")
    parser.add_argument("-n", "--namespace", default="", help="the pod's namespace")


def run(args: argparse.Namespace) -> int:
    """Run it and return its exit status."""
    if not args.command:
        raise UsageError("a command is missing\n  podwire exec PLACE -- COMMAND...")
    return attach(args, args.command)


def attach(args: argparse.Namespace, command: list[str]) -> int:
    """Run *command* at args.place with our standard streams; return its exit status."""
    access = session.access(args)
    place = session.place(args, access, args.place)
    if place.kind == "host" and args.container:
        raise UsageError(f"{args.place} has no containers; leave out -c")
    if args.tty and not args.stdin:
        raise UsageError("a terminal needs its input too\n  use -it")
    # As kubectl: -t without a terminal goes on without one, so that a script may use -it.
    terminal = args.tty and sys.stdin.isatty()
    from podwire.kube import stream  # noqa: PLC0415 - after all that can be wrong is checked
    from podwire.kube.plain import Connection  # noqa: PLC0415

    path = (
        stream.pod_path(place.namespace, place.name)
        if place.kind == "pod"
        else stream.host_path(place.name)
    )
    with session.naming(access, place), Connection(access) as connection:
        socket = stream.opened(
            connection,
            path,
            command,
            container=args.container,
            stdin=args.stdin,
            terminal=terminal,
        )
        try:
            stdin = sys.stdin.fileno() if args.stdin else None
            return stream.attached(socket, stdin=stdin, terminal=terminal)
        finally:
            socket.close()
