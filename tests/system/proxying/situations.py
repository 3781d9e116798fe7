"""The table of truth: what a client of a Service meets, by situation, client and mode.

Rows follow kube-proxy's own behaviour (pkg/proxy: endpoints, service and topology; KEP-1669, 1860,
2086, 3685, 4444). The world of every row is the same: node-1 is the node whose proxy is asked, with
the backend pods `here` and `too`; `there` is on node-2, `host` is a process of node-2's own network.

An answer is written "BACKENDS SOURCE": which backends take turns, and what they see as the client's
address: `kept` (the client's own) or `snat` (one of the node whose proxy passed it on). Or it is
`refused` (RST or ICMP), or `dropped` (silence). A client that a row does not name is not asked.
"""

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


def _all(backends: str) -> dict[str, str]:
    """Return that all clients of a ClusterIP get *backends*."""
    return {
        "pod": f"{backends} kept",
        "far": f"{backends} kept",
        "node": f"{backends} snat",
        "external": f"{backends} snat",
    }


def _masqueraded(backends: str) -> dict[str, str]:
    """Return that all clients get *backends*, which see the node: policy Cluster from outside."""
    return dict.fromkeys(EVERYBODY, f"{backends} snat")


def _outside_local(local: str, cluster: str) -> dict[str, str]:
    """Return policy Local: *local* for who is elsewhere, *cluster* for who is on the node."""
    # The pod of another node comes masqueraded by that node: it is from elsewhere.
    beyond = local if local in ("dropped", "refused") else f"{local} kept"
    return {
        "pod": f"{cluster} kept",
        "node": f"{cluster} snat",
        "far": beyond,
        "external": beyond,
    }


CLUSTER_IP = (
    Situation("ClusterIP, endpoints on two nodes", "ClusterIP", (HERE, THERE), EVERYWHERE),
    Situation("ClusterIP, one endpoint on the client's node", "ClusterIP", (HERE,), _all("here")),
    Situation("ClusterIP, one endpoint elsewhere", "ClusterIP", (THERE,), _all("there")),
    Situation("ClusterIP, no endpoint", "ClusterIP", (), REFUSED),
    Situation("ClusterIP, none ready", "ClusterIP", (unready(HERE), unready(THERE)), REFUSED),
    Situation("ClusterIP, one of two ready", "ClusterIP", (unready(HERE), THERE), _all("there")),
    Situation("ClusterIP, one of two leaves", "ClusterIP", (leaving(HERE), THERE), _all("there")),
    Situation(
        "ClusterIP, all leave and serve", "ClusterIP", (leaving(HERE), leaving(THERE)), EVERYWHERE
    ),
    Situation("ClusterIP, the only one has left", "ClusterIP", (gone(HERE),), REFUSED),
    Situation(
        "ClusterIP, one leaves, one is not ready",
        "ClusterIP",
        (leaving(HERE), unready(THERE)),
        _all("here"),
    ),
    Situation(
        "ClusterIP, endpoint in a host's network",
        "ClusterIP",
        (HOST,),
        # A pod's packets to what is no pod leave its node masqueraded, as flannel does it.
        {"pod": "host snat", "far": "host kept", "node": "host snat", "external": "host snat"},
    ),
    Situation("ClusterIP, two on one node", "ClusterIP", (HERE, TOO), _all("here|too")),
    Situation("hairpin: a pod calls itself", "ClusterIP", (HERE,), {"self": "here snat"}),
    Situation(
        "hairpin: sometimes itself, sometimes its neighbour",
        "ClusterIP",
        (TOO,),
        {"self": "too kept"},
    ),
    Situation(
        "masquerade is no matter of the traffic policy",
        "ClusterIP",
        (HERE, THERE),
        EVERYWHERE,
        spec={"internalTrafficPolicy": "Cluster"},
    ),
)

