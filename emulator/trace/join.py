"""Pure: packets of many places joined to flows, and the two sides of a relay to each other.

A flow is recognised across bridges, NAT and VXLAN by destination, port and first TCP sequence
number (datagrams: by their bytes); the two sides of a relay by payload bytes and order in time.
The proxy is never asked.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Literal

from podwire.emulator.trace.expect import Leg, Place
from podwire.emulator.trace.frames import Flow, Packet
from podwire.emulator.trace.snapshot import Location
from podwire.emulator.trace.wiring import Wiring

_COMPARED = 1 << 16  # bytes of each stream that are compared


@dataclass(frozen=True, slots=True)
class Joined:
    """The flow that a relay opened for another; *proof* says from what that is concluded."""

    opening: Packet
    proof: str


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Several flows fit equally well: nothing can be concluded."""

    flows: tuple[Flow, ...]


class Sightings:
    """All packets of a capture, by place and by flow. *places* are those that were captured.

    *why* says of places that were not, as far as it is known, why not.
    """

    def __init__(
        self, packets: Iterable[Packet], places: Iterable[str], why: Mapping[str, str] | None = None
    ) -> None:
        self.packets = tuple(packets)
        self.places = frozenset(places)
        self.why = dict(why or {})
        self._by_place: dict[str, list[Packet]] = defaultdict(list)
        self._by_flow: dict[tuple[str, Flow], list[Packet]] = defaultdict(list)
        for packet in self.packets:
            self._by_place[packet.where].append(packet)
            self._by_flow[packet.where, packet.core.flow].append(packet)

    def at(self, where: str) -> Sequence[Packet]:
        """Return the packets seen at a place, in order of time."""
        return self._by_place.get(where, ())

    def sent_by(self, client: Location, wiring: Wiring) -> Sequence[Packet]:
        """Return what a client sent, as first seen: at its own place or, failing that, its node."""
        # On lo every packet is shown once, on its way in.
        if client.where in self.places or client.kind != "pod" or wiring.captures == "pods":
            packets = self.at(client.where)
            return [p for p in packets if p.direction != "in" or p.interface == "lo"]
        return [
            p
            for p in self.at(client.node)
            if p.interface == wiring.bridge
            and p.direction != "out"
            and p.inner is None
            and p.core.protocol != "ARP"  # that reaches every port of a switch, and goes nowhere
            and p.core.src == client.address
        ]

    def of(self, where: str, flow: Flow) -> Sequence[Packet]:
        """Return the packets of one direction of a flow at a place, in order of time."""
        return self._by_flow.get((where, flow), ())

    def opening_at(self, place: Place, leg: Leg, opening: Packet) -> Packet | None:
        """Return where and how the packet that opens a flow shows at *place*, or None."""
        core = opening.core
        found: Packet | None = None
        for packet in self.at(place.where):
            if packet.time_ns < opening.time_ns or not _same_opening(packet.core, core, leg):
                continue
            if place.tunnelled:
                if packet.inner is not None:
                    return packet
            elif packet.interface == place.device and packet.inner is None:
                return packet
            elif found is None and packet.inner is None and not place.stands_for:
                found = packet
        return found

    def errors_about(self, flow: Flow, since_ns: int) -> list[Packet]:
        """Return the ICMP errors that quote a packet of *flow*, from anywhere."""
        return [
            packet
            for packet in self.packets
            if packet.time_ns >= since_ns
            and packet.core.quoted is not None
            and packet.core.quoted.flow == flow
        ]

    def unanswered_arp(self, since_ns: int, *, at: str = "", address: str = "") -> Packet | None:
        """Return an ARP request since then that nobody answered anywhere, or None.

        It is for *address*, or was sent at *at*; of both kinds, the one for *address* first.
        """
        requests = [p for p in self.packets if p.core.protocol == "ARP" and p.inner is None]
        answered = {p.src for p in requests if p.flags == "reply"}
        open_ones = [
            p
            for p in requests
            if p.flags == "request" and p.time_ns >= since_ns and p.dst not in answered
        ]
        # A request reaches all ports of a bridge; where it went out says more than where it came.
        open_ones.sort(key=lambda p: (str(p.dst) != address, p.direction != "out"))
        for packet in open_ones:
            if str(packet.dst) == address or packet.where == at:
                return packet
        return None

    def stream(self, where: str, opening: Packet, direction: Literal["to", "back"]) -> bytes:
        """Return the first bytes that a TCP connection carried, put in order."""
        flow = opening.core.flow
        if direction == "back":
            flow = flow.reversed()
        begin = opening.core.seq + 1
        packets = self.of(where, flow)
        if direction == "back":
            accepted = next((p.core for p in packets if "S" in p.core.flags), None)
            if accepted is None:
                return b""
            begin = accepted.seq + 1
        return _assembled([p.core for p in packets], begin)

    def answers(self, where: str, flow: Flow, since_ns: int) -> list[Packet]:
        """Return what came back for *flow* at a place since then, in order of time."""
        return [p for p in self.of(where, flow.reversed()) if p.time_ns >= since_ns]


