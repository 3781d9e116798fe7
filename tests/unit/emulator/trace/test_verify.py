"""Each cause with its verdict; each is the answered story with one thing changed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.unit.emulator.trace.conftest import Bench

RST = "rst.node  node-1 cni0  10.96.14.7:80 > 10.244.1.5:40002  RST\n"
DNS_REFUSED = (
    "no.node  node-1 cni0  10.96.0.10 > 10.244.1.5"
    "  unreachable port 10.244.1.5:40001 10.96.0.10:53 UDP\n"
)


def test_a_request_whose_every_hop_was_seen_is_confirmed(bench: "Bench") -> None:
    finding = bench.judge(bench.answered)
    assert (finding.word, finding.outcome, finding.status) == ("confirmed", "answered", 200)
    assert [f"{hop.where} {hop.interface or hop.kind}" for hop in finding.hops] == [
        "default/client eth0",
        "node-1 cni0",
        "node-1 inferred",
        "node-1 cni0",
        "kube-system/coredns eth0",
        "kube-system/coredns eth0",
        "default/client eth0",
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
    assert [hop.index for hop in finding.hops] == list(range(1, 17))
    assert {hop.node for hop in finding.hops} == {"node-1", "node-2"}
    assert finding.hops[-1].pod == "default/client"
    times = [hop.time_ns for hop in finding.hops]
    assert times == sorted(times)


@dataclass
class Broken:
    """One thing that is wrong, and what must be said of it."""

    outcome: str
    wrong: str  # where and interface of the first wrong hop, or its kind
    reason: str
    story: str = ""
    without: str = ""
    objects: tuple[dict[str, Any], ...] = ()
    to: str = "http://web-svc"


def check(bench: "Bench", broken: Broken) -> None:
    finding = bench.judge(
        broken.story or bench.answered,
        without=broken.without,
        snapshot=bench.cluster(*broken.objects),
        to=broken.to,
    )
    assert finding.word == "refuted", finding
    assert finding.outcome == broken.outcome
    assert broken.reason in finding.reason
    assert finding.wrong is not None
    assert f"{finding.wrong.where} {finding.wrong.interface or finding.wrong.kind}" == broken.wrong
    assert finding.wrong in finding.hops
    assert bench.judge(bench.answered).word == "confirmed", "the twin without the cause"


def test_selector_that_matches_nothing(bench: "Bench") -> None:
    check(
        bench,
        Broken(
            outcome="refused",
            wrong="node-1 cni0",
            reason="Service default/web-svc has no ready endpoints: its selector app=wbe matches no"
            " pod (pods there have app=client or app=web)",
            story=bench.lookup + bench.front + RST,
            without="ack.node ack.client",
            objects=(
                bench.service("default/web-svc", "10.96.14.7", app="wbe"),
                bench.slice("default/web-svc", ""),
            ),
        ),
    )


def test_pods_that_are_not_ready(bench: "Bench") -> None:
    check(
        bench,
        Broken(
            outcome="refused",
            wrong="node-1 cni0",
            reason="its selector app=web matches 2 pods, none of them ready (default/web-0 Running,"
            " not Ready, default/web-1 Running, not Ready)",
            story=bench.lookup + bench.front + RST,
            without="ack.node ack.client",
            objects=(
                bench.pod("default/web-0", "10.244.1.6", ready=False),
                bench.pod("default/web-1", "10.244.2.6", ready=False),
                bench.slice("default/web-svc", "10.244.2.6 default/web-1 not-ready"),
            ),
        ),
    )


def test_kube_proxy_that_is_not_running(bench: "Bench") -> None:
    check(
        bench,
        Broken(
            outcome="refused",
            wrong="node-1 cni0",
            reason="node-1 refused, though Service default/web-svc has 1 ready endpoint",
            story=bench.lookup + bench.front + RST,
            without="ack.node ack.client",
        ),
    )


def test_wrong_target_port(bench: "Bench") -> None:
    back = bench.back.replace("10.244.2.6:80 ", "10.244.2.6:8080 ")
    story = bench.lookup + bench.front + bench.request + back
    check(
        bench,
        Broken(
            outcome="refused",
            wrong="default/web-1 eth0",
            reason="default/web-1 eth0 got it and answered RST: nothing listens on port 8080 in"
            " default/web-1 (Service default/web-svc: port 80, targetPort 8080; the pod declares"
            " containerPort 80)",
            story=story + "rst.web default/web-1 eth0 10.244.2.6:8080 > 10.244.1.0:41002 RST\n",
            without="took.web took.node-2 took.node sent.node sent.web ok.web ok.node-2 ok.tunnel"
            " ok.node ok.client",
            objects=(
                bench.service("default/web-svc", "10.96.14.7", "80->8080"),
                bench.slice("default/web-svc", "10.244.2.6 default/web-1", "8080"),
            ),
        ),
    )


AFTER_BACK = (
    "took.web took.node-2 took.node sent.node sent.web ok.web ok.node-2 ok.tunnel ok.node ok.client"
)


@pytest.mark.parametrize(
    ("lost", "more", "wrong", "outcome", "reason"),
    [
        (
            "back.web",
            "",
            "default/web-1 eth0",
            "timed out",
            "the SYN to 10.244.2.6:80 left node-2 eth0 but never reached default/web-1 eth0",
        ),
        (
            "back.web",
            "arp node-2 cni0  10.244.2.1 > 10.244.2.6  who-has\n",
            "default/web-1 eth0",
            "unreachable",
            "never reached default/web-1 eth0: nobody answers ARP for 10.244.2.6 on node-2 cni0",
        ),
        (
            "back.web",
            "icmp node-1 flannel.1  10.244.2.0 > 10.244.1.0"
            "  unreachable host 10.244.1.0:41002 10.244.2.6:80 TCP\n",
            "default/web-1 eth0",
            "unreachable",
            "host unreachable, says 10.244.2.0 (node node-2)",
        ),
        (
            "back.node-2 back.web",
            "",
            "node-2 eth0",
            "timed out",
            "left node-1 eth0 but never reached node-2 eth0",
        ),
        (
            "back.tunnel back.node-2 back.web",
            "",
            "node-1 eth0",
            "timed out",
            "reached node-1 flannel.1 but never left by eth0 inside VXLAN",
        ),
        (
            "back.node back.tunnel back.node-2 back.web",
            "",
            "node-1 missing",
            "timed out",
            "node-1 took the connection and sent nothing on to an endpoint of default/web-svc",
        ),
    ],
)
def test_backend_that_cannot_be_reached(
    bench: "Bench", lost: str, more: str, wrong: str, outcome: str, reason: str
) -> None:
    check(
        bench,
        Broken(outcome, wrong, reason, bench.answered + more, f"{lost} {AFTER_BACK}"),
    )


def test_backend_on_the_same_node_without_hardware_address(bench: "Bench") -> None:
    check(
        bench,
        Broken(
            outcome="unreachable",
            wrong="node-1 cni0",
            reason="default/web-0 is unreachable: nobody answers ARP for 10.244.1.6",
            story=bench.lookup
            + bench.front
            + bench.request
            + "arp node-1 cni0  10.244.1.1 > 10.244.1.6  who-has\n",
            objects=(bench.slice("default/web-svc", "10.244.1.6 default/web-0"),),
        ),
    )


@pytest.mark.parametrize(
    ("without", "more", "wrong", "outcome", "reason"),
    [
        (
            "took.web took.node-2 took.node sent.node sent.web ok.web ok.node-2 ok.tunnel ok.node ok.client",
            "",
            "default/web-1 eth0",
            "timed out",
            "default/web-1 eth0 got the request to 10.244.2.6:80 and did not answer",
        ),
        (
            "ok.web ok.node-2 ok.tunnel ok.node ok.client",
            "",
            "default/web-1 eth0",
            "timed out",
            "default/web-1 got the request and did not answer in time",
        ),
        (
            "ok.web ok.node-2 ok.tunnel ok.node ok.client",
            "fin.web default/web-1 eth0 10.244.2.6:80 > 10.244.1.0:41002 FIN\n",
            "default/web-1 eth0",
            "refused",
            "default/web-1 closed the connection without an answer",
        ),
        (
            "ok.web ok.node-2 ok.tunnel ok.node ok.client",
            "bye.web default/web-1 eth0 10.244.1.0:41002 > 10.244.2.6:80 FIN\n"
            "fin.web default/web-1 eth0 10.244.2.6:80 > 10.244.1.0:41002 FIN\n",
            "default/web-1 eth0",
            "timed out",
            "default/web-1 got the request and did not answer in time",
        ),
        (
            "ok.tunnel ok.node ok.client",
            "",
            "node-1 eth0",
            "timed out",
            "the answer left node-2 eth0 but never reached node-1 eth0",
        ),
        (
            "ok.client",
            "",
            "default/client eth0",
            "timed out",
            "the answer left node-1 cni0 but never reached default/client eth0",
        ),
    ],
)
def test_answer_that_does_not_come(
    bench: "Bench", without: str, more: str, wrong: str, outcome: str, reason: str
) -> None:
    check(bench, Broken(outcome, wrong, reason, bench.answered + more, without))


@pytest.mark.parametrize(
    ("without", "more", "wrong", "reason"),
    [
        (
            "took.node sent.node sent.web",
            "",
            "node-1 eth0",
            "the SYN ACK left node-2 eth0 but never reached node-1 eth0",
        ),
        (
            "took.node-2 took.node sent.node sent.web",
            "",
            "node-2 eth0",
            "the SYN ACK left default/web-1 eth0 but never reached node-2 eth0",
        ),
        (
            "sent.web",
            "",
            "node-2 eth0",
            "the request's bytes left node-1 flannel.1 but never reached node-2 eth0",
        ),
        (
            "sent.node sent.web",
            "",
            "default/web-1 missing",
            "default/web-1 accepted the connection and was asked nothing: node-1 passed none of"
            " the request's bytes on",
        ),
    ],
)
def test_a_backend_that_never_heard_the_request_is_not_to_blame(
    bench: "Bench", without: str, more: str, wrong: str, reason: str
) -> None:
    gone = f"{without} ok.web ok.node-2 ok.tunnel ok.node ok.client"
    check(bench, Broken("timed out", wrong, reason, bench.answered + more, gone))


@pytest.mark.parametrize(
    ("lost", "more", "wrong", "reason"),
    [
        (
            "back.node back.tunnel back.node-2 back.web",
            "in node-1 eth0:out 10.244.1.0:41002 > 10.244.2.6:80 SYN\n",
            "node-1 eth0",
            "left node-1 eth0 as it is, not inside VXLAN: node-1 has no route to 10.244.2.6",
        ),
        (
            "back.tunnel back.node-2 back.web",
            "far node-1 eth0:out 10.244.1.0:41002 > 10.244.2.6:80 SYN via 192.168.1.10 > 192.168.1.12\n",
            "node-2 eth0",
            "but never reached node-2 eth0: node-1 sent it inside VXLAN to 192.168.1.12",
        ),
        (
            "back.web",
            "in node-2 flannel.1:in 10.244.1.0:41002 > 10.244.2.6:80 SYN\n",
            "default/web-1 eth0",
            "reached node-2 flannel.1 but never reached default/web-1 eth0",
        ),
        (
            "back.web",
            "in node-2 cni0:out 10.244.1.0:41002 > 10.244.2.6:80 SYN\n",
            "default/web-1 eth0",
            "left node-2 cni0 but never reached default/web-1 eth0",
        ),
    ],
)
def test_where_a_packet_was_seen_last_is_told(
    bench: "Bench", lost: str, more: str, wrong: str, reason: str
) -> None:
    broken = Broken("timed out", wrong, reason, bench.answered + more, f"{lost} {AFTER_BACK}")
    check(bench, broken)


@pytest.mark.parametrize(
    ("what", "outcome", "did"),
    [("RST", "refused", "answered RST"), ("SYN-ACK", "answered", "answered")],
)
def test_an_address_that_two_have(bench: "Bench", what: str, outcome: str, did: str) -> None:
    twin = f"twin node-2 eth0 10.244.2.6:80 > 10.244.1.0:41002 {what} via 192.168.1.11 > 192.168.1.10\n"
    reason = f"and yet 10.244.2.6 {did}: has somebody else that address, too?"
    story = bench.answered + twin
    wrong = "default/web-1 eth0"
    check(bench, Broken(outcome, wrong, reason, story, f"back.web {AFTER_BACK}"))


def test_a_port_name_that_no_pod_has(bench: "Bench") -> None:
    named = bench.service("default/web-svc", "10.96.14.7")
    named["spec"]["ports"][0]["targetPort"] = "http"
    check(
        bench,
        Broken(
            outcome="refused",
            wrong="node-1 cni0",
            reason="Service default/web-svc has no ready endpoints: its targetPort http is the name"
            " of no port of default/web-0, default/web-1 (they name none)",
            story=bench.lookup + bench.front + RST,
            without="ack.node ack.client",
            objects=(named, bench.slice("default/web-svc", "")),
        ),
    )


def test_endpoints_for_a_port_of_another_name(bench: "Bench") -> None:
    service = bench.service("default/web-svc", "10.96.14.7", selector={})
    service["spec"]["ports"][0]["name"] = "http"
    endpoints = bench.slice("default/web-svc", "10.244.2.6 default/web-1")
    endpoints["ports"][0]["name"] = "web"
    check(
        bench,
        Broken(
            outcome="refused",
            wrong="node-1 cni0",
            reason="no ready endpoints: its EndpointSlices have web, and the Service asks for port"
            " http",
            story=bench.lookup + bench.front + RST,
            without="ack.node ack.client",
            objects=(service, endpoints),
        ),
    )


def test_a_node_port_that_no_service_has(bench: "Bench") -> None:
    story = """
