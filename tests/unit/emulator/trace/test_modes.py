"""How the judge follows a request through each mode of the proxy, on captures written by hand."""

from typing import TYPE_CHECKING, Any

import pytest

from podwire.emulator.trace.case import ClientReport
from tests.unit.emulator.trace.mode_stories import DNAT, GET, OK, RELAYED, judged, kept

if TYPE_CHECKING:
    from tests.unit.emulator.trace.conftest import Bench


@pytest.mark.parametrize("mode", ["nftables", "iptables", "ipvs"])
def test_one_connection_with_another_destination(bench: "Bench", mode: str) -> None:
    finding = judged(bench, kept(DNAT), mode)
    assert (finding.word, finding.status) == ("confirmed", 200), finding.reason
    (passed,) = (hop for hop in finding.hops if hop.kind == "inferred")
    assert (passed.where, passed.mode) == ("node-1", mode)
    assert (passed.src, passed.dst) == ("10.96.14.7:80", "10.244.2.6:80")
    assert passed.summary.startswith("DNAT to endpoint default/web-1   (the same connection: ")
    assert passed.translation is not None
    assert passed.translation.original == "10.244.1.5:40002 > 10.96.14.7:80"
    assert passed.translation.reply == "10.244.2.6:80 > 10.244.1.5:40002"
    assert passed.translation.source == ""
    assert [f"{hop.where} {hop.interface or hop.kind}" for hop in finding.hops] == [
        "default/client eth0",
        "node-1 cni0",
        "node-1 inferred",
        "node-1 eth0",
        "node-2 eth0",
        "default/web-1 eth0",
        "default/web-1 eth0",
        "default/web-1 eth0",
        "default/client eth0",
    ]


def test_translated_at_the_port_of_the_bridge_by_br_netfilter(bench: "Bench") -> None:
    early = kept(DNAT).replace(
        "syn.node     node-1 cni0:in        10.244.1.5:40002 > 10.96.14.7:80 ",
        "syn.node     node-1 cni0:in        10.244.1.5:40002 > 10.244.2.6:80 ",
    )
    finding = judged(bench, early, "nftables")
    assert finding.word == "confirmed", finding.reason


def test_another_source_than_the_mode_demands(bench: "Bench") -> None:
    finding = judged(bench, DNAT.replace("SRC", "10.244.1.0"), "nftables")
    assert finding.word == "refuted"
    assert "sent it with the source 10.244.1.0; the backend must see 10.244.1.5" in finding.reason


def test_a_changed_source_is_shown(bench: "Bench") -> None:
    # A NodePort of the own node is masqueraded with the address of the way out.
    story = DNAT.replace("SRC", "10.244.1.0").replace("10.96.14.7:80", "192.168.1.10:30080")
    finding = judged(bench, story, "iptables", to="http://192.168.1.10:30080")
    assert finding.word == "confirmed", finding.reason
    (passed,) = (hop for hop in finding.hops if hop.kind == "inferred")
    assert "DNAT to endpoint default/web-1, SNAT 10.244.1.5 -> 10.244.1.0 " in passed.summary


def test_a_node_that_does_not_do_what_its_mode_says(bench: "Bench") -> None:
    one = judged(bench, kept(DNAT), "userspace")
    assert one.word == "refuted"
    assert "though its Node says mode userspace, which makes a second one" in one.reason
    here = bench.slice("default/web-svc", "10.244.1.6 default/web-0")
    two = judged(bench, RELAYED.replace("PORT", "41007"), "nftables", here)
    assert two.word == "refuted"
    assert "node-1 answered itself, as a relay does" in two.reason


