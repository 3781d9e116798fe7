"""Pure: one connection seen on both sides of a node that gave it other addresses (DNAT, SNAT).

It is the same connection: a TCP segment keeps its sequence number, a datagram its bytes. Neither
the proxy nor the kernel's connection tracking is asked.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address

from podwire.emulator.trace.frames import Flow, Packet
from podwire.emulator.trace.hops import Translation
from podwire.emulator.trace.join import Ambiguous, Joined, Sightings


def translated(
    sightings: Sightings, node: str, front: Packet, known: Iterable[tuple[IPv4Address, int]]
) -> Joined | Ambiguous | None:
    """Return how the packet *front* left *node* with another destination, if it did.

    Of a datagram only what goes to a *known* endpoint counts, or keeps its client's address.
    """
    flows: dict[Flow, Packet] = {}
    core, endpoints = front.core, frozenset(known)
    doors = _doors(sightings, node, core.flow)[:1]
    for packet in sightings.at(node):
        other = packet.core
        if packet.time_ns < front.time_ns or other.protocol != core.protocol:
            continue
        if (other.dst, other.dport) == (core.dst, core.dport):
            continue
        if core.protocol == "TCP":
            same = other.opens and other.seq == core.seq
        else:
            same = other.payload == core.payload and other.dport != core.sport
            same = same and (
                (other.dst, other.dport) in endpoints
                or (other.src, other.sport) == (core.src, core.sport)
            )
        # A bridge that hands its packets to the filter (br_netfilter) translates them at its port:
        # then they come in on the bridge itself with their new addresses, and are not out yet.
        leaves = packet.direction != "in" or packet.interface == "lo"
        if same and leaves and not set(doors) & set(_doors(sightings, node, other.flow)):
            flows.setdefault(other.flow, packet)
    if core.protocol == "TCP":
        proof = f"the same connection: its sequence number is {core.seq}"
    else:
        proof = f"the same {len(core.payload)} bytes went out"
    found = _likeliest(core, list(flows.values()))
    if len(found) > 1:
        return Ambiguous(tuple(packet.core.flow for packet in found))
    return Joined(found[0], proof) if found else None


def passed_untouched(sightings: Sightings, node: str, front: Packet) -> Packet | None:
    """Return how the packet *front* left *node* with the destination that it came with."""
    core = front.core
    for packet in sightings.at(node):
        other = packet.core
        if (
            packet.direction == "out"
            and packet.time_ns >= front.time_ns
            and (other.protocol, other.dst, other.dport) == (core.protocol, core.dst, core.dport)
            and (other.seq, other.payload) == (core.seq, core.payload)
        ):
            return packet
    return None


def translation(before: Packet | None, after: Packet) -> Translation:
    """Return what a node made of the packet *before*; None if no interface showed that."""
    new = after.core
    reply = new.flow.reversed()
    if before is None:
        return Translation("", str(reply))
    old = before.core
    source = "" if old.src == new.src else f"{old.src} -> {new.src}"
    return Translation(str(old.flow), str(reply), source)


def _doors(sightings: Sightings, node: str, flow: Flow) -> list[str]:
    """Return the devices by which a flow came to a node, in order of time."""
    return [p.interface for p in sightings.of(node, flow) if p.direction == "in"]


def _likeliest(core: Packet, found: list[Packet]) -> list[Packet]:
    """Return those with the client's own address and port, else with its port, else all."""
    own = [p for p in found if (p.core.src, p.core.sport) == (core.src, core.sport)]
    port = [p for p in found if p.core.sport == core.sport]
    return own or port or found
