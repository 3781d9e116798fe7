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
from podwire.emulator.trace import nearest
from podwire.emulator.trace.clients import NOT_THERE, not_running
from podwire.emulator.trace.dnsmessage import decode
from podwire.emulator.trace.dnsquestion import DATAGRAM, Question, encode
from podwire.emulator.trace.snapshot import Snapshot
from podwire.errors import NotFound, PodwireError, TimedOut, UsageError
from podwire.kube import meant, places, stream
from podwire.kube.config import Access
from podwire.kube.resolving import search_walk
from podwire.testing import lookup_hints as hints
from podwire.testing.lookups import Reply, ResolvConf, Step, Walk, read_resolv_conf
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

    *namespace* is the one of names without one; *pod* is empty for a node and for `external`.
    """

    target: ApiTarget
    access: Access
    path: str
    where: str
    server: str
    namespace: str
    pod: str
    domain: str

    async def objects_for(self, found: Reply | Walk) -> Snapshot | None:
        """Return the cluster's objects if they can say why nothing was found."""
        if not hints.needs_objects(found, self.domain):
            return None
        return await self.target.objects()


async def asker(access: Access, place: places.Place) -> Asker:
    """Return who asks at *place*; the server is the cluster's DNS Service."""
    target = ApiTarget(access)
    wiring = await target.wiring()
    path = (
        stream.pod_path(place.namespace, place.name)
        if place.kind == "pod"
        else stream.host_path(place.name)
    )
    return Asker(
        target=target,
        access=access,
        path=path,
        where=place.where,
        server=str(wiring.dns),
        namespace=place.namespace or access.namespace,
        pod=place.where if place.kind == "pod" else "",
        domain=wiring.domain,
    )


@dataclass(frozen=True, slots=True)
class Way:
    """Whom to ask and how: *server* is an address, by default the one that the place would ask.

    *limit* is for each attempt, in seconds; 0 for the usual one.
    """

    server: str = ""
    port: int = 53
    tcp: bool = False
    limit: float = 0.0


USUAL = Way()


async def ask(at: Asker, question: Question, way: Way = USUAL) -> Reply:
    """Return what the cluster's DNS, or another server, answers to one question, as it stands.

    A name without a dot at its end is whole all the same: dig does not search either. As dig's, the
    query offers to take a datagram of 1232 bytes (RFC 6891), and is sent twice, 5 s apart, at most.
    Raises UsageError if nothing there can ask, ApiError if there is no such place, TimedOut.
    """
    given = question.name
    question = Question(given.removesuffix(".") + ".", question.kind)
    resolv = ResolvConf(nameservers=(way.server or at.server,))
    report = await _sent(at, _order([[question]], resolv, way, datagram=DATAGRAM))
    reply = _replies(at, report, [[question]], way)[0][0]
    hint = hints.of_reply(
        reply,
        given,
        pod=at.pod or "POD",
        namespace=at.namespace,
        domain=at.domain,
        objects=await at.objects_for(reply),
    )
    return replace(reply, hint=hint)


async def walk(
    at: Asker, name: str, kinds: Sequence[str] = ("A", "AAAA"), way: Way = USUAL
) -> Walk:
    """Look *name* up as the resolver there would, by its own resolv.conf, step by step.

    *kinds* go out at once for each candidate, as getaddrinfo's A and AAAA do, and as glibc's they
    say nothing of EDNS. It raises what `ask` does.
    """
    resolv = read_resolv_conf((await _sent(at, _order([], ResolvConf(), way)))["resolv"])
    if way.server:
        resolv = replace(resolv, nameservers=(way.server,))
    candidates = search_walk(name, resolv.search, resolv.ndots)
    rounds = [[Question(candidate, kind) for kind in kinds] for candidate in candidates]
    alone = f"{name}."
    order = _order(rounds, resolv, way) | {
        "persist": True,
        "alone": candidates.index(alone) if alone in candidates else -1,
    }
    report = await _sent(at, order)
    numbers: list[int] = report["numbers"]
    replies = _replies(at, report, [rounds[number] for number in numbers], way)
    steps = tuple(Step(found[0].question.name, tuple(found)) for found in replies)
    done = Walk(name, at.where, resolv, candidates, steps, float(report["ms"]))
    objects = await at.objects_for(done)
    hint = hints.of_walk(done, namespace=at.namespace, domain=at.domain, objects=objects)
    return replace(done, hint=hint)


