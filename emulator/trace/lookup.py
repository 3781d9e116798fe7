"""Pure: what a client asked cluster DNS, and whether the answers are right and came the right way.

Every question of the walk along the search path is a hop; the one that decides is followed to the
DNS pod and back. A truncated answer counts as what came over TCP in its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from podwire.emulator.trace import nearest, resolve
from podwire.emulator.trace.case import Case, candidates_of, known_beforehand, search_of
from podwire.emulator.trace.choice import Outcome
from podwire.emulator.trace.dnsmessage import DnsMessage
from podwire.emulator.trace.expect import route, visible
from podwire.emulator.trace.follow import follow
from podwire.emulator.trace.frames import Packet
from podwire.emulator.trace.hops import Finding, Hop, packet_hop
from podwire.emulator.trace.join import Sightings
from podwire.emulator.trace.naming import Naming, why_in_this_order
from podwire.emulator.trace.questions import Question, questions_of, said_of
from podwire.emulator.trace.request import Command
from podwire.emulator.trace.ways import Transport

_SEE_PODS = "next: kubectl -n kube-system get pods -l k8s-app=kube-dns"
_SEE_LOGS = "next: kubectl -n kube-system logs -l k8s-app=kube-dns"


@dataclass(frozen=True, slots=True)
class Lookup:
    """How the names went: the finding, the addresses that came, and whether anything was asked."""

    finding: Finding
    addresses: frozenset[IPv4Address] = frozenset()
    asked: bool = False


def look_up(case: Case, sightings: Sightings) -> Lookup:
    """Judge all questions for addresses that the request asked."""
    request = case.request
    host = None if isinstance(request, Command) else request.host
    address = known_beforehand(case, host) if host is not None else None
    if address is not None:
        return Lookup(Finding("confirmed", ()), frozenset({address}))
    questions = questions_of(case, sightings, host)
    lookup = _judged(case, sightings, host, questions)
    if host is None or not questions:
        return lookup
    finding = replace(lookup.finding, naming=_naming(case, host, questions))
    return replace(lookup, finding=finding)


def _judged(
    case: Case, sightings: Sightings, host: str | None, questions: list[Question]
) -> Lookup:
    hops: list[Hop] = []
    hidden: tuple[str, ...] = ()
    found: frozenset[IPv4Address] = frozenset()
    for number, question in enumerate(questions):
        answer, message = question.answer, question.message
        if answer is None or message is None:
            return Lookup(_unanswered(case, sightings, question, hops))
        wanted = _wanted(case, question)
        expected = _expected(case, wanted)
        last = number == len(questions) - 1
        before = len(hops)
        if last and (message.addresses or host is None):
            walked = _ask(case, sightings, question.packet)
            if walked.word != "confirmed":
                return Lookup(replace(walked, hops=(*hops, *walked.hops)))
            hidden = walked.not_captured
            hops += [_answers(hop, answer, expected) for hop in walked.hops]
        else:
            summary = f"SYN   (to ask {question.asked.summary()})" if question.is_tcp else ""
            hops.append(packet_hop(question.packet, "dns", summary=summary))
            hops.append(packet_hop(answer, "dns", expected=expected))
        hops += _again_over_tcp(question, expected)
        if len(questions) > 1:
            _explain(case, host, hops, before, number, question)
        if not _fits(message, wanted) and not case.wiring.dns_rules:
            wrong = _wrong_answer(case, hops, question.asked, message, wanted)
            return Lookup(replace(wrong, not_captured=hidden))
        found |= frozenset(message.addresses)
    if host is not None and questions and not found:
        return Lookup(_no_such_name(case, host, hops, questions))
    answered = Finding("confirmed", tuple(hops), "answered", not_captured=hidden)
    return Lookup(answered, found, bool(questions))


def _expected(case: Case, wanted: resolve.Answer) -> str:
    if wanted.code == "elsewhere":
        return ""
    rules = ", ".join(case.wiring.dns_rules)
    return f"{wanted}, unless the Corefile says otherwise ({rules})" if rules else str(wanted)


def _naming(case: Case, host: str, questions: Sequence[Question]) -> Naming:
    steps = tuple(question.step() for question in questions)
    count = max(len(candidates_of(case, host)), len(steps))
    return Naming(host, count, _why(case, host), steps)


def _why(case: Case, host: str) -> str:
    search = search_of(case)
    return why_in_this_order(host, search.domains, search.ndots)


def _explain(
    case: Case, host: str | None, hops: list[Hop], begin: int, number: int, question: Question
) -> None:
    """Say at a step's first hop which one it is, and at its last what it cost and who answered.

    Without a host, of a command, it is not known which names belong together.
    """
    step = question.step()
    by = f", {step.server}" if step.server else ""
    hops[-1] = hops[-1].saying(f"({step.ms:.1f} ms{by})")
    if host is None:
        return
    total = max(len(candidates_of(case, host)), number + 1)
    why = f": {_why(case, host)}" if number == 0 else ""
    hops[begin] = hops[begin].saying(f"({number + 1} of {total}{why})")


def _again_over_tcp(question: Question, expected: str) -> list[Hop]:
    """Return the hops of the connection that a truncated answer led to."""
    if question.opening is None or question.told is None or question.message is None:
        return []
    size = len(question.answer.core.payload) if question.answer is not None else 0
    why = f"SYN   (truncated at {size} bytes: asked again over TCP)"
    said = question.message.summary()
    return [
        packet_hop(question.opening, "dns", summary=why),
        packet_hop(question.told, "dns", expected=expected, summary=said),
    ]


def _wanted(case: Case, question: Question) -> resolve.Answer:
    if not _is_cluster_dns(case, question.packet.core.dst):
        return resolve.Answer("elsewhere")  # of other servers the objects say nothing
    return resolve.answer(case.snapshot, question.asked.name, case.wiring)


def _is_cluster_dns(case: Case, address: IPv4Address) -> bool:
    if address == case.wiring.dns:
        return True
    service = case.snapshot.service_at(case.wiring.dns)
    pods = case.snapshot.selected(service) if service is not None else ()
    return str(address) in {pod.status.pod_ip for pod in pods}


def _ask(case: Case, sightings: Sightings, packet: Packet) -> Finding:
    core = packet.core
    protocol: Transport = "TCP" if core.protocol == "TCP" else "UDP"
    path = route(case.snapshot, case.wiring, case.source, core.dst, core.dport, protocol)
    path = visible(path, case.snapshot, case.wiring, sightings.places)
    return follow(sightings, case.snapshot, path, packet, "dns")


def _answers(hop: Hop, answer: Packet, expected: str) -> Hop:
    return replace(hop, expected=expected) if hop.packet is answer else hop


def _unanswered(case: Case, sightings: Sightings, question: Question, hops: list[Hop]) -> Finding:
    packet, name = question.packet, question.asked.name
    walked = _ask(case, sightings, packet)
    if walked.word == "confirmed":
        # Another question on the same socket was answered; this one was not.
        walked = replace(
            walked, word="refuted", outcome="timed out", reason=f"{name} was not answered",
            wrong=walked.hops[-1],
        )  # fmt: skip
    reason = walked.reason
    if walked.word == "refuted" and _is_cluster_dns(case, packet.core.dst):
        reason = f"cluster DNS: {reason}" + (f"; {_SEE_PODS}" if _at_dns(case, walked) else "")
    elif walked.word == "refuted":
        reason = f"DNS: {_foreign(case, packet.core.dst)}: {reason}"
    return replace(walked, hops=(*hops, *walked.hops), reason=reason)


def _at_dns(case: Case, walked: Finding) -> bool:
    """Return whether a question died at the DNS pods, or for want of them: not on its way."""
    pod = case.snapshot.pod(walked.wrong.where) if walked.wrong is not None else None
    return pod is not None or walked.outcome == "refused"


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
    said = said_of(message)
    reason = f"cluster DNS answered {said} for {question.name}; the objects say {wanted}{of}"
    if message.rcode == "SERVFAIL":
        # CoreDNS's kubernetes plugin, before its first sync.
        reason += f"; it says so until it has seen the cluster's objects; {_SEE_PODS}"
    outcome: Outcome = "answered" if message.addresses else "no such name"
    return Finding("refuted", tuple(hops), outcome, reason, hops[-1])


def _no_such_name(
    case: Case, host: str, hops: Sequence[Hop], questions: Sequence[Question]
) -> Finding:
    asked = [question.asked.name for question in questions]
    missing = [n for n in candidates_of(case, host) if n not in {a.lower() for a in asked}]
    if missing and case.report.timed_out:
        reason = f"the client gave up before it asked for {missing[0]}"
        return Finding("refuted", tuple(hops), "timed out", reason, hops[-1])
    text = f"no such name: {host}"
    if len(asked) > 1:
        text += f" (all {len(asked)} names of the search path have no address)"
    return Finding(
        "refuted", tuple(hops), "no such name", text + _cause(case, host, questions), hops[-1]
    )


def _cause(case: Case, host: str, questions: Sequence[Question]) -> str:
    """Return why no asked name has an address and what to do next, to be put behind that."""
    pod = case.snapshot.pod(case.source.pod)
    namespace = pod.metadata.namespace if pod else "default"
    about = nearest.about(case.snapshot, host, namespace, case.wiring.domain)
    walk = f"; next: podwire dns query {host} --from {case.source.where} --walk"
    last = questions[-1]
    server = last.packet.core.dst
    if not _is_cluster_dns(case, server):
        return f"; {_foreign(case, server)}{walk}"
    alias = next((r for q in questions if q.message for r in q.message.answers), None)
    if alias is not None:
        # An ExternalName: CoreDNS gives the CNAME alone if its upstream does not know the target.
        return f"; {alias.name} is an alias of {alias.value}, which has no address{walk}"
    about = about or _beside_the_search(case, host, namespace)
    if about:
        return f"; {about}{walk}"
    if case.wiring.dns_rules:
        return f"; the Corefile has {', '.join(case.wiring.dns_rules)}{walk}"
    code = last.message.rcode if last.message is not None else ""
    if code not in {"NOERROR", "NXDOMAIN"}:
        return (
            f"; cluster DNS answered {code} for {last.asked.name}, which is not of the cluster:"
            f" the server that it asks in turn fails or cannot be reached; {_SEE_LOGS}"
        )
    return walk


def _foreign(case: Case, server: IPv4Address) -> str:
    """Return that a client asks another server than the cluster's, and by what rule."""
    source = case.source
    pod = case.snapshot.pod(source.pod)
    text = f"{source.where} asks {server}, which is not the cluster's DNS"
    if pod is None:
        return f"{text}: only pods ask that; name the ClusterIP instead"
    if pod.spec.host_network and pod.spec.dns_policy == "ClusterFirst":
        return (
            f"{text} (hostNetwork: dnsPolicy ClusterFirst counts as Default;"
            " ClusterFirstWithHostNet asks cluster DNS)"
        )
    return f"{text} (dnsPolicy {pod.spec.dns_policy})"


def _beside_the_search(case: Case, host: str, namespace: str) -> str:
    """Return that there is such a Service, if only the search list does not lead to it."""
    if "." in host or case.snapshot.service(f"{namespace}/{host}") is None:
        return ""
    name = f"{host}.{namespace}.svc.{case.wiring.domain}"
    if f"{name}." in candidates_of(case, host):
        return ""
    return f"Service {namespace}/{host} is {name}, to which no search domain of the pod leads"
