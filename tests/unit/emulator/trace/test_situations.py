"""The judge expects of each mode what the table of situations says of outcomes and sources."""

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

import pytest

from podwire.emulator.trace.expect import Route, route
from podwire.emulator.trace.modes import IPVS, MODES, USERSPACE
from podwire.emulator.trace.snapshot import Snapshot
from podwire.emulator.trace.wiring import Wiring
from tests.system.proxying.situation import CLIENTS, End, Situation
from tests.system.proxying.situations import SITUATIONS

ADDRESSES = {
    "pod": "10.244.1.5",
    "here": "10.244.1.6",
    "too": "10.244.1.7",
    "far": "10.244.2.5",
    "there": "10.244.2.6",
    "host": "192.168.1.11",
}
NODES = {"node-1": "192.168.1.10", "node-2": "192.168.1.11"}
NODE_PORT = 31000
# Where IPVS is in the kernel, an address without a Service is on no interface; the table is about
# where it is not, and the relay serves the whole range.
OTHERWISE = {(IPVS.name, "a ClusterIP that no Service has")}


@dataclass(frozen=True)
class Annotated:
    """A mode, and what else its Node says of itself."""

    mode: str
    source: str = "kept"
    pod_network: str = "routed"

    def __str__(self) -> str:
        return f"{self.mode}, {self.pod_network}, {self.source}"


ALL = [Annotated(mode) for mode in MODES]


@pytest.mark.parametrize(
    ("situation", "annotated"),
    [
        pytest.param(situation, annotated, id=f"{situation.name}-{annotated}")
        for situation in SITUATIONS
        for annotated in ALL
        if (annotated.mode, situation.name) not in OTHERWISE
    ],
)
def test_what_the_judge_expects(situation: Situation, annotated: Annotated) -> None:
    mode = "ipvs" if annotated.mode.startswith("ipvs") else annotated.mode
    wanted = {c: answer for c in CLIENTS if (answer := situation.answer(c, mode))}
    found = {c: expected(situation, annotated, c) for c in wanted}
    if situation.sticky:
        # A client that sticks to one backend does not show which others there are.
        found = {c: answer if _within(answer, wanted[c]) else "" for c, answer in found.items()}
        wanted = {c: found[c] or answer for c, answer in wanted.items()}
    assert found == wanted


@pytest.mark.parametrize(
    ("annotated", "situation", "client", "answer"),
    [
        (Annotated("nftables", pod_network="switched"), 1, "pod", "here snat"),
        (Annotated("nftables", pod_network="bridge-nf"), 1, "pod", "here kept"),
        (Annotated("userspace", pod_network="bridge-nf"), 1, "pod", "here snat"),
        (Annotated("userspace", source="node"), 1, "pod", "here snat"),
        (Annotated("userspace", source="node"), 2, "pod", "there snat"),
        (Annotated("iptables", source="node"), 1, "pod", "here kept"),
    ],
    ids=str,
)
def test_what_depends_on_the_node(
    annotated: Annotated, situation: int, client: str, answer: str
) -> None:
    assert expected(SITUATIONS[situation], annotated, client) == answer


def test_a_node_that_says_nothing_has_a_relay() -> None:
    snapshot = Snapshot.of([_node("node-1", {})])
    assert snapshot.proxy_of("node-1").mode is USERSPACE
    assert not snapshot.proxy_of("node-1").keeps


def expected(situation: Situation, annotated: Annotated, client: str) -> str:
    """Return what the judge expects, in the words of the table."""
    found = asked(situation, annotated, client)
    if found.outcome != "answered":
        return {"timed out": "dropped"}.get(found.outcome, found.outcome)
    assert found.proxied is not None
    names = {ADDRESSES[name]: name for name in ("here", "too", "there", "host")}
    sources: set[str] = set()
    for _, leg in found.proxied.legs:
        (source,) = leg.sources
        sources.add("kept" if source == _own(situation, client) else "snat")
    order = ["here", "too", "there", "host"]
    backends = {names[str(leg.address)] for _, leg in found.proxied.legs}
    assert len(sources) == 1, sources
    return f"{'|'.join(sorted(backends, key=order.index))} {sources.pop()}"


