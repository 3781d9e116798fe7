"""Rows of the table of situations: NodePorts, external IPs and load balancers."""

from tests.system.proxying.situation import (
    BALANCER,
    EVERYWHERE,
    HERE,
    HOST,
    IPVS_HERE,
    LOCAL_BALANCER,
    LOCAL_OUT,
    NODE_PORT,
    REFUSED,
    THERE,
    TOO,
    Situation,
    everybody_gets,
    leaving,
    masqueraded,
    outside_local,
    unready,
)

NODE_PORTS = (
    Situation("NodePort, two nodes", "NodePort", (HERE, THERE), masqueraded("here|there"), NODE_PORT),
    Situation("NodePort, one here", "NodePort", (HERE,), masqueraded("here"), NODE_PORT),
    Situation("NodePort, one there", "NodePort", (THERE,), masqueraded("there"), NODE_PORT),
    Situation("NodePort, none", "NodePort", (), REFUSED, NODE_PORT),
    Situation("NodePort, one in a host's network", "NodePort", (HOST,), masqueraded("host"), NODE_PORT),
    Situation("NodePort, all leave", "NodePort", (leaving(THERE),), masqueraded("there"), NODE_PORT),
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
        outside_local("here", "here|there"),
        LOCAL_OUT,
        but=IPVS_HERE,
    ),
    Situation(
        "external Local, one here", "NodePort", (HERE,), outside_local("here", "here"), LOCAL_OUT
    ),
    Situation(
        "external Local, one elsewhere only",
        "NodePort",
        (THERE,),
        outside_local("dropped", "there"),
        LOCAL_OUT,
        but={"ipvs": {"far": "there snat", "external": "there snat"}},
    ),
    Situation("external Local, nothing anywhere", "NodePort", (), REFUSED, LOCAL_OUT),
    Situation(
        "external Local, the one here leaves",
        "NodePort",
        (leaving(HERE), THERE),
        # Who is on the node has the policy Cluster, and there one is ready.
        outside_local("here", "there"),
        LOCAL_OUT,
        but=IPVS_HERE,
    ),
    Situation(
        "external Local, the one here is not ready",
        "NodePort",
        (unready(HERE), THERE),
        outside_local("dropped", "there"),
        LOCAL_OUT,
        but={"ipvs": {"far": "there snat", "external": "there snat"}},
    ),
    Situation(
        "external Local, two here",
        "NodePort",
        (HERE, TOO),
        outside_local("here|too", "here|too"),
        LOCAL_OUT,
    ),
    Situation(
        "external Local says nothing of the ClusterIP",
        "ClusterIP",
        (THERE,),
        everybody_gets("there"),
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
    Situation("external IP, two nodes", "external IP", (HERE, THERE), masqueraded("here|there")),
    Situation("external IP, one elsewhere", "external IP", (THERE,), masqueraded("there")),
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
    Situation("LB VIP, two nodes", "LB VIP", (HERE, THERE), masqueraded("here|there"), BALANCER),
    Situation("LB VIP, one elsewhere", "LB VIP", (THERE,), masqueraded("there"), BALANCER),
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
        masqueraded("here"),
        BALANCER | {"loadBalancerSourceRanges": ["198.18.0.0/15"]},
    ),
    Situation(
        "source ranges bind no ClusterIP",
        "ClusterIP",
        (HERE,),
        everybody_gets("here"),
        BALANCER | {"loadBalancerSourceRanges": ["198.18.0.0/15"]},
    ),
)  # fmt: skip
