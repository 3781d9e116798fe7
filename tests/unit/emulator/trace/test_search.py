"""What a trace says of a client's search for a name: each step, its cost, and why it failed."""

from typing import TYPE_CHECKING

import pytest

from podwire.emulator.trace.hops import Finding
from podwire.emulator.trace.naming import Naming
from podwire.emulator.trace.snapshot import Snapshot
from podwire.emulator.trace.wiring import Wiring

if TYPE_CHECKING:
    from tests.unit.emulator.trace.conftest import Bench

SEARCH = ("default.svc.cluster.local.", "svc.cluster.local.", "cluster.local.")
WEB = "web-svc.default.svc.cluster.local."
DNS = "10.96.0.10:53"
COREDNS = "10.244.1.3:53"


def asked(host: str, *answers: str, server: str = DNS) -> str:
    """Return a client's walk through the search list: A and AAAA at once, 40 us to each answer."""
    names = [*(f"{host}.{domain}" for domain in SEARCH), f"{host}."]
    story = ""
    for port, (name, answer) in enumerate(zip(names, answers, strict=False), 40100):
        client = f"10.244.1.5:{port}"
        story += f"""
            a     default/client eth0       {client} > {server}     A? {name}
            aaaa  default/client eth0       {client} > {server}     AAAA? {name}
            sent  kube-system/coredns eth0  {COREDNS} > {client}    = {name} {answer}
            told  default/client eth0       {server} > {client}     = {name} {answer}
        """
    return story


def search_of(finding: Finding) -> Naming:
    assert finding.naming is not None
    return finding.naming


def summaries(finding: Finding) -> list[str]:
    return [hop.summary for hop in finding.hops if hop.leg == "dns"]


def test_each_step_says_which_it_is_what_it_cost_and_who_answered(bench: "Bench") -> None:
    host = WEB.removesuffix(".")
    story = asked(host, "NXDOMAIN", "NXDOMAIN", "NXDOMAIN") + bench.answered
    finding = bench.judge(story, to=f"http://{host}")
    assert finding.word == "confirmed", finding.reason
    said = summaries(finding)
    dots = "the name has 4 dots, fewer than ndots:5, so the search list came first"
    assert said[0] == f"A? {host}.{SEARCH[0]}   (1 of 4: {dots})"
    assert said[1] == f"NXDOMAIN {host}.{SEARCH[0]}   (0.0 ms, kube-system/coredns)"
    assert said[2] == f"A? {host}.{SEARCH[1]}   (2 of 4)"
    assert said[6] == f"A? {WEB}   (4 of 4)"
    assert said[-1] == "A 10.96.14.7   (0.1 ms, kube-system/coredns)"


def test_the_search_and_its_cost(bench: "Bench") -> None:
    host = WEB.removesuffix(".")
    story = asked(host, "NXDOMAIN", "NXDOMAIN", "NXDOMAIN") + bench.answered
    search = search_of(bench.judge(story, to=f"http://{host}"))
    assert search.won is not None
    assert search.won.name == WEB
    # A and AAAA of each of three names; of the last name the story has only the A.
    assert (search.queries, search.wasted) == (7, 6)
    assert [step.answer for step in search.steps] == ["NXDOMAIN"] * 3 + ["A 10.96.14.7"]
    # A line each 10 us: three steps of four lines, then the question and seven lines to its answer.
    assert (round(search.wasted_ms, 3), round(search.ms, 3)) == (0.12, 0.19)
    assert search.line() == (
        "the name has 4 dots, fewer than ndots:5, so the search list came first; 6 of 7 queries"
        f' and 0.1 of 0.2 ms went to names without an address; "{WEB}" with its dot saves them'
    )


def test_one_step_needs_no_words(bench: "Bench") -> None:
    finding = bench.judge(bench.answered)
    assert finding.word == "confirmed"
    assert search_of(finding).line() == ""
    assert not any(" of 4" in text for text in summaries(finding))


@pytest.mark.parametrize(
    ("config", "host", "why"),
    [
        ({}, "web-svc", "the name has no dots, fewer than ndots:5, so the search list came first"),
        ({"options": [{"name": "ndots", "value": "1"}]}, "web-svc.default",
         "the name has 1 dot, not fewer than ndots:1, so it was asked alone first"),
        ({}, f"{WEB}", "the dot at its end says that the name is whole: nothing is searched"),
    ],
)  # fmt: skip
def test_why_in_this_order(bench: "Bench", config: dict[str, object], host: str, why: str) -> None:
    client = bench.pod("default/client", "10.244.1.5", dnsConfig=config)
    story = bench.answered
    if host == "web-svc.default":
        story = asked_alone(host, "NXDOMAIN") + story
    finding = bench.judge(story, to=f"http://{host}", snapshot=bench.cluster(client))
    assert search_of(finding).why == why


