"""Builders for tests of the judge: clusters and captured packets, each a line of text."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw

from podwire.emulator.trace import frames, pcapng
from podwire.emulator.trace.case import Case, ClientReport
from podwire.emulator.trace.hops import Finding
from podwire.emulator.trace.join import Sightings
from podwire.emulator.trace.request import Command, parse
from podwire.emulator.trace.snapshot import Snapshot
from podwire.emulator.trace.verify import judge
from podwire.emulator.trace.wiring import Wiring

_WIRING = Wiring()
_UNKNOWN: Mapping[str, str] = {}
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


def node(name: str, number: int, *, mode: str = "", **says: str) -> dict[str, Any]:
    """Return a node; with *mode*, its proxy says that, and *says* what else (pod_network)."""
    words = {"proxy-mode": mode, "source": "kept", "pod-network": "routed"} if mode else {}
    words |= {name.replace("_", "-"): value for name, value in says.items()}
    return {
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"topology.kubernetes.io/zone": f"zone-{number}"},
            "annotations": {f"podwire.dev/{name}": value for name, value in words.items()},
        },
        "spec": {"podCIDR": f"10.244.{number}.0/24"},
        "status": {"addresses": [{"type": "InternalIP", "address": f"192.168.1.{9 + number}"}]},
    }


def pod(where: str, address: str, *, ready: bool = True, **spec: Any) -> dict[str, Any]:
    """Return a pod on the node that its address belongs to; its label app is its name's begin."""
    namespace, name = where.split("/")
    number = int(address.split(".")[2]) if address.startswith("10.244.") else 1
    ports = [{"containerPort": 80}]
    return {
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": {"app": name.split("-")[0]}},
        "spec": {
            "nodeName": f"node-{number}",
            "containers": [{"name": "c", "ports": ports}],
            **spec,
        },
        "status": {"podIP": address, **(READY if ready else {"phase": "Running"})},
    }


def service(
    where: str, address: str, port: str = "80", *, app: str = "web", **spec: Any
) -> dict[str, Any]:
    """Return a Service; *port* is "80", "80->8080", "53/UDP", "80:30080" (NodePort)."""
    namespace, name = where.split("/")
    found = re.fullmatch(r"(\d+)(?:->(\d+))?(?::(\d+))?(?:/(\w+))?", port)
    assert found
    number, target, node_port, protocol = found.groups()
    entry: dict[str, Any] = {"port": int(number), "protocol": protocol or "TCP"}
    entry["targetPort"] = int(target or number)
    if node_port:
        entry["nodePort"] = int(node_port)
        spec["type"] = "NodePort"
    return {
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"clusterIP": address, "selector": {"app": app}, "ports": [entry], **spec},
    }


def slice_(where: str, endpoints: str, port: str = "80") -> dict[str, Any]:
    """Return an EndpointSlice; *endpoints* are "10.244.1.5 default/web-0 [not-ready|draining]"."""
    namespace, name = where.split("/")
    number, _, protocol = port.partition("/")
    listed: list[dict[str, Any]] = []
    for text in filter(None, (part.strip() for part in endpoints.split(","))):
        address, *words = text.split()
        target = next((w for w in words if "/" in w), "")
        entry: dict[str, Any] = {"addresses": [address]}
        entry["nodeName"] = f"node-{address.split('.')[2]}"
        if target:
            space, pod_name = target.split("/")
            entry["targetRef"] = {"kind": "Pod", "namespace": space, "name": pod_name}
        if "not-ready" in words:
            entry["conditions"] = {"ready": False, "serving": False}
        if "draining" in words:
            entry["conditions"] = {"ready": False, "serving": True, "terminating": True}
        for word in words:
            if word.startswith("zone-"):
                entry["hints"] = {"forZones": [{"name": word}]}
        listed.append(entry)
    return {
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": namespace,
            "name": f"{name}-abcde",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"port": int(number), "protocol": protocol or "TCP"}],
        "endpoints": listed,
    }


