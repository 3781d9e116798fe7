"""Pure: expected hops + captured packets -> a finding that names the first wrong hop.

Confirmed is said only of a request whose whole way was seen; of a capture that lost packets, saw
nothing or can be read in two ways, nothing is concluded.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address

from podwire.emulator.trace import hidden
from podwire.emulator.trace.case import Case, expected_addresses, known_beforehand, said
from podwire.emulator.trace.choice import Outcome
from podwire.emulator.trace.expect import Route, places_of, route, takes_over, visible
from podwire.emulator.trace.follow import follow
from podwire.emulator.trace.frames import Packet
from podwire.emulator.trace.hops import Finding, Hop
from podwire.emulator.trace.join import Sightings
from podwire.emulator.trace.lookup import Lookup, look_up
from podwire.emulator.trace.request import Command
from podwire.emulator.trace.ways import Transport

_LOCALHOST = IPv4Address("127.0.0.1")


def judge(
    case: Case, sightings: Sightings, *, dropped: int, whole_until_ns: int | None = None
) -> Finding:
    """Return the verdict on a request.

    The capture lost *dropped* packets, all of them after *whole_until_ns*, if that is known.
    """
    finding = _judge(case, sightings)
    if case.source.where not in sightings.places and case.wiring.captures == "nodes":
        watched = dict.fromkeys((case.source.where, *finding.not_captured))
        finding = replace(finding, not_captured=tuple(watched))
    if dropped:
        finding = _lossy(finding, dropped, whole_until_ns or 0)
    return _numbered(case, finding)


def _lossy(finding: Finding, dropped: int, whole_until_ns: int) -> Finding:
    """Return what a capture that lost packets proves: what was seen before it lost any."""
    hops = finding.hops
    # An ARP request is a hop for want of its answer only (Walk.no_neighbour).
    absent = any(h.kind == "missing" or h.protocol == "ARP" for h in hops)
    proved = not absent and all(h.time_ns <= whole_until_ns for h in hops)
    if hops and proved and finding.word != "inconclusive":
        note = f"the capture lost {dropped} packets, all after the last hop"
        return replace(finding, reason=f"{finding.reason}; {note}" if finding.reason else note)
    known = f"without that: {finding.word}; {finding.reason or 'every hop was seen'}"
    reason = f"the capture lost {dropped} packets ({known}); trace again when less is going on"
    return replace(finding, word="inconclusive", reason=reason)


def _judge(case: Case, sightings: Sightings) -> Finding:
    blind = _blind(case, sightings)
    if blind is not None:
        return blind
    lookup = look_up(case, sightings)
    if lookup.finding.word != "confirmed":
        return lookup.finding
    return replace(_after(case, sightings, lookup), naming=lookup.finding.naming)


def _after(case: Case, sightings: Sightings, lookup: Lookup) -> Finding:
    """Judge what followed the look-up of the name."""
    request = case.request
    openings = [
        (opening, _route(case, sightings, opening))
        for opening in _openings(case, sightings, lookup)
    ]
    if not openings and not isinstance(request, Command):
        unseen = hidden.looked_for(case, sightings, _addresses(case, lookup))
        if isinstance(unseen, Finding):
            return replace(unseen, hops=(*lookup.finding.hops, *unseen.hops))
        openings = [unseen] if unseen is not None else []
    if not openings:
        return _nothing_opened(case, sightings, lookup)
    findings: list[Finding] = []
    for opening, path in openings:
        finding = follow(sightings, case.snapshot, path, opening, "request")
        if finding.word == "confirmed":
            finding = _with_application(case, sightings, opening, finding)
        findings.append(finding)
    worst = next((f for f in findings if f.word != "confirmed"), findings[0])
    # Of a command all flows count; of a fetch with several attempts the last one decides.
    if isinstance(request, Command):
        parts = (lookup.finding, *findings)
        hops = in_order_of_time([finding.hops for finding in parts])
        return replace(worst, hops=hops, not_captured=_not_captured(parts))
    last, parts = findings[-1], (lookup.finding, findings[-1])
    hops = (*lookup.finding.hops, *last.hops)
    return replace(last, hops=hops, not_captured=_not_captured(parts))


def _not_captured(findings: Iterable[Finding]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(where for found in findings for where in found.not_captured))


def _blind(case: Case, sightings: Sightings) -> Finding | None:
    """Return what can be said if nothing of the client was seen; None if something was."""
    source = case.source
    where = source.where
    if where in sightings.places:
        if sightings.at(where):
            return None
        return Finding("inconclusive", (), reason=f"{where} sent nothing at all{said(case)}")
    if source.kind != "pod" or case.wiring.captures == "pods":
        return Finding("inconclusive", (), reason=f"nothing was captured at {where}")
    if source.node in sightings.places:
        if sightings.sent_by(source, case.wiring):
            return None
        reason = f"{source.node} saw nothing of {where}, which was not captured itself{said(case)}"
        return Finding("inconclusive", (), reason=reason)
    why = sightings.why.get(source.node)
    reason = f"nothing was captured at {source.node}" + (f": {why}" if why else "")
    if not (case.report.exit_code and _must_pass(case, source.node)):
        return Finding("inconclusive", (), reason=reason)
    # A node that runs lends its sockets. The request needed it, and the client says that it failed.
    hop = Hop(
        kind="missing",
        leg="request",
        where=source.node,
        interface=case.wiring.bridge,
        protocol="other",
        src=str(source.address),
        dst=str(case.request),
        summary="the node does not work",
        expected=f"all that {where} asks passes its node",
    )
    outcome: Outcome | None = "timed out" if case.report.timed_out else None
    reason = f"{source.node} does not work: {reason}{said(case)}"
    return Finding("refuted", (hop,), outcome, reason, hop)


def _must_pass(case: Case, node: str) -> bool:
    """Return whether the objects send the request, or the question for its name, past *node*."""
    request = case.request
    if isinstance(request, Command):
        return False
    address = known_beforehand(case, request.host)
    # A name is asked of the DNS Service, which the node serves.
    target, port = (case.wiring.dns, 53) if address is None else (address, request.port)
    protocol = "UDP" if address is None else request.protocol
    path = route(case.snapshot, case.wiring, case.source, target, port, protocol)
    return node in places_of([path])


def in_order_of_time(legs: Sequence[Sequence[Hop]]) -> tuple[Hop, ...]:
    """Return the hops of all legs by time, each leg in its own order.

    A hop without a time, for it was not seen, stays behind the one before it.
    """
    timed: list[tuple[int, Hop]] = []
    for leg in legs:
        latest = 0
        for hop in leg:
            latest = max(latest, hop.time_ns)
            timed.append((latest, hop))
    return tuple(hop for _, hop in sorted(timed, key=lambda one: one[0]))


def _openings(case: Case, sightings: Sightings, lookup: Lookup) -> list[Packet]:
    """Return the first packet of each flow that is, or may be, the request's."""
    request = case.request
    own = _client_addresses(case)
    found: dict[object, Packet] = {}
    looked_up = {hop.packet.core.flow for hop in lookup.finding.hops if hop.packet is not None}
    for packet in sightings.sent_by(case.source, case.wiring):
        core = packet.core
        if packet.inner is not None or (own and core.src not in own):
            continue
        if isinstance(request, Command):
            is_ours = core.opens or (core.protocol == "UDP" and core.dport != 53 and core.payload)
            is_ours = is_ours and core.dst not in own and core.flow not in looked_up
        else:
            addresses = _addresses(case, lookup)
            is_ours = (
                core.protocol == request.protocol
                and core.dport == request.port
                and core.dst in addresses
                and (core.opens or core.protocol == "UDP")
                and case.report.local_port in {0, core.sport}
            )
        if is_ours:
            found.setdefault(core.flow, packet)
    return list(found.values())


