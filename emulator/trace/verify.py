"""Pure: expected hops + captured packets -> a finding that names the first wrong hop.

Confirmed is said only of a request whose whole way was seen; of a capture that lost packets, saw
nothing or can be read in two ways, nothing is concluded.
"""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address

from podwire.emulator.trace.case import Case, expected_addresses, said
from podwire.emulator.trace.expect import Transport, route
from podwire.emulator.trace.follow import follow
from podwire.emulator.trace.frames import Packet
from podwire.emulator.trace.hops import Finding, Hop
from podwire.emulator.trace.join import Sightings
from podwire.emulator.trace.lookup import Lookup, look_up
from podwire.emulator.trace.request import Command


def judge(case: Case, sightings: Sightings, *, dropped: int) -> Finding:
    """Return the verdict on a request."""
    finding = _judge(case, sightings)
    if dropped:
        known = f" (without that: {finding.word}; {finding.reason or 'every hop was seen'})"
        finding = replace(
            finding, word="inconclusive", reason=f"the capture lost {dropped} packets{known}"
        )
    return _numbered(case, finding)


def _judge(case: Case, sightings: Sightings) -> Finding:
    where = case.source.where
    if where not in sightings.places:
        return Finding("inconclusive", (), reason=f"nothing was captured at {where}")
    if not sightings.at(where):
        return Finding("inconclusive", (), reason=f"{where} sent nothing at all{said(case)}")
    request = case.request
    lookup = look_up(case, sightings)
    if lookup.finding.word != "confirmed":
        return lookup.finding
    openings = _openings(case, sightings, lookup)
    if not openings:
        return _nothing_opened(case, lookup)
    findings: list[Finding] = []
    for opening in openings:
        core = opening.core
        path = route(
            case.snapshot, case.wiring, case.source, core.dst, core.dport, _transport(core)
        )
        finding = follow(sightings, case.snapshot, path, opening, "request")
        if finding.word == "confirmed":
            finding = _with_application(case, sightings, opening, finding)
        findings.append(finding)
    worst = next((f for f in findings if f.word != "confirmed"), findings[0])
    # Of a command all flows count; of a fetch with several attempts the last one decides.
    if isinstance(request, Command):
        legs = (lookup.finding.hops, *(finding.hops for finding in findings))
        return replace(worst, hops=in_order_of_time(legs))
    return replace(findings[-1], hops=(*lookup.finding.hops, *findings[-1].hops))


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
    for packet in sightings.at(case.source.where):
        core = packet.core
        # On lo every packet is shown once, on its way in.
        came = packet.direction == "in" and packet.interface != "lo"
        if came or packet.inner is not None or (own and core.src not in own):
            continue
        if isinstance(request, Command):
            is_ours = core.opens or (core.protocol == "UDP" and core.dport != 53 and core.payload)
            is_ours = is_ours and (core.dst not in own)
        else:
            addresses = lookup.addresses or frozenset(expected_addresses(case, request.host))
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


def _client_addresses(case: Case) -> frozenset[IPv4Address]:
    if case.source.kind == "node":
        return frozenset()
    return frozenset({case.source.address})


def _nothing_opened(case: Case, lookup: Lookup) -> Finding:
    request = case.request
    if isinstance(request, Command):
        if lookup.asked:
            return lookup.finding
        reason = f"{case.source.where} asked nothing and opened no connection{said(case)}"
        return Finding("inconclusive", lookup.finding.hops, reason=reason)
    target = f"{request.host}:{request.port}/{request.protocol}"
    reason = f"{case.source.where} sent nothing to {target}{said(case)}"
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


def _transport(core: Packet) -> Transport:
    return "UDP" if core.protocol == "UDP" else "TCP"


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
