"""Containers as pods: the nodes are always captured, the pods only if somebody asked for it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from podwire.emulator.trace.case import ClientReport
from podwire.emulator.trace.wiring import Wiring

if TYPE_CHECKING:
    from tests.unit.emulator.trace.conftest import Bench

WIRING = Wiring(bridge="eth1", external=None, captures="nodes", hint="switch it on")
PODS = "default/client default/web-0 default/web-1 kube-system/coredns"
FAILED = ClientReport(exit_code=28, timed_out=True, error="timed out")


def containers(story: str) -> str:
    """Return the story with the nodes' pod-side device, and what that of node-2 sees of web-1."""
    found: list[str] = []
    for line in story.strip().splitlines():
        line = line.replace(" cni0 ", " eth1 ")
        label, _, rest = line.partition(" ")
        if not rest.strip().startswith("default/web-1 eth0"):
            found.append(line)
            continue
        twin = f"at.{label} {rest.replace('default/web-1 eth0', 'node-2 eth1')}"
        comes = " 10.244.2.6:80 >" in rest or " 10.244.2.6:8080 >" in rest
        found += [line, twin] if comes else [twin, line]
    return "\n".join(found)


@pytest.mark.parametrize(
    ("blind", "not_captured"),
    [
        ("", ()),
        (PODS, ("kube-system/coredns", "default/client", "default/web-1")),
        ("default/client", ("default/client",)),
        ("default/web-1", ("default/web-1",)),
        ("kube-system/coredns", ("kube-system/coredns",)),
    ],
)
def test_a_request_is_confirmed_by_what_the_nodes_saw(
    bench: "Bench", blind: str, not_captured: tuple[str, ...]
) -> None:
    finding = bench.judge(containers(bench.answered), blind=blind, wiring=WIRING)
    assert finding.word == "confirmed", finding.reason
    assert (finding.outcome, finding.status) == ("answered", 200)
    assert set(finding.not_captured) == set(not_captured)
    times = [hop.time_ns for hop in finding.hops]
    assert times == sorted(times)


def test_the_way_as_the_nodes_saw_it(bench: "Bench") -> None:
    finding = bench.judge(containers(bench.answered), blind=PODS, wiring=WIRING)
    assert [f"{hop.where} {hop.interface or hop.kind}" for hop in finding.hops] == [
        "node-1 eth1",
        "node-1 inferred",
        "node-1 eth1",
        "node-1 eth1",
        "node-1 eth1",
        "node-1 eth1",
        "node-1 inferred",
        "node-1 eth0",
        "node-2 eth0",
        "node-2 eth1",
        "node-2 eth1",
        "node-2 eth1",
        "node-1 eth1",
    ]


def test_where_pods_are_always_captured_a_missing_one_still_proves_nothing(bench: "Bench") -> None:
    for blind in ("default/client", "default/web-1"):
        assert bench.judge(bench.answered, blind=blind).word == "inconclusive"


def test_other_requests_that_pass_the_node_are_not_the_client_s(bench: "Bench") -> None:
    other = containers(bench.front + bench.request).replace("10.244.1.5", "10.244.1.9")
    other = other.replace("default/client", "default/other")
    finding = bench.judge(other, blind=PODS, wiring=WIRING)
    assert finding.word == "inconclusive"
    assert finding.reason == "node-1 saw nothing of default/client, which was not captured itself"
    assert finding.not_captured == ("default/client",)


def test_a_backend_beside_its_relay(bench: "Bench") -> None:
    objects = bench.cluster(bench.slice("default/web-svc", "10.244.1.6 default/web-0"))
    back = "\n".join(
        line.replace("10.244.1.0:", "10.244.1.1:").replace("10.244.2.6", "10.244.1.6")
        for line in bench.back.replace("flannel.1", "eth1").splitlines()
        if " via " not in line and "default/web-1" not in line
    )
    more = """
took.node node-1 eth1 10.244.1.6:80 > 10.244.1.1:41002 SYN-ACK
got.node node-1 eth1 10.244.1.6:80 > 10.244.1.1:41002 data HTTP/1.1 200 OK\\r\\n\\r\\n
"""
    lines = back.strip().splitlines()
    answer = [line for line in lines if line.startswith("ok.")]
    asked = [line for line in lines if not line.startswith("ok.")]
    story = containers(bench.lookup + bench.front + bench.request)
    story += "\n" + "\n".join([*asked, more.strip(), *answer]).replace(" cni0 ", " eth1 ")
    finding = bench.judge(story, snapshot=objects, blind=PODS, wiring=WIRING)
    assert finding.word == "confirmed", finding.reason
    assert "default/web-0" in finding.not_captured


