"""Pure: one flow, followed from the client's first packet to the backend and back.

Each step looks for the packet where the objects say it must be next; the first one that fails is
the hop where the request died.
"""

from dataclasses import replace
from ipaddress import IPv4Address

from podwire.emulator.trace import ends, reasons
from podwire.emulator.trace.answer import to_the_end
from podwire.emulator.trace.choice import Backend
from podwire.emulator.trace.expect import Proxied, Route
from podwire.emulator.trace.frames import Packet
from podwire.emulator.trace.hops import Finding, Hop, Translation
from podwire.emulator.trace.join import Ambiguous, Joined, Sightings
from podwire.emulator.trace.nat import translated, translation
from podwire.emulator.trace.relays import attempts, joined
from podwire.emulator.trace.snapshot import Snapshot
from podwire.emulator.trace.walk import LegName, Walk, any_of
from podwire.emulator.trace.ways import Leg

FOREVER = 1 << 63

_SHOWN_BY_NOTHING = "its process had it translated before any interface could show it"


def follow(
    sightings: Sightings, snapshot: Snapshot, route: Route, opening: Packet, name: LegName
) -> Finding:
    """Return how the flow that *opening* began at the client went.

    Where the route's front is hidden, *opening* is the flow as the node sent it out.
    """
    walk = Walk(sightings, snapshot, route, opening, name)
    found = _walked(walk)
    return replace(found, not_captured=tuple(dict.fromkeys(walk.not_captured)))


def _walked(walk: Walk) -> Finding:
    front, proxied = walk.route.front, walk.route.proxied
    if proxied is not None and proxied.hidden:
        core = walk.opening.core
        if (core.dst, core.dport) == (front.address, front.port):
            return _inside(walk, proxied)
        return _passed_on(walk, proxied, Joined(walk.opening, _SHOWN_BY_NOTHING), None)
    seen, lost = walk.cross(front, walk.opening)
    walk.taken = seen
    if lost is not None:
        return walk.lost(lost)
    if walk.route.outcome != "answered":
        return ends.without_backend(walk, seen[-1])
    if proxied is None:
        return to_the_end(walk, front, seen, None)
    if proxied.mode.translates:
        return _translated(walk, proxied, seen)
    return _relayed(walk, proxied, seen[-1])


def _relayed(walk: Walk, proxied: Proxied, last: Packet) -> Finding:
    reaction = walk.reaction(last)
    if reaction.kind in {"refused", "unreachable"} or (
        reaction.kind == "silent" and last.core.protocol == "TCP"
    ):
        return ends.not_taken(walk, last, reaction, proxied)
    opening = walk.opening
    found = joined(
        walk.sightings, proxied.node, proxied.own, opening, proxied.known, client=opening.where
    )
    if isinstance(found, Ambiguous):
        return _ambiguous(walk, proxied, found)
    if found is None and proxied.node not in walk.sightings.places:
        return ends.relayed_unseen(walk, proxied, last)
    if found is None:
        found = _tried(walk, proxied)
    if found is None:
        return ends.not_relayed(walk, proxied, last)
    if opening.core.protocol == "TCP" and found.opening.core.seq == opening.core.seq:
        return ends.one_connection(walk, proxied, found.opening)
    return _passed_on(walk, proxied, found, last)


def _translated(walk: Walk, proxied: Proxied, seen: list[Packet]) -> Finding:
    last = seen[-1]
    if proxied.node not in walk.sightings.places:
        return ends.relayed_unseen(walk, proxied, last)
    found = translated(walk.sightings, proxied.node, last, proxied.known)
    if isinstance(found, Ambiguous):
        return _ambiguous(walk, proxied, found)
    if found is not None:
        return _passed_on(walk, proxied, found, last)
    inside = [(backend, leg) for backend, leg in proxied.legs if not leg.places]
    if inside and walk.reaction(last).kind == "accepted":
        # Translated on its way to a process of the node, it shows on no interface again.
        backend, leg = inside[0]
        walk.hops.append(_delivered(walk, proxied, last, leg))
        return to_the_end(walk, leg, seen, backend)
    return ends.not_translated(walk, proxied, last)


def _inside(walk: Walk, proxied: Proxied) -> Finding:
    """Judge what one process of a node asks another: the flow is known from its answer."""
    found = translated(walk.sightings, proxied.node, walk.opening, proxied.known)
    legs = {(leg.address, leg.port): (backend, leg) for backend, leg in proxied.legs}
    if isinstance(found, Ambiguous):
        return _ambiguous(walk, proxied, found)
    if found is None or (found.opening.core.dst, found.opening.core.dport) not in legs:
        return ends.not_translated(walk, proxied, walk.opening)
    backend, leg = legs[found.opening.core.dst, found.opening.core.dport]
    walk.hops.append(_inferred(walk, proxied, found, walk.opening, backend))
    walk.cross(leg, found.opening)
    return to_the_end(walk, leg, [walk.opening], backend)