def _addresses(case: Case, lookup: Lookup) -> frozenset[IPv4Address]:
    """Return the addresses that the request may go to."""
    host = "" if isinstance(case.request, Command) else case.request.host
    return lookup.addresses or frozenset(expected_addresses(case, host))


def _route(case: Case, sightings: Sightings, opening: Packet) -> Route:
    """Return the route of what *opening* opened, as far as it is visible."""
    core, entry = opening.core, ""
    if case.source.kind == "outside" and takes_over(
        case.snapshot, case.wiring, core.dst, core.dport
    ):
        nodes = [node.metadata.name for node in case.snapshot.nodes]
        entry = sightings.first_of(nodes, opening)
    protocol: Transport = "UDP" if core.protocol == "UDP" else "TCP"
    path = route(
        case.snapshot, case.wiring, case.source, core.dst, core.dport, protocol, entry=entry
    )
    return visible(path, case.snapshot, case.wiring, sightings.places)


def _client_addresses(case: Case) -> frozenset[IPv4Address]:
    if case.source.kind == "node":
        return frozenset()
    return frozenset({case.source.address, _LOCALHOST})


def _nothing_opened(case: Case, sightings: Sightings, lookup: Lookup) -> Finding:
    request = case.request
    where = case.source.where
    hidden = where not in sightings.places
    if isinstance(request, Command):
        if lookup.asked:
            return lookup.finding
        reason = f"{where} asked nothing and opened no connection{said(case)}"
        if hidden:
            reason = f"{case.source.node} saw {where} open no connection{said(case)}"
        return Finding("inconclusive", lookup.finding.hops, reason=reason)
    target = f"{request.host}:{request.port}/{request.protocol}"
    reason = f"{where} sent nothing to {target}{said(case)}"
    if hidden:
        reason = f"{case.source.node} saw {where} send nothing to {target}{said(case)}"
    return Finding("inconclusive", lookup.finding.hops, reason=reason)


def _with_application(
    case: Case, sightings: Sightings, opening: Packet, finding: Finding
) -> Finding:
    """Add the HTTP status; what the application says does not change the network's verdict."""
    report = case.report
    reply = sightings.stream(opening.where, opening, "back")
    status = report.status or _http_status(reply)
    if report.timed_out:
        reason = "the answer began and did not end in time"
        return replace(
            finding, word="refuted", outcome="timed out", reason=reason, wrong=finding.hops[-1]
        )
    reason = ""
    if status >= 500:
        reason = f"the application answered {status}: the network did its part"
    elif report.exit_code and not isinstance(case.request, Command):
        reason = f"the network did its part; the client failed{said(case)}"
    return replace(finding, status=status or None, reason=reason)


def _http_status(reply: bytes) -> int:
    words = reply[:64].split(b" ", 2)
    if len(words) > 1 and words[0].startswith(b"HTTP/") and words[1][:3].isdigit():
        return int(words[1][:3])
    return 0


def _numbered(case: Case, finding: Finding) -> Finding:
    """Return *finding* with its hops numbered from 1, with node and pod."""
    wrong = finding.wrong
    hops: list[Hop] = []
    for index, hop in enumerate(finding.hops, 1):
        place = case.snapshot.location(hop.where, case.wiring)
        done = replace(
            hop,
            index=index,
            node=place.node if place else "",
            pod=hop.where if place and place.kind == "pod" else "",
        )
        if hop is finding.wrong:
            wrong = done
        hops.append(done)
    return replace(finding, hops=tuple(hops), wrong=wrong)
