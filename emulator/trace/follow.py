"""Pure: one flow, followed from the client's first packet to the backend and back.

Each step looks for the packet where the objects say it must be next; the first one that fails is
the hop where the request died.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Literal

from podwire.emulator.trace import reasons
from podwire.emulator.trace.choice import Backend, Outcome
from podwire.emulator.trace.expect import Leg, Place, Relay, Route
from podwire.emulator.trace.frames import Flow, Packet
from podwire.emulator.trace.hops import Finding, Hop, packet_hop
from podwire.emulator.trace.join import Ambiguous, Joined, Sightings, attempts, joined
from podwire.emulator.trace.snapshot import Snapshot

LegName = Literal["dns", "request"]

FOREVER = 1 << 63


def follow(
    sightings: Sightings, snapshot: Snapshot, route: Route, opening: Packet, name: LegName
) -> Finding:
    """Return how the flow that *opening* began at the client went."""
    return _Follower(sightings, snapshot, route, opening, name).finding()


@dataclass(frozen=True, slots=True)
class _Reaction:
    """What came back for an opening at its last place."""

    kind: Literal["accepted", "refused", "unreachable", "silent"]
    packet: Packet | None = None


@dataclass(frozen=True, slots=True)
class _Lost:
    """A packet that was seen last as *seen* and never at *place*."""

    seen: Packet
    place: Place


class _Follower:
    def __init__(
        self,
        sightings: Sightings,
        snapshot: Snapshot,
        route: Route,
        opening: Packet,
        name: LegName,
    ) -> None:
        self._sightings = sightings
        self._snapshot = snapshot
        self._route = route
        self._opening = opening
        self._name: LegName = name
        self._hops: list[Hop] = []
        self._taken: list[Packet] = []
        self._blind: list[str] = []
        self._not_captured: list[str] = []

    def finding(self) -> Finding:
        """Walk the whole way."""
        found = self._walk()
        return replace(found, not_captured=tuple(dict.fromkeys(self._not_captured)))

    def _walk(self) -> Finding:
        front = self._route.front
        seen, lost = self._cross(front, self._opening)
        self._taken = seen
        if lost is not None:
            return self._lost(lost)
        if self._route.outcome != "answered":
            return self._without_backend(seen[-1])
        relay = self._route.relay
        if relay is None:
            return self._to_the_end(front, seen, None)
        reaction = self._reaction(seen[-1])
        if reaction.kind in {"refused", "unreachable"} or (
            reaction.kind == "silent" and front.protocol == "TCP"
        ):
            return self._not_taken(seen[-1], reaction, relay)
        found = joined(
            self._sightings,
            relay.node,
            relay.own,
            self._opening,
            relay.known,
            client=self._opening.where,
        )
        if isinstance(found, Ambiguous):
            flows = "; ".join(map(str, found.flows[:3]))
            reason = (
                f"{relay.node} carried the same bytes on {len(found.flows)} connections at once"
                f" ({flows}): which one was this request's cannot be told"
            )
            return Finding("inconclusive", tuple(self._hops), reason=reason)
        if found is None and relay.node not in self._sightings.places:
            return self._relayed_unseen(relay, seen[-1])
        if found is None:
            return self._not_relayed(relay, seen[-1])
        return self._relayed(relay, found)

    def _cross(self, leg: Leg, opening: Packet) -> tuple[list[Packet], _Lost | None]:
        """Add a hop for each place that *opening* was seen at; stop where it was not."""
        seen: list[Packet] = []
        for place in leg.places:
            if place.where not in self._sightings.places:
                if self._snapshot.pod(place.where) or self._snapshot.node(place.where):
                    self._blind.append(place.where)
                continue
            if place.stands_for:
                self._not_captured.append(place.stands_for)
            packet = self._sightings.opening_at(place, leg, opening)
            if packet is None and not seen and place.where == opening.where and not place.tunnelled:
                packet = opening
            if packet is None:
                return seen, _Lost(seen[-1] if seen else opening, place)
            seen.append(packet)
            self._hops.append(packet_hop(packet, self._name, expected=f"to {leg.target} ({leg})"))
        return seen or [opening], None

    def _reaction(self, packet: Packet) -> _Reaction:
        """Return how the far end reacted to an opening, as seen where it was seen last."""
        core = packet.core
        replies = self._sightings.answers(packet.where, core.flow, packet.time_ns)
        for reply in replies:
            if core.protocol == "UDP" or "S" in reply.core.flags:
                return _Reaction("accepted", reply)
            if "R" in reply.core.flags:
                return _Reaction("refused", reply)
        errors = self._sightings.errors_about(core.flow, packet.time_ns)
        for error in sorted(errors, key=lambda e: e.where != packet.where):
            refused = error.core.icmp in {"port unreachable", "protocol unreachable"}
            return _Reaction("refused" if refused else "unreachable", error)
        return _Reaction("silent")

    def _blind_places(self) -> str:
        return ", ".join(dict.fromkeys(self._blind))

    # -- the ways to fail

    def _wrong(self, hop: Hop, outcome: Outcome, reason: str) -> Finding:
        if hop.kind == "missing" and self._blind:
            reason += f" (nothing was captured at {self._blind_places()})"
        return Finding("refuted", (*self._hops, hop), outcome, reason, hop)

    def _lost(self, lost: _Lost) -> Finding:
        seen = lost.seen
        reason = reasons.lost_between(
            self._sightings, self._snapshot, seen, lost.place, self._opening.time_ns
        )
        since = self._opening.time_ns
        known = self._sightings.errors_about(seen.core.flow, since) or self._no_arp(
            at=seen.where, address=str(seen.core.dst)
        )
        outcome: Outcome = "unreachable" if known else "timed out"
        return self._wrong(self._missing(lost.place, seen), outcome, reason)

    def _no_arp(self, *, at: str = "", address: str = "") -> Packet | None:
        return self._sightings.unanswered_arp(self._opening.time_ns, at=at, address=address)

    def _missing(self, place: Place, seen: Packet, summary: str = "") -> Hop:
        hop = packet_hop(seen, self._name)
        inside = " inside VXLAN" if place.tunnelled else ""
        return Hop(
            kind="missing",
            leg=self._name,
            where=place.where,
            interface=place.device,
            protocol=hop.protocol,
            src=hop.src,
            dst=hop.dst,
            summary=summary or "never seen here",
            expected=f"{hop.src} > {hop.dst}{inside}",
        )

    def _without_backend(self, last: Packet) -> Finding:
        """Judge a flow that no backend may get: refused or dropped, and why."""
        reason = self._route.why
        relay = self._route.relay
        service = self._snapshot.service(relay.service) if relay else None
        if service is not None and self._route.outcome == "refused":
            reason = reasons.no_endpoints(self._snapshot, service)
        reaction = self._reaction(last)
        if reaction.kind == "accepted" and reaction.packet is not None:
            hop = packet_hop(reaction.packet, self._name, expected=self._route.outcome)
            return self._wrong(hop, "answered", f"{reason}, and yet {last.where} took the request")
        return self._stopped(last, reaction, reason)

    def _stopped(self, last: Packet, reaction: _Reaction, reason: str) -> Finding:
        """Return that the flow ended at *last* with *reaction*."""
        if reaction.packet is None:
            hop = Hop(
                kind="missing",
                leg=self._name,
                where=last.where,
                interface=last.interface,
                protocol=last.core.protocol,
                src=f"{last.core.dst}:{last.core.dport}",
                dst=f"{last.core.src}:{last.core.sport}",
                summary="no answer",
                expected="an answer",
            )
            return self._wrong(hop, "timed out", reason)
        outcome: Outcome = "unreachable" if reaction.kind == "unreachable" else "refused"
        return self._wrong(packet_hop(reaction.packet, self._name), outcome, reason)

    def _no_neighbour(self, arp: Packet, who: str, address: IPv4Address) -> Finding:
        """Return that nobody has the address to which the last step would have led."""
        hop = packet_hop(arp, self._name, expected=f"an ARP answer from {address}")
        where = f"{arp.where} {arp.interface}"
        reason = f"{who} is unreachable: nobody answers ARP for {address} on {where}"
        return self._wrong(hop, "unreachable", reason)

    def _not_taken(self, last: Packet, reaction: _Reaction, relay: Relay) -> Finding:
        """Judge a flow that the proxy's node did not take though there are endpoints."""
        core = last.core
        count = len(relay.legs)
        ready = f"Service {relay.service} has {count} ready endpoint{'s' if count > 1 else ''}"
        what = {"silent": "did not answer", "refused": "refused"}.get(
            reaction.kind, "says unreachable"
        )
        reason = (
            f"{relay.node} {what}, though {ready}: nothing serves {core.dst}:{core.dport}"
            f"/{core.protocol} there; is kube-proxy running on {relay.node}?"
        )
        return self._stopped(last, reaction, reason)

    def _relayed_unseen(self, relay: Relay, last: Packet) -> Finding:
        """Judge a flow that the proxy took where nothing shows what it did with it."""
        answers = self._sightings.answers(last.where, last.core.flow, last.time_ns)
        if any(reply.core.payload for reply in answers):
            reason = f"answered, but nothing was captured at {self._blind_places()}"
            return Finding("inconclusive", tuple(self._hops), "answered", reason)
        why = self._sightings.why.get(relay.node)
        hop = Hop(
            kind="missing",
            leg=self._name,
            where=relay.node,
            interface="",
            protocol=last.core.protocol,
            src=f"{last.core.dst}:{last.core.dport}",
            dst=f"{last.core.src}:{last.core.sport}",
            summary="no answer",
            expected="an answer",
        )
        reason = f"no answer came from {relay.node}" + (f", where {why}" if why else "")
        return self._wrong(hop, "timed out", reason)

    def _not_relayed(self, relay: Relay, last: Packet) -> Finding:
        """Judge a flow that the proxy took and that no backend carried on."""
        tried = attempts(
            self._sightings, relay.node, relay.own, self._opening, relay.known, FOREVER
        )
        legs = {(leg.address, leg.port): (backend, leg) for backend, leg in relay.legs}
        usable = [opening for opening in tried if (opening.core.dst, opening.core.dport) in legs]
        if usable:
            # The first one has had the most time to fail.
            more = f", the first of {len(usable)}" if len(usable) > 1 else ""
            proof = f"the connection to an endpoint in the meantime{more}"
            return self._relayed(relay, Joined(usable[0], proof))
        for backend, leg in relay.legs:
            # Without a hardware address not even the first packet leaves the node.
            arp = self._no_arp(address=str(leg.address))
            if arp is not None:
                return self._no_neighbour(arp, backend.pod or str(backend), leg.address)
        word = "the connection" if last.core.protocol == "TCP" else "the datagram"
        hop = Hop(
            kind="missing",
            leg=self._name,
            where=relay.node,
            interface="",
            protocol=last.core.protocol,
            src=f"{last.core.dst}:{last.core.dport}",
            dst=_any_of(relay),
            summary="never relayed",
            expected=f"relayed to one of {_any_of(relay)}",
        )
        reason = f"{relay.node} took {word} and sent nothing on to an endpoint of {relay.service}"
        reason += reasons.no_arp_answer(
            self._sightings, self._opening.time_ns, at=relay.node, address=""
        )
        return self._wrong(hop, "timed out", reason)

    # -- the second half

    def _relayed(self, relay: Relay, found: Joined) -> Finding:
        opening = found.opening
        core = opening.core
        legs = {(leg.address, leg.port): (backend, leg) for backend, leg in relay.legs}
        picked = legs.get((core.dst, core.dport))
        hop = self._inferred(relay, found, picked[0] if picked else None)
        if picked is None:
            reason = (
                f"{relay.node} sent the request to"
                f" {reasons.address_text(self._snapshot, core.dst)} port {core.dport},"
                f" which is no ready endpoint of Service {relay.service} ({_any_of(relay)})"
            )
            return self._wrong(hop, "answered", reason)
        backend, leg = picked
        if leg.sources and core.src not in leg.sources:
            wanted = _listed(leg.sources)
            reason = f"{relay.node} relayed from {core.src}; its address for that is {wanted}"
            return self._wrong(hop, "answered", reason)
        self._hops.append(hop)
        seen, lost = self._cross(leg, opening)
        if lost is not None:
            return self._lost(lost)
        return self._to_the_end(leg, seen, backend)

    def _inferred(self, relay: Relay, found: Joined, backend: Backend | None) -> Hop:
        core = found.opening.core
        if backend is not None:
            to = f"relayed to endpoint {backend.pod or backend}"
        else:
            to = f"relayed to {reasons.address_text(self._snapshot, core.dst)}"
        return Hop(
            kind="inferred",
            leg=self._name,
            where=relay.node,
            interface="",
            protocol=core.protocol,
            src=f"{self._opening.core.dst}:{self._opening.core.dport}",
            dst=f"{core.dst}:{core.dport}",
            summary=f"{to}   ({found.proof})",
            time_ns=found.opening.time_ns,
            expected=f"relayed to one of {_any_of(relay)}",
            packet=found.opening,
        )

    def _to_the_end(self, leg: Leg, seen: Sequence[Packet], backend: Backend | None) -> Finding:
        """Judge what the backend did, and the way of its answer to the client."""
        last = seen[-1]
        reaction = self._reaction(last)
        service = None
        if self._route.relay is not None:
            service = self._snapshot.service(self._route.relay.service)
        if reaction.kind == "refused":
            pod = backend.pod if backend else self._route.backend.pod if self._route.backend else ""
            about = reasons.nothing_listens(self._snapshot, service, pod, leg.port)
            word = "RST" if leg.protocol == "TCP" else "ICMP port unreachable"
            how = f"{_end(leg, last)} got it and answered {word}"
            return self._stopped(last, reaction, f"{how}: {about}")
        arp = self._no_arp(address=str(leg.address))
        if reaction.kind in {"unreachable", "silent"} and arp is not None:
            return self._no_neighbour(arp, str(leg), leg.address)
        if reaction.kind == "unreachable" and reaction.packet is not None:
            error = reaction.packet.core
            who = reasons.address_text(self._snapshot, error.src)
            return self._stopped(last, reaction, f"{leg} is unreachable: {error.icmp}, says {who}")
        if reaction.packet is None:
            reason = f"{_end(leg, last)} got the request to {leg} and did not answer"
            return self._stopped(last, reaction, reason)
        return self._answered(leg, seen, reaction.packet)

    def _answered(self, leg: Leg, seen: Sequence[Packet], reply: Packet) -> Finding:
        last = seen[-1]
        asks = bool(self._sightings.stream(self._opening.where, self._opening, "to"))
        if last.core.protocol == "TCP" and asks:
            asked = self._data(last, last.core.flow)
            if asked is not None and last is not self._opening:
                self._hops.append(packet_hop(asked, self._name, expected="the request's bytes"))
            answer = self._data(last, last.core.flow.reversed())
            if answer is None:
                return self._hung_up(leg, last, asked)
            reply = answer
        self._hops.append(packet_hop(reply, self._name, expected="an answer"))
        return self._home(seen, needs_data=bool(reply.core.payload))

    def _hung_up(self, leg: Leg, last: Packet, asked: Packet | None) -> Finding:
        flow = last.core.flow
        closing = _closing(self._sightings.answers(last.where, flow, last.time_ns))
        gave_up = _closing(self._sightings.of(last.where, flow))
        if gave_up and closing and gave_up[0].time_ns <= closing[0].time_ns:
            closing = []  # only a goodbye to a client that had left
        if asked is not None and closing:
            reason = f"{_end(leg, last, device=False)} closed the connection without an answer"
            return self._wrong(packet_hop(closing[0], self._name), "refused", reason)
        got = "got the request" if asked is not None else "accepted the connection"
        reason = f"{_end(leg, last, device=False)} {got} and did not answer in time"
        return self._stopped(last, _Reaction("silent"), reason)

    def _data(self, at: Packet, flow: Flow) -> Packet | None:
        packets = self._sightings.of(at.where, flow)
        found = [p for p in packets if p.core.payload and p.time_ns >= at.time_ns]
        # A node may see it on several interfaces: there, where the way ends.
        return next((p for p in found if p.interface == at.interface), next(iter(found), None))

    def _home(self, seen: Sequence[Packet], *, needs_data: bool) -> Finding:
        """Check that the answer passed every place on its way back to the client."""
        way = [*reversed(seen)]
        if self._route.relay is not None:
            way += reversed(self._taken)
        previous = self._hops[-1].packet or seen[-1]
        reached: Packet | None = None
        for packet in way:
            back = self._sightings.answers(packet.where, packet.core.flow, packet.time_ns)
            found = next((p for p in back if p.core.payload or not needs_data), None)
            if found is None:
                place = Place(packet.where, packet.interface, packet.inner is not None)
                reason = (
                    f"the answer left {previous.where} {previous.interface}"
                    f" but never reached {packet.where} {packet.interface}"
                )
                return self._wrong(self._missing(place, previous), "timed out", reason)
            previous = reached = found
        if reached is not None and reached is not self._hops[-1].packet:
            self._hops.append(packet_hop(reached, self._name, expected="the answer"))
        if self._blind:
            reason = (
                f"answered, but nothing was captured at {', '.join(dict.fromkeys(self._blind))}"
            )
            return Finding("inconclusive", tuple(self._hops), "answered", reason)
        # Of a mere connect the client hears before the backend does.
        hops = sorted(self._hops, key=lambda hop: hop.time_ns)
        return Finding("confirmed", tuple(hops), "answered")


def _end(leg: Leg, last: Packet, *, device: bool = True) -> str:
    """Return who was the last to get a packet of *leg*."""
    hidden = leg.places[-1].stands_for if leg.places else ""
    if hidden and last.where == leg.places[-1].where:
        return f"{hidden} (behind {last.where} {last.interface})"
    return f"{last.where} {last.interface}" if device else last.where


def _closing(packets: Sequence[Packet]) -> list[Packet]:
    return [packet for packet in packets if {"R", "F"} & set(packet.core.flags)]


def _any_of(relay: Relay) -> str:
    shown = [str(backend) for backend, _ in relay.legs[:3]]
    more = len(relay.legs) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _listed(addresses: frozenset[IPv4Address]) -> str:
    return " or ".join(map(str, sorted(addresses)))
