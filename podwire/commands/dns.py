"""`podwire dns query`: ask DNS from inside a pod, as dig does or as the pod's own resolver does."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from podwire.commands import session
from podwire.commands.output import number, say, say_json
from podwire.commands.trace import status_without_verdict
from podwire.emulator.trace import dnsquestion
from podwire.emulator.trace.dnsquestion import Question
from podwire.errors import PodwireError, UsageError
from podwire.kube import places

if TYPE_CHECKING:
    from podwire.kube.config import Access
    from podwire.testing.asking import Way
    from podwire.testing.lookups import Reply, Walk

EPILOG = """\
examples:
  podwire dns query web-svc.default.svc.cluster.local
  podwire dns query web-svc --from client --walk           what the pod's resolver asks, and pays
  podwire dns query www.example.com --from client --walk   why a name takes eight queries
  podwire dns query _http._tcp.web.default.svc.cluster.local SRV
  podwire dns query -x 10.96.0.10 --short
  podwire dns query kubernetes.default.svc.cluster.local @10.244.1.3 --tcp -o json

A name is asked as it stands, as dig does; --walk does what the place's own /etc/resolv.conf says.
Without --from, a node asks. Without --server, it is the cluster's DNS, Service kube-dns.

exit status: 0 data came; 1 there is none (NXDOMAIN, NODATA); 2 the server fails (SERVFAIL,
REFUSED...) or cannot be reached; 124 no reply came in time; without an outcome 64 (what was asked
makes no sense), 69 (no cluster answers) or 70 (a fault of podwire).
"""

Json = dict[str, Any]

_WHAT = ("query",)


@dataclass(frozen=True, slots=True)
class Words:
    """What the words behind `query` mean."""

    name: str
    kind: str = ""
    server: str = ""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.usage = "%(prog)s query [options] (NAME [TYPE] [@SERVER] | -x ADDRESS)"
    parser.add_argument("what", choices=_WHAT)
    parser.add_argument(
        "words", nargs="*", metavar="NAME [TYPE]", help="what to ask; TYPE is A if it is left out"
    )
    parser.add_argument("--from", dest="place", metavar="PLACE", default="", help=places.HELP)
    parser.add_argument("-n", "--namespace", default="", help="the pod's namespace")
    parser.add_argument(
        "--walk", action="store_true", help="look it up as the pod does, and show each query"
    )
    parser.add_argument("-x", dest="reverse", metavar="ADDRESS", help="ask for an address's name")
    parser.add_argument("--server", metavar="ADDRESS", default="", help="ask this one")
    parser.add_argument("-p", "--port", metavar="PORT", default="53", help="the server's port (53)")
    parser.add_argument("--tcp", action="store_true", help="ask over TCP")
    parser.add_argument("--short", action="store_true", help="print the answer's values only")
    parser.add_argument(
        "--timeout", metavar="SECONDS", default="", help="the limit of each of two tries (5)"
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Ask, show what came, and return the status that it deserves."""
    try:
        return _asked_and_shown(args)
    except PodwireError as error:
        # 1 says that the name does not exist, and only that.
        error.exit_status = status_without_verdict(error)
        raise


def _asked_and_shown(args: argparse.Namespace) -> int:
    words = wanted(args.words, args.reverse or "", args.server)
    if args.walk and args.reverse:
        raise UsageError("a reverse name is whole, and nothing walks\n  leave out --walk")
    if args.short and args.output == "json":
        raise UsageError("--short is text\n  leave out --short or -o json")
    limit = number(args.timeout, "--timeout", least=0.001) if args.timeout else 0.0
    port = _port(args.port)
    access = session.access(args)
    import asyncio  # noqa: PLC0415 - after all that can be wrong is checked

    from podwire.testing.asking import Way  # noqa: PLC0415
    from podwire.testing.lookup_text import as_json  # noqa: PLC0415
    from podwire.testing.lookups import exit_status  # noqa: PLC0415

    place = _place(args, access)
    way = Way(server=words.server, port=port, tcp=args.tcp, limit=limit)
    found = asyncio.run(_asked(access, place, words, way, walks=args.walk))
    if args.output == "json":
        say_json(as_json(found))
    elif args.short:
        for value in found.values:
            say(value)
    else:
        say(str(found))
    return exit_status(found)


