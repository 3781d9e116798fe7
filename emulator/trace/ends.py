"""Pure: flows that the proxy's node ended, lost or sent to the wrong place, and why."""

from dataclasses import replace

from podwire.emulator.trace import choice, reasons
from podwire.emulator.trace.expect import Proxied
from podwire.emulator.trace.frames import Packet
from podwire.emulator.trace.hops import Finding, packet_hop
from podwire.emulator.trace.join import Ambiguous
from podwire.emulator.trace.nat import passed_untouched, translated
from podwire.emulator.trace.walk import Reaction, Walk, any_of


def without_backend(walk: Walk, last: Packet) -> Finding:
    """Judge a flow that no backend may get: refused or dropped, and why."""
    route = walk.route
    reason = route.why
    proxied = route.proxied
    service = walk.snapshot.service(proxied.service) if proxied else None
    if service is not None and route.outcome == "refused":
        core = last.core
        port = choice.port_for(walk.snapshot, service, core.dst, core.dport, core.protocol)
        reason = reasons.no_endpoints(walk.snapshot, service, port)
    reaction = walk.reaction(last)
    node = walk.snapshot.node(last.where)
    mode = walk.snapshot.proxy_of(last.where).mode
    if node is not None and mode.translates:
        known = proxied.known if proxied else ()
        found = translated(walk.sightings, last.where, last, known)
        onward = found.flows[0] if isinstance(found, Ambiguous) else None
        if found is not None:
            onward = onward or found.opening.core.flow  # type: ignore[union-attr]
            hop = walk.nothing_came(last, "passed on all the same", route.outcome)
            text = f"{reason}, and yet {last.where} passed it on: {onward}"
            return walk.wrong(hop, "answered", text)
        reason += reasons.by_rules(mode, last, reaction.packet)
    if reaction.kind == "accepted" and reaction.packet is not None:
        hop = packet_hop(reaction.packet, walk.name, expected=route.outcome)
        return walk.wrong(hop, "answered", f"{reason}, and yet {last.where} took the request")
    return walk.stopped(last, reaction, reason)


def not_taken(walk: Walk, last: Packet, reaction: Reaction, proxied: Proxied) -> Finding:
    """Judge a flow that the proxy's node did not take though there are endpoints."""
    core = last.core
    served = f"{core.dst}:{core.dport}/{core.protocol}"
    untouched = passed_untouched(walk.sightings, proxied.node, last)
    if reaction.kind == "silent" and untouched is None:
        reason = (
            f"{proxied.node} got it and did not answer, though {_ready(proxied)}: a rule of"
            f" {proxied.node} drops what is for {served}, or its answer; or its kube-proxy hangs"
        )
        return walk.stopped(last, reaction, reason)
    what = {"silent": "did not answer", "refused": "refused"}.get(reaction.kind, "says unreachable")
    astray = "" if untouched is None else f" (it left by {untouched.interface} as it came)"
    reason = (
        f"{proxied.node} {what}, though {_ready(proxied)}: nothing serves {served} there{astray};"
        f" is kube-proxy running on {proxied.node}?"
    )
    return walk.stopped(last, reaction, reason)


def relayed_unseen(walk: Walk, proxied: Proxied, last: Packet) -> Finding:
    """Judge a flow that the proxy took where nothing shows what it did with it."""
    answers = walk.sightings.answers(last.where, last.core.flow, last.time_ns)
    if any(reply.core.payload for reply in answers):
        reason = f"answered, but nothing was captured at {walk.blind_places()}"
        return Finding("inconclusive", tuple(walk.hops), "answered", reason)
    why = walk.sightings.why.get(proxied.node)
    hop = walk.nothing_came(last, "no answer", "an answer")
    hop = replace(hop, where=proxied.node)
    reason = f"no answer came from {proxied.node}" + (f", where {why}" if why else "")
    return walk.wrong(hop, "timed out", reason)