syn    default/client eth0  10.244.1.5:40002 > 192.168.1.11:31999    SYN
syn    node-1 cni0          10.244.1.5:40002 > 192.168.1.11:31999    SYN
syn    node-1 eth0          192.168.1.10:40002 > 192.168.1.11:31999  SYN
syn    node-2 eth0          192.168.1.10:40002 > 192.168.1.11:31999  SYN
rst    node-2 eth0          192.168.1.11:31999 > 192.168.1.10:40002  RST
"""
    check(
        bench,
        Broken(
            outcome="refused",
            wrong="node-2 eth0",
            reason="nothing listens on port 31999 of node-2 (no Service has that NodePort)",
            story=story,
            to="http://192.168.1.11:31999",
        ),
    )


def test_a_silent_node_is_not_said_to_serve_nothing(bench: "Bench") -> None:
    check(
        bench,
        Broken(
            outcome="timed out",
            wrong="node-1 cni0",
            reason="node-1 got it and did not answer, though Service default/web-svc has 1 ready"
            " endpoint: a rule of node-1 drops what is for 10.96.14.7:80/TCP, or its answer",
            story=bench.lookup + bench.front,
            without="ack.node ack.client",
        ),
    )


def test_a_relay_that_gives_up_has_refused(bench: "Bench") -> None:
    check(
        bench,
        Broken(
            outcome="refused",
            wrong="node-1 missing",
            reason="sent nothing on to an endpoint of default/web-svc, and closed it: a rule or a"
            " missing route of node-1 stops it (podwire exec node/node-1 -- ip route get",
            story=bench.lookup
            + bench.front
            + bench.request
            + "fin node-1 cni0 10.96.14.7:80 > 10.244.1.5:40002 FIN\n",
        ),
    )


def test_a_relay_that_only_says_goodbye_has_not_refused(bench: "Bench") -> None:
    check(
        bench,
        Broken(
            outcome="timed out",
            wrong="node-1 missing",
            reason="-- ip route get 10.244.2.6); or its kube-proxy hangs",
            story=bench.lookup
            + bench.front
            + bench.request
            + "bye node-1 cni0 10.244.1.5:40002 > 10.96.14.7:80 FIN\n"
            + "fin node-1 cni0 10.96.14.7:80 > 10.244.1.5:40002 FIN\n",
        ),
    )


def test_a_node_does_not_ask_cluster_dns(bench: "Bench") -> None:
    story = """