@dataclass
class Broken:
    """One thing that is wrong, and what must be said of it where no pod is captured."""

    outcome: str | None
    wrong: str
    reason: str
    story: str = "answered"
    without: str = ""
    more: str = ""
    blind: str = PODS
    report: ClientReport = field(default_factory=ClientReport)
    to: str = "http://web-svc"


AFTER_SYN = (
    "took.web at.took.web took.node-2 took.node sent.node sent.web at.sent.web"
    " ok.web at.ok.web ok.node-2 ok.tunnel ok.node ok.client"
)
AFTER_GET = "ok.web at.ok.web ok.node-2 ok.tunnel ok.node ok.client"
UNANSWERED = "ask.relayed ask.coredns told.coredns told.relay told.node told.client"

BROKEN = {
    "the targetPort is wrong": Broken(
        outcome="refused",
        wrong="node-2 eth1",
        reason="default/web-1 (behind node-2 eth1) got it and answered RST: nothing listens on port"
        " 80 in default/web-1 (Service default/web-svc: port 80, targetPort 80",
        without=AFTER_SYN,
        more="rst.web node-2 eth1 10.244.2.6:80 > 10.244.1.0:41002 RST",
    ),
    "the backend is paused: its kernel accepts, its process does not answer": Broken(
        outcome="timed out",
        wrong="node-2 eth1",
        reason="default/web-1 (behind node-2 eth1) got the request and did not answer in time",
        without=AFTER_GET,
        report=FAILED,
    ),
    "the backend is gone: nobody has its address": Broken(
        outcome="unreachable",
        wrong="node-2 eth1",
        reason="never left by eth1: nobody answers ARP for 10.244.2.6 on node-2 eth1",
        without="back.web at.back.web " + AFTER_SYN,
        more="arp node-2 eth1  10.244.2.1 > 10.244.2.6  who-has",
        report=FAILED,
    ),
    "the packet is lost between the nodes": Broken(
        outcome="timed out",
        wrong="node-2 eth0",
        reason="left node-1 eth0 but never reached node-2 eth0",
        without="back.node-2 back.web at.back.web " + AFTER_SYN,
        report=FAILED,
    ),
    "node-2 does not pass it on to its pods": Broken(
        outcome="timed out",
        wrong="node-2 eth1",
        reason="reached node-2 flannel.1 but never left by eth1",
        without="back.web at.back.web " + AFTER_SYN,
        more="in.node-2 node-2 flannel.1 10.244.1.0:41002 > 10.244.2.6:80 SYN",
        report=FAILED,
    ),
    "no endpoints": Broken(
        outcome="refused",
        wrong="node-1 eth1",
        reason="Service default/web-svc has no ready endpoints: its selector app=wbe matches no pod",
        story="front",
        without="ack.node ack.client",
        more="rst.node node-1 eth1 10.96.14.7:80 > 10.244.1.5:40002 RST",
    ),
    "the proxy has no listener": Broken(
        outcome="refused",
        wrong="node-1 eth1",
        reason="node-1 refused, though Service default/web-svc has 1 ready endpoint",
        story="front",
        without="ack.node ack.client",
        more="rst.node node-1 eth1 10.96.14.7:80 > 10.244.1.5:40002 RST",
    ),
    "the proxy is frozen: the kernel accepts for it": Broken(
        outcome="timed out",
        wrong="node-1 missing",
        reason="node-1 took the connection and sent nothing on to an endpoint of Service default/web-svc",
        story="asked",
        report=FAILED,
    ),
    "the proxy is dead and so is what captures on the node": Broken(
        outcome="timed out",
        wrong="node-1 eth1",
        reason="node-1 does not work: nothing was captured at node-1: nobody lends: timed out",
        blind=PODS + " node-1",
        report=FAILED,
    ),
    "CoreDNS is paused": Broken(
        outcome="timed out",
        wrong="node-1 eth1",
        reason="cluster DNS: kube-system/coredns (behind node-1 eth1) got the request to"
        " 10.244.1.3:53 and did not answer",
        story="lookup",
        without="told.coredns told.relay told.node told.client",
        report=FAILED,
    ),
    "CoreDNS is stopped and its endpoint is still there": Broken(
        outcome="unreachable",
        wrong="node-1 eth1",
        reason="cluster DNS: kube-system/coredns is unreachable: nobody answers ARP for 10.244.1.3"
        " on node-1 eth1",
        story="lookup",
        without=UNANSWERED,
        more="arp node-1 eth1  10.244.1.1 > 10.244.1.3  who-has",
        report=FAILED,
    ),
    "CoreDNS is stopped": Broken(
        outcome="refused",
        wrong="node-1 eth1",
        reason="cluster DNS: Service kube-system/kube-dns has no ready endpoints",
        story="lookup",
        without=UNANSWERED,
        more="no.node  node-1 eth1  10.96.0.10 > 10.244.1.5"
        "  unreachable port 10.244.1.5:40001 10.96.0.10:53 UDP",
        report=FAILED,
    ),
    "the answer stays at the node": Broken(
        outcome="timed out",
        wrong="node-1 eth1",
        reason="the answer reached node-1 eth0 but never left by eth1",
        without="ok.node ok.client",
        report=FAILED,
    ),
}