def asked_alone(host: str, answer: str) -> str:
    return f"""
        a     default/client eth0   10.244.1.5:40100 > {DNS}     A? {host}.
        told  default/client eth0   {DNS} > 10.244.1.5:40100     = {host}. {answer}
    """


def test_a_search_domain_of_the_node_is_a_step_too(bench: "Bench") -> None:
    story = (
        asked("shop", "NXDOMAIN", "NXDOMAIN", "NXDOMAIN")
        + f"""
        a     default/client eth0   10.244.1.5:40200 > {DNS}     A? shop.corp.example.
        told  default/client eth0   {DNS} > 10.244.1.5:40200     = shop.corp.example. NXDOMAIN
        a     default/client eth0   10.244.1.5:40201 > {DNS}     A? shop.
        told  default/client eth0   {DNS} > 10.244.1.5:40201     = shop. NXDOMAIN
    """
    )
    finding = bench.judge(story, to="http://shop")
    assert len(search_of(finding).steps) == 5
    assert "all 5 names of the search path" in finding.reason


WALK = "; next: podwire dns query {} --from default/client --walk"
PODS = "; next: kubectl -n kube-system get pods -l k8s-app=kube-dns"


@pytest.mark.parametrize(
    ("host", "answers", "because"),
    [
        (
            "web-scv",
            ["NXDOMAIN"] * 4,
            "; there is no Service web-scv in namespace default; did you mean web-svc?"
            + WALK.format("web-scv"),
        ),
        (
            "web-svc.shop",
            ["NXDOMAIN"] * 4,
            "; Service default/web-svc would be web-svc.default" + WALK.format("web-svc.shop"),
        ),
        (
            "www.example.com",
            ["NXDOMAIN", "NXDOMAIN", "NXDOMAIN", "SERVFAIL"],
            "; cluster DNS answered SERVFAIL for www.example.com., which is not of the cluster:"
            " the server that it asks in turn fails or cannot be reached"
            "; next: kubectl -n kube-system logs -l k8s-app=kube-dns",
        ),
        (
            "www.example.com",
            ["NXDOMAIN", "NXDOMAIN", "NXDOMAIN", "REFUSED"],
            "; cluster DNS answered REFUSED for www.example.com., which is not of the cluster:",
        ),
        ("www.example.com", ["NXDOMAIN"] * 4, WALK.format("www.example.com")),
        (
            "default",
            ["NXDOMAIN", "NODATA", "NXDOMAIN", "NXDOMAIN"],
            "; there is no Service default in namespace default" + WALK.format("default"),
        ),
    ],
)
def test_why_there_is_no_such_name(
    bench: "Bench", host: str, answers: list[str], because: str
) -> None:
    finding = bench.judge(asked(host, *answers), to=f"http://{host}")
    assert (finding.word, finding.outcome) == ("refuted", "no such name")
    text = f"no such name: {host} (all 4 names of the search path have no address)"
    assert finding.reason.startswith(text + because), finding.reason


def away(bench: "Bench", target: str = "db.example.com") -> Snapshot:
    alias = bench.service("default/shop", "", type="ExternalName", externalName=target)
    return bench.cluster(alias)


def test_an_alias_without_an_address_is_named(bench: "Bench") -> None:
    story = asked("shop", "db.example.com.")
    finding = bench.judge(story, to="http://shop", snapshot=away(bench))
    assert finding.reason == (
        "no such name: shop; shop.default.svc.cluster.local. is an alias of db.example.com.,"
        " which has no address" + WALK.format("shop")
    )
    assert summaries(finding)[-1] == "CNAME db.example.com."


def test_an_alias_with_an_address_shows_the_chain(bench: "Bench") -> None:
    name = "shop.default.svc.cluster.local."
    story = bench.answered.replace(f"= {WEB} 10.96.14.7", f"= {name} {WEB} 10.96.14.7")
    story = story.replace(f"A? {WEB}", f"A? {name}")
    finding = bench.judge(story, to="http://shop", snapshot=away(bench, WEB))
    assert finding.word == "confirmed", finding.reason
    assert f"CNAME {WEB}, A 10.96.14.7" in summaries(finding)


def test_dns_that_has_not_seen_the_objects_yet(bench: "Bench") -> None:
    finding = bench.judge(bench.lookup.replace(f"= {WEB} 10.96.14.7", f"= {WEB} SERVFAIL"))
    assert finding.reason == (
        f"cluster DNS answered SERVFAIL for {WEB}; the objects say A 10.96.14.7 (Service"
        f" default/web-svc); it says so until it has seen the cluster's objects{PODS}"
    )