@pytest.mark.parametrize("port", ["40002", "41007"])
@pytest.mark.parametrize("mode", ["userspace", "ipvs (userspace)"])
def test_a_relay_that_asks_as_its_client(bench: "Bench", mode: str, port: str) -> None:
    here = bench.slice("default/web-svc", "10.244.1.6 default/web-0")
    finding = judged(bench, RELAYED.replace("PORT", port), mode, here)
    assert finding.word == "confirmed", finding.reason
    (passed,) = (hop for hop in finding.hops if hop.kind == "inferred")
    assert passed.summary.startswith("relayed to endpoint default/web-0")
    assert passed.translation is None
    assert [hop.direction for hop in finding.hops if hop.interface == "cni0"] == ["in", "out"]


def test_what_the_client_asks_the_endpoint_itself_is_not_the_relays(bench: "Bench") -> None:
    here = bench.slice("default/web-svc", "10.244.1.6 default/web-0")
    direct = f"""
own.client   default/client eth0   10.244.1.5:40900 > 10.244.1.6:80     SYN
own.in       node-1 cni0:in        10.244.1.5:40900 > 10.244.1.6:80     SYN
own.out      node-1 cni0:out       10.244.1.5:40900 > 10.244.1.6:80     SYN
own.ack      node-1 cni0:in        10.244.1.6:80 > 10.244.1.5:40900     SYN-ACK
own.get      node-1 cni0:in        10.244.1.5:40900 > 10.244.1.6:80     {GET}
"""
    story = RELAYED.replace("PORT", "41007")
    first, rest = story[: story.index("out.node")], story[story.index("out.node") :]
    report = ClientReport(local_port=40002)
    finding = judged(bench, first + direct + rest, "userspace", here, report=report)
    assert finding.word == "confirmed", finding.reason


def test_two_pods_of_a_node_are_routed_by_it(bench: "Bench") -> None:
    story = f"""
a  default/client eth0   10.244.1.5:40002 > 10.244.1.6:80   SYN
b  node-1 cni0:in        10.244.1.5:40002 > 10.244.1.6:80   SYN
c  node-1 cni0:out       10.244.1.5:40002 > 10.244.1.6:80   SYN
d  default/web-0 eth0    10.244.1.5:40002 > 10.244.1.6:80   SYN
e  default/web-0 eth0    10.244.1.6:80 > 10.244.1.5:40002   SYN-ACK
f  node-1 cni0:in        10.244.1.6:80 > 10.244.1.5:40002   SYN-ACK
g  node-1 cni0:out       10.244.1.6:80 > 10.244.1.5:40002   SYN-ACK
h  default/client eth0   10.244.1.6:80 > 10.244.1.5:40002   SYN-ACK
i  default/client eth0   10.244.1.5:40002 > 10.244.1.6:80   {GET}
j  default/web-0 eth0    10.244.1.5:40002 > 10.244.1.6:80   {GET}
k  default/web-0 eth0    10.244.1.6:80 > 10.244.1.5:40002   {OK}
l  node-1 cni0:in        10.244.1.6:80 > 10.244.1.5:40002   {OK}
m  node-1 cni0:out       10.244.1.6:80 > 10.244.1.5:40002   {OK}
n  default/client eth0   10.244.1.6:80 > 10.244.1.5:40002   {OK}
"""
    finding = judged(bench, story, "userspace", to="http://10.244.1.6")
    assert finding.word == "confirmed", finding.reason
    assert [(h.interface, h.direction) for h in finding.hops[:4]] == [
        ("eth0", ""),
        ("cni0", "in"),
        ("cni0", "out"),
        ("eth0", ""),
    ]
    gone = judged(
        bench, story, "userspace", to="http://10.244.1.6", without="c d e f g h i j k l m n"
    )
    assert "reached node-1 cni0 but never left by cni0" in gone.reason
    assert gone.wrong is not None
    assert (gone.wrong.interface, gone.wrong.direction) == ("cni0", "out")


SYN = """
syn.client   default/client eth0   10.244.1.5:40002 > TO   SYN
syn.node     node-1 cni0:in        10.244.1.5:40002 > TO   SYN
"""
REJECTED = """
no.node      node-1 cni0:out       10.244.1.1 > 10.244.1.5   unreachable port 10.244.1.5:40002 TO TCP
"""


