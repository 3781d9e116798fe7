"""Packets that are lost on their way: where they were seen last, and why."""

from typing import TYPE_CHECKING

import pytest

from tests.unit.emulator.trace.broken import Broken, check

if TYPE_CHECKING:
    from tests.unit.emulator.trace.conftest import Bench


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
            "node-1 took the connection and sent nothing on to an endpoint of Service default/web-svc",
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


NOWHERE = """
nowhere.node  node-1 eth0:out           {src}:{port} > 10.244.9.9:80     SYN{again}
nowhere.away  router vethnode-1         {src}:{port} > 10.244.9.9:80     SYN{again}
"""
NO_NODE_HAS_IT = (
    "no node has 10.244.9.9: it is in the range of the pods (10.244.0.0/16)"
    " and in no node's part of it (10.244.1.0/24, 10.244.2.0/24)"
)


@pytest.mark.parametrize(
    ("source", "mode"),
    [
        ("192.168.1.10:41002", ""),
        ("10.244.1.5:40002", "userspace"),
        ("10.244.1.5:40002", "nftables"),
    ],
)
@pytest.mark.parametrize(
    ("more", "wrong", "outcome"),
    [
        ("", "node-1 eth0", "timed out"),
        (
            "icmp router vethnode-1  192.168.1.1 > {src}"
            "  unreachable host {src}:{port} 10.244.9.9:80 TCP\n",
            "router vethnode-1",
            "unreachable",
        ),
    ],
)
def test_endpoint_within_the_pod_range_but_on_no_node(
    bench: "Bench", source: str, mode: str, more: str, wrong: str, outcome: str
) -> None:
    src, _, port = source.partition(":")
    front = bench.front + bench.request
    if mode == "nftables":
        front = "\n".join(line for line in bench.front.splitlines() if line.startswith("syn"))
    if mode:  # its pods' packets show on the bridge twice
        front = front.replace("node-1 cni0 ", "node-1 cni0:in ")
    story = f"{front}{NOWHERE}{more}".format(
        src=src, port=port, again="" if mode == "nftables" else " (2)"
    )
    objects = [bench.slice("default/web-svc", "10.244.9.9")]
    if mode:
        objects.append(bench.node("node-1", 1, mode=mode))
    finding = bench.judge(story, snapshot=bench.cluster(*objects), to="http://10.96.14.7")
    assert finding.wrong is not None
    assert f"{finding.wrong.where} {finding.wrong.interface}" == wrong, finding.reason
    assert finding.outcome == outcome, finding.reason
    assert NO_NODE_HAS_IT in finding.reason


def test_address_within_the_pod_range_but_on_no_node(bench: "Bench") -> None:
    story = """
syn.client    default/client eth0  10.244.1.5:40002 > 10.244.9.9:80  SYN
syn.node      node-1 eth0:out      10.244.1.5:40002 > 10.244.9.9:80  SYN
syn.away      router vethnode-1    10.244.1.5:40002 > 10.244.9.9:80  SYN
"""
    finding = bench.judge(story, to="http://10.244.9.9")
    assert finding.outcome == "timed out"
    assert NO_NODE_HAS_IT in finding.reason


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
