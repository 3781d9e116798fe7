"""The table of truth: what a client of a Service meets, by situation, client and mode.

Rows follow kube-proxy's own behaviour (pkg/proxy: endpoints, service and topology; KEP-1669, 1860,
2086, 3685, 4444). The world of every row is the same: node-1 is the node whose proxy is asked, with
the backend pods `here` and `too`; `there` is on node-2, `host` is a process of node-2's own network.

An answer is written "BACKENDS SOURCE": which backends take turns, and what they see as the client's
address: `kept` (the client's own) or `snat` (one of the node whose proxy passed it on). Or it is
`refused` (RST or ICMP), or `dropped` (silence). A client that a row does not name is not asked.
"""

from tests.system.proxying.from_outside import (
    EXTERNAL_IPS,
    EXTERNAL_LOCAL,
    LOAD_BALANCERS,
    NODE_PORTS,
)
from tests.system.proxying.situation import (
    BALANCER,
    EVERYWHERE,
    HERE,
    HOST,
    IPVS_HERE,
    LOCAL_IN,
    LOCAL_OUT,
    NODE_PORT,
    REFUSED,
    STICKY,
    THERE,
    TOO,
    Situation,
    everybody_gets,
    gone,
    hinted,
    leaving,
    masqueraded,
    outside_local,
    unready,
)

CLUSTER_IP = (
    Situation("ClusterIP, endpoints on two nodes", "ClusterIP", (HERE, THERE), EVERYWHERE),
    Situation(
        "ClusterIP, one endpoint on the client's node", "ClusterIP", (HERE,), everybody_gets("here")
    ),
    Situation("ClusterIP, one endpoint elsewhere", "ClusterIP", (THERE,), everybody_gets("there")),
    Situation("ClusterIP, no endpoint", "ClusterIP", (), REFUSED),
    Situation("ClusterIP, none ready", "ClusterIP", (unready(HERE), unready(THERE)), REFUSED),
    Situation(
        "ClusterIP, one of two ready", "ClusterIP", (unready(HERE), THERE), everybody_gets("there")
    ),
    Situation(
        "ClusterIP, one of two leaves", "ClusterIP", (leaving(HERE), THERE), everybody_gets("there")
    ),
    Situation(
        "ClusterIP, all leave and serve", "ClusterIP", (leaving(HERE), leaving(THERE)), EVERYWHERE
    ),
    Situation("ClusterIP, the only one has left", "ClusterIP", (gone(HERE),), REFUSED),
    Situation(
        "ClusterIP, one leaves, one is not ready",
        "ClusterIP",
        (leaving(HERE), unready(THERE)),
        everybody_gets("here"),
    ),
    Situation(
        "ClusterIP, endpoint in a host's network",
        "ClusterIP",
        (HOST,),
        # A pod's packets to what is no pod leave its node masqueraded, as flannel does it.
        {"pod": "host snat", "far": "host kept", "node": "host snat", "external": "host snat"},
    ),
    Situation("ClusterIP, two on one node", "ClusterIP", (HERE, TOO), everybody_gets("here|too")),
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
        masqueraded("there"),
        spec=LOCAL_IN | NODE_PORT,
    ),
)

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
        masqueraded("here"),
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
        masqueraded("here|there"),
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
        "UDP NodePort", "NodePort", (HERE,), masqueraded("here"), NODE_PORT, protocol="UDP"
    ),
    Situation(
        "UDP NodePort, Local",
        "NodePort",
        (HERE, THERE),
        outside_local("here", "here|there"),
        LOCAL_OUT,
        protocol="UDP",
        but=IPVS_HERE,
    ),
    Situation(
        "UDP NodePort, Local, elsewhere",
        "NodePort",
        (THERE,),
        outside_local("dropped", "there"),
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
        masqueraded("here"),
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
