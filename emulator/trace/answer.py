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
        about = reasons.nothing_listens(walk.snapshot, service, pod, leg.port)
        word = "RST" if leg.protocol == "TCP" else "ICMP port unreachable"
        how = f"{_end(leg, last)} got it and answered {word}"
        return walk.stopped(last, reaction, f"{how}: {about}")
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
        if asked is not None and last is not walk.opening:
            walk.hops.append(packet_hop(asked, walk.name, expected="the request's bytes"))
        answer = _data(walk, last, last.core.flow.reversed())
        if answer is None:
            return _hung_up(walk, leg, last, asked)
        reply = answer
    walk.hops.append(packet_hop(reply, walk.name, expected="an answer"))
    return _home(walk, seen, needs_data=bool(reply.core.payload))


def _hung_up(walk: Walk, leg: Leg, last: Packet, asked: Packet | None) -> Finding:
    flow = last.core.flow
    closing = _closing(walk.sightings.answers(last.where, flow, last.time_ns))
    gave_up = _closing(walk.sightings.of(last.where, flow))
    if gave_up and closing and gave_up[0].time_ns <= closing[0].time_ns:
        closing = []  # only a goodbye to a client that had left
    if asked is not None and closing:
        reason = f"{_end(leg, last, device=False)} closed the connection without an answer"
        return walk.wrong(packet_hop(closing[0], walk.name), "refused", reason)
    got = "got the request" if asked is not None else "accepted the connection"
    reason = f"{_end(leg, last, device=False)} {got} and did not answer in time"
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
    previous = walk.hops[-1].packet or seen[-1]
    reached: Packet | None = None
    for packet in way:
        back = walk.sightings.answers(packet.where, packet.core.flow, packet.time_ns)
        fit = [p for p in back if p.core.payload or not needs_data]
        same = (p for p in fit if p.interface == packet.interface)
        found = next(same, next(iter(fit), None))
        if found is None:
            place = Place(packet.where, packet.interface, packet.inner is not None)
            reason = (
                f"the answer left {previous.where} {previous.interface}"
                f" but never reached {packet.where} {packet.interface}"
            )
            return walk.wrong(walk.missing(place, previous), "timed out", reason)
        previous = reached = found
    if reached is not None and reached is not walk.hops[-1].packet:
        walk.hops.append(packet_hop(reached, walk.name, expected="the answer"))
    if walk.blind:
        reason = f"answered, but nothing was captured at {', '.join(dict.fromkeys(walk.blind))}"
        return Finding("inconclusive", tuple(walk.hops), "answered", reason)
    # Of a mere connect the client hears before the backend does.
    hops = sorted(walk.hops, key=lambda hop: hop.time_ns)
    return Finding("confirmed", tuple(hops), "answered")


def _end(leg: Leg, last: Packet, *, device: bool = True) -> str:
    """Return who was the last to get a packet of *leg*."""
    hidden = leg.places[-1].stands_for if leg.places else ""
    if hidden and last.where == leg.places[-1].where:
        return f"{hidden} (behind {last.where} {last.interface})"
    return f"{last.where} {last.interface}" if device else last.where


def _closing(packets: Sequence[Packet]) -> list[Packet]:
    return [packet for packet in packets if {"R", "F"} & set(packet.core.flags)]