def not_relayed(walk: Walk, proxied: Proxied, last: Packet) -> Finding:
    """Judge a flow that a relay took and did not carry on."""
    arp = _silent_endpoint(walk, proxied)
    if arp is not None:
        return arp
    word = "the connection" if last.core.protocol == "TCP" else "the datagram"
    hop = walk.nothing_came(
        last, "never relayed", f"relayed to one of {any_of(proxied)}", dst=any_of(proxied)
    )
    hop = replace(hop, where=proxied.node)
    reason = f"{proxied.node} took {word} and sent nothing on to an endpoint of {proxied.name}"
    why = reasons.no_arp_answer(walk.sightings, walk.opening.time_ns, at=proxied.node, address="")
    if _hung_up_first(walk, last):
        return walk.wrong(hop, "refused", f"{reason}, and closed it{why or _no_way(proxied)}")
    hangs = f"{_no_way(proxied)}; or its kube-proxy hangs"
    return walk.wrong(hop, "timed out", reason + (why or hangs))


def _hung_up_first(walk: Walk, last: Packet) -> bool:
    """Return whether the node closed the connection before its client did."""
    flow = last.core.flow
    back = walk.sightings.answers(last.where, flow, last.time_ns)
    there = walk.sightings.of(last.where, flow)
    closed, left = (
        [p.time_ns for p in packets if {"R", "F"} & set(p.core.flags)] for packets in (back, there)
    )
    return bool(closed) and (not left or min(closed) < min(left))


def one_connection(walk: Walk, proxied: Proxied, onward: Packet) -> Finding:
    """Return that what should have been relayed was translated."""
    hop = packet_hop(onward, walk.name, expected="a connection of the proxy's own")
    reason = (
        f"{proxied.node} passed on the connection itself ({onward.core.flow}), though its Node says"
        f" mode {proxied.mode.name}, which makes a second one"
    )
    return walk.wrong(hop, "answered", reason)


def not_translated(walk: Walk, proxied: Proxied, last: Packet) -> Finding:
    """Judge a flow that rules should have led to an endpoint and did not."""
    reaction = walk.reaction(last)
    if reaction.kind in {"refused", "unreachable"}:
        arp = _silent_endpoint(walk, proxied)
        return arp or not_taken(walk, last, reaction, proxied)
    arp = _silent_endpoint(walk, proxied)
    if arp is not None:
        return arp
    node, core = proxied.node, last.core
    hop = walk.nothing_came(
        last, "never translated", f"DNAT to one of {any_of(proxied)}", dst=any_of(proxied)
    )
    hop = replace(hop, where=node)
    if reaction.kind == "accepted":
        reason = (
            f"{node} answered itself, as a relay does, though its Node says mode"
            f" {proxied.mode.name}"
        )
        return walk.wrong(hop, "answered", reason)
    untouched = passed_untouched(walk.sightings, node, last)
    if untouched is not None:
        reason = (
            f"{node} has no rule for {core.dst}:{core.dport}/{core.protocol}, though"
            f" {_ready(proxied)}: the packet left by {untouched.interface} as it came;"
            f" is kube-proxy running on {node}?"
        )
        return walk.wrong(hop, "timed out", reason)
    reason = (
        f"the packet to {core.dst}:{core.dport} reached {last.where} {last.interface} and nothing"
        f" left, though {_ready(proxied)}"
    )
    arp_text = reasons.no_arp_answer(walk.sightings, walk.opening.time_ns, at=node, address="")
    return walk.wrong(hop, "timed out", reason + (arp_text or _no_way(proxied)))


def _silent_endpoint(walk: Walk, proxied: Proxied) -> Finding | None:
    """Return that an endpoint has no hardware address: then not even a first packet leaves."""
    for backend, leg in proxied.legs:
        arp = walk.no_arp(address=str(leg.address))
        if arp is not None:
            return walk.no_neighbour(arp, backend.pod or str(backend), leg.address)
    return None


def _no_way(proxied: Proxied) -> str:
    """Return what keeps a node from sending, to be put behind a reason."""
    address = proxied.legs[0][0].address
    return (
        f": a rule or a missing route of {proxied.node} stops it"
        f" (podwire exec node/{proxied.node} -- ip route get {address})"
    )


def _ready(proxied: Proxied) -> str:
    count = len(proxied.legs)
    return f"{proxied.name} has {count} ready endpoint{'s' if count > 1 else ''}"