def asked(situation: Situation, annotated: Annotated, client: str) -> Route:
    """Return the route of *client* to what the situation is about."""
    annotations = {
        "podwire.dev/proxy-mode": annotated.mode,
        "podwire.dev/source": annotated.source,
        "podwire.dev/pod-network": annotated.pod_network,
    }
    snapshot = Snapshot.of(
        [
            *(_node(name, annotations) for name in NODES),
            *(_pod(name, address) for name, address in ADDRESSES.items()),
            _service(situation),
            _slice(situation),
        ]
    )
    where = {"external": "external", "node": "node-1", "self": "default/here"}
    source = snapshot.location(where.get(client, f"default/{client}"), Wiring())
    assert source is not None
    address, port = {
        "ClusterIP": ("10.96.0.99", 80),
        "wrong port": ("10.96.0.99", 81),
        "unused ClusterIP": ("10.96.200.200", 80),
        "NodePort": ("192.168.1.10", NODE_PORT),
        "other NodePort": ("192.168.1.11", NODE_PORT),
        "localhost NodePort": ("127.0.0.1", NODE_PORT),
        "second NodePort": ("10.244.1.1", NODE_PORT),
        "external IP": ("198.51.100.1", 80),
        "LB VIP": ("198.51.101.1", 80),
    }[situation.to]
    entry = "node-1" if client == "external" else ""
    to = IPv4Address(address)
    return route(snapshot, Wiring(), source, to, port, situation.protocol, entry=entry)


def _within(answer: str, wanted: str) -> bool:
    one, other = answer.split(), wanted.split()
    return one[1:] == other[1:] and set(one[0].split("|")) <= set(other[0].split("|"))


def _own(situation: Situation, client: str) -> IPv4Address:
    if client == "external":
        return IPv4Address("203.0.113.10")
    if client == "far" and situation.to == "NodePort":
        return IPv4Address(NODES["node-2"])  # masqueraded by its own node on the way out
    return IPv4Address(ADDRESSES.get({"self": "here"}.get(client, client), "0.0.0.0"))


def _node(name: str, annotations: dict[str, str]) -> dict[str, Any]:
    number = name[-1]
    zone = {"1": "zone-a", "2": "zone-b"}[number]
    labels = {"topology.kubernetes.io/zone": zone}
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": {"podCIDR": f"10.244.{number}.0/24"},
        "status": {"addresses": [{"type": "InternalIP", "address": NODES[name]}]},
    }


def _pod(name: str, address: str) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "metadata": {"namespace": "default", "name": name},
        "spec": {"nodeName": _where(address), "hostNetwork": name == "host", "containers": []},
        "status": {"podIP": address, "phase": "Running"},
    }


def _where(address: str) -> str:
    return "node-2" if address == NODES["node-2"] else f"node-{address.split('.')[2]}"


def _service(situation: Situation) -> dict[str, Any]:
    port: dict[str, Any] = {"port": 80, "protocol": situation.protocol}
    spec: dict[str, Any] = {"clusterIP": "10.96.0.99", "ports": [port], **situation.spec}
    if spec.get("type", "ClusterIP") != "ClusterIP":
        port["nodePort"] = NODE_PORT
    if situation.to == "external IP":
        spec["externalIPs"] = ["198.51.100.1"]
    status: dict[str, Any] = {}
    if spec.get("type") == "LoadBalancer":
        ingress = {"ip": "198.51.101.1", **(situation.lb or {"ipMode": "VIP"})}
        status = {"loadBalancer": {"ingress": [ingress]}}
    return {
        "kind": "Service",
        "metadata": {"namespace": "default", "name": "s", "labels": dict(situation.labels)},
        "spec": spec,
        "status": status,
    }


def _slice(situation: Situation) -> dict[str, Any]:
    return {
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": "default",
            "name": "s-1",
            "labels": {"kubernetes.io/service-name": "s"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080, "protocol": situation.protocol}],
        "endpoints": [_endpoint(end) for end in situation.ends],
    }


def _endpoint(end: End) -> dict[str, Any]:
    address = ADDRESSES[end.backend]
    made: dict[str, Any] = {
        "addresses": [address],
        "nodeName": _where(address),
        "conditions": {
            "ready": end.ready,
            "serving": end.serving,
            "terminating": end.terminating,
        },
    }
    if end.zones or end.nodes:
        made["hints"] = {
            "forZones": [{"name": zone} for zone in end.zones],
            "forNodes": [{"name": node} for node in end.nodes],
        }
    return made
