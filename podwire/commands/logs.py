"""`podwire logs`: what a pod wrote, or the cluster itself."""

import argparse
import sys

from podwire.commands import session
from podwire.commands.output import number
from podwire.emulator import anchor
from podwire.errors import UsageError

EPILOG = """\
examples:
  podwire logs client
  podwire logs deploy/front        of one of its pods
  podwire logs -f kube-system/coredns-xxxxx
  podwire logs --previous --tail 20 web-7d9f
  podwire logs                     the cluster's own: what its supervisor and servers had to say
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("place", metavar="POD", nargs="?", help="POD, NAMESPACE/POD or deploy/NAME")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as more is written")
    parser.add_argument("-c", "--container", default="", help="which container of the pod")
    parser.add_argument("-n", "--namespace", default="", help="the pod's namespace")
    parser.add_argument("-p", "--previous", action="store_true", help="of the container before")
    parser.add_argument("--tail", metavar="LINES", help="only the last lines")
    parser.add_argument("--since", metavar="SECONDS", help="only what is newer")
    parser.add_argument("--timestamps", action="store_true", help="with the time of each line")


def run(args: argparse.Namespace) -> int:
    """Print them."""
    if not args.place:
        if args.container or args.namespace or _query(args):
            raise UsageError("the cluster's own log is printed whole, and once\n  name a pod")
        name = session.cluster_name(args, session.paths(args))
        sys.stdout.write(str(anchor.request(name, {"op": "log"}).get("log", "")))
        return 0
    access = session.access(args)
    place = session.place(args, access, args.place)
    if place.kind == "host":
        raise UsageError(f"{args.place} is no pod, and only pods keep logs")
    from podwire.kube.plain import Connection  # noqa: PLC0415 - after all is checked

    path = f"/api/v1/namespaces/{place.namespace}/pods/{place.name}/log"
    with session.naming(access, place), Connection(access) as connection:
        for chunk in connection.stream(path, _query(args)):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
    return 0


def _query(args: argparse.Namespace) -> dict[str, str]:
    query = {
        "container": args.container,
        "follow": "true" if args.follow else "",
        "previous": "true" if args.previous else "",
        "timestamps": "true" if args.timestamps else "",
        "tailLines": str(int(number(args.tail, "--tail"))) if args.tail else "",
        "sinceSeconds": str(int(number(args.since, "--since", least=1))) if args.since else "",
    }
    return {key: value for key, value in query.items() if value}
