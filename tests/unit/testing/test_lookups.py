"""What is said of replies and walks: status, cost, the order's reason, and what to do next."""

import dataclasses
import json
from typing import Any

import pytest

from podwire.emulator.trace.dnsmessage import DnsMessage, Edns, Record
from podwire.emulator.trace.dnsquestion import Question
from podwire.emulator.trace.snapshot import Snapshot
from podwire.kube.resolving import search_walk
from podwire.testing import lookup_hints, lookup_text
from podwire.testing.lookups import (
    NO_REPLY,
    NoData,
    Reply,
    ResolvConf,
    Step,
    Walk,
    exit_status,
    read_resolv_conf,
)

DOMAIN = "cluster.local"
CLUSTER = ResolvConf(
    ("10.96.0.10",), ("default.svc.cluster.local", "svc.cluster.local", "cluster.local"), 5
)
OBJECTS = Snapshot.of(
    [
        {"kind": "Service", "metadata": {"namespace": "default", "name": "web"},
         "spec": {"clusterIP": "10.96.1.1"}},
        {"kind": "Service", "metadata": {"namespace": "shop", "name": "cart"},
         "spec": {"clusterIP": "10.96.1.2"}},
        {"kind": "Service", "metadata": {"namespace": "default", "name": "gone"},
         "spec": {"type": "ExternalName", "externalName": "no.default.svc.cluster.local"}},
        {"kind": "Service", "metadata": {"namespace": "kube-system", "name": "kube-dns"},
         "spec": {"clusterIP": "10.96.0.10", "selector": {"k8s-app": "kube-dns"}}},
    ]
)  # fmt: skip


def reply(name: str, said: str, kind: str = "A", **more: Any) -> Reply:
    """Return a reply: "10.96.1.1 ...", "CNAME a.b. 1.2.3.4", NODATA, a code, or an error's words."""
    question = Question(name, kind)
    if said == NO_REPLY or (" " in said and said.split()[0].islower()):
        return Reply(question, "default/client", "10.96.0.10", error=said, **more)
    words = said.split()
    records = list[Record]()
    if words[0] == "CNAME":
        records.append(Record(name, "CNAME", words[1], 30))
        words = words[2:]
    code = words[0] if words and words[0].isalpha() and words[0] != "NODATA" else "NOERROR"
    records += [Record(name, kind, word, 30) for word in words if not word.isalpha()]
    message = DnsMessage(
        7,
        is_answer=True,
        rcode=code,
        name=name,
        kind=kind,
        answers=tuple(records),
        flags=("qr", "aa"),
    )
    return Reply(question, "default/client", "10.96.0.10", message=message, ms=0.5, **more)


def walk(name: str, *answers: str, resolv: ResolvConf = CLUSTER) -> Walk:
    """Return a walk whose candidates have *answers*, "A's / AAAA's"; an AAAA left out is NODATA."""
    candidates = search_walk(name, resolv.search, resolv.ndots)
    steps = list[Step]()
    for candidate, answer in zip(candidates, answers, strict=False):
        first, _, second = answer.partition(" / ")
        code = first if first.isupper() and first.isalpha() else "NODATA"
        pair = (reply(candidate, first), reply(candidate, second or code, "AAAA"))
        steps.append(Step(candidate, pair))
    return Walk(name, "default/client", resolv, candidates, tuple(steps), ms=3.5)


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        ("10.96.1.1", "NOERROR", 0),
        ("CNAME web.b. 10.96.1.1", "NOERROR", 0),
        ("NODATA", "NODATA", 1),
        ("CNAME web.b.", "NODATA", 1),
        ("NXDOMAIN", "NXDOMAIN", 1),
        ("SERVFAIL", "SERVFAIL", 2),
        ("REFUSED", "REFUSED", 2),
        ("connection refused", "connection refused", 2),
        (NO_REPLY, NO_REPLY, 124),
    ],
)
def test_status_of_a_reply(said: str, status: str, code: int) -> None:
    found = reply("web.default.svc.cluster.local.", said)
    assert (found.status, exit_status(found)) == (status, code)
    if code:
        with pytest.raises(NoData, match=status):
            found.check()
    else:
        assert found.check() is found