def test_a_server_that_is_not_the_clusters(bench: "Bench") -> None:
    story = asked("web-svc", *["NXDOMAIN"] * 4, server="203.0.113.53:53")
    finding = bench.judge(story, to="http://web-svc")
    said = (
        "default/client asks 203.0.113.53, which is not the cluster's DNS (dnsPolicy ClusterFirst)"
    )
    assert f"; {said}; next: " in finding.reason


def test_a_search_list_that_does_not_lead_to_the_service(bench: "Bench") -> None:
    config = {"nameservers": ["10.96.0.10"], "searches": ["svc.cluster.local"]}
    client = bench.pod("default/client", "10.244.1.5", dnsPolicy="None", dnsConfig=config)
    story = f"""
        a     default/client eth0   10.244.1.5:40100 > {DNS}     A? web-svc.svc.cluster.local.
        told  default/client eth0   {DNS} > 10.244.1.5:40100     = web-svc.svc.cluster.local. NXDOMAIN
        a     default/client eth0   10.244.1.5:40101 > {DNS}     A? web-svc.
        told  default/client eth0   {DNS} > 10.244.1.5:40101     = web-svc. NXDOMAIN
    """
    finding = bench.judge(story, snapshot=bench.cluster(client))
    assert (
        "; Service default/web-svc is web-svc.default.svc.cluster.local, to which no search domain"
        " of the pod leads; next: " in finding.reason
    )


def test_queries_of_a_node_count_once(bench: "Bench") -> None:
    story = f"""
        a     node-1 eth0       192.168.1.10:40100 > {DNS}     A? web-svc.
        again node-1 flannel.1  192.168.1.10:40100 > {DNS}     A? web-svc.
        told  node-1 eth0       {DNS} > 192.168.1.10:40100     = web-svc. NXDOMAIN
    """
    assert search_of(bench.judge(story, source="node-1")).queries == 1


@pytest.mark.parametrize("rules", [(), ("rewrite",)])
def test_what_the_corefile_changes_is_not_judged(bench: "Bench", rules: tuple[str, ...]) -> None:
    story = bench.answered.replace(WEB, f"a.{SEARCH[0]}")
    finding = bench.judge(story, to="http://a", wiring=Wiring(dns_rules=rules))
    assert finding.word == ("confirmed" if rules else "refuted"), finding.reason
    if rules:
        expected = [hop.expected for hop in finding.hops if hop.leg == "dns"]
        assert "NXDOMAIN, unless the Corefile says otherwise (rewrite)" in expected


TRUNCATED = f"""
cut.a     default/client eth0       10.244.1.5:40100 > {DNS}     A? headless.{SEARCH[0]}
cut.told  default/client eth0       {DNS} > 10.244.1.5:40100     = headless.{SEARCH[0]} truncated 10.244.1.6
syn.dns   default/client eth0       10.244.1.5:40101 > {DNS}     SYN
ack.dns   default/client eth0       {DNS} > 10.244.1.5:40101     SYN-ACK
tcp.told  default/client eth0       {DNS} > 10.244.1.5:40101     tcp= headless.{SEARCH[0]} 10.244.1.6 10.244.2.6
syn.web   default/client eth0       10.244.1.5:40102 > 10.244.2.6:80     SYN
"""


@pytest.mark.parametrize(("without", "transport"), [("", "TCP"), ("tcp.told", "UDP")])
def test_a_truncated_answer_is_asked_for_again(
    bench: "Bench", without: str, transport: str
) -> None:
    headless = (
        bench.service("default/headless", "None"),
        bench.slice("default/headless", "10.244.1.6 default/web-0, 10.244.2.6 default/web-1"),
    )
    finding = bench.judge(
        TRUNCATED, to="http://headless", snapshot=bench.cluster(*headless), without=without
    )
    step = search_of(finding).steps[0]
    assert step.transport == transport
    assert len(step.addresses) == (2 if transport == "TCP" else 1)


def test_the_retry_over_tcp_is_shown(bench: "Bench") -> None:
    story = bench.lookup.replace(f"= {WEB} 10.96", f"= {WEB} truncated 10.96") + f"""
        syn.dns   default/client eth0  10.244.1.5:40009 > {DNS}     SYN
        ack.dns   default/client eth0  {DNS} > 10.244.1.5:40009     SYN-ACK
        tcp.told  default/client eth0  {DNS} > 10.244.1.5:40009     tcp= {WEB} 10.96.14.7
    """ + bench.front + bench.request + bench.back  # fmt: skip
    finding = bench.judge(story)
    assert finding.word == "confirmed", finding.reason
    said = summaries(finding)
    assert said[-2:] == ["SYN   (truncated at 100 bytes: asked again over TCP)", "A 10.96.14.7"]
    assert said[-3] == "A 10.96.14.7 (truncated)"
    assert search_of(finding).steps[0].transport == "TCP"


