"""Asks DNS questions from inside a pod, a node or `external`, with real packets sent there.

What sends them is the built-in client (podwire.emulator.trace.ask): a program of every pod of
`podwire up`; where pods are containers of images, their Python runs it.
"""

import asyncio
import inspect
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from podwire.emulator.trace import ask as program
from podwire.emulator.trace.clients import NOT_THERE
from podwire.emulator.trace.dnsmessage import decode
from podwire.emulator.trace.dnsquestion import DATAGRAM, Question, encode
from podwire.errors import PodwireError, TimedOut, UsageError
from podwire.kube import places, stream
from podwire.kube.config import Access
from podwire.kube.resolving import search_walk
from podwire.testing.lookups import Reply, Step, Walk, advice, read_resolv_conf
from podwire.testing.target import ApiTarget, run

Json = dict[str, Any]

BUILTIN = "builtin:ask"

# The program comes as the second line of the input, its order as the first.
_BOOT = (
    "import sys\n"
    "order, source = sys.stdin.read().split('\\n', 1)\n"
    "sys.argv[1:] = [order]\n"
    "exec(source)"
)
_GRACE = 10.0  # seconds beyond the queries' own limits, for the way to the pod and back


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: *where* is the place's name, *server* who is asked if nobody else is named.

    *about* is what that server is called.
    """

    access: Access
    path: str
    where: str
    server: str
    builtins: bool
    about: str = ""


async def asker(access: Access, place: places.Place) -> Asker:
    """Return who asks at *place*; the server is the cluster's DNS Service."""
    target = ApiTarget(access)
    wiring = await target.wiring()
    path = (
        stream.pod_path(place.namespace, place.name)
        if place.kind == "pod"
        else stream.host_path(place.name)
    )
    about = "kube-system/kube-dns"
    return Asker(access, path, place.where, str(wiring.dns), target.builtins, about)


async def ask(
    at: Asker,
    question: Question,
    *,
    server: str = "",
    tcp: bool = False,
    limit: float = 5.0,
    attempts: int = 2,
    datagram: int = DATAGRAM,
) -> Reply:
    """Return the answer of *server* (default: the cluster's DNS) to one question, as it stands.

    *limit* is for each attempt, in seconds; *datagram* what is offered to take by UDP (RFC 6891;
    0: nothing is said, which is 512). Raises UsageError if nothing there can ask, ApiError if
    the place does not exist or does not run.
    """
    servers = [server or at.server]
    order = _order([[question]], servers, limit, attempts, tcp=tcp, datagram=datagram)
    report = await _sent(at, order)
    return _replies(at, report, [[question]])[0][0]


async def walk(
    at: Asker,
    name: str,
    kinds: Sequence[str] = ("A", "AAAA"),
    *,
    server: str = "",
    tcp: bool = False,
    limit: float = 0.0,
) -> Walk:
    """Look *name* up as the resolver there would, by its own resolv.conf, step by step.

    *kinds* go out at once for each candidate, as getaddrinfo's A and AAAA do, and as glibc's they
    say nothing of EDNS. *limit*, for each attempt, is resolv.conf's own if it is 0. Raises as `ask`.
    """
    resolv = read_resolv_conf((await _sent(at, _order([], [], 1, 1)))["resolv"])
    if server:
        resolv = replace(resolv, nameservers=(server,))
    candidates = search_walk(name, resolv.search, resolv.ndots)
    rounds = [[Question(candidate, kind) for kind in kinds] for candidate in candidates]
    limit = limit or resolv.timeout
    order = _order(rounds, resolv.nameservers, limit, resolv.attempts, tcp=tcp)
    report = await _sent(at, order)
    replies = _replies(at, report, rounds)
    steps = tuple(Step(found[0].question.name, tuple(found)) for found in replies)
    done = Walk(name, at.where, resolv, candidates, steps, float(report["ms"]))
    return replace(done, hint=advice(done))


def _order(
    rounds: Sequence[Sequence[Question]],
    servers: Sequence[str],
    limit: float,
    attempts: int,
    *,
    tcp: bool = False,
    datagram: int = 0,
) -> Json:
    """Return an order; its queries have an OPT record with *datagram*, if that is not 0."""
    return {
        "rounds": [
            [
                encode(question, secrets.randbits(16), datagram=datagram).hex()
                for question in questions
            ]
            for questions in rounds
        ],
        "servers": list(servers),
        "timeout": limit,
        "attempts": attempts,
        "tcp": tcp,
    }


async def _sent(at: Asker, order: Json) -> Json:
    """Have the order carried out and return the report."""
    tries = len(order["rounds"]) * max(1, len(order["servers"])) * order["attempts"]
    whole = tries * float(order["timeout"]) + _GRACE
    try:
        async with asyncio.timeout(whole):
            return await _carried_out(at, order)
    except TimeoutError as error:
        raise TimedOut(f"{at.where} did not ask within {whole:g} s: is it paused?") from error


async def _carried_out(at: Asker, order: Json) -> Json:
    line = json.dumps(order).encode() + b"\n"
    source = line + inspect.getsource(program).encode()
    usable: list[tuple[tuple[str, ...], bytes]] = [((BUILTIN,), line)] if at.builtins else []
    usable += [((name, "-c", _BOOT), source) for name in ("python3", "python")]
    for argv, given in usable:
        done = await run(at.access, at.path, argv, given=given)
        if done.exit_code in NOT_THERE:
            continue
        if done.exit_code:
            said = done.stderr.decode(errors="replace").strip()
            raise PodwireError(f"the DNS client in {at.where} failed: {said}")
        report: Json = json.loads(done.stdout)
        return report
    raise UsageError(
        f"nothing in {at.where} can ask: its image has no Python\n"
        "  ask from a node (--from node/NODE), or from another pod"
    )


def _replies(at: Asker, report: Json, rounds: Sequence[Sequence[Question]]) -> list[list[Reply]]:
    return [
        [_reply(at, question, item) for question, item in zip(questions, items, strict=True)]
        for questions, items in zip(rounds, report["rounds"], strict=False)
    ]


def _reply(at: Asker, question: Question, item: Json) -> Reply:
    data = bytes.fromhex(item["reply"] or "")
    message = decode(data) if data else None
    error = str(item["error"])
    if data and message is None:
        error = "a reply that is no DNS message"
    return Reply(
        question=question,
        where=at.where,
        server=item["server"],
        transport=item["transport"] or "UDP",
        message=message,
        ms=item["ms"],
        size=len(data),
        sent=item["tries"],
        cut=item["cut"],
        error=error,
        about=at.about if item["server"] == at.server else "",
    )
