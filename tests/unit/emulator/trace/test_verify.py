"""Requests that nodes and backends treat wrongly; each is the answered story with one thing changed."""

from typing import TYPE_CHECKING

from tests.unit.emulator.trace.broken import Broken, check

if TYPE_CHECKING:
    from tests.unit.emulator.trace.conftest import Bench


RST = "rst.node  node-1 cni0  10.96.14.7:80 > 10.244.1.5:40002  RST\n"


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
            reason="sent nothing on to an endpoint of Service default/web-svc, and closed it: a rule or a"
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