def wanted(given: list[str], reverse: str, server: str) -> Words:
    """Return what the words mean, in any order as dig takes them; raises UsageError."""
    words = [word for word in given if not word.startswith("@")]
    servers = [word[1:] for word in given if word.startswith("@")] + [server] * bool(server)
    if len(servers) > 1:
        raise UsageError(f"one server, please, not {' and '.join(servers)}")
    if any(word.startswith("+") for word in words):
        raise UsageError(f"dig's +options have two dashes here\n  {_options(words)}")
    kind = ""
    if len(words) > 1 or reverse:
        # Of two words that could both be a type, the last one is: a Service may be called "any".
        last = [nth for nth, word in enumerate(words) if dnsquestion.kind_of(word)]
        if last:
            kind = str(dnsquestion.kind_of(words.pop(last[-1])))
    if reverse and not words:
        return Words(dnsquestion.reverse_name(reverse), kind or "PTR", _address(servers))
    if reverse:
        raise UsageError(f"either a name or -x, not both: {words[0]}, {reverse}")
    if not words:
        raise UsageError("ask for what?\n  podwire dns query NAME [TYPE]")
    if not words[0]:
        raise UsageError("an empty name is no name; the root is written .")
    transfer = next((w for w in words[1:] if w.upper() in ("AXFR", "IXFR")), "").upper()
    if transfer:
        raise UsageError(
            f"{transfer} hands out a whole zone, and this asks single questions\n"
            f"  podwire exec POD -- dig {words[0]} {transfer}"
        )
    if len(words) == 2:
        raise UsageError(
            f"neither {words[0]!r} nor {words[1]!r} is a type of record\n"
            f"  types: {dnsquestion.kinds()}"
        )
    if len(words) > 2:
        raise UsageError(f"one name and one type, please, not {' '.join(words)}")
    dnsquestion.wire_name(words[0])
    return Words(words[0], kind, _address(servers))


def _options(words: list[str]) -> str:
    known = {"+tcp": "--tcp", "+short": "--short", "+search": "--walk"}
    return ", ".join(f"{w}: {known.get(w, 'there is none')}" for w in words if w.startswith("+"))


def _port(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 65535):
        raise UsageError(f"--port: {text} is no port\n  examples: 53, 1053")
    return int(text)


def _address(servers: list[str]) -> str:
    if not servers:
        return ""
    from ipaddress import ip_address  # noqa: PLC0415 - only for this

    try:
        return str(ip_address(servers[0]))
    except ValueError as error:
        raise UsageError(
            f"the server {servers[0]!r} is no address\n"
            f"  its address: podwire dns query {servers[0]}"
        ) from error


def _place(args: argparse.Namespace, access: Access) -> places.Place:
    """Return who asks: without --from, the first node that is ready."""
    if args.place:
        return session.place(args, access, args.place)
    from podwire.kube.plain import Connection  # noqa: PLC0415

    with Connection(access) as connection:
        nodes = cast("list[Json]", connection.get("/api/v1/nodes").get("items") or [])
    ready = [str(node["metadata"]["name"]) for node in nodes if _is_ready(node)]
    if not ready:
        raise UsageError("no node is ready to ask\n  choose who asks: --from POD")
    return places.Place("host", ready[0])


def _is_ready(node: Json) -> bool:
    conditions = cast("list[Json]", node.get("status", {}).get("conditions") or [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


async def _asked(
    access: Access, place: places.Place, words: Words, way: Way, *, walks: bool
) -> Reply | Walk:
    from podwire.testing import asking  # noqa: PLC0415

    at = await asking.asker(access, place)
    if walks:
        kinds = (words.kind,) if words.kind else ("A", "AAAA")
        return await asking.walk(at, words.name, kinds, way)
    return await asking.ask(at, Question(words.name, words.kind or "A"), way)