@pytest.mark.parametrize(
    ("name", "answers", "won", "queries", "wasted", "code"),
    [
        ("web", ["10.96.1.1"], "web.default.svc.cluster.local.", 2, 0, 0),
        ("cart.shop", ["NXDOMAIN", "10.96.1.2"], "cart.shop.svc.cluster.local.", 4, 2, 0),
        ("www.a.b", ["NXDOMAIN"] * 3 + ["1.2.3.4"], "www.a.b.", 8, 6, 0),
        ("www.a.b.", ["1.2.3.4"], "www.a.b.", 2, 0, 0),
        ("default", ["NXDOMAIN", "NODATA", "NXDOMAIN", "NXDOMAIN"], "", 8, 8, 1),
        ("www.a.b", ["NXDOMAIN"] * 3 + ["SERVFAIL"], "", 8, 8, 2),
        ("www.a.b", [f"{NO_REPLY} / {NO_REPLY}"] * 4, "", 8, 8, 124),
        ("six", ["NODATA / fd00::1"], "six.default.svc.cluster.local.", 2, 0, 0),
    ],
)
def test_walks(
    name: str, answers: list[str], won: str, queries: int, wasted: int, code: int
) -> None:
    found = walk(name, *answers)
    assert (found.won, found.queries, found.wasted) == (won, queries, wasted)
    assert exit_status(found) == code


@pytest.mark.parametrize(
    ("name", "resolv", "why"),
    [
        ("web", CLUSTER, "the name has no dots, fewer than ndots:5, so the search list came first"),
        ("a.b", CLUSTER, "the name has 1 dot, fewer than ndots:5, so the search list came first"),
        ("a.b.c.d.e.f", CLUSTER,
         "the name has 5 dots, not fewer than ndots:5, so it was asked alone first"),
        ("a.b.", CLUSTER, "the dot at its end says that the name is whole: nothing is searched"),
        ("a", ResolvConf(), "there is no search list"),
    ],
)  # fmt: skip
def test_why_in_this_order(name: str, resolv: ResolvConf, why: str) -> None:
    assert walk(name, resolv=resolv).why == why


OF = "{} of {} queries asked for names that have no such record; "


@pytest.mark.parametrize(
    ("name", "answers", "advice"),
    [
        ("web", ["10.96.1.1"], ""),
        ("www.example.com.", ["1.2.3.4"], ""),
        ("www.example.com", ["NXDOMAIN"] * 3 + ["1.2.3.4"],
         OF.format(6, 8) + '"www.example.com." with its dot takes 2, and so does this name with'
         " ndots:2 in the pod's dnsConfig"),
        ("web.default", ["NXDOMAIN", "10.96.1.1"],
         OF.format(2, 4) + '"web.default.svc.cluster.local." with its dot takes 2, and so does'
         ' "web" in this namespace'),
        ("cart.shop", ["NXDOMAIN", "10.96.1.2"],
         OF.format(2, 4) + '"cart.shop.svc.cluster.local." with its dot takes 2'),
        ("cart.shop.svc.cluster.local", ["NXDOMAIN"] * 3 + ["10.96.1.2"],
         OF.format(6, 8) + '"cart.shop.svc.cluster.local." with its dot takes 2'),
        ("www.example.com", ["NXDOMAIN"] * 4,
         '6 of 8 queries went through the search list; for a name outside of the cluster,'
         ' "www.example.com." with its dot or ndots:2 in dnsConfig saves them'),
        ("webb", ["NXDOMAIN"] * 4, ""),
    ],
)  # fmt: skip
def test_how_a_walk_could_be_shorter(name: str, answers: list[str], advice: str) -> None:
    assert lookup_hints.advice(walk(name, *answers), DOMAIN) == advice


@pytest.mark.parametrize(
    ("name", "answers", "hint"),
    [
        ("wbe", ["NXDOMAIN"] * 4, "there is no Service wbe in namespace default; did you mean web?"),
        ("wbe", ["NXDOMAIN"] * 3 + ["SERVFAIL"],
         "there is no Service wbe in namespace default; did you mean web?"),
        ("cart", ["NXDOMAIN"] * 4, "Service shop/cart would be cart.shop"),
        ("ext", ["CNAME db.example.com. / CNAME db.example.com."],
         "ext.default.svc.cluster.local. is an alias of db.example.com., of which nothing is known"),
        ("a.b.c.d.e.f", ["SERVFAIL"],
         "a.b.c.d.e.f. is not of the cluster: DNS asked its upstream, which failed or cannot be"
         " reached"),
        ("gone", ["NODATA", "NXDOMAIN", "NXDOMAIN", "SERVFAIL"],
         "Service default/gone is an alias of no.default.svc.cluster.local, which has no address"),
        ("web", ["NODATA", "NXDOMAIN", "NXDOMAIN", "SERVFAIL"],
         "web.default.svc.cluster.local. is there, and has no record of type A or AAAA"),
        ("web.default", ["NXDOMAIN", "NODATA", "NXDOMAIN", "SERVFAIL"],
         "web.default.svc.cluster.local. is there, and has no record of type A or AAAA"),
        ("web", ["SERVFAIL"] * 4, "the DNS server has not seen the cluster's objects yet."),
        ("web", [f"{NO_REPLY} / {NO_REPLY}"],
         "is there a DNS server at 10.96.0.10, and is there a way to it?"),
    ],
)  # fmt: skip
def test_what_to_try_after_a_walk(name: str, answers: list[str], hint: str) -> None:
    found = walk(name, *answers)
    objects = OBJECTS if lookup_hints.needs_objects(found, DOMAIN) else None
    said = lookup_hints.of_walk(found, namespace="default", domain=DOMAIN, objects=objects)
    assert said == hint