@pytest.mark.parametrize(
    ("mode", "story", "to", "spec", "endpoints", "outcome", "reason"),
    [
        (
            "nftables",
            SYN + REJECTED,
            "10.96.14.7:80",
            {},
            "",
            "refused",
            "Service default/web-svc has no ready endpoints, though its selector app=web matches 2"
            " pods that are ready (default/web-0 Ready, default/web-1 Ready): the nftables rules of"
            " node-1 rejected it (ICMP port unreachable)",
        ),
        (
            "iptables",
            SYN,
            "10.96.14.7:80",
            {"internalTrafficPolicy": "Local"},
            "10.244.2.6 default/web-1",
            "timed out",
            "Service default/web-svc has no ready endpoint on node-1 (internalTrafficPolicy: Local):"
            " the iptables rules of node-1 dropped it (it reached node-1 cni0 and nothing left)",
        ),
        (
            "nftables",
            SYN,
            "198.51.100.1:80",
            {
                "type": "LoadBalancer",
                "loadBalancerSourceRanges": ["203.0.113.0/24"],
            },
            "10.244.2.6 default/web-1",
            "timed out",
            "Service default/web-svc lets 203.0.113.0/24 in (loadBalancerSourceRanges), and"
            " 10.244.1.5 is not of those: the nftables rules of node-1 dropped it",
        ),
        (
            "nftables",
            SYN + REJECTED,
            "10.96.14.7:81",
            {},
            "10.244.2.6 default/web-1",
            "refused",
            "Service default/web-svc has no port 81/TCP; it has 80/TCP: the nftables rules of"
            " node-1 rejected it",
        ),
        (
            "nftables",
            SYN,
            "10.96.99.99:80",
            {},
            "",
            "timed out",
            "no Service has the ClusterIP 10.96.99.99: the nftables rules of node-1 dropped it",
        ),
        (
            "iptables",
            SYN + "out  node-1 eth0:out  192.168.1.10:40002 > TO  SYN\n",
            "10.96.99.99:80",
            {},
            "",
            "timed out",
            "no Service has the ClusterIP 10.96.99.99: no rule of node-1 takes it, so it follows"
            " the default route",
        ),
        (
            "nftables",
            SYN,
            "10.96.14.7:80",
            {},
            "10.244.2.6 default/web-1",
            "timed out",
            "the packet to 10.96.14.7:80 reached node-1 cni0 and nothing left, though Service"
            " default/web-svc has 1 ready endpoint: a rule or a missing route of node-1 stops it",
        ),
        (
            "nftables",
            SYN + "out  node-1 eth0:out  192.168.1.10:40002 > TO  SYN\n",
            "10.96.14.7:80",
            {},
            "10.244.2.6 default/web-1",
            "timed out",
            "node-1 has no rule for 10.96.14.7:80/TCP, though Service default/web-svc has 1 ready"
            " endpoint: the packet left by eth0 as it came; is kube-proxy running on node-1?",
        ),
        (
            "nftables",
            SYN + "rst  node-1 cni0:out  TO > 10.244.1.5:40002  RST\n",
            "10.244.1.1:30080",
            {},
            "10.244.2.6 default/web-1",
            "refused",
            "in mode nftables node-1 serves NodePorts on 192.168.1.10 only, not on 10.244.1.1",
        ),
    ],
)
def test_refused_and_dropped(
    bench: "Bench",
    mode: str,
    story: str,
    to: str,
    spec: dict[str, Any],
    endpoints: str,
    outcome: str,
    reason: str,
) -> None:
    service = bench.service("default/web-svc", "10.96.14.7", "80:30080", **spec)
    service["spec"] |= spec
    service["status"] = {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}}
    objects = (service, bench.slice("default/web-svc", endpoints))
    finding = judged(bench, story.replace("TO", to), mode, *objects, to=to)
    assert (finding.word, finding.outcome) == ("refuted", outcome)
    assert reason in finding.reason