INTERNAL_LOCAL = (
    Situation(
        "internal Local, one here and one there",
        "ClusterIP",
        (HERE, THERE),
        # The pod on node-2 has an endpoint on its own node.
        {"pod": "here kept", "node": "here snat", "far": "there kept", "external": "here snat"},
        spec=LOCAL_IN,
    ),
    Situation(
        "internal Local, one elsewhere only",
        "ClusterIP",
        (THERE,),
        {"pod": "dropped", "node": "dropped", "far": "there kept", "external": "dropped"},
        spec=LOCAL_IN,
        but={"ipvs": {"pod": "there kept", "node": "there snat", "external": "there snat"}},
    ),
    Situation("internal Local, nothing anywhere", "ClusterIP", (), REFUSED, spec=LOCAL_IN),
    Situation(
        "internal Local, none ready anywhere", "ClusterIP", (unready(HERE),), REFUSED, spec=LOCAL_IN
    ),
    Situation(
        "internal Local, the one here leaves, one there",
        "ClusterIP",
        (leaving(HERE), THERE),
        {"pod": "here kept", "node": "here snat", "far": "there kept"},
        spec=LOCAL_IN,
    ),
    Situation(
        "internal Local, the one here is not ready, one there",
        "ClusterIP",
        (unready(HERE), THERE),
        {"pod": "dropped", "node": "dropped", "far": "there kept"},
        spec=LOCAL_IN,
        but={"ipvs": {"pod": "there kept", "node": "there snat"}},
    ),
    Situation(
        "internal Local, one elsewhere that leaves",
        "ClusterIP",
        (leaving(THERE),),
        {"pod": "dropped", "node": "dropped", "far": "there kept"},
        spec=LOCAL_IN,
        but={"ipvs": {"pod": "there kept", "node": "there snat"}},
    ),
    Situation(
        "internal Local says nothing of NodePorts",
        "NodePort",
        (THERE,),
        _masqueraded("there"),
        spec=LOCAL_IN | NODE_PORT,
    ),
)

NODE_PORTS = (
    Situation("NodePort, two nodes", "NodePort", (HERE, THERE), _masqueraded("here|there"), NODE_PORT),
    Situation("NodePort, one here", "NodePort", (HERE,), _masqueraded("here"), NODE_PORT),
    Situation("NodePort, one there", "NodePort", (THERE,), _masqueraded("there"), NODE_PORT),
    Situation("NodePort, none", "NodePort", (), REFUSED, NODE_PORT),
    Situation("NodePort, one in a host's network", "NodePort", (HOST,), _masqueraded("host"), NODE_PORT),
    Situation("NodePort, all leave", "NodePort", (leaving(THERE),), _masqueraded("there"), NODE_PORT),
    Situation(
        "another node's NodePort",
        "other NodePort",
        (HERE,),
        {"pod": "here snat", "far": "here snat", "node": "here snat", "external": "here snat"},
        NODE_PORT,
    ),
    Situation(
        "a Service with a NodePort has its ClusterIP too", "ClusterIP", (HERE, THERE), EVERYWHERE, NODE_PORT
    ),
    Situation(
        "NodePort on the node's loopback",
        "localhost NodePort",
        (HERE,),
        {"node": "refused"},
        NODE_PORT,
        but={"iptables": {"node": "here snat"}},
    ),
    Situation(
        "NodePort on another address of the node",
        "second NodePort",
        (HERE,),
        {"pod": "refused", "node": "refused"},
        NODE_PORT,
        but={
            "iptables": {"pod": "here snat", "node": "here snat"},
            "ipvs": {"pod": "here snat", "node": "here snat"},
        },
    ),
)  # fmt: skip

EXTERNAL_LOCAL = (
    Situation(
        "external Local, one here and one there",
        "NodePort",
        (HERE, THERE),
        _outside_local("here", "here|there"),
        LOCAL_OUT,
        but=IPVS_HERE,
    ),
    Situation(
        "external Local, one here", "NodePort", (HERE,), _outside_local("here", "here"), LOCAL_OUT
    ),
    Situation(
        "external Local, one elsewhere only",
        "NodePort",
        (THERE,),
        _outside_local("dropped", "there"),
        LOCAL_OUT,
        but={"ipvs": {"far": "there snat", "external": "there snat"}},
    ),
    Situation("external Local, nothing anywhere", "NodePort", (), REFUSED, LOCAL_OUT),
    Situation(
        "external Local, the one here leaves",
        "NodePort",
        (leaving(HERE), THERE),
        # Who is on the node has the policy Cluster, and there one is ready.
        _outside_local("here", "there"),
        LOCAL_OUT,
        but=IPVS_HERE,
    ),
    Situation(
        "external Local, the one here is not ready",
        "NodePort",
        (unready(HERE), THERE),
        _outside_local("dropped", "there"),
        LOCAL_OUT,
        but={"ipvs": {"far": "there snat", "external": "there snat"}},
    ),
    Situation(
        "external Local, two here",
        "NodePort",
        (HERE, TOO),
        _outside_local("here|too", "here|too"),
        LOCAL_OUT,
    ),
    Situation(
        "external Local says nothing of the ClusterIP",
        "ClusterIP",
        (THERE,),
        _all("there"),
        LOCAL_OUT,
    ),
    Situation(
        "external Local, the NodePort of a node without endpoints",
        "other NodePort",
        (HERE,),
        {"external": "dropped", "far": "here kept"},
        LOCAL_OUT,
        but={"ipvs": {"external": "here snat"}},
    ),
)

