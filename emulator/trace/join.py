"""Pure: packets of many places joined to flows.

A flow is recognised across bridges, masquerading and VXLAN by destination, port and first TCP
sequence number (datagrams: by their bytes). What a proxy made of it: see `nat` and `relays`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from podwire.emulator.trace.frames import Flow, Packet
from podwire.emulator.trace.snapshot import Location
from podwire.emulator.trace.ways import Leg, Place
from podwire.emulator.trace.wiring import Wiring

_LONGEST = 1 << 16  # bytes of each stream that are put together


@dataclass(frozen=True, slots=True)
class Joined:
    """The flow as a proxy sent it on; *proof* says from what that is concluded."""

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

    def first_of(self, places: Iterable[str], opening: Packet) -> str:
        """Return which of *places* saw the packet that opens a flow first, or ""."""
        core, found, when = opening.core, "", 0
        for where in places:
            for packet in self.at(where):
                other = packet.core
                if packet.time_ns < opening.time_ns or (other.dst, other.dport) != (
                    core.dst,
                    core.dport,
                ):
                    continue
                if (other.seq, other.payload) == (core.seq, core.payload):
                    if not found or packet.time_ns < when:
                        found, when = where, packet.time_ns
                    break
        return found

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
            # A capture may not know which way a packet went.
            if place.direction and packet.direction not in {place.direction, ""}:
                continue
            if place.tunnelled:
                if packet.inner is not None:
                    return packet
            elif packet.interface == place.device and packet.inner is None:
                return packet
            elif found is None and packet.inner is None and not place.stands_for:
                found = packet
        return found

    def furthest(self, seen: Packet, places: Iterable[str]) -> Packet:
        """Return how the packet *seen* showed last at *places*, where it may have been lost.

        Of what is sent again only the first counts, and of a bridge itself and its ports, to all of
        which it may send what it knows no port for, the bridge.
        """
        core, last = seen.core, seen
        shown = set[tuple[str, str, str, bool]]()
        for where in places:
            sent = False
            for packet in self.of(where, core.flow):
                other = packet.core
                if (other.seq, other.payload) != (core.seq, core.payload):
                    continue
                if packet.time_ns < seen.time_ns:
                    continue
                at = (where, packet.interface, packet.direction, packet.inner is None)
                again = sent and packet.inner is None
                if at not in shown and not again and packet.time_ns >= last.time_ns:
                    last = packet
                sent = sent or (packet.direction == "out" and packet.inner is None)
                shown.add(at)
        return last

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


def entered(sightings: Sightings, packet: Packet) -> bool:
    """Return whether a flow came to the place where *packet* was seen: it did not begin there."""
    first = sightings.of(packet.where, packet.core.flow)[0]
    return first.direction == "in" and first.interface != "lo"  # lo shows all on its way in


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
        if offset > len(data) or len(data) >= _LONGEST:
            break
        data += payload[len(data) - offset :] if offset + len(payload) > len(data) else b""
    return bytes(data)
