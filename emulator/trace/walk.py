"""Pure: the state of following one flow, and the steps and ends that all ways have in common."""

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Literal

from podwire.emulator.trace import reasons
from podwire.emulator.trace.choice import Outcome
from podwire.emulator.trace.expect import Proxied, Route
from podwire.emulator.trace.frames import Packet
from podwire.emulator.trace.hops import Finding, Hop, packet_hop
from podwire.emulator.trace.join import Sightings
from podwire.emulator.trace.snapshot import Snapshot
from podwire.emulator.trace.ways import Leg, Place

LegName = Literal["dns", "request"]


@dataclass(frozen=True, slots=True)
class Reaction:
    """What came back for an opening at its last place."""

    kind: Literal["accepted", "refused", "unreachable", "silent"]
    packet: Packet | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """A packet that was seen last as *seen* and never at *place*."""

    seen: Packet
    place: Place


class Walk:
    """One flow on its way: *hops* so far, and *taken*: where its first leg was seen.

    *blind* are places of the way that were not captured, *not_captured* those that others stand
    for.
    """

    def __init__(
        self,
        sightings: Sightings,
        snapshot: Snapshot,
        route: Route,
        opening: Packet,
        name: LegName,
    ) -> None:
        self.sightings = sightings
        self.snapshot = snapshot
        self.route = route
        self.opening = opening
        self.name: LegName = name
        self.hops: list[Hop] = []
        self.taken: list[Packet] = []
        self.blind: list[str] = []
        self.not_captured: list[str] = []

    def cross(self, leg: Leg, opening: Packet) -> tuple[list[Packet], Lost | None]:
        """Add a hop for each place that *opening* was seen at; stop where it was not."""
        seen: list[Packet] = []
        for place in leg.places:
            if place.where not in self.sightings.places:
                if self.snapshot.pod(place.where) or self.snapshot.node(place.where):
                    self.blind.append(place.where)
                continue
            if place.stands_for:
                self.not_captured.append(place.stands_for)
            packet = self.sightings.opening_at(place, leg, opening)
            if packet is None and not seen and place.where == opening.where and not place.tunnelled:
                packet = opening
            if packet is None:
                return seen, Lost(seen[-1] if seen else opening, place)
            self.hops.append(self._crossing(packet, place, leg, seen))
            seen.append(packet)
        return seen or [opening], None

    def reaction(self, packet: Packet) -> Reaction:
        """Return how the far end reacted to an opening, as seen where it was seen last."""
        core = packet.core
        replies = self.sightings.answers(packet.where, core.flow, packet.time_ns)
        for reply in replies:
            if core.protocol == "UDP" or "S" in reply.core.flags:
                return Reaction("accepted", reply)
            if "R" in reply.core.flags:
                return Reaction("refused", reply)
        errors = self.sightings.errors_about(core.flow, packet.time_ns)
        for error in sorted(errors, key=lambda e: e.where != packet.where):
            refused = error.core.icmp in {"port unreachable", "protocol unreachable"}
            return Reaction("refused" if refused else "unreachable", error)
        return Reaction("silent")

    def blind_places(self) -> str:
        """Return the places that were not captured, in words."""
        return ", ".join(dict.fromkeys(self.blind))

    def no_arp(self, *, at: str = "", address: str = "") -> Packet | None:
        """Return an ARP request that nobody answered since the flow began."""
        return self.sightings.unanswered_arp(self.opening.time_ns, at=at, address=address)

    def wrong(self, hop: Hop, outcome: Outcome, reason: str) -> Finding:
        """Return that *hop* is the first wrong one."""
        if hop.kind == "missing" and self.blind:
            reason += f" (nothing was captured at {self.blind_places()})"
        return Finding("refuted", (*self.hops, hop), outcome, reason, hop)

    def lost(self, lost: Lost) -> Finding:
        """Return that a packet never came to its next place."""
        seen = lost.seen
        reason = reasons.lost_between(
            self.sightings, self.snapshot, seen, lost.place, self.opening.time_ns
        )
        known = self.sightings.errors_about(seen.core.flow, self.opening.time_ns) or self.no_arp(
            at=seen.where, address=str(seen.core.dst)
        )
        outcome: Outcome = "unreachable" if known else "timed out"
        answers = self.sightings.answers(seen.where, seen.core.flow, seen.time_ns)
        if answers and not known:
            # Somebody on the way did what only the other end may do.
            first = answers[0].core
            refused = "R" in first.flags
            outcome, did = ("refused", "answered RST") if refused else ("answered", "answered")
            reason += f", and yet {first.src} {did}: has somebody else that address, too?"
        return self.wrong(self.missing(lost.place, seen), outcome, reason)

    def missing(self, place: Place, seen: Packet) -> Hop:
        """Return the hop of a packet that should have been at *place*."""
        hop = packet_hop(seen, self.name)
        inside = " inside VXLAN" if place.tunnelled else ""
        return Hop(
            kind="missing",
            leg=self.name,
            where=place.where,
            interface=place.device,
            protocol=hop.protocol,
            src=hop.src,
            dst=hop.dst,
            summary="never seen here",
            expected=f"{hop.src} > {hop.dst}{inside}",
            direction=place.direction,
        )

    def nothing_came(
        self, last: Packet, summary: str, expected: str, *, interface: str = "", dst: str = ""
    ) -> Hop:
        """Return the hop of what should have followed on *last*, and did not."""
        core = last.core
        return Hop(
            kind="missing",
            leg=self.name,
            where=last.where,
            interface=interface,
            protocol=core.protocol,
            src=f"{core.dst}:{core.dport}",
            dst=dst or f"{core.src}:{core.sport}",
            summary=summary,
            expected=expected,
        )

    def stopped(self, last: Packet, reaction: Reaction, reason: str) -> Finding:
        """Return that the flow ended at *last* with *reaction*."""
        if reaction.packet is None:
            hop = self.nothing_came(last, "no answer", "an answer", interface=last.interface)
            return self.wrong(hop, "timed out", reason)
        outcome: Outcome = "unreachable" if reaction.kind == "unreachable" else "refused"
        return self.wrong(packet_hop(reaction.packet, self.name), outcome, reason)

    def no_neighbour(self, arp: Packet, who: str, address: IPv4Address) -> Finding:
        """Return that nobody has the address to which the last step would have led."""
        hop = packet_hop(arp, self.name, expected=f"an ARP answer from {address}")
        where = f"{arp.where} {arp.interface}"
        reason = f"{who} is unreachable: nobody answers ARP for {address} on {where}"
        return self.wrong(hop, "unreachable", reason)

    def _crossing(self, packet: Packet, place: Place, leg: Leg, seen: list[Packet]) -> Hop:
        hop = packet_hop(
            packet, self.name, expected=f"to {leg.target} ({leg})", direction=place.direction
        )
        before = seen[-1] if seen else None
        if place.direction != "out" or before is None or before.where != packet.where:
            return hop
        # In and out of one device: only routing lowers the time to live.
        return hop.saying(f"(routed, TTL {before.core.ttl} -> {packet.core.ttl})")


def any_of(proxied: Proxied) -> str:
    """Return the endpoints of which one must be taken, shortened."""
    shown = [str(backend) for backend, _ in proxied.legs[:3]]
    more = len(proxied.legs) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
