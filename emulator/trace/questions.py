"""Pure: the questions for addresses that a client sent, each with what it learned in the end."""

from collections import Counter, defaultdict
from dataclasses import dataclass, replace

from podwire.emulator.trace.case import Case, candidates_of
from podwire.emulator.trace.dnsmessage import DnsMessage, of_stream
from podwire.emulator.trace.frames import Packet
from podwire.emulator.trace.join import Sightings
from podwire.emulator.trace.naming import NameStep
from podwire.emulator.trace.snapshot import key


@dataclass(frozen=True, slots=True)
class Question:
    """A question for IPv4 addresses, with the packets of its answer.

    *packet* is the datagram or, of a client that asks over TCP at once, the SYN. *message* is what
    the client knows in the end. *opening* is the SYN of the connection on which
    it asked again because *answer* was truncated, *told* the packet that brought that answer.
    """

    packet: Packet
    asked: DnsMessage
    answer: Packet | None = None
    message: DnsMessage | None = None
    opening: Packet | None = None
    told: Packet | None = None
    queries: int = 1
    server: str = ""

    @property
    def is_tcp(self) -> bool:
        """Return whether the client asked over TCP without being told to."""
        return self.packet.core.protocol == "TCP"

    def step(self) -> NameStep:
        """Return the question as a step of a search."""
        last = self.told or self.answer or self.packet
        message = self.message
        return NameStep(
            name=self.asked.name,
            answer=said_of(message) if message is not None else "no answer",
            queries=self.queries,
            start_ns=self.packet.time_ns,
            end_ns=last.time_ns,
            server=self.server,
            transport="TCP" if self.told is not None or self.is_tcp else "UDP",
            addresses=message.addresses if message is not None else (),
        )


_DNS_PORT = 53


def questions_of(case: Case, sightings: Sightings, host: str | None) -> list[Question]:
    """Return each name's question for IPv4 addresses with its answer.

    Of a repeated question that is the last one before the answer; without an answer, the first.
    """
    found: dict[str, Question] = {}
    # A node shows what it sends on several interfaces.
    sent: dict[str, Counter[str]] = defaultdict(Counter)
    for packet in sightings.sent_by(case.source, case.wiring):
        core = packet.core
        if core.protocol != "UDP" or core.dport != _DNS_PORT:
            continue
        message = core.dns
        if message is None or message.is_answer or not _is_of(case, message.name, host):
            continue
        name = message.name.lower()
        sent[name][packet.interface] += 1
        if message.kind != "A":
            continue
        answer = _answer_to(sightings, packet, message)
        if name not in found or (answer is not None and _before_answer(packet, found[name])):
            found[name] = Question(packet, message, answer)
    asked = [_whole(case, sightings, q, max(sent[name].values())) for name, q in found.items()]
    over_tcp = _over_tcp(case, sightings, host)
    return asked + [q for q in over_tcp if q.asked.name.lower() not in found]


def _over_tcp(case: Case, sightings: Sightings, host: str | None) -> list[Question]:
    """Return what a client asks over TCP at once (option use-vc), each name once.

    A connection on which nothing could be asked counts as a question for the first name.
    """
    found: dict[str, Question] = {}
    unheard: list[Packet] = []
    for packet in sightings.sent_by(case.source, case.wiring):
        core = packet.core
        if not core.opens or core.dport != _DNS_PORT:
            continue
        said = of_stream(sightings.stream(packet.where, packet, "back"))
        back = sightings.answers(packet.where, core.flow, packet.time_ns)
        told = next((p for p in back if p.core.payload), None)
        asked = of_stream(sightings.stream(packet.where, packet, "to"))
        unheard += [] if asked else [packet]
        queries = Counter(m.name.lower() for m in asked)
        for message in asked:
            if message.kind != "A" or message.is_answer or not _is_of(case, message.name, host):
                continue
            whole = next((m for m in said if m.is_answer and m.id == message.id), None)
            name = message.name.lower()
            question = Question(
                packet, message, told if whole else None, whole, queries=queries[name]
            )
            found.setdefault(name, replace(question, server=_server(case, sightings, question)))
    if found or host is None or not unheard:
        return list(found.values())
    name = candidates_of(case, host)[0]
    return [Question(unheard[0], DnsMessage(0, is_answer=False, rcode="", name=name, kind="A"))]


def _is_of(case: Case, name: str, host: str | None) -> bool:
    """Return whether *name* is asked on the way to *host*: itself, or with any search domain.

    A pod may have others than its spec says: its resolv.conf can be written to.
    """
    if host is None:
        return True
    bare = host.lower().rstrip(".") + "."
    name = name.lower()
    return name == bare or (not host.endswith(".") and name.startswith(bare))


def _whole(case: Case, sightings: Sightings, question: Question, queries: int) -> Question:
    """Return the question with what its answer says, and who gave it."""
    message = question.answer.core.dns if question.answer is not None else None
    found = replace(
        question, message=message, queries=queries, server=_server(case, sightings, question)
    )
    if message is None or not message.is_truncated or question.answer is None:
        return found
    core = question.packet.core
    for packet in sightings.sent_by(case.source, case.wiring):
        other = packet.core
        if not other.opens or packet.time_ns < question.answer.time_ns:
            continue
        if (other.dst, other.dport) != (core.dst, core.dport):
            continue
        said = of_stream(sightings.stream(packet.where, packet, "back"))
        whole = next((m for m in said if _same(m, question.asked)), None)
        if whole is not None:
            back = sightings.answers(packet.where, other.flow, packet.time_ns)
            told = next(p for p in back if p.core.payload)
            return replace(found, message=whole, opening=packet, told=told, queries=queries + 1)
    return found


def _same(message: DnsMessage, asked: DnsMessage) -> bool:
    return (message.name.lower(), message.kind) == (asked.name.lower(), asked.kind)


def _server(case: Case, sightings: Sightings, question: Question) -> str:
    """Return the pod from which the answer came, wherever it was seen on its way; or nothing."""
    if question.answer is None:
        return ""
    for packet in sightings.packets:
        if not question.packet.time_ns <= packet.time_ns <= question.answer.time_ns:
            continue
        core = packet.core
        if core.sport != _DNS_PORT or core.protocol != question.packet.core.protocol:
            continue
        pod = case.snapshot.pod_at(core.src)
        said = core.dns if pod is not None else None
        if pod is None or said is None or said.id != question.asked.id:
            continue
        if said.is_answer and _same(said, question.asked):
            return key(pod)
    return ""


def said_of(message: DnsMessage) -> str:
    """Return an answer without the name that was asked for."""
    if message.answers:
        return message.summary()
    return message.status


def _before_answer(packet: Packet, known: Question) -> bool:
    """Return whether *packet* repeats a question that had no answer yet when it was sent."""
    return known.answer is None or packet.time_ns < known.answer.time_ns


def _answer_to(sightings: Sightings, packet: Packet, message: DnsMessage) -> Packet | None:
    for reply in sightings.answers(packet.where, packet.core.flow, packet.time_ns):
        said = reply.core.dns
        if said is not None and said.is_answer and said.id == message.id and said.kind == "A":
            return reply
    return None