def cluster(*more: dict[str, Any]) -> Snapshot:
    """Return two nodes, a client, two web pods, CoreDNS and their Services; *more* replaces."""
    base = [
        node("node-1", 1),
        node("node-2", 2),
        pod("default/client", "10.244.1.5"),
        pod("default/web-0", "10.244.1.6"),
        pod("default/web-1", "10.244.2.6"),
        pod("kube-system/coredns", "10.244.1.3"),
        service("default/web-svc", "10.96.14.7", "80:30080"),
        slice_("default/web-svc", "10.244.2.6 default/web-1"),
        service("kube-system/kube-dns", "10.96.0.10", "53/UDP", app="coredns"),
        slice_("kube-system/kube-dns", "10.244.1.3 kube-system/coredns", "53/UDP"),
    ]

    def identity(obj: dict[str, Any]) -> tuple[Any, ...]:
        meta = obj["metadata"]
        return obj["kind"], meta.get("namespace"), meta["name"]

    replaced = {identity(obj) for obj in more}
    return Snapshot.of([*(o for o in base if identity(o) not in replaced), *more])


@dataclass(frozen=True)
class Line:
    """One packet: its label, where it was seen and which way it went, and its frame."""

    label: str
    place: str
    frame: bytes
    direction: pcapng.Direction = ""


def lines(text: str) -> list[Line]:
    """Read packets, one per line: LABEL WHERE DEVICE[:in|:out] SRC > DST WHAT [via NODE > NODE].

    WHAT may end with "(2)": a second connection between the same addresses and ports.
    """
    return [_line(text_line) for text_line in text.strip().splitlines() if text_line.strip()]


def _line(text: str) -> Line:
    found = re.fullmatch(
        r"\s*(\S+)\s+(\S+) (\S+)\s+(\S+) > (\S+)\s+(.*?)(?:\s+via (\S+) > (\S+))?\s*", text
    )
    assert found, text
    label, where, device, src, dst, what, outer_src, outer_dst = found.groups()
    device, _, way = device.partition(":")
    directions: dict[str, pcapng.Direction] = {"in": "in", "out": "out", "": ""}
    packet = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / _ip(src, dst, what)
    if what.startswith("who-has"):
        packet = Ether() / ARP(op=1, psrc=src, pdst=dst)
    if what.startswith("is-at"):
        packet = Ether() / ARP(op=2, psrc=src, pdst=dst)
    if outer_src:
        outer = IP(src=outer_src, dst=outer_dst) / UDP(sport=50000, dport=8472)
        packet = Ether() / outer / VXLAN(vni=1) / packet
    return Line(label, f"{where} {device}", bytes(packet), directions[way])


def _ip(src: str, dst: str, what: str) -> Any:
    source, _, sport = src.partition(":")
    target, _, dport = dst.partition(":")
    ip = IP(src=source, dst=target)
    if what.startswith("unreachable"):
        _, kind, flow_src, flow_dst, protocol = what.split()
        code = {"host": 1, "port": 3}[kind]
        quoted = _ip(flow_src, flow_dst, "SYN" if protocol == "TCP" else "datagram x")
        return ip / ICMP(type=3, code=code) / Raw(bytes(quoted)[:28])
    if not sport:
        return ip
    here, there = int(sport), int(dport)
    udp = UDP(sport=here, dport=there)
    if what.startswith("A? "):
        return ip / udp / DNS(id=7, qd=DNSQR(qname=what[3:]))
    if what.startswith("AAAA? "):
        return ip / udp / DNS(id=8, qd=DNSQR(qname=what[6:], qtype="AAAA"))
    if what.startswith("= "):
        return ip / udp / _answer(what[2:])
    if what.startswith("datagram "):
        return ip / udp / Raw(what[9:].encode())
    # A first sequence number per direction, the same wherever the packet is seen.
    second = 5000 if what.endswith("(2)") else 0
    what = what.removesuffix("(2)").strip()
    mine, other = 1000 * min(here, 60000) + second, 1000 * min(there, 60000) + second
    tcp: dict[str, Any] = {"sport": here, "dport": there}
    if what == "SYN":
        return ip / TCP(**tcp, flags="S", seq=mine)
    if what == "SYN-ACK":
        return ip / TCP(**tcp, flags="SA", seq=mine, ack=other + 1)
    if what == "RST":
        return ip / TCP(**tcp, flags="RA", seq=0, ack=other + 1)
    if what == "FIN":
        return ip / TCP(**tcp, flags="FA", seq=mine + 1, ack=other + 1)
    if what.startswith(("tcp= ", "tcp? ")):
        asked = DNS(id=7, qd=DNSQR(qname=what[5:]))
        message = bytes(asked if what.startswith("tcp? ") else _answer(what[5:]))
        payload = len(message).to_bytes(2, "big") + message
    else:
        assert what.startswith("data "), what
        payload = what[5:].encode().decode("unicode_escape").encode()
    return ip / TCP(**tcp, flags="PA", seq=mine + 1, ack=other + 1) / Raw(payload)


