"""Names for clients outside of the cluster: every case of the vectors, and what they leave open."""

import json
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from podwire.dns.cluster.external_names import ExternalOptions, external_answer, outside_targets
from podwire.dns.cluster.options import Options
from podwire.dns.cluster.records import Table
from podwire.dns.cluster.watched import WatchedService, WatchedSlice
from podwire.dns.messages.message import Kind, Question, Rcode, Reply, Srv
from podwire.kube.codec import convert
from podwire.kube.objects import Namespace
from tests.unit.dns.zone_text import data_text

Json = dict[str, Any]
Make = Callable[[Json, Json], Table]

VECTORS: Json = json.loads(
    (Path(__file__).resolve().parents[2] / "data" / "dns" / "cases.json").read_text()
)
CASES = [case for case in VECTORS["cases"] if case["kind"] == "k8s_external"]
OPTIONS = ExternalOptions(zones=("example.com.", "in-addr.arpa."), headless=True)
CLUSTER = Options(own_addresses=(ip_address("192.0.2.53"),), ttl=7)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(
    case: Json,
    table_of: Make,
    summary_of: Callable[[Reply | None], Json],
    expected_of: Callable[[Json], Json],
) -> None:
    given = case["config"]
    options = ExternalOptions(
        zones=tuple(given["zones"]),
        apex=given["apex"],
        ttl=given["ttl"],
        headless=given["headless"],
    )
    cluster = Options(
        zones=tuple(given["kubernetes_zones"]),
        namespaces=frozenset(given["namespaces"]),
        own_addresses=tuple(ip_address(text) for text in given["server_addresses"]),
    )
    table = table_of(VECTORS["fixtures"][case["fixture"]], {})
    question = Question(case["qname"], Kind[case["qtype"]])
    assert summary_of(external_answer(question, table, options, cluster)) == expected_of(case)


@pytest.fixture
def external(table_of: Make) -> Table:
    return table_of(VECTORS["fixtures"]["external"], {})


@pytest.mark.parametrize(
    ("name", "kind", "found"),
    [
        ("svc1.testns.example.com.", Kind.A, "5 1.2.3.4"),
        ("SVC1.testns.Example.com.", Kind.A, "5 1.2.3.4"),
        ("anything.svc1.testns.example.com.", Kind.A, "5 1.2.3.4"),
        ("_http._udp.svc1.testns.example.com.", Kind.SRV, "NXDOMAIN"),
        ("_http._tcp.svc1.testns.example.com.", Kind.SRV, "7 0 100 80 svc1.testns.example.com."),
        ("a.b.c.svc1.testns.example.com.", Kind.A, "NXDOMAIN"),
        ("svc1.testns.example.com.", Kind.TXT, "NODATA"),
        ("nons.example.com.", Kind.A, "NXDOMAIN"),
        ("endpoint-svc-0.svc-headless.testns.example.com.", Kind.A, "5 1.2.3.4"),
        ("endpoint-svc-9.svc-headless.testns.example.com.", Kind.A, "NXDOMAIN"),
        ("example.com.", Kind.SOA, "5 ns1.dns.example.com. hostmaster.dns.example.com. 2"),
        ("example.com.", Kind.NS, "5 ns1.dns.example.com."),
        ("dns.example.com.", Kind.A, "NODATA"),
        ("ns1.dns.example.com.", Kind.A, "5 192.0.2.53"),
        ("ns1.dns.example.com.", Kind.AAAA, "NODATA"),
        ("ns2.dns.example.com.", Kind.A, "NXDOMAIN"),
        ("a.ns1.dns.example.com.", Kind.A, "NXDOMAIN"),
        ("9.9.9.9.in-addr.arpa.", Kind.PTR, "NXDOMAIN"),
        ("5.4.3.2.in-addr.arpa.", Kind.PTR, "5 svc11.testns.example.com."),
        ("9.9.in-addr.arpa.", Kind.PTR, "NXDOMAIN"),
        ("svc1.testns.svc.cluster.local.", Kind.A, "next"),
    ],
)
def test_answer(external: Table, name: str, kind: Kind, found: str) -> None:
    reply = external_answer(Question(name, kind), external, OPTIONS, CLUSTER)
    assert _shown(reply)[: len(found)] == found


def test_without_headless_there_are_no_endpoints(external: Table) -> None:
    options = ExternalOptions(zones=("example.com.",))
    question = Question("svc-headless.testns.example.com.", Kind.A)
    assert _shown(external_answer(question, external, options, CLUSTER)) == "NXDOMAIN"


def test_a_load_balancer_with_a_host_name_is_looked_up_elsewhere(external: Table) -> None:
    name = "svc12.testns.example.com."
    alias = external_answer(Question(name, Kind.AAAA), external, OPTIONS, CLUSTER)
    assert alias is not None
    assert (alias.follow, alias.lasting) == ("dummy.hostname.", False)
    srv = external_answer(Question(name, Kind.SRV), external, OPTIONS, CLUSTER)
    assert srv is not None
    assert outside_targets(srv, OPTIONS) == ("dummy.hostname.",)


@pytest.mark.parametrize(
    ("kind", "answers"), [(Kind.SRV, 8), (Kind.A, 4), (Kind.AAAA, 0), (Kind.TXT, 0)]
)
def test_of_many_endpoints_only_those_are_told_that_there_is_room_for(
    kind: Kind, answers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podwire.dns.cluster.external_names.MOST_PORTS", 8)
    table = Table()
    metadata = {"name": "db", "namespace": "shop", "labels": {"kubernetes.io/service-name": "db"}}
    spec = {"clusterIP": "None", "ports": [{"port": 80}]}
    table.change_namespace(None, convert(Namespace, {"metadata": {"name": "shop"}}))
    table.change_service(
        None, convert(WatchedService, {"metadata": metadata, "spec": spec}), now=1.0
    )
    endpoints = [{"addresses": [f"10.0.0.{n}"]} for n in range(1, 5)]
    ports = [{"name": f"p{n}", "port": 80 + n} for n in range(3)]
    slice_ = {"metadata": metadata, "endpoints": endpoints, "ports": ports}
    table.change_slice(None, convert(WatchedSlice, slice_), now=1.0)
    reply = external_answer(Question("db.shop.example.com.", kind), table, OPTIONS, CLUSTER)
    assert reply is not None
    assert (reply.rcode, len(reply.answer)) == (Rcode.NOERROR, answers)
    # Of all twelve.
    assert {r.data.weight for r in reply.answer if isinstance(r.data, Srv)} <= {100 // 12}


def test_what_does_not_exist_may_fall_through(external: Table) -> None:
    options = ExternalOptions(zones=("example.com.",), fallthrough=())
    for name, expected in [
        ("nosuch.testns.example.com.", "next"),
        ("testns.example.com.", "NODATA"),
        ("ns2.dns.example.com.", "NXDOMAIN"),
    ]:
        reply = external_answer(Question(name, Kind.A), external, options, CLUSTER)
        assert _shown(reply) == expected


def _shown(reply: Reply | None) -> str:
    if reply is None:
        return "next"
    if reply.rcode != Rcode.NOERROR:
        return Rcode(reply.rcode).name
    return ", ".join(f"{r.ttl} {data_text(r.data)}" for r in reply.answer) or "NODATA"