ask  node-1 eth0  192.168.1.10:40001 > 192.168.1.1:53  A? web-svc.
no   node-1 eth0  192.168.1.1:53 > 192.168.1.10:40001  = web-svc. NXDOMAIN
"""
    finding = bench.judge(story, source="node-1")
    assert finding.word == "refuted"
    assert "not the cluster's DNS: only pods ask that; name the ClusterIP" in finding.reason


def test_endpoint_that_nobody_has(bench: "Bench") -> None:
    story = bench.answered.replace("10.244.2.6:80 ", "10.244.2.99:80 ")
    check(
        bench,
        Broken(
            outcome="unreachable",
            wrong="node-2 cni0",
            reason="10.244.2.99:80 is unreachable: nobody answers ARP for 10.244.2.99 on node-2"
            " cni0",
            story=story + "arp node-2 cni0  10.244.2.1 > 10.244.2.99  who-has\n",
            without=f"back.web {AFTER_BACK}",
            objects=(bench.slice("default/web-svc", "10.244.2.99"),),
        ),
    )


def test_request_sent_to_what_is_no_endpoint(bench: "Bench") -> None:
    check(
        bench,
        Broken(
            outcome="answered",
            wrong="node-1 inferred",
            reason="node-1 sent the request to pod default/web-1 (10.244.2.6) port 80, which is no"
            " ready endpoint of Service default/web-svc (10.244.1.6:80)",
            objects=(bench.slice("default/web-svc", "10.244.1.6 default/web-0"),),
        ),
    )


def test_relay_from_a_wrong_source_address(bench: "Bench") -> None:
    check(
        bench,
        Broken(
            outcome="answered",
            wrong="node-1 inferred",
            reason="node-1 relayed from 10.244.1.1; the backend must see 10.244.1.0",
            story=bench.answered.replace("10.244.1.0:41002", "10.244.1.1:41002"),
        ),
    )


@pytest.mark.parametrize(
    ("objects", "reason"),
    [
        ("none ready", "cluster DNS: Service kube-system/kube-dns has no ready endpoints"),
        ("", "cluster DNS: node-1 refused, though Service kube-system/kube-dns has 1 ready"),
    ],
)
def test_cluster_dns_that_is_refused(bench: "Bench", objects: str, reason: str) -> None:
    empty = bench.slice("kube-system/kube-dns", "", "53/UDP")
    check(
        bench,
        Broken(
            outcome="refused",
            wrong="node-1 cni0",
            reason=reason,
            story=bench.lookup + DNS_REFUSED,
            without="ask.relayed ask.coredns told.coredns told.relay told.node told.client",
            objects=(empty,) if objects else (),
        ),
    )


@pytest.mark.parametrize(
    ("without", "more", "wrong", "outcome", "reason"),
    [
        (
            "told.coredns told.relay told.node told.client",
            "",
            "kube-system/coredns eth0",
            "timed out",
            "cluster DNS: kube-system/coredns eth0 got the request to 10.244.1.3:53",
        ),
        (
            "told.coredns told.relay told.node told.client",
            "no kube-system/coredns eth0  10.244.1.3 > 10.244.1.1"
            "  unreachable port 10.244.1.1:41001 10.244.1.3:53 UDP\n",
            "kube-system/coredns eth0",
            "refused",
            "answered ICMP port unreachable: nothing listens on port 53 in kube-system/coredns",
        ),
        (
            "ask.coredns told.coredns told.relay told.node told.client",
            "",
            "kube-system/coredns eth0",
            "timed out",
            "left node-1 cni0 but never reached kube-system/coredns eth0",
        ),
        (
            "told.client",
            "",
            "default/client eth0",
            "timed out",
            "the answer left node-1 cni0 but never reached default/client eth0",
        ),
    ],
)
def test_cluster_dns_that_does_not_answer(
    bench: "Bench", without: str, more: str, wrong: str, outcome: str, reason: str
) -> None:
    check(bench, Broken(outcome, wrong, reason, bench.lookup + more, without))


def test_name_that_does_not_exist(bench: "Bench") -> None:
    names = ["shop.default.svc.cluster.local.", "shop.svc.cluster.local.", "shop.cluster.local."]
    story = ""
    for at, name in enumerate([*names, "shop."]):
        story += f"ask default/client eth0 10.244.1.5:4000{at} > 10.96.0.10:53 A? {name}\n"
        story += f"no default/client eth0 10.96.0.10:53 > 10.244.1.5:4000{at} = {name} NXDOMAIN\n"
    check(
        bench,
        Broken(
            outcome="no such name",
            wrong="default/client eth0",
            reason="no such name: shop (all 4 names of the search path have no address); Service"
            " market/shop would be shop.market",
            story=story,
            objects=(bench.service("market/shop", "10.96.20.1"),),
            to="http://shop",
        ),
    )


@pytest.mark.parametrize(
    ("answer", "outcome", "reason"),
    [
        ("10.96.0.99", "answered", "answered A 10.96.0.99 for web-svc.default.svc.cluster.local."),
        ("NXDOMAIN", "no such name", "the objects say A 10.96.14.7 (Service default/web-svc)"),
        ("SERVFAIL", "no such name", "cluster DNS answered SERVFAIL"),
        ("NODATA", "no such name", "cluster DNS answered NODATA"),
    ],
)
def test_cluster_dns_that_answers_wrongly(
    bench: "Bench", answer: str, outcome: str, reason: str
) -> None:
    name = "web-svc.default.svc.cluster.local."
    story = bench.lookup.replace(f"= {name} 10.96.14.7", f"= {name} {answer}")
    check(bench, Broken(outcome, "default/client eth0", reason, story))