def _answer(what: str) -> Any:
    """Return the answer "NAME CODE", "NAME ADDRESS...", "NAME truncated ADDRESS..." or an alias.

    An alias is "NAME TARGET. [ADDRESS]".
    """
    name, *words = what.split()
    code = {"NXDOMAIN": 3, "SERVFAIL": 2, "REFUSED": 5}.get(words[0], 0)
    owner, records = name, list[Any]()
    for word in words:
        if word.endswith("."):
            records.append(DNSRR(rrname=owner, type="CNAME", rdata=word, ttl=5))
            owner = word
        elif word[0].isdigit():
            records.append(DNSRR(rrname=owner, rdata=word, ttl=5))
    cut = int(words[0] == "truncated")
    return DNS(id=7, qr=1, tc=cut, rcode=code, qd=DNSQR(qname=name), an=records)


WEB = "web-svc.default.svc.cluster.local."
GET = "data GET / HTTP/1.1\\r\\n\\r\\n"
OK = "data HTTP/1.1 200 OK\\r\\n\\r\\n"

LOOKUP = f"""
ask.client    default/client eth0       10.244.1.5:40001 > 10.96.0.10:53     A? {WEB}
ask.node      node-1 cni0               10.244.1.5:40001 > 10.96.0.10:53     A? {WEB}
ask.relayed   node-1 cni0               10.244.1.1:41001 > 10.244.1.3:53     A? {WEB}
ask.coredns   kube-system/coredns eth0  10.244.1.1:41001 > 10.244.1.3:53     A? {WEB}
told.coredns  kube-system/coredns eth0  10.244.1.3:53 > 10.244.1.1:41001     = {WEB} 10.96.14.7
told.relay    node-1 cni0               10.244.1.3:53 > 10.244.1.1:41001     = {WEB} 10.96.14.7
told.node     node-1 cni0               10.96.0.10:53 > 10.244.1.5:40001     = {WEB} 10.96.14.7
told.client   default/client eth0       10.96.0.10:53 > 10.244.1.5:40001     = {WEB} 10.96.14.7
"""

FRONT = """
syn.client    default/client eth0       10.244.1.5:40002 > 10.96.14.7:80     SYN
syn.node      node-1 cni0               10.244.1.5:40002 > 10.96.14.7:80     SYN
ack.node      node-1 cni0               10.96.14.7:80 > 10.244.1.5:40002     SYN-ACK
ack.client    default/client eth0       10.96.14.7:80 > 10.244.1.5:40002     SYN-ACK
"""

REQUEST = f"""
get.client    default/client eth0       10.244.1.5:40002 > 10.96.14.7:80     {GET}
get.node      node-1 cni0               10.244.1.5:40002 > 10.96.14.7:80     {GET}
"""

BACK = f"""
back.node     node-1 flannel.1          10.244.1.0:41002 > 10.244.2.6:80     SYN
back.tunnel   node-1 eth0               10.244.1.0:41002 > 10.244.2.6:80     SYN       via 192.168.1.10 > 192.168.1.11
back.node-2   node-2 eth0               10.244.1.0:41002 > 10.244.2.6:80     SYN       via 192.168.1.10 > 192.168.1.11
back.web      default/web-1 eth0        10.244.1.0:41002 > 10.244.2.6:80     SYN
took.web      default/web-1 eth0        10.244.2.6:80 > 10.244.1.0:41002     SYN-ACK
took.node-2   node-2 eth0               10.244.2.6:80 > 10.244.1.0:41002     SYN-ACK   via 192.168.1.11 > 192.168.1.10
took.node     node-1 eth0               10.244.2.6:80 > 10.244.1.0:41002     SYN-ACK   via 192.168.1.11 > 192.168.1.10
sent.node     node-1 flannel.1          10.244.1.0:41002 > 10.244.2.6:80     {GET}
sent.web      default/web-1 eth0        10.244.1.0:41002 > 10.244.2.6:80     {GET}
ok.web        default/web-1 eth0        10.244.2.6:80 > 10.244.1.0:41002     {OK}
ok.node-2     node-2 eth0               10.244.2.6:80 > 10.244.1.0:41002     {OK}  via 192.168.1.11 > 192.168.1.10
ok.tunnel     node-1 eth0               10.244.2.6:80 > 10.244.1.0:41002     {OK}  via 192.168.1.11 > 192.168.1.10
ok.node       node-1 cni0               10.96.14.7:80 > 10.244.1.5:40002     {OK}
ok.client     default/client eth0       10.96.14.7:80 > 10.244.1.5:40002     {OK}
"""