def test_passed_on_where_the_objects_say_drop(bench: "Bench") -> None:
    service = bench.service("default/web-svc", "10.96.14.7", internalTrafficPolicy="Local")
    finding = judged(bench, kept(DNAT), "nftables", service)
    assert (finding.word, finding.outcome) == ("refuted", "answered")
    assert "and yet node-1 passed it on: 10.244.1.5:40002 > 10.244.2.6:80" in finding.reason


# What a node's own process asks is translated before any interface shows it.
HIDDEN = f"""
out.device   node-1 flannel.1:out  10.244.1.0:40002 > 10.244.2.6:80    SYN
out.node     node-1 eth0:out       10.244.1.0:40002 > 10.244.2.6:80    SYN      via 192.168.1.10 > 192.168.1.11
out.node-2   node-2 eth0:in        10.244.1.0:40002 > 10.244.2.6:80    SYN      via 192.168.1.10 > 192.168.1.11
out.web      default/web-1 eth0    10.244.1.0:40002 > 10.244.2.6:80    SYN
took.web     default/web-1 eth0    10.244.2.6:80 > 10.244.1.0:40002    SYN-ACK
took.node-2  node-2 eth0:out       10.244.2.6:80 > 10.244.1.0:40002    SYN-ACK  via 192.168.1.11 > 192.168.1.10
took.node    node-1 eth0:in        10.244.2.6:80 > 10.244.1.0:40002    SYN-ACK  via 192.168.1.11 > 192.168.1.10
get.node     node-1 flannel.1:out  10.244.1.0:40002 > 10.244.2.6:80    {GET}
get.web      default/web-1 eth0    10.244.1.0:40002 > 10.244.2.6:80    {GET}
ok.web       default/web-1 eth0    10.244.2.6:80 > 10.244.1.0:40002    {OK}
ok.node-2    node-2 eth0:out       10.244.2.6:80 > 10.244.1.0:40002    {OK}     via 192.168.1.11 > 192.168.1.10
ok.tunnel    node-1 eth0:in        10.244.2.6:80 > 10.244.1.0:40002    {OK}     via 192.168.1.11 > 192.168.1.10
"""
PROBE = f"""
p.syn  node-1 flannel.1:out  10.244.1.0:40777 > 10.244.2.6:80  SYN
p.get  node-1 flannel.1:out  10.244.1.0:40777 > 10.244.2.6:80  {GET.replace("10.96.14.7", "10.244.2.6")}
"""


@pytest.mark.parametrize("first", ["", PROBE])
def test_a_process_of_the_node(bench: "Bench", first: str) -> None:
    finding = judged(bench, first + HIDDEN, "nftables", source="node-1")
    assert finding.word == "confirmed", finding.reason
    passed = finding.hops[0]
    assert (passed.kind, passed.src, passed.dst) == ("inferred", "10.96.14.7:80", "10.244.2.6:80")
    assert passed.translation is not None
    assert (passed.translation.original, passed.translation.reply) == (
        "",
        "10.244.2.6:80 > 10.244.1.0:40002",
    )


def test_a_process_whose_flow_cannot_be_told_from_a_probe(bench: "Bench") -> None:
    other = PROBE.replace("Host: 10.244.2.6", "Host: 10.96.14.7")
    finding = judged(bench, other + HIDDEN, "nftables", source="node-1")
    assert finding.word == "inconclusive"
    assert "node-1 opened 2 flows to endpoints" in finding.reason
    known = ClientReport(local_port=40002)
    again = judged(bench, other + HIDDEN, "nftables", source="node-1", report=known)
    assert again.word == "confirmed"