SEARCHES = (
    "{0} was asked as it stands, as dig does; a pod's resolver tries its search list:"
    " podwire dns query {0} --from default/client --walk"
)


@pytest.mark.parametrize(
    ("given", "said", "hint"),
    [
        ("web.default.svc.cluster.local", "10.96.1.1", ""),
        ("web", "NXDOMAIN", SEARCHES.format("web")),
        ("web", "SERVFAIL", SEARCHES.format("web")),
        ("web.default.svc", "NXDOMAIN", SEARCHES.format("web.default.svc")),
        ("wbe.default.svc.cluster.local", "NXDOMAIN",
         "there is no Service wbe in namespace default; did you mean web?"),
        ("web.default.svc.cluster.local", "SERVFAIL",
         "the DNS server has not seen the cluster's objects yet."),
        ("web.default.svc.cluster.local", "NODATA", ""),
        ("gone.default.svc.cluster.local", "NODATA",
         "Service default/gone is an alias of no.default.svc.cluster.local, which has no address"),
        ("10.96.1.1", "SERVFAIL",
         "10.96.1.1 is an address; for its name: podwire dns query -x 10.96.1.1"),
        ("www.example.com.", "NXDOMAIN", ""),
        ("www.example.com.", "REFUSED",
         "10.96.0.10 does not answer for www.example.com., or has too much to do"),
    ],
)  # fmt: skip
def test_what_to_try_after_a_query(given: str, said: str, hint: str) -> None:
    found = reply(given.removesuffix(".") + ".", said)
    objects = OBJECTS if lookup_hints.needs_objects(found, DOMAIN) else None
    assert hint == lookup_hints.of_reply(
        found, given, pod="default/client", namespace="default", domain=DOMAIN, objects=objects
    )


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", ResolvConf()),
        ("nameserver 10.96.0.10\nsearch a b.\noptions ndots:5\n",
         ResolvConf(("10.96.0.10",), ("a", "b."), 5)),
        ("nameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\nnameserver 4.4.4.4\n",
         ResolvConf(("1.1.1.1", "2.2.2.2", "3.3.3.3"))),
        ("search a\nsearch b c\n", ResolvConf(search=("b", "c"))),
        ("domain a\n", ResolvConf(search=("a",))),
        ("options timeout:2 attempts:3 rotate\noptions ndots:2\n",
         ResolvConf(ndots=2, timeout=2, attempts=3)),
        ("options ndots:99 timeout:99 attempts:99\n", ResolvConf(ndots=15, timeout=30, attempts=5)),
        ("# nameserver 1.1.1.1\n; search a\n\nnameserver\n", ResolvConf()),
        ("options ndots:x\n", ResolvConf()),
        ("options use-vc\n", ResolvConf(tcp=True)),
    ],
)  # fmt: skip
def test_resolv_conf_as_glibc_reads_it(text: str, read: ResolvConf) -> None:
    assert read_resolv_conf(text) == read


@pytest.mark.parametrize(
    ("about", "hint"),
    [
        ("", "is there a DNS server at 10.96.0.10, and is there a way to it?"),
        ("kube-system/kube-dns",
         "Service kube-system/kube-dns has no ready endpoints: its selector k8s-app=kube-dns"
         " matches no pod; next: kubectl -n kube-system get pods -l k8s-app=kube-dns"),
    ],
)  # fmt: skip
def test_why_the_cluster_dns_is_not_there(about: str, hint: str) -> None:
    found = reply("web.default.svc.cluster.local.", "connection refused", about=about)
    walked = Walk("web", "default/client", CLUSTER, (), (Step("web", (found,)),), ms=1.0)
    said = [
        lookup_hints.of_reply(
            found, "web", pod="POD", namespace="default", domain=DOMAIN, objects=OBJECTS
        ),
        lookup_hints.of_walk(walked, namespace="default", domain=DOMAIN, objects=OBJECTS),
    ]
    assert said == [hint, hint]
    assert lookup_hints.needs_objects(found, DOMAIN) is bool(about)


def test_a_walk_over_tcp_as_text() -> None:
    assert str(ResolvConf(("10.96.0.10",), tcp=True)) == (
        "nameserver 10.96.0.10; no search list; ndots:1; use-vc"
    )


