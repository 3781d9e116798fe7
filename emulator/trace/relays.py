"""Pure: the connection or datagram that a relay opened for another.

The two sides are joined by payload bytes and order in time, and by the client's address and port
where the relay asks with those. The relay is never asked.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address

from podwire.emulator.trace.frames import Flow, Packet
from podwire.emulator.trace.join import Ambiguous, Joined, Sightings, entered

_COMPARED = 1 << 16  # bytes of each stream that are compared


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
        elif packet.inner is None and other.src in own and not entered(sightings, packet):
            flows.setdefault(other.flow, packet)
    first = [packet for packet in flows.values() if packet.time_ns < repeated_ns]
    found = first or list(flows.values())
    own_port = [packet for packet in found if _end(packet) == _end(front)]
    return _only([Joined(packet, proof) for packet in own_port or found])


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
    # With its client's address the node mostly asks from its client's port, too.
    own_port = [j for j in same if _end(j.opening) == _end(front)]
    if same:
        return _only(own_port or same)
    if asked and told:
        return None  # it was answered; a connection without these bytes did not carry it
    accepted = [j for j in silent if _accepted(sightings, node, j.opening)]
    return _only([j for j in accepted if _end(j.opening) == _end(front)] or accepted)


def _end(packet: Packet) -> tuple[IPv4Address, int]:
    return packet.core.src, packet.core.sport


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
            and not entered(sightings, packet)
            # Not the opening that it carries on, which may come with another source than it had.
            and (core.dst, core.dport) != (front.core.dst, front.core.dport)
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
