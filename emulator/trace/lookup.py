"""Pure: what a client asked cluster DNS, and whether the answers are right and came the right way.

Every question of the walk along the search path is a hop; the one that decides is followed to the
DNS pod and back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from podwire.emulator.trace import reasons, resolve
from podwire.emulator.trace.case import Case, candidates_of, literal
from podwire.emulator.trace.choice import Outcome
from podwire.emulator.trace.dnsmessage import DnsMessage
from podwire.emulator.trace.expect import route, visible
from podwire.emulator.trace.follow import follow
from podwire.emulator.trace.frames import Packet
from podwire.emulator.trace.hops import Finding, Hop, packet_hop
from podwire.emulator.trace.join import Sightings
from podwire.emulator.trace.request import Command


@dataclass(frozen=True, slots=True)
class Lookup:
    """How the names went: the finding, the addresses that came, and whether anything was asked."""

    finding: Finding
    addresses: frozenset[IPv4Address] = frozenset()
    asked: bool = False


_Question = tuple[Packet, DnsMessage, Packet | None]


def look_up(case: Case, sightings: Sightings) -> Lookup:
    """Judge all questions for addresses that the request asked."""
    request = case.request
    host = None if isinstance(request, Command) else request.host
    address = literal(host) if host is not None else None
    if address is not None:
        return Lookup(Finding("confirmed", ()), frozenset({address}))
    names = None if host is None else frozenset(candidates_of(case, host))
    questions = _questions(case, sightings, names)
    hops: list[Hop] = []
    hidden: tuple[str, ...] = ()
    found: frozenset[IPv4Address] = frozenset()
    for number, (packet, question, answer) in enumerate(questions):
        message = answer.core.dns if answer is not None else None
        if answer is None or message is None:
            return Lookup(_unanswered(case, sightings, packet, hops))
        wanted = resolve.answer(case.snapshot, question.name, case.wiring)
        expected = "" if wanted.code == "elsewhere" else str(wanted)
        last = number == len(questions) - 1
        if last and (message.addresses or host is None):
            walked = _ask(case, sightings, packet)
            if walked.word != "confirmed":
                return Lookup(replace(walked, hops=(*hops, *walked.hops)))
            hidden = walked.not_captured
            hops += [_answers(hop, answer, expected) for hop in walked.hops]
        else:
            hops.append(packet_hop(packet, "dns"))
            hops.append(packet_hop(answer, "dns", expected=expected))
        if not _fits(message, wanted):
            wrong = _wrong_answer(case, hops, question, message, wanted)
            return Lookup(replace(wrong, not_captured=hidden))
        found |= frozenset(message.addresses)
    if host is not None and questions and not found:
        return Lookup(_no_such_name(case, host, hops, [q.name for _, q, _ in questions]))
    answered = Finding("confirmed", tuple(hops), "answered", not_captured=hidden)
    return Lookup(answered, found, bool(questions))


def _questions(case: Case, sightings: Sightings, names: frozenset[str] | None) -> list[_Question]:
    """Return each name's question for IPv4 addresses with its answer.

    Of a repeated question that is the last one before the answer; without an answer, the first.
    """
    found: dict[str, _Question] = {}
    for packet in sightings.sent_by(case.source, case.wiring):
        core = packet.core
        if core.protocol != "UDP" or core.dport != 53:
            continue
        message = core.dns
        if message is None or message.is_answer or message.kind != "A":
            continue
        name = message.name.lower()
        if names is not None and name not in names:
            continue
        answer = _answer_to(sightings, packet, message)
        if name not in found or (answer is not None and _before_answer(packet, found[name])):
            found[name] = (packet, message, answer)
    return list(found.values())


def _before_answer(packet: Packet, known: _Question) -> bool:
    """Return whether *packet* repeats a question that had no answer yet when it was sent."""
    return known[2] is None or packet.time_ns < known[2].time_ns


def _answer_to(sightings: Sightings, packet: Packet, message: DnsMessage) -> Packet | None:
    for reply in sightings.answers(packet.where, packet.core.flow, packet.time_ns):
        said = reply.core.dns
        if said is not None and said.is_answer and said.id == message.id and said.kind == "A":
            return reply
    return None


def _ask(case: Case, sightings: Sightings, packet: Packet) -> Finding:
    core = packet.core
    path = route(case.snapshot, case.wiring, case.source, core.dst, core.dport, "UDP")
    path = visible(path, case.snapshot, case.wiring, sightings.places)
    return follow(sightings, case.snapshot, path, packet, "dns")


def _answers(hop: Hop, answer: Packet, expected: str) -> Hop:
    return replace(hop, expected=expected) if hop.packet is answer else hop


def _unanswered(case: Case, sightings: Sightings, packet: Packet, hops: list[Hop]) -> Finding:
    walked = _ask(case, sightings, packet)
    message = packet.core.dns
    name = message.name if message else ""
    if walked.word == "confirmed":
        # Another question on the same socket was answered; this one was not.
        walked = replace(
            walked, word="refuted", outcome="timed out", reason=f"{name} was not answered",
            wrong=walked.hops[-1],
        )  # fmt: skip
    reason = f"cluster DNS: {walked.reason}" if walked.word == "refuted" else walked.reason
    return replace(walked, hops=(*hops, *walked.hops), reason=reason)


def _fits(message: DnsMessage, wanted: resolve.Answer) -> bool:
    if wanted.code == "elsewhere":
        return True
    if wanted.addresses:
        # A long answer may be cut off (RFC 2181, 9): part of it is still right.
        return bool(message.addresses) and set(message.addresses) <= wanted.addresses
    code = "NXDOMAIN" if wanted.code == "NXDOMAIN" else "NOERROR"
    return message.rcode == code and not message.addresses


def _wrong_answer(
    case: Case,
    hops: Sequence[Hop],
    question: DnsMessage,
    message: DnsMessage,
    wanted: resolve.Answer,
) -> Finding:
    of = f" (Service {wanted.service})" if wanted.service else ""
    said = message.summary()
    reason = f"cluster DNS answered {said} for {question.name}; the objects say {wanted}{of}"
    outcome: Outcome = "answered" if message.addresses else "no such name"
    return Finding("refuted", tuple(hops), outcome, reason, hops[-1])


def _no_such_name(case: Case, host: str, hops: Sequence[Hop], asked: list[str]) -> Finding:
    missing = [n for n in candidates_of(case, host) if n not in {a.lower() for a in asked}]
    if missing and case.report.timed_out:
        reason = f"the client gave up before it asked for {missing[0]}"
        return Finding("refuted", tuple(hops), "timed out", reason, hops[-1])
    pod = case.snapshot.pod(case.source.pod)
    namespace = pod.metadata.namespace if pod else "default"
    reason = reasons.unknown_name(case.snapshot, host, namespace, asked)
    return Finding("refuted", tuple(hops), "no such name", reason, hops[-1])