def _tried(walk: Walk, proxied: Proxied) -> Joined | None:
    """Return the connection that a relay opened to a usable endpoint, and which carried nothing."""
    tried = attempts(
        walk.sightings, proxied.node, proxied.own, walk.opening, proxied.known, FOREVER
    )
    legs = {(leg.address, leg.port) for _, leg in proxied.legs}
    usable = [opening for opening in tried if (opening.core.dst, opening.core.dport) in legs]
    if not usable:
        return None
    # The first one has had the most time to fail.
    more = f", the first of {len(usable)}" if len(usable) > 1 else ""
    return Joined(usable[0], f"the connection to an endpoint in the meantime{more}")


def _ambiguous(walk: Walk, proxied: Proxied, found: Ambiguous) -> Finding:
    flows = "; ".join(map(str, found.flows[:3]))
    reason = (
        f"{proxied.node} carried the same bytes on {len(found.flows)} connections at once"
        f" ({flows}): which one was this request's cannot be told"
    )
    return Finding("inconclusive", tuple(walk.hops), reason=reason)


def _passed_on(walk: Walk, proxied: Proxied, found: Joined, before: Packet | None) -> Finding:
    """Judge where the proxy's node sent the flow, and follow it there.

    *before* is how it came to the node; None if no interface showed that.
    """
    opening = found.opening
    core = opening.core
    legs = {(leg.address, leg.port): (backend, leg) for backend, leg in proxied.legs}
    picked = legs.get((core.dst, core.dport))
    hop = _inferred(walk, proxied, found, before, picked[0] if picked else None)
    if picked is None:
        reason = (
            f"{proxied.node} sent the request to"
            f" {reasons.address_text(walk.snapshot, core.dst)} port {core.dport},"
            f" which is no ready endpoint of {proxied.name} ({any_of(proxied)})"
        )
        return walk.wrong(hop, "answered", reason)
    backend, leg = picked
    if leg.sources and core.src not in leg.sources:
        how = "sent it with the source" if proxied.mode.translates else "relayed from"
        wanted = _listed(leg.sources)
        reason = f"{proxied.node} {how} {core.src}; the backend must see {wanted}"
        return walk.wrong(hop, "answered", reason)
    walk.hops.append(hop)
    seen, lost = walk.cross(leg, opening)
    if lost is not None:
        return walk.lost(lost)
    return to_the_end(walk, leg, seen, backend)


def _inferred(
    walk: Walk, proxied: Proxied, found: Joined, before: Packet | None, backend: Backend | None
) -> Hop:
    core = found.opening.core
    where = f"endpoint {backend.pod or backend}" if backend is not None else ""
    where = where or reasons.address_text(walk.snapshot, core.dst)
    made = translation(before, found.opening) if proxied.mode.translates else None
    if made is None:
        summary = f"relayed to {where}   ({found.proof})"
    else:
        source = f", SNAT {made.source}" if made.source else ""
        summary = f"DNAT to {where}{source}   ({found.proof}; conntrack: {made})"
    front = walk.route.front
    return Hop(
        kind="inferred",
        leg=walk.name,
        where=proxied.node,
        interface="",
        protocol=core.protocol,
        src=f"{front.address}:{front.port}",
        dst=f"{core.dst}:{core.dport}",
        summary=summary,
        time_ns=found.opening.time_ns,
        expected=f"{'DNAT' if made else 'relayed'} to one of {any_of(proxied)}",
        packet=found.opening,
        mode=proxied.mode.name,
        translation=made,
    )


def _delivered(walk: Walk, proxied: Proxied, last: Packet, leg: Leg) -> Hop:
    front = walk.route.front
    return Hop(
        kind="inferred",
        leg=walk.name,
        where=proxied.node,
        interface="",
        protocol=leg.protocol,
        src=f"{front.address}:{front.port}",
        dst=str(leg),
        summary=f"DNAT to a process of {proxied.node}   (it answered, and nothing left the node)",
        time_ns=last.time_ns,
        expected=f"DNAT to one of {any_of(proxied)}",
        mode=proxied.mode.name,
        translation=Translation(str(last.core.flow), f"{leg} > {last.core.src}:{last.core.sport}"),
    )


def _listed(addresses: frozenset[IPv4Address]) -> str:
    return " or ".join(map(str, sorted(addresses)))
