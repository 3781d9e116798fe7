"""Cluster DNS that refuses, is silent or answers wrongly, and names that do not exist."""

from typing import TYPE_CHECKING

import pytest

from tests.unit.emulator.trace.broken import Broken, check

if TYPE_CHECKING:
    from tests.unit.emulator.trace.conftest import Bench


DNS_REFUSED = (
    "no.node  node-1 cni0  10.96.0.10 > 10.244.1.5"
    "  unreachable port 10.244.1.5:40001 10.96.0.10:53 UDP\n"
)


def test_a_node_does_not_ask_cluster_dns(bench: "Bench") -> None:
    story = """
ask  node-1 eth0  192.168.1.10:40001 > 192.168.1.1:53  A? web-svc.
no   node-1 eth0  192.168.1.1:53 > 192.168.1.10:40001  = web-svc. NXDOMAIN
"""
    finding = bench.judge(story, source="node-1")
    assert finding.word == "refuted"
    assert "not the cluster's DNS: only pods ask that; name the ClusterIP" in finding.reason


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