def test_a_walk_as_text() -> None:
    found = walk("cart.shop", "NXDOMAIN", "10.96.1.2")
    assert str(found).splitlines() == [
        "cart.shop from default/client: 10.96.1.2 after 4 queries, 3.5 ms",
        "  resolv.conf: nameserver 10.96.0.10; search default.svc.cluster.local svc.cluster.local"
        " cluster.local; ndots:5",
        "  #  name                                  type    ms  answer",
        "  1  cart.shop.default.svc.cluster.local.  A     0.50  NXDOMAIN",
        "                                           AAAA  0.50  NXDOMAIN",
        "  2  cart.shop.svc.cluster.local.          A     0.50  10.96.1.2   <-- won",
        "                                           AAAA  0.50  NODATA",
        "  why: the name has 1 dot, fewer than ndots:5, so the search list came first",
    ]


def test_a_step_has_the_number_of_its_candidate() -> None:
    whole = walk("web", *["REFUSED"] * 4)
    found = dataclasses.replace(whole, steps=(whole.steps[0], whole.steps[3]))
    rows = [line.split()[0] for line in str(found).splitlines() if " A " in line]
    assert rows == ["1", "4"]


@pytest.mark.parametrize(
    ("said", "more", "text"),
    [
        ("10.96.1.1", {}, "10.96.1.1"),
        ("CNAME web.b. 10.96.1.1", {}, "CNAME web.b., 10.96.1.1"),
        ("CNAME web.b.", {}, "CNAME web.b., NODATA"),
        ("SERVFAIL", {"sent": 2}, "SERVFAIL (asked twice)"),
        ("10.96.1.1", {"cut": 512}, "10.96.1.1 (truncated to 512 bytes, then TCP)"),
        (NO_REPLY, {"sent": 3}, "no reply (asked 3 times)"),
        (" ".join(f"10.0.0.{n}" for n in range(9)), {},
         "10.0.0.0, 10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4, 10.0.0.5 and 3 more"),
    ],
)  # fmt: skip
def test_what_came_in_a_few_words(said: str, more: dict[str, Any], text: str) -> None:
    assert lookup_text.said(reply("web.a.", said, **more)) == text


def test_a_reply_as_dig_shows_it() -> None:
    message = DnsMessage(
        4711,
        is_answer=True,
        rcode="NOERROR",
        name="web.a.",
        kind="A",
        answers=(Record("web.a.", "A", "10.96.1.1", 30),),
        authority=(Record("a.", "SOA", "ns.dns.a. hostmaster.a. 7 7200 1800 86400 30", 30),),
        flags=("qr", "aa", "rd"),
        edns=Edns(1232),
    )
    found = Reply(
        Question("web.a."), "default/client", "10.96.0.10", message=message, ms=0.72, size=83,
        about="kube-system/kube-dns", hint="one\ntwo",
    )  # fmt: skip
    assert str(found).splitlines() == [
        "; web.a. A from default/client",
        ";; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 4711",
        ";; flags: qr aa rd; QUERY: 1, ANSWER: 1, AUTHORITY: 1, ADDITIONAL: 1",
        "",
        ";; OPT PSEUDOSECTION:",
        "; EDNS: version: 0, flags:; udp: 1232",
        ";; QUESTION SECTION:",
        ";web.a.       IN A",
        "",
        ";; ANSWER SECTION:",
        "web.a. 30    IN A 10.96.1.1",
        "",
        ";; AUTHORITY SECTION:",
        "a. 30    IN SOA ns.dns.a. hostmaster.a. 7 7200 1800 86400 30",
        "",
        ";; Query time: 0.7 msec",
        ";; SERVER: 10.96.0.10#53 (UDP)   kube-system/kube-dns",
        ";; FROM: default/client",
        ";; MSG SIZE  rcvd: 83",
        ";; hint: one",
        ";; hint: two",
    ]


def test_no_reply_as_dig_shows_it() -> None:
    text = str(reply("web.a.", NO_REPLY, sent=2))
    assert ";; communications error to 10.96.0.10#53: no reply" in text
    assert ";; no server could be reached (asked twice)" in text


def test_json() -> None:
    found = walk("cart.shop", "NXDOMAIN", "10.96.1.2")
    document = json.loads(json.dumps(lookup_text.as_json(found)))
    assert document["won"] == "cart.shop.svc.cluster.local."
    assert document["addresses"] == ["10.96.1.2"]
    assert (document["queries"], document["wasted"], document["ndots"]) == (4, 2, 5)
    first, second = document["steps"]
    assert [query["status"] for query in first["queries"]] == ["NXDOMAIN", "NXDOMAIN"]
    assert second["queries"][0]["answer"] == [
        {"name": "cart.shop.svc.cluster.local.", "ttl": 30, "type": "A", "value": "10.96.1.2"}
    ]
