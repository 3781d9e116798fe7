"""Pure: what each captured packet belongs to: pod, Service, rule, hop. For the file's comments."""

from collections.abc import Iterable, Mapping

from podwire.emulator.trace.frames import Flow, Packet
from podwire.emulator.trace.hops import Finding
from podwire.emulator.trace.snapshot import Snapshot, key

_NOTE = "checksum left to hardware: unfinished, not wrong"


def comments(
    packets: Iterable[Packet], snapshot: Snapshot, finding: Finding
) -> Mapping[int, tuple[str, ...]]:
    """Return the comments of each packet, by its number in the file."""
    hops = {hop.packet.number: hop for hop in finding.hops if hop.packet and hop.kind == "packet"}
    rules = _rules(finding)
    found: dict[int, tuple[str, ...]] = {}
    for packet in packets:
        texts: list[str] = []
        hop = hops.get(packet.number)
        if hop is not None:
            wrong = " (first wrong hop)" if hop == finding.wrong else ""
            texts.append(f"hop {hop.index}: {hop.where} {hop.interface}{wrong}")
        texts += _whose(packet, snapshot)
        rule = rules.get(packet.core.flow)
        if rule is not None:
            texts.append(rule)
        if hop is not None and not packet.checksum_ready:
            texts.append(_NOTE)
        if texts:
            found[packet.number] = ("; ".join(texts),)
    return found


def _whose(packet: Packet, snapshot: Snapshot) -> list[str]:
    core = packet.core
    if core.protocol not in {"TCP", "UDP", "ICMP"}:
        return []
    texts = [f"{snapshot.name_of(core.src)} > {snapshot.name_of(core.dst)}"]
    for address, number in ((core.dst, core.dport), (core.src, core.sport)):
        service = snapshot.service_at(address)
        for port in service.spec.ports if service else ():
            if service and port.port == number and port.protocol == core.protocol:
                target = port.target_port or port.port
                name = f" ({port.name})" if port.name else ""
                texts.append(f"Service {key(service)} port {number}{name} -> targetPort {target}")
    if packet.inner is not None:
        texts.append(f"VXLAN {packet.src} > {packet.dst}")
    return texts


def _rules(finding: Finding) -> dict[Flow, str]:
    """Return, for each flow on either side of a proxy, what the proxy did."""
    found: dict[Flow, str] = {}
    for hop in finding.hops:
        if hop.kind != "inferred" or hop.packet is None:
            continue
        rule = f"{hop.mode} proxy on {hop.where}: {hop.src} -> {hop.dst}"
        if hop.translation is not None:
            rule = f"{hop.mode} rules on {hop.where}: DNAT {hop.src} -> {hop.dst}"
            source = hop.translation.source
            rule += f", SNAT {source}" if source else ""
        flows = [hop.packet.core.flow]
        flows += [
            other.packet.core.flow
            for other in finding.hops
            if other.packet is not None and other.dst == hop.src and other.leg == hop.leg
        ]
        for flow in flows:
            found[flow] = found[flow.reversed()] = rule
    return found