def objects_of(bench: "Bench", name: str) -> tuple[dict[str, Any], ...]:
    return {
        "no endpoints": (
            bench.service("default/web-svc", "10.96.14.7", app="wbe"),
            bench.slice("default/web-svc", ""),
        ),
        "CoreDNS is stopped": (bench.slice("kube-system/kube-dns", "", "53/UDP"),),
    }.get(name, ())


def stories(bench: "Bench") -> dict[str, str]:
    return {
        "answered": bench.answered,
        "lookup": bench.lookup,
        "front": bench.lookup + bench.front,
        "asked": bench.lookup + bench.front + bench.request,
    }


@pytest.mark.parametrize("name", BROKEN)
def test_the_hop_where_it_died_is_named_though_no_pod_is_captured(
    bench: "Bench", name: str
) -> None:
    broken = BROKEN[name]
    finding = bench.judge(
        containers(stories(bench)[broken.story]) + f"\n{broken.more}",
        without=broken.without,
        snapshot=bench.cluster(*objects_of(bench, name)),
        to=broken.to,
        blind=broken.blind,
        report=broken.report,
        wiring=WIRING,
        why={"node-1": "nobody lends"},
    )
    assert finding.word == "refuted", finding
    assert broken.reason in finding.reason
    assert finding.outcome == broken.outcome
    assert finding.wrong is not None
    assert f"{finding.wrong.where} {finding.wrong.interface or finding.wrong.kind}" == broken.wrong
    assert finding.wrong in finding.hops
    assert "default/client" in finding.not_captured
    whole = bench.judge(containers(bench.answered), blind=PODS, wiring=WIRING)
    assert whole.word == "confirmed", "the twin without the cause"


@pytest.mark.parametrize(
    ("to", "report"),
    [
        ("http://web-svc", ClientReport()),  # it says that it was answered
        ("http://10.244.1.6", FAILED),  # does not pass the node
        ("wget http://web-svc", FAILED),  # who knows what a command asks
    ],
)
def test_a_node_that_was_not_captured_is_not_always_to_blame(
    bench: "Bench", to: str, report: ClientReport
) -> None:
    finding = bench.judge(
        containers(bench.answered), to=to, blind=PODS + " node-1", wiring=WIRING, report=report
    )
    assert (finding.word, finding.reason) == ("inconclusive", "nothing was captured at node-1")


def test_a_relay_that_nobody_watched_is_not_blamed_for_an_answered_request(bench: "Bench") -> None:
    finding = bench.judge(containers(bench.answered), blind="node-1", wiring=WIRING)
    assert finding.word == "inconclusive"
    assert finding.reason == "answered, but nothing was captured at node-1"