def _order(
    rounds: Sequence[Sequence[Question]], resolv: ResolvConf, way: Way, *, datagram: int = 0
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
        "servers": list(resolv.nameservers),
        "port": way.port,
        "timeout": way.limit or resolv.timeout,
        "attempts": resolv.attempts,
        "tcp": way.tcp or resolv.tcp,
    }


async def _sent(at: Asker, order: Json) -> Json:
    """Have the order carried out and return the report."""
    tries = len(order["rounds"]) * max(1, len(order["servers"])) * order["attempts"]
    whole = tries * float(order["timeout"]) + _GRACE
    try:
        async with asyncio.timeout(whole):
            return await _carried_out(at, order)
    except NotFound as error:
        raise await _nobody(at) from error
    except TimeoutError as error:
        raise TimedOut(f"{at.where} did not ask within {whole:g} s: is it paused?") from error


async def _nobody(at: Asker) -> NotFound:
    """Return that nobody of that name is there, with who may have been meant."""
    objects = await at.target.objects()
    if not at.pod:
        near = nearest.did_you_mean(at.where, (node.metadata.name for node in objects.nodes))
        return NotFound(404, "NotFound", f'nodes "{at.where}" not found{near}')
    name = at.pod.partition("/")[2]
    known = ((pod.metadata.namespace, pod.metadata.name) for pod in objects.pods)
    near = meant.suggestion(name, at.namespace, known)
    return NotFound(404, "NotFound", f'pods "{name}" not found{near}')


async def _carried_out(at: Asker, order: Json) -> Json:
    line = json.dumps(order).encode() + b"\n"
    source = line + inspect.getsource(program).encode()
    usable = list[tuple[tuple[str, ...], bytes]]()
    if at.target.builtins:
        usable.append(((BUILTIN,), line))
    usable += [((name, "-c", _BOOT), source) for name in ("python3", "python")]
    for argv, given in usable:
        done = await run(at.access, at.path, argv, given=given)
        said = done.stderr.decode(errors="replace").strip()
        if done.exit_code in NOT_THERE:
            down = not_running(at.where, said)
            if down is not None:
                raise down
            continue
        if done.exit_code:
            raise PodwireError(f"the DNS client in {at.where} failed: {said}")
        report: Json = json.loads(done.stdout)
        return report
    raise UsageError(
        f"nothing in {at.where} can ask: its image has no Python\n"
        "  ask from a node (--from node/NODE), or from another pod"
    )


def _replies(
    at: Asker, report: Json, rounds: Sequence[Sequence[Question]], way: Way
) -> list[list[Reply]]:
    return [
        [_reply(at, question, item, way) for question, item in zip(questions, items, strict=True)]
        for questions, items in zip(rounds, report["rounds"], strict=True)
    ]


def _reply(at: Asker, question: Question, item: Json, way: Way) -> Reply:
    data = bytes.fromhex(item["reply"] or "")
    message = decode(data) if data else None
    error = str(item["error"])
    if data and message is None:
        error = "a reply that is no DNS message"
    return Reply(
        question=question,
        where=at.where,
        server=item["server"],
        port=way.port,
        transport=item["transport"] or ("TCP" if way.tcp else "UDP"),
        message=message,
        ms=item["ms"],
        size=len(data),
        sent=item["tries"],
        cut=item["cut"],
        error=error,
        about="kube-system/kube-dns" if item["server"] == at.server else "",
    )
