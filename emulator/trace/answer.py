"""Pure: what a backend did with a request, and the way of its answer to the client."""

from collections.abc import Sequence

from podwire.emulator.trace import reasons
from podwire.emulator.trace.choice import Backend
from podwire.emulator.trace.frames import Flow, Packet
from podwire.emulator.trace.hops import Finding, packet_hop
from podwire.emulator.trace.walk import Reaction, Walk
from podwire.emulator.trace.ways import Leg, Place


def to_the_end(walk: Walk, leg: Leg, seen: Sequence[Packet], backend: Backend | None) -> Finding:
    """Judge what the backend did, and the way of its answer to the client."""
    last = seen[-1]
    reaction = walk.reaction(last)
    service = None
    if walk.route.proxied is not None:
        service = walk.snapshot.service(walk.route.proxied.service)
    if reaction.kind == "refused":
        pod = backend.pod if backend else walk.route.backend.pod if walk.route.backend else ""
        at = walk.route.backend.where if walk.route.backend else str(leg.address)
        about = reasons.nothing_listens(walk.snapshot, service, pod, at, leg.port)
        word = "RST" if leg.protocol == "TCP" else "ICMP port unreachable"
        how = f"{_end(leg, last)} got it and answered {word}"
        return walk.stopped(last, reaction, f"{how}: {about}")
    if leg.nobody and reaction.kind in {"unreachable", "silent"}:
        return walk.stopped(last, reaction, leg.nobody)
    arp = walk.no_arp(address=str(leg.address))
    if reaction.kind in {"unreachable", "silent"} and arp is not None:
        return walk.no_neighbour(arp, str(leg), leg.address)
    if reaction.kind == "unreachable" and reaction.packet is not None:
        error = reaction.packet.core
        who = reasons.address_text(walk.snapshot, error.src)
        return walk.stopped(last, reaction, f"{leg} is unreachable: {error.icmp}, says {who}")
    if reaction.packet is None:
        reason = f"{_end(leg, last)} got the request to {leg} and did not answer"
        return walk.stopped(last, reaction, reason)
    return _answered(walk, leg, seen, reaction.packet)


def _answered(walk: Walk, leg: Leg, seen: Sequence[Packet], reply: Packet) -> Finding:
    last = seen[-1]
    asks = bool(walk.sightings.stream(walk.opening.where, walk.opening, "to"))
    if last.core.protocol == "TCP" and asks:
        asked = _data(walk, last, last.core.flow)
        answer = _data(walk, last, last.core.flow.reversed())
        if asked is None and answer is None:
            return _never_asked(walk, leg, seen, reply)
        if asked is not None and last is not walk.opening:
            walk.hops.append(packet_hop(asked, walk.name, expected="the request's bytes"))
        if answer is None:
            return _hung_up(walk, leg, last)
        reply = answer
    walk.hops.append(packet_hop(reply, walk.name, expected="an answer"))
    return _home(walk, seen, needs_data=bool(reply.core.payload))


def _never_asked(walk: Walk, leg: Leg, seen: Sequence[Packet], accepted: Packet) -> Finding:
    """Judge a connection that the backend took, and on which the request never came."""
    walk.hops.append(packet_hop(accepted, walk.name, expected="an answer"))
    lost = _way_back(walk, list(reversed(seen)), "SYN ACK", needs_data=False)
    if isinstance(lost, Finding):
        return lost
    sent: Packet | None = None
    for packet in seen:
        found = _data(walk, packet, packet.core.flow)
        if found is None and sent is not None:
            place = Place(packet.where, packet.interface, packet.inner is not None)
            last = walk.sightings.furthest(sent, (sent.where, packet.where))
            reason = f"the request's bytes {reasons.between(last, place)}"
            return walk.wrong(walk.missing(place, sent), "timed out", reason)
        sent = found or sent
    reason = f"{_end(leg, seen[-1], device=False)} accepted the connection and was asked nothing"
    if walk.route.proxied is not None:
        reason += f": {walk.route.proxied.node} passed none of the request's bytes on"
    hop = walk.nothing_came(seen[-1], "no request", "the request's bytes")
    return walk.wrong(hop, "timed out", reason)


def _hung_up(walk: Walk, leg: Leg, last: Packet) -> Finding:
    flow = last.core.flow
    closing = _closing(walk.sightings.answers(last.where, flow, last.time_ns))
    gave_up = _closing(walk.sightings.of(last.where, flow))
    if gave_up and closing and gave_up[0].time_ns <= closing[0].time_ns:
        closing = []  # only a goodbye to a client that had left
    if closing:
        reason = f"{_end(leg, last, device=False)} closed the connection without an answer"
        return walk.wrong(packet_hop(closing[0], walk.name), "refused", reason)
    reason = f"{_end(leg, last, device=False)} got the request and did not answer in time"
    return walk.stopped(last, Reaction("silent"), reason)


def _data(walk: Walk, at: Packet, flow: Flow) -> Packet | None:
    packets = walk.sightings.of(at.where, flow)
    found = [p for p in packets if p.core.payload and p.time_ns >= at.time_ns]
    # A node may see it on several interfaces: there, where the way ends.
    return next((p for p in found if p.interface == at.interface), next(iter(found), None))


def _home(walk: Walk, seen: Sequence[Packet], *, needs_data: bool) -> Finding:
    """Check that the answer passed every place on its way back to the client."""
    way = [*reversed(seen)]
    if walk.route.proxied is not None:
        way += reversed(walk.taken)
    reached = _way_back(walk, way, "answer", needs_data=needs_data)
    if isinstance(reached, Finding):
        return reached
    if reached is not None and reached is not walk.hops[-1].packet:
        walk.hops.append(packet_hop(reached, walk.name, expected="the answer"))
    if walk.blind:
        reason = f"answered, but nothing was captured at {', '.join(dict.fromkeys(walk.blind))}"
        return Finding("inconclusive", tuple(walk.hops), "answered", reason)
    # Of a mere connect the client hears before the backend does.
    hops = sorted(walk.hops, key=lambda hop: hop.time_ns)
    return Finding("confirmed", tuple(hops), "answered")


def _way_back(
    walk: Walk, way: Sequence[Packet], what: str, *, needs_data: bool
) -> Packet | Finding | None:
    """Return how *what* came back to the first place of the way there, or where it was lost."""
    previous = walk.hops[-1].packet or way[0]
    reached: Packet | None = None
    for packet in way:
        back = walk.sightings.answers(packet.where, packet.core.flow, packet.time_ns)
        fit = [p for p in back if p.core.payload or not needs_data]
        if packet.inner is not None:
            fit = [p for p in fit if p.inner is not None]
        same = (p for p in fit if p.interface == packet.interface)
        found = next(same, next(iter(fit), None))
        if found is None:
            place = Place(packet.where, packet.interface, packet.inner is not None)
            last = walk.sightings.furthest(previous, (previous.where, packet.where))
            reason = f"the {what} {reasons.between(last, place)}"
            return walk.wrong(walk.missing(place, previous), "timed out", reason)
        previous = reached = found
    return reached


def _end(leg: Leg, last: Packet, *, device: bool = True) -> str:
    """Return who was the last to get a packet of *leg*."""
    hidden = leg.places[-1].stands_for if leg.places else ""
    if hidden and last.where == leg.places[-1].where:
        return f"{hidden} (behind {last.where} {last.interface})"
    return f"{last.where} {last.interface}" if device else last.where


def _closing(packets: Sequence[Packet]) -> list[Packet]:
    return [packet for packet in packets if {"R", "F"} & set(packet.core.flags)]
