"""Pure: what a node's own process asks, where the kernel translates that before it shows anywhere.

Rules in the output hook give a packet its endpoint's address before a device sees it. So the flow
is looked for among those that the node opened to an endpoint: by the client's port, and by the name
that an HTTP request carries.
"""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address

from podwire.emulator.trace import reasons
from podwire.emulator.trace.case import Case, said
from podwire.emulator.trace.choice import Outcome
from podwire.emulator.trace.expect import Proxied, Route, route
from podwire.emulator.trace.frames import Packet
from podwire.emulator.trace.hops import Finding, Hop, packet_hop
from podwire.emulator.trace.join import Sightings, entered
from podwire.emulator.trace.request import Command, Connect


def looked_for(
    case: Case, sightings: Sightings, addresses: Iterable[IPv4Address]
) -> tuple[Packet, Route] | Finding | None:
    """Return the request's flow as it left the node, and its route; or a verdict without one.

    None where no client of this kind is hidden.
    """
    request = case.request
    if case.source.kind != "node" or isinstance(request, Command):
        return None
    for address in sorted(addresses):
        path = route(
            case.snapshot, case.wiring, case.source, address, request.port, request.protocol
        )
        if path.front.places:
            continue
        found = _candidates(case, sightings, path.proxied) if path.proxied else []
        told = _told_by_its_reply(sightings, path, found)
        if told is not None:
            return told, path
        if path.outcome != "answered":
            return _without_backend(case, sightings, path)
        if len(found) > 1:
            flows = "; ".join(str(packet.core.flow) for packet in found[:3])
            reason = f"{case.source.node} opened {len(found)} flows to endpoints ({flows})"
            return Finding(
                "inconclusive", (), reason=f"{reason}: which one was this request's is unknown"
            )
        if found:
            return found[0], path
        return _without_backend(case, sightings, path)
    return None


def _candidates(case: Case, sightings: Sightings, proxied: Proxied) -> list[Packet]:
    request = case.request
    assert not isinstance(request, Command)
    flows: dict[object, Packet] = {}
    for packet in sightings.at(proxied.node):
        core = packet.core
        if (
            core.protocol == request.protocol
            and (core.dst, core.dport) in proxied.known
            and (core.opens or core.protocol == "UDP")
            and core.src in proxied.own
            and not entered(sightings, packet)
        ):
            flows.setdefault(core.flow, packet)
    found = list(flows.values())
    own_port = [packet for packet in found if packet.core.sport == case.report.local_port]
    named = [packet for packet in found if _names(sightings, packet, request.host)]
    # A mere connect says nothing; kubelet's probes do.
    mute = [
        packet
        for packet in found
        if isinstance(request, Connect) and not sightings.stream(packet.where, packet, "to")
    ]
    return own_port or named or mute or found


def _told_by_its_reply(sightings: Sightings, path: Route, found: list[Packet]) -> Packet | None:
    """Return the flow as its process sent it, if another process of the node has answered it.

    What that says is translated back before lo shows it, so it comes from the very address that
    was asked; and a TCP answer acknowledges the sequence number of its request.
    """
    front = path.front
    for opening in found:
        for reply in sightings.at(opening.where):
            core = reply.core
            answers = (core.protocol, core.src, core.sport) == (
                front.protocol,
                front.address,
                front.port,
            )
            if not answers or reply.time_ns < opening.time_ns:
                continue
            if core.protocol == "UDP" or core.ack == (opening.core.seq + 1) & 0xFFFFFFFF:
                return replace(
                    opening, src=core.dst, sport=core.dport, dst=core.src, dport=core.sport
                )
    return None


def _names(sightings: Sightings, opening: Packet, host: str) -> bool:
    """Return whether the flow carries an HTTP request for *host*: kubelet's probes name the pod."""
    if opening.core.protocol != "TCP":
        return False
    stream = sightings.stream(opening.where, opening, "to").lower()
    return any(
        line.removeprefix(b"host:").strip().split(b":")[0] == host.lower().encode()
        for line in stream.split(b"\r\n")
        if line.startswith(b"host:")
    )


def _without_backend(case: Case, sightings: Sightings, path: Route) -> Finding:
    """Judge a request of which nothing left the node."""
    request, node = case.request, case.source.node
    assert not isinstance(request, Command)
    mode = case.snapshot.proxy_of(node).mode
    proxied = path.proxied
    service = case.snapshot.service(proxied.service) if proxied else None
    reason = path.why
    if service is not None and path.outcome == "refused":
        reason = reasons.no_endpoints(case.snapshot, service)
    front = path.front
    for packet in sightings.at(node):
        quoted = packet.core.quoted
        if quoted is not None and (quoted.dst, quoted.dport) == (front.address, front.port):
            hop = packet_hop(packet, "request", expected=path.outcome)
            reason = reason or f"{node} refused, though {_name_of(proxied)} has endpoints"
            word: Outcome = "refused" if packet.core.icmp == "port unreachable" else "unreachable"
            reason += f": the {mode.rules} of {node} rejected it (ICMP {packet.core.icmp})"
            return Finding("refuted", (hop,), word, reason, hop)
    reason = reason or f"nothing left {node} for an endpoint of {_name_of(proxied)}"
    if not (case.report.timed_out or case.report.exit_code):
        return Finding("inconclusive", (), reason=f"{node} sent nothing for {front}{said(case)}")
    hop = Hop(
        kind="missing",
        leg="request",
        where=node,
        interface="",
        protocol=front.protocol,
        src=str(case.source.address),
        dst=str(front),
        summary="nothing left the node",
        expected=path.outcome,
        mode=mode.name,
    )
    reason += f": nothing left {node}; its {mode.rules} drop such packets"
    return Finding("refuted", (hop,), "timed out", reason, hop)


def _name_of(proxied: Proxied | None) -> str:
    """Return what is in question."""
    return proxied.name if proxied else "a Service"