OVER_TCP = """
syn      default/client eth0       10.244.1.5:40001 > 10.96.0.10:53  SYN
syn      node-1 cni0               10.244.1.5:40001 > 10.96.0.10:53  SYN
ack      node-1 cni0               10.96.0.10:53 > 10.244.1.5:40001  SYN-ACK
ack      default/client eth0       10.96.0.10:53 > 10.244.1.5:40001  SYN-ACK
ask      default/client eth0       10.244.1.5:40001 > 10.96.0.10:53  tcp? web-svc.default.svc.cluster.local.
ask      node-1 cni0               10.244.1.5:40001 > 10.96.0.10:53  tcp? web-svc.default.svc.cluster.local.
on       node-1 cni0               10.244.1.1:41001 > 10.244.1.3:53  SYN
on       kube-system/coredns eth0  10.244.1.1:41001 > 10.244.1.3:53  SYN
took     kube-system/coredns eth0  10.244.1.3:53 > 10.244.1.1:41001  SYN-ACK
took     node-1 cni0               10.244.1.3:53 > 10.244.1.1:41001  SYN-ACK
sent     node-1 cni0               10.244.1.1:41001 > 10.244.1.3:53  tcp? web-svc.default.svc.cluster.local.
sent     kube-system/coredns eth0  10.244.1.1:41001 > 10.244.1.3:53  tcp? web-svc.default.svc.cluster.local.
told     kube-system/coredns eth0  10.244.1.3:53 > 10.244.1.1:41001  tcp= web-svc.default.svc.cluster.local. 10.96.14.7
told     node-1 cni0               10.244.1.3:53 > 10.244.1.1:41001  tcp= web-svc.default.svc.cluster.local. 10.96.14.7
told     node-1 cni0               10.96.0.10:53 > 10.244.1.5:40001  tcp= web-svc.default.svc.cluster.local. 10.96.14.7
told     default/client eth0       10.96.0.10:53 > 10.244.1.5:40001  tcp= web-svc.default.svc.cluster.local. 10.96.14.7
"""


def with_dns_over_tcp(bench: "Bench") -> Snapshot:
    ports = [{"port": 53, "protocol": "UDP"}, {"name": "tcp", "port": 53, "protocol": "TCP"}]
    dns = bench.service("kube-system/kube-dns", "10.96.0.10", "53/UDP", app="coredns", ports=ports)
    slice_ = bench.slice("kube-system/kube-dns", "10.244.1.3 kube-system/coredns", "53/UDP")
    slice_["ports"].append({"name": "tcp", "port": 53, "protocol": "TCP"})
    return bench.cluster(dns, slice_)


def test_a_client_that_asks_over_tcp_at_once(bench: "Bench") -> None:
    story = OVER_TCP + bench.answered.replace(bench.lookup, "")
    finding = bench.judge(story, snapshot=with_dns_over_tcp(bench))
    assert finding.word == "confirmed", finding
    assert finding.naming is not None
    (step,) = finding.naming.steps
    assert (step.transport, step.answer, step.server) == (
        "TCP", "A 10.96.14.7", "kube-system/coredns",
    )  # fmt: skip
    said = [hop.summary for hop in finding.hops if hop.leg == "dns"]
    assert "A? web-svc.default.svc.cluster.local." in said
    assert "A 10.96.14.7" in said


@pytest.mark.parametrize(
    ("without", "more", "outcome", "wrong", "reason"),
    [
        (
            "ack ask on took sent told",
            "rst node-1 cni0 10.96.0.10:53 > 10.244.1.5:40001 RST\n",
            "refused",
            "node-1",
            "cluster DNS: node-1 refused, though Service kube-system/kube-dns has 1 ready endpoint",
        ),
        (
            "told",
            "",
            "timed out",
            "kube-system/coredns",
            "cluster DNS: kube-system/coredns got the request and did not answer in time",
        ),
    ],
)
def test_dns_over_tcp_that_fails(
    bench: "Bench", without: str, more: str, outcome: str, wrong: str, reason: str
) -> None:
    finding = bench.judge(OVER_TCP + more, without=without, snapshot=with_dns_over_tcp(bench))
    assert (finding.word, finding.outcome) == ("refuted", outcome), finding
    assert finding.wrong is not None
    assert finding.wrong.where == wrong
    assert reason in finding.reason