EXTERNAL_IPS = (
    Situation("external IP, two nodes", "external IP", (HERE, THERE), _masqueraded("here|there")),
    Situation("external IP, one elsewhere", "external IP", (THERE,), _masqueraded("there")),
    Situation(
        "external IP, none",
        "external IP",
        (),
        REFUSED,
        # There the chain that refuses hangs on INPUT and FORWARD only: the packet goes out instead.
        but={"iptables": {"node": ""}},
    ),
    Situation(
        "external IP, Local, one here and one there",
        "external IP",
        (HERE, THERE),
        {"pod": "here|there kept", "node": "here|there snat", "external": "here kept"},
        LOCAL_OUT,
        but=IPVS_HERE,
    ),
    Situation(
        "external IP, Local, one elsewhere",
        "external IP",
        (THERE,),
        {"pod": "there kept", "node": "there snat", "external": "dropped"},
        LOCAL_OUT,
        but={"ipvs": {"external": "there snat"}},
    ),
)

LOAD_BALANCERS = (
    Situation("LB VIP, two nodes", "LB VIP", (HERE, THERE), _masqueraded("here|there"), BALANCER),
    Situation("LB VIP, one elsewhere", "LB VIP", (THERE,), _masqueraded("there"), BALANCER),
    Situation(
        "LB VIP, none", "LB VIP", (), REFUSED, BALANCER, but={"iptables": {"node": ""}}
    ),
    Situation(
        "LB VIP, Local, one here and one there",
        "LB VIP",
        (HERE, THERE),
        {"pod": "here|there kept", "node": "here|there snat", "external": "here kept"},
        LOCAL_BALANCER,
        but=IPVS_HERE,
    ),
    Situation(
        "LB VIP, Local, one elsewhere",
        "LB VIP",
        (THERE,),
        {"pod": "there kept", "node": "there snat", "external": "dropped"},
        LOCAL_BALANCER,
        but={"ipvs": {"external": "there snat"}},
    ),
    Situation(
        "source ranges let the outside in and nobody else",
        "LB VIP",
        (HERE,),
        {"external": "here snat", "pod": "dropped", "node": "dropped"},
        BALANCER | {"loadBalancerSourceRanges": ["203.0.113.0/24"]},
    ),
    Situation(
        "source ranges let pods in and nobody else",
        "LB VIP",
        (HERE,),
        {"external": "dropped", "pod": "here snat", "node": "dropped"},
        BALANCER | {"loadBalancerSourceRanges": ["10.244.0.0/16"]},
    ),
    Situation(
        "source ranges that let the node in",
        "LB VIP",
        (HERE,),
        {"external": "dropped", "pod": "dropped", "node": "here snat"},
        BALANCER | {"loadBalancerSourceRanges": ["192.168.1.0/24"]},
    ),
    Situation(
        "source ranges and policy Local",
        "LB VIP",
        (HERE,),
        {"external": "here kept", "pod": "dropped"},
        LOCAL_BALANCER | {"loadBalancerSourceRanges": ["203.0.113.0/24"]},
    ),
    Situation(
        "source ranges bind no NodePort",
        "NodePort",
        (HERE,),
        _masqueraded("here"),
        BALANCER | {"loadBalancerSourceRanges": ["198.18.0.0/15"]},
    ),
    Situation(
        "source ranges bind no ClusterIP",
        "ClusterIP",
        (HERE,),
        _all("here"),
        BALANCER | {"loadBalancerSourceRanges": ["198.18.0.0/15"]},
    ),
)  # fmt: skip