def test_a_mere_connect_of_a_process_is_told_from_a_probe(bench: "Bench") -> None:
    gone = "get.node get.web ok.web ok.node-2 ok.tunnel"
    finding = judged(
        bench, PROBE + HIDDEN, "nftables", source="node-1", to="10.96.14.7:80", without=gone
    )
    assert finding.word == "confirmed", finding.reason


def test_a_process_to_another_of_its_node_is_told_by_the_answer(bench: "Bench") -> None:
    story = f"""
a  node-1 lo:in   192.168.1.10:40002 > 192.168.1.10:80   SYN
b  node-1 lo:in   10.96.14.7:80 > 192.168.1.10:40002     SYN-ACK
p  node-1 lo:in   192.168.1.10:40777 > 192.168.1.10:80   SYN
c  node-1 lo:in   192.168.1.10:40002 > 192.168.1.10:80   {GET}
d  node-1 lo:in   10.96.14.7:80 > 192.168.1.10:40002     {OK}
"""
    host = bench.pod("default/web-0", "192.168.1.10", hostNetwork=True)
    here = bench.slice("default/web-svc", "192.168.1.10 default/web-0")
    finding = judged(bench, story, "nftables", host, here, source="node-1")
    assert finding.word == "confirmed", finding.reason
    assert finding.hops[0].translation is not None
    assert finding.hops[0].translation.original == "192.168.1.10:40002 > 10.96.14.7:80"


@pytest.mark.parametrize(
    ("story", "report", "outcome", "reason"),
    [
        (
            "no  node-1 lo:in  192.168.1.10 > 192.168.1.10"
            "  unreachable port 192.168.1.10:40002 10.96.14.7:80 TCP",
            ClientReport(exit_code=7),
            "refused",
            "the nftables rules of node-1 rejected it (ICMP port unreachable)",
        ),
        (
            "x  node-1 eth0:out  192.168.1.10 > 192.168.1.11  who-has",
            ClientReport(exit_code=28, timed_out=True),
            "timed out",
            "nothing left node-1; its nftables rules drop such packets",
        ),
    ],
)
def test_a_process_of_which_nothing_leaves(
    bench: "Bench", story: str, report: ClientReport, outcome: str, reason: str
) -> None:
    nothing = bench.slice("default/web-svc", "")
    finding = judged(bench, story, "nftables", nothing, source="node-1", report=report)
    assert (finding.word, finding.outcome) == ("refuted", outcome)
    assert "Service default/web-svc has no ready endpoints" in finding.reason
    assert reason in finding.reason


OUTSIDE = """
a  external eth0         203.0.113.10:40002 > 10.96.14.7:80   SYN
b  node-2 eth0:in        203.0.113.10:40002 > 10.96.14.7:80   SYN
c  node-2 cni0:out       10.244.2.1:40002 > 10.244.2.6:80     SYN
d  default/web-1 eth0    10.244.2.1:40002 > 10.244.2.6:80     SYN
e  default/web-1 eth0    10.244.2.6:80 > 10.244.2.1:40002     SYN-ACK
f  node-2 cni0:in        10.244.2.6:80 > 10.244.2.1:40002     SYN-ACK
g  node-2 eth0:out       10.96.14.7:80 > 203.0.113.10:40002   SYN-ACK
h  external eth0         10.96.14.7:80 > 203.0.113.10:40002   SYN-ACK
"""


def test_a_route_from_outside_leads_to_any_node(bench: "Bench") -> None:
    finding = judged(bench, OUTSIDE, "nftables", source="external", to="10.96.14.7:80")
    assert finding.word == "confirmed", finding.reason
    (passed,) = (hop for hop in finding.hops if hop.kind == "inferred")
    assert passed.where == "node-2"
    assert "SNAT 203.0.113.10 -> 10.244.2.1" in passed.summary
    lost = judged(
        bench, OUTSIDE, "nftables", source="external", to="10.96.14.7:80", without="b c d e f g h"
    )
    assert "no way from outside leads to the ClusterIP of Service default/web-svc" in lost.reason
