"""Question + table -> answer: every case of the vectors, and what they leave open."""

import json
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from podwire.dns.cluster.answer import answer, joined
from podwire.dns.cluster.options import Options
from podwire.dns.cluster.records import Table
from podwire.dns.cluster.watched import WatchedService, WatchedSlice
from podwire.dns.messages.message import (
    Kind,
    Question,
    Rcode,
    Record,
    Reply,
    rcode_name,
)
from podwire.kube.codec import convert
from podwire.kube.objects import Namespace
from tests.unit.dns.zone_text import data_text

Json = dict[str, Any]

DATA = Path(__file__).resolve().parents[2] / "data" / "dns"
VECTORS: Json = json.loads((DATA / "cases.json").read_text())
UNITS: list[Json] = json.loads((DATA / "units.json").read_text())["unit"]

# Plugins of their own, with tests of their own.
ELSEWHERE = ("autopath.search", "k8s_external")

# The look-up outside has failed altogether; a server always gets some reply from itself.
NO_REPLY_AT_ALL = ("shop-externalname-018", "shop-externalname-019")

CASES = [
    case
    for case in VECTORS["cases"]
    if "op" not in case and case["kind"] not in ELSEWHERE and case["id"] not in NO_REPLY_AT_ALL
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(
    case: Json,
    table_of: Callable[[Json, Json], Table],
    options_of: Callable[[Json], Options],
    summary_of: Callable[[Reply | None], Json],
    expected_of: Callable[[Json], Json],
) -> None:
    table = table_of(VECTORS["fixtures"][case["fixture"]], case["config"])
    reply = answer(Question(case["qname"], Kind[case["qtype"]]), table, options_of(case["config"]))
    if reply is not None and reply.follow:
        reply = followed(reply, case)
    assert summary_of(reply) == expected_of(case)


class Cluster:
    """A small cluster: namespace shop, and what a test puts into it."""

    def __init__(self) -> None:
        self.table = Table()
        self.put_namespace("shop")
        self.table.synced()

    def put_namespace(self, name: str) -> None:
        self.table.change_namespace(None, convert(Namespace, {"metadata": {"name": name}}))

    def put(self, name: str, **spec: Any) -> None:
        given = {"ports": [{"name": "http", "port": 80}], **spec}
        metadata = {"name": name, "namespace": "shop"}
        made = convert(WatchedService, {"metadata": metadata, "spec": given})
        self.table.change_service(None, made, now=1)

    def alias(self, name: str, target: str) -> None:
        self.put(name, type="ExternalName", externalName=target)

    def back(self, service: str, *endpoints: Json, name: str = "one", **more: Any) -> None:
        labels = {"kubernetes.io/service-name": service}
        metadata = {"name": f"{service}-{name}", "namespace": "shop", "labels": labels}
        ports = more.get("ports", [{"name": "http", "port": 8080}])
        given = {"metadata": metadata, "endpoints": endpoints, "ports": ports}
        self.table.change_slice(None, convert(WatchedSlice, given), now=1)

    def ask(self, name: str, kind: str = "A", **options: Any) -> str:
        """Return the data of the answer, or NODATA, or the code."""
        asked = Question(name, Kind[kind])
        reply = answer(asked, self.table, Options(**options))
        if reply is None:
            return "next"
        if reply.rcode:
            return rcode_name(reply.rcode)
        found = [data_text(record.data) for record in reply.answer]
        follow = f" -> {reply.follow}" if reply.follow else ""
        return (" ".join(found) or "NODATA") + follow


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


ZONE = "svc.cluster.local"


def test_a_chain_of_aliases_ends_somewhere(cluster: Cluster) -> None:
    cluster.put("web", clusterIPs=["10.96.0.7"])
    cluster.alias("a1", f"web.shop.{ZONE}")
    for number in range(2, 14):
        cluster.alias(f"a{number}", f"a{number - 1}.shop.{ZONE}")
    assert cluster.ask(f"a11.shop.{ZONE}.").endswith(" 10.96.0.7")
    assert cluster.ask(f"a12.shop.{ZONE}.") == "NODATA"


@pytest.mark.parametrize(
    ("target", "kind", "found"),
    [
        (f"web.shop.{ZONE}", "A", f"web.shop.{ZONE}. 10.96.0.7"),
        (f"WEB.shop.{ZONE.upper()}", "A", f"WEB.shop.{ZONE.upper()}. 10.96.0.7"),
        (f"web.shop.{ZONE}", "AAAA", "NODATA"),
        (f"web.shop.{ZONE}", "CNAME", f"web.shop.{ZONE}."),
        (f"web.shop.{ZONE}", "HTTPS", "NODATA"),
        (f"web.shop.{ZONE}", "SRV", "NODATA"),
        (f"_http._tcp.web.shop.{ZONE}", "A", f"_http._tcp.web.shop.{ZONE}. 10.96.0.7"),
        ("ns.dns.cluster.local", "A", "ns.dns.cluster.local. 192.0.2.53"),
        ("cluster.local", "A", "NODATA"),
        (f"nosuch.shop.{ZONE}", "A", "NODATA"),
        (f"ext.shop.{ZONE}", "A", "NODATA"),
        (f"below.ext.shop.{ZONE}", "A", "NODATA"),
        (f"back.shop.{ZONE}", "A", "NODATA"),
        ("7.0.96.10.in-addr.arpa", "A", "7.0.96.10.in-addr.arpa. -> 7.0.96.10.in-addr.arpa."),
        ("www.example.com", "AAAA", "www.example.com. -> www.example.com."),
        (f"out.shop.{ZONE}", "A", f"out.shop.{ZONE}. Www.example.com. -> Www.example.com."),
    ],
)
def test_aliases(cluster: Cluster, target: str, kind: str, found: str) -> None:
    cluster.put("web", clusterIPs=["10.96.0.7"])
    cluster.alias("ext", target)
    cluster.alias("back", f"ext.shop.{ZONE}")
    cluster.alias("out", "Www.example.com")
    own = (ip_address("192.0.2.53"),)
    zones = ("cluster.local.", "in-addr.arpa.")
    assert cluster.ask(f"ext.shop.{ZONE}.", kind, zones=zones, own_addresses=own) == found


@pytest.mark.parametrize("left", ["_http._tcp.", "a.", "a.pin._zone."])
def test_below_an_alias_there_is_nothing(cluster: Cluster, left: str) -> None:
    cluster.alias("ext", "www.example.com")
    assert cluster.ask(f"{left}ext.shop.{ZONE}.", zonal=True) == "NXDOMAIN"


@pytest.mark.parametrize(
    ("name", "kind", "found"),
    [
        # CoreDNS compares these with the zone as it was written; for all else case is nothing.
        ("cluster.local.", "NS", "ns.dns.cluster.local."),
        ("Cluster.local.", "NS", "NODATA"),
        ("ns.dns.cluster.local.", "A", "192.0.2.53"),
        ("NS.dns.cluster.local.", "A", "192.0.2.53"),
        ("ns.dns.cluster.LOCAL.", "A", "NXDOMAIN"),
        ("ns.dns.cluster.local.", "AAAA", "NODATA"),
        ("ns.dns.cluster.local.", "SRV", "NODATA"),
        ("ns.dns.cluster.local.", "CNAME", "NODATA"),
        ("ns.dns.cluster.local.", "NS", "NODATA"),
        ("ns.dns.cluster.local.", "HTTPS", "NODATA"),
        ("ns.dns.cluster.local.", "SOA", "NODATA"),
        ("ns.dns.cluster.local.", "PTR", "NXDOMAIN"),
        ("ns.dns.cluster.local.", "TXT", "NXDOMAIN"),
        ("dns.cluster.local.", "A", "NXDOMAIN"),
        ("DNS-version.cluster.LOCAL.", "TXT", '"1.1.0"'),
        ("a.dns-version.cluster.local.", "TXT", "NXDOMAIN"),
        ("nosuch.cluster.local.", "SOA", "NODATA"),
    ],
)
def test_names_of_the_zone(cluster: Cluster, name: str, kind: str, found: str) -> None:
    assert cluster.ask(name, kind, own_addresses=(ip_address("192.0.2.53"),)) == found


@pytest.mark.parametrize(
    ("name", "kind", "found"),
    [
        ("web.shop.svc.", "A", "10.96.0.7"),
        ("web.shop.svc.", "SRV", "0 100 80 web.shop.svc."),
        (".", "SOA", "ns.dns. hostmaster. 1 7200 1800 86400 5"),
        (".", "A", "NODATA"),
        ("ns.dns.", "A", "NXDOMAIN"),
        ("7.0.96.10.in-addr.arpa.", "PTR", "web.shop.svc."),
        ("example.com.", "A", "NXDOMAIN"),
    ],
)
def test_the_root_may_be_the_zone(cluster: Cluster, name: str, kind: str, found: str) -> None:
    cluster.put("web", clusterIPs=["10.96.0.7"])
    assert cluster.ask(name, kind, zones=(".",)) == found


@pytest.mark.parametrize(
    ("label", "kind", "found"),
    [
        ("10-244-1-5", "A", "10.244.1.5"),
        ("10-244-1-5", "AAAA", "NODATA"),
        ("a.10-244-1-5", "A", "10.244.1.5"),
        ("_a._b.10-244-1-5", "A", "10.244.1.5"),
        ("a.b.c.10-244-1-5", "A", "NXDOMAIN"),
        ("--ffff-af4-105", "A", "10.244.1.5"),
        ("fd00--5", "AAAA", "fd00::5"),
        ("FD00--5", "AAAA", "fd00::5"),
        ("web-0", "A", "NXDOMAIN"),
        ("10-244-1-256", "A", "NXDOMAIN"),
    ],
)
def test_pods(cluster: Cluster, label: str, kind: str, found: str) -> None:
    assert cluster.ask(f"{label}.shop.pod.cluster.local.", kind, pods="insecure") == found


def test_an_endpoint_is_counted_as_often_as_it_is_listed(cluster: Cluster) -> None:
    cluster.put("db", clusterIPs=["None"])
    one = {"addresses": ["10.244.1.5"], "hostname": "db-0"}
    cluster.back("db", one)
    cluster.back("db", one, name="two")
    assert cluster.ask(f"db.shop.{ZONE}.", "SRV") == f"0 50 8080 db-0.db.shop.{ZONE}."
    assert cluster.ask(f"db.shop.{ZONE}.") == "10.244.1.5"


def test_a_port_without_number_has_no_srv_but_its_address(cluster: Cluster) -> None:
    cluster.put("db", clusterIPs=["None"])
    cluster.back("db", {"addresses": ["10.244.1.5"]}, ports=[{"name": "any"}])
    assert cluster.ask(f"db.shop.{ZONE}.", "SRV") == "NODATA"
    assert cluster.ask(f"_any._tcp.db.shop.{ZONE}.") == "10.244.1.5"
    assert cluster.ask(f"_http._tcp.db.shop.{ZONE}.") == "NXDOMAIN"


@pytest.mark.parametrize(
    ("options", "web", "db", "db_0", "reverse"),
    [
        ({}, "10.96.0.7", "10.244.1.5", "10.244.1.5", "10-244-1-5.db.shop.svc.cluster.local."),
        ({"no_endpoints": True}, "10.96.0.7", "NXDOMAIN", "NXDOMAIN", "NXDOMAIN"),
        (
            {"ignore_empty_service": True},
            "NXDOMAIN",
            "10.244.1.5",
            "10.244.1.5",
            "10-244-1-5.db.shop.svc.cluster.local.",
        ),
        ({"namespaces": frozenset({"other"})}, "NXDOMAIN", "NXDOMAIN", "NXDOMAIN", "NXDOMAIN"),
    ],
)
def test_options(
    cluster: Cluster, options: Json, web: str, db: str, db_0: str, reverse: str
) -> None:
    cluster.put("web", clusterIPs=["10.96.0.7"])
    cluster.put("db", clusterIPs=["None"])
    cluster.back("db", {"addresses": ["10.244.1.5"]})
    given: Json = {**options, "zones": ("cluster.local.", "in-addr.arpa.")}
    assert cluster.ask(f"web.shop.{ZONE}.", "A", **given) == web
    assert cluster.ask(f"db.shop.{ZONE}.", "A", **given) == db
    assert cluster.ask(f"10-244-1-5.db.shop.{ZONE}.", "A", **given) == db_0
    assert cluster.ask("5.1.244.10.in-addr.arpa.", "PTR", **given) == reverse


def test_a_pod_name_that_is_no_label_is_not_used(cluster: Cluster) -> None:
    cluster.put("db", clusterIPs=["None"])
    refs = [{"kind": "Pod", "name": "db-0"}, {"kind": "Pod", "name": "x" * 64}]
    places = ["10.244.1.5", "10.244.1.6"]
    cluster.back(
        "db", *({"addresses": [a], "targetRef": r} for a, r in zip(places, refs, strict=True))
    )
    for label in ("db-0", "10-244-1-6"):
        found = cluster.ask(f"{label}.db.shop.{ZONE}.", endpoint_pod_names=True)
        assert found in places
    assert cluster.ask(f"10-244-1-5.db.shop.{ZONE}.", endpoint_pod_names=True) == "NXDOMAIN"
    assert cluster.ask(f"10-244-1-5.db.shop.{ZONE}.") == "10.244.1.5"


def test_what_is_unknown_is_not_denied_before_the_first_copy() -> None:
    table = Table()
    for name, fallthrough, found in [
        (f"web.shop.{ZONE}.", None, Rcode.SERVFAIL),
        (f"web.shop.{ZONE}.", (), None),
        (f"web.shop.{ZONE}.", ("other.",), Rcode.SERVFAIL),
        (f"web.shop.{ZONE}.", ("shop.svc.cluster.local.",), None),
        ("cluster.local.", (), Rcode.NOERROR),
    ]:
        reply = answer(Question(name, Kind.A), table, Options(fallthrough=fallthrough))
        assert (reply and reply.rcode) == found


NAMESPACES = [u for u in UNITS if u["kind"] == "unit.namespace_exposed"]


@pytest.mark.parametrize("unit", NAMESPACES, ids=lambda unit: unit["id"])
def test_exposed_namespaces(unit: Json) -> None:
    given = unit["input"]
    cluster = Cluster()
    for name in given["existing"]:
        cluster.put_namespace(name)
    options = Options(namespaces=frozenset(given["configured"]))
    assert options.exposes(given["namespace"], cluster.table) == unit["expect"]


def followed(reply: Reply, case: Json) -> Reply:
    """Return *reply* with what the vector's upstream says of the name it ends in."""
    (upstream,) = [
        u
        for u in case["upstream"]
        if u["qname"] == reply.follow.lower() and u["qtype"] == case["qtype"]
    ]
    found = tuple(
        Record(r["name"], Kind[r["type"]], r["ttl"], ip_address(r["data"]))
        for r in upstream["answer"]
    )
    return joined(reply, Reply(answer=found, truncated=upstream.get("tc", False)))
