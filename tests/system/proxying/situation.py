"""What a row of the table of situations is made of: endpoints, policies, and who gets what."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]

To = Literal[
    "ClusterIP",
    "wrong port",  # of the ClusterIP
    "unused ClusterIP",
    "NodePort",  # of node-1's address
    "other NodePort",  # of node-2's address, whose proxy then is the one that is asked
    "localhost NodePort",
    "second NodePort",  # of another address of node-1: the one on its pods' bridge
    "external IP",
    "LB VIP",
]

CLIENTS = ("pod", "far", "node", "external", "self")
"""pod: on node-1; far: on node-2; node: a process of node-1; self: the backend `here`."""

MODES = ("userspace", "nftables", "iptables", "ipvs")


@dataclass(frozen=True)
class End:
    """An endpoint of a hand-made slice: a backend, and what its conditions and hints say."""

    backend: str
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    zones: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


HERE, TOO, THERE, HOST = End("here"), End("too"), End("there"), End("host")


def leaving(end: End) -> End:
    """Return *end* terminating, and still serving."""
    return End(end.backend, ready=False, serving=True, terminating=True)


def unready(end: End) -> End:
    """Return *end* not ready."""
    return End(end.backend, ready=False, serving=False)


def gone(end: End) -> End:
    """Return *end* terminating, and not serving any more."""
    return End(end.backend, ready=False, serving=False, terminating=True)


def hinted(end: End, *zones: str, nodes: tuple[str, ...] = ()) -> End:
    """Return *end* with hints for zones or nodes. node-1 is in zone-a, node-2 in zone-b."""
    return End(end.backend, zones=zones, nodes=nodes)


@dataclass(frozen=True)
class Situation:
    """One row. *answers* is by client; *but* says where a mode differs on purpose, by mode."""

    name: str
    to: To
    ends: tuple[End, ...]
    answers: Mapping[str, str]
    spec: Mapping[str, Any] = field(default_factory=dict[str, Any])
    but: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    protocol: Literal["TCP", "UDP"] = "TCP"
    sticky: bool = False
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    lb: Mapping[str, Any] | None = None

    def answer(self, client: str, mode: str) -> str:
        """Return what *client* meets when node-1 is in *mode*; "" if it is not asked."""
        return self.but.get(mode, {}).get(client, self.answers.get(client, ""))


LOCAL_IN = {"internalTrafficPolicy": "Local"}
NODE_PORT = {"type": "NodePort"}
LOCAL_OUT = {"type": "NodePort", "externalTrafficPolicy": "Local"}
STICKY = {"sessionAffinity": "ClientIP"}
BALANCER = {"type": "LoadBalancer"}
LOCAL_BALANCER = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}

# A virtual server has one list of destinations for all clients: under the policy Local who is on
# the node gets its endpoints like everybody else (pkg/proxy/ipvs/proxier.go, syncEndpoint).
IPVS_HERE = {"ipvs": {"pod": "here kept", "node": "here snat"}}

# A client of a ClusterIP whose own node has both kinds of endpoints.
EVERYWHERE = {
    "pod": "here|there kept", "far": "here|there kept", "node": "here|there snat",
    "external": "here|there snat",
}  # fmt: skip
EVERYBODY: tuple[str, ...] = ("pod", "far", "node", "external")
REFUSED: dict[str, str] = dict.fromkeys(EVERYBODY, "refused")


def everybody_gets(backends: str) -> dict[str, str]:
    """Return that all clients of a ClusterIP get *backends*."""
    return {
        "pod": f"{backends} kept",
        "far": f"{backends} kept",
        "node": f"{backends} snat",
        "external": f"{backends} snat",
    }


def masqueraded(backends: str) -> dict[str, str]:
    """Return that all clients get *backends*, which see the node: policy Cluster from outside."""
    return dict.fromkeys(EVERYBODY, f"{backends} snat")


def outside_local(local: str, cluster: str) -> dict[str, str]:
    """Return policy Local: *local* for who is elsewhere, *cluster* for who is on the node."""
    # The pod of another node comes masqueraded by that node: it is from elsewhere.
    beyond = local if local in ("dropped", "refused") else f"{local} kept"
    return {
        "pod": f"{cluster} kept",
        "node": f"{cluster} snat",
        "far": beyond,
        "external": beyond,
    }