ANSWERED = LOOKUP + FRONT + REQUEST + BACK
PLACES = ("default/client", "node-1", "node-2", "kube-system/coredns", "default/web-1")


def capture_of(seen: Iterable[Line], *, dropped: int = 0, whole_until: str = "") -> pcapng.Capture:
    """Return a capture in which the packets came 10 microseconds apart.

    If some were dropped, then after the line *whole_until*.
    """
    found = list(seen)
    known = [10**18 + at * 10_000 for at, line in enumerate(found) if line.label == whole_until]
    names = list(dict.fromkeys([*(line.place for line in found), *(f"{p} lo" for p in PLACES)]))
    return pcapng.Capture(
        interfaces=tuple(pcapng.Interface(name) for name in names),
        frames=tuple(
            pcapng.Frame(
                names.index(line.place), 10**18 + at * 10_000, line.frame, direction=line.direction
            )
            for at, line in enumerate(found)
        ),
        statistics=(
            *(pcapng.Statistics(0, None, 0, time_ns=at) for at in known),
            pcapng.Statistics(0, len(found), dropped, time_ns=1 << 62),
        ),
    )


@dataclass(frozen=True)
class Bench:
    """What a test of the judge works with."""

    cluster: Callable[..., Snapshot] = cluster
    node: Callable[..., dict[str, Any]] = node
    pod: Callable[..., dict[str, Any]] = pod
    service: Callable[..., dict[str, Any]] = service
    slice: Callable[..., dict[str, Any]] = slice_
    lines: Callable[[str], list[Line]] = lines
    capture: Callable[..., pcapng.Capture] = capture_of
    lookup: str = LOOKUP
    front: str = FRONT
    request: str = REQUEST
    back: str = BACK
    answered: str = ANSWERED

    def judge(
        self,
        story: str,
        *,
        snapshot: Snapshot | None = None,
        without: str = "",
        to: str = "http://web-svc",
        source: str = "default/client",
        dropped: int = 0,
        whole_until: str = "",
        blind: str = "",
        report: ClientReport | None = None,
        wiring: Wiring = _WIRING,
        why: Mapping[str, str] = _UNKNOWN,
    ) -> Finding:
        """Judge *story* without the lines whose labels are in *without*, blind at some places."""
        gone = without.split()
        known = {line.label for line in lines(story)}
        assert set(gone) <= known, f"no such lines: {set(gone) - known}"
        seen = [line for line in lines(story) if line.label not in gone]
        capture = capture_of(
            (line for line in seen if line.place.split()[0] not in blind.split()),
            dropped=dropped,
            whole_until=whole_until,
        )
        return self.judge_capture(
            capture,
            snapshot=snapshot,
            to=to,
            source=source,
            blind=blind,
            report=report,
            wiring=wiring,
            why=why,
        )

    def judge_capture(
        self,
        capture: pcapng.Capture,
        *,
        snapshot: Snapshot | None = None,
        to: str = "http://web-svc",
        source: str = "default/client",
        blind: str = "",
        report: ClientReport | None = None,
        wiring: Wiring = _WIRING,
        why: Mapping[str, str] = _UNKNOWN,
    ) -> Finding:
        case = self.case(snapshot, to=to, source=source, wiring=wiring)
        if report is not None:
            case = replace(case, report=report)
        places = {i.where for i in capture.interfaces} - {*blind.split()}
        sightings = Sightings(frames.packets(capture), places, why)
        return judge(
            case, sightings, dropped=capture.dropped, whole_until_ns=capture.whole_until_ns
        )

    def case(
        self,
        snapshot: Snapshot | None = None,
        *,
        to: str = "http://web-svc",
        source: str = "default/client",
        wiring: Wiring = _WIRING,
    ) -> Case:
        found = snapshot or cluster()
        place = found.location(source, wiring)
        assert place is not None
        words = tuple(to.split())
        request = Command(words) if len(words) > 1 else parse(to)
        return Case(found, wiring, place, request, ClientReport())


@pytest.fixture
def bench() -> Bench:
    return Bench()