def test_a_relay_that_nobody_watched_did_not_answer(bench: "Bench") -> None:
    finding = bench.judge(
        containers(bench.lookup),
        without="told.node told.client",
        blind="node-1",
        wiring=WIRING,
        report=FAILED,
        why={"node-1": "nobody lends"},
    )
    assert (finding.word, finding.outcome) == ("refuted", "timed out")
    assert finding.reason == (
        "cluster DNS: no answer came from node-1, where nobody lends"
        " (nothing was captured at node-1)"
    )
    assert finding.wrong is not None
    assert finding.wrong.where == "node-1"


def test_pod_to_pod_across_nodes(bench: "Bench") -> None:
    story = containers(
        bench.back.replace("node-1 flannel.1 ", "node-1 eth1 ")
        .replace("10.244.1.0:41002", "10.244.1.5:41002")
        .replace("ok.node ", "xx.node ")
    )
    kept = [line for line in story.splitlines() if "10.96." not in line]
    kept.append(
        "ok.client node-1 eth1 10.244.2.6:80 > 10.244.1.5:41002 data HTTP/1.1 200 OK\\r\\n\\r\\n"
    )
    finding = bench.judge("\n".join(kept), to="http://10.244.2.6", blind=PODS, wiring=WIRING)
    assert finding.word == "confirmed", finding.reason
    assert finding.not_captured == ("default/client", "default/web-1")
    assert finding.hops[0].where == "node-1"
    assert finding.hops[0].interface == "eth1"


SAME_NODE = """
syn.client   default/client eth0   10.244.1.5:40002 > 10.244.1.6:80  SYN
syn.web      default/web-0 eth0    10.244.1.5:40002 > 10.244.1.6:80  SYN
took.web     default/web-0 eth0    10.244.1.6:80 > 10.244.1.5:40002  SYN-ACK
took.client  default/client eth0   10.244.1.6:80 > 10.244.1.5:40002  SYN-ACK
get.client   default/client eth0   10.244.1.5:40002 > 10.244.1.6:80  data GET / HTTP/1.1\\r\\n\\r\\n
get.web      default/web-0 eth0    10.244.1.5:40002 > 10.244.1.6:80  data GET / HTTP/1.1\\r\\n\\r\\n
ok.web       default/web-0 eth0    10.244.1.6:80 > 10.244.1.5:40002  data HTTP/1.1 200 OK\\r\\n\\r\\n
ok.client    default/client eth0   10.244.1.6:80 > 10.244.1.5:40002  data HTTP/1.1 200 OK\\r\\n\\r\\n
"""


@pytest.mark.parametrize(
    ("blind", "word", "reason"),
    [
        ("", "confirmed", ""),
        ("default/web-0", "inconclusive", "nothing was captured at default/web-0"),
        ("default/client", "inconclusive", "node-1 saw nothing of default/client"),
        (PODS, "inconclusive", "node-1 saw nothing of default/client"),
    ],
)
def test_what_two_pods_of_a_node_say_to_each_other_passes_no_node(
    bench: "Bench", blind: str, word: str, reason: str
) -> None:
    finding = bench.judge(SAME_NODE, to="http://10.244.1.6", blind=blind, wiring=WIRING)
    assert finding.word == word, finding.reason
    assert reason in finding.reason


@pytest.mark.parametrize("blind", ["", PODS])
def test_a_repeated_question_belongs_to_its_own_port(bench: "Bench", blind: str) -> None:
    first = "\n".join(bench.lookup.strip().splitlines()[:4]) + "\n"
    again = bench.lookup.replace(":40001", ":40005").replace(":41001", ":41005")
    for story in (first + again, first + first.replace(":41001", ":41005") + again):
        whole = containers(story + bench.front + bench.request + bench.back)
        finding = bench.judge(whole, blind=blind, wiring=WIRING)
        assert finding.word == "confirmed", finding.reason


def test_there_is_no_external_host(bench: "Bench") -> None:
    assert bench.cluster().location("external", WIRING) is None