def joined(
    sightings: Sightings,
    node: str,
    own: frozenset[IPv4Address],
    front: Packet,
    known: frozenset[tuple[IPv4Address, int]],
    *,
    client: str,
) -> Joined | Ambiguous | None:
    """Return the flow that *node* opened to carry on the one that *front* opened, if it did.

    *own* are the addresses by which the node talks, *known* the endpoints it may talk to; a flow
    to anywhere else counts if its bytes are the same. *client* is where *front* was opened.
    """
    if front.core.protocol == "UDP":
        return _joined_datagram(sightings, node, own, front)
    return _joined_stream(sightings, node, own, front, known, client)


def attempts(
    sightings: Sightings,
    node: str,
    own: frozenset[IPv4Address],
    front: Packet,
    known: frozenset[tuple[IPv4Address, int]],
    until_ns: int,
) -> list[Packet]:
    """Return the openings that *node* sent to known endpoints in the meantime, once each."""
    return [
        p
        for p in _openings(sightings, node, own, front)
        if (p.core.dst, p.core.dport) in known and p.time_ns <= until_ns
    ]


def _joined_datagram(
    sightings: Sightings, node: str, own: frozenset[IPv4Address], front: Packet
) -> Joined | Ambiguous | None:
    core = front.core
    proof = f"the same {len(core.payload)} bytes went out"
    flows: dict[Flow, Packet] = {}
    repeated_ns = 1 << 63
    passed = {front.interface} if front.where == node else set[str]()
    for packet in sightings.at(node):
        other = packet.core
        is_later = packet.time_ns > front.time_ns
        if not is_later or other.protocol != "UDP" or other.payload != core.payload:
            continue
        if other.dst == core.dst and other.dport == core.dport:
            # The client asked again: what follows belongs to that. (One datagram shows on each
            # interface that it passes.)
            if other.flow != core.flow or packet.interface in passed:
                repeated_ns = min(repeated_ns, packet.time_ns)
            passed.add(packet.interface)
        elif packet.inner is None and other.src in own:
            flows.setdefault(other.flow, packet)
    first = [packet for packet in flows.values() if packet.time_ns < repeated_ns]
    return _only([Joined(packet, proof) for packet in first or flows.values()])


def _joined_stream(
    sightings: Sightings,
    node: str,
    own: frozenset[IPv4Address],
    front: Packet,
    known: frozenset[tuple[IPv4Address, int]],
    client: str,
) -> Joined | Ambiguous | None:
    asked = sightings.stream(client, front, "to")[:_COMPARED]
    told = sightings.stream(client, front, "back")[:_COMPARED]
    same: list[Joined] = []
    silent: list[Joined] = []
    for opening in _openings(sightings, node, own, front):
        to = sightings.stream(node, opening, "to")[:_COMPARED]
        back = sightings.stream(node, opening, "back")[:_COMPARED]
        if not (_agree(asked, to) and _agree(told, back)):
            continue
        shared = min(len(asked), len(to)) + min(len(told), len(back))
        if shared:
            ms = (opening.time_ns - front.time_ns) / 1e6
            same.append(Joined(opening, f"the same {shared} bytes, {ms:.1f} ms later"))
        elif not (to or back) and (opening.core.dst, opening.core.dport) in known:
            silent.append(Joined(opening, "the one connection to an endpoint in the meantime"))
    if same:
        return _only(same)
    if asked and told:
        return None  # it was answered; a connection without these bytes did not carry it
    accepted = [j for j in silent if _accepted(sightings, node, j.opening)]
    return _only(accepted)


def _openings(
    sightings: Sightings, node: str, own: frozenset[IPv4Address], front: Packet
) -> list[Packet]:
    """Return the TCP connections that *node* itself opened after *front*, once each."""
    flows: dict[Flow, Packet] = {}
    for packet in sightings.at(node):
        core = packet.core
        if (
            core.opens
            and packet.inner is None
            and packet.time_ns >= front.time_ns
            and core.src in own
            and core.flow != front.core.flow
        ):
            flows.setdefault(core.flow, packet)
    return list(flows.values())


def _only(found: Sequence[Joined]) -> Joined | Ambiguous | None:
    if len(found) > 1:
        return Ambiguous(tuple(item.opening.core.flow for item in found))
    return found[0] if found else None


def _accepted(sightings: Sightings, node: str, opening: Packet) -> bool:
    replies = sightings.answers(node, opening.core.flow, opening.time_ns)
    return any(reply.core.flags == "SA" for reply in replies)


def _agree(one: bytes, other: bytes) -> bool:
    """Return whether one is how the other begins; a capture may hold less of either."""
    length = min(len(one), len(other))
    return one[:length] == other[:length]


def _same_opening(core: Packet, opening: Packet, leg: Leg) -> bool:
    if core.protocol != leg.protocol or core.dst != leg.address or core.dport != leg.port:
        return False
    if core.src != opening.src and leg.sources and core.src not in leg.sources:
        return False
    if leg.protocol == "TCP":
        return core.opens and core.seq == opening.seq
    return core.payload == opening.payload


def _assembled(packets: Iterable[Packet], begin: int) -> bytes:
    """Return the bytes from sequence number *begin* on, up to the first gap."""
    data = bytearray()
    parts = sorted(((p.seq - begin) & 0xFFFFFFFF, p.payload) for p in packets if p.payload)
    for offset, payload in parts:
        if offset > len(data) or len(data) >= _COMPARED:
            break
        data += payload[len(data) - offset :] if offset + len(payload) > len(data) else b""
    return bytes(data)