HINTS = (
    Situation(
        "zone hints: each zone its own",
        "ClusterIP",
        (hinted(HERE, "zone-a"), hinted(THERE, "zone-b")),
        {"pod": "here kept", "node": "here snat", "far": "there kept", "external": "here snat"},
    ),
    Situation(
        "zone hints, one endpoint without",
        "ClusterIP",
        (hinted(HERE, "zone-a"), THERE),
        EVERYWHERE,
    ),
    Situation(
        "zone hints, none for this zone",
        "ClusterIP",
        (hinted(HERE, "zone-c"), hinted(THERE, "zone-c")),
        EVERYWHERE,
    ),
    Situation(
        "zone hints for both zones",
        "ClusterIP",
        (hinted(HERE, "zone-a", "zone-b"), hinted(THERE, "zone-b")),
        {"pod": "here kept", "far": "here|there kept"},
    ),
    Situation(
        "node hints win over zone hints",
        "ClusterIP",
        (
            hinted(HERE, "zone-b", nodes=("node-1",)),
            hinted(THERE, "zone-a", nodes=("node-2",)),
        ),
        {"pod": "here kept", "node": "here snat", "far": "there kept"},
    ),
    Situation(
        "node hints, none for this node, zone hints decide",
        "ClusterIP",
        (
            hinted(HERE, "zone-a", nodes=("node-3",)),
            hinted(THERE, "zone-b", nodes=("node-3",)),
        ),
        {"pod": "here kept", "far": "there kept"},
    ),
    Situation(
        "hints hold for NodePorts",
        "NodePort",
        (hinted(HERE, "zone-a"), hinted(THERE, "zone-b")),
        _masqueraded("here"),
        NODE_PORT,
    ),
    Situation(
        "policy Local overrides hints",
        "ClusterIP",
        (hinted(HERE, "zone-b"), hinted(TOO, "zone-a")),
        {"pod": "here|too kept"},
        LOCAL_IN,
    ),
)

AFFINITY = (
    Situation("affinity, ClusterIP", "ClusterIP", (HERE, THERE), EVERYWHERE, STICKY, sticky=True),
    Situation(
        "affinity, NodePort",
        "NodePort",
        (HERE, THERE),
        _masqueraded("here|there"),
        STICKY | NODE_PORT,
        sticky=True,
    ),
    Situation(
        "affinity, external Local",
        "NodePort",
        (HERE, TOO, THERE),
        {"external": "here|too kept", "pod": "here|too|there kept"},
        STICKY | LOCAL_OUT,
        sticky=True,
        but={"ipvs": {"pod": "here|too kept"}},
    ),
    Situation("affinity, none left", "ClusterIP", (), REFUSED, STICKY),
)

UDP = (
    Situation("UDP, two nodes", "ClusterIP", (HERE, THERE), EVERYWHERE, protocol="UDP"),
    Situation("UDP, none", "ClusterIP", (), REFUSED, protocol="UDP"),
    Situation(
        "UDP NodePort", "NodePort", (HERE,), _masqueraded("here"), NODE_PORT, protocol="UDP"
    ),
    Situation(
        "UDP NodePort, Local",
        "NodePort",
        (HERE, THERE),
        _outside_local("here", "here|there"),
        LOCAL_OUT,
        protocol="UDP",
        but=IPVS_HERE,
    ),
    Situation(
        "UDP NodePort, Local, elsewhere",
        "NodePort",
        (THERE,),
        _outside_local("dropped", "there"),
        LOCAL_OUT,
        protocol="UDP",
        but={"ipvs": {"far": "there snat", "external": "there snat"}},
    ),
    Situation(
        "UDP internal Local, elsewhere",
        "ClusterIP",
        (THERE,),
        {"pod": "dropped", "node": "dropped", "far": "there kept"},
        LOCAL_IN,
        protocol="UDP",
        but={"ipvs": {"pod": "there kept", "node": "there snat"}},
    ),
    Situation(
        "UDP hairpin", "ClusterIP", (HERE,), {"self": "here snat"}, protocol="UDP"
    ),
)  # fmt: skip

ODD = (
    Situation(
        "a port that the Service has not",
        "wrong port",
        (HERE,),
        {"pod": "refused", "node": "refused"},
        # There no rule knows the address: the packet follows the default route.
        but={"iptables": {"pod": "", "node": ""}},
    ),
    Situation(
        "a ClusterIP that no Service has",
        "unused ClusterIP",
        (),
        {"pod": "refused", "node": "refused"},
        but={
            "nftables": {"pod": "dropped", "node": "dropped"},
            "iptables": {"pod": "", "node": ""},
        },
    ),
    Situation(
        "another proxy's Service is not ours",
        "NodePort",
        (HERE,),
        {"pod": "refused", "node": "refused", "external": "refused"},
        NODE_PORT,
        labels={"service.kubernetes.io/service-proxy-name": "other"},
    ),
    Situation(
        "a load balancer that is a proxy itself",
        "NodePort",
        (HERE,),
        _masqueraded("here"),
        BALANCER,
        lb={"ipMode": "Proxy"},
    ),
)

SITUATIONS: tuple[Situation, ...] = (
    *CLUSTER_IP,
    *INTERNAL_LOCAL,
    *NODE_PORTS,
    *EXTERNAL_LOCAL,
    *EXTERNAL_IPS,
    *LOAD_BALANCERS,
    *HINTS,
    *AFFINITY,
    *UDP,
    *ODD,
)
