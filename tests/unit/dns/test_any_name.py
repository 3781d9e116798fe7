"""Whatever is asked for gets an answer that holds together."""

from ipaddress import ip_address
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.dns.cluster.answer import answer
from podwire.dns.cluster.external_names import ExternalOptions, external_answer
from podwire.dns.cluster.options import Options
from podwire.dns.cluster.records import Table
from podwire.dns.cluster.search_path import autopath_candidates
from podwire.dns.cluster.watched import ServiceImport, WatchedService, WatchedSlice
from podwire.dns.cluster.zone_contents import zone_records
from podwire.dns.messages.message import Kind, Question, Rcode, Record, Reply
from podwire.dns.messages.names import within
from podwire.kube.codec import convert
from podwire.kube.objects import Namespace

Json = dict[str, Any]

WORDS = """
    svc pod shop web db ext _http _tcp _ _zone pin prefer a one host 10-96-0-7 10-244-1-5 fd00--1 --1
    - dns ns dns-version 7 0 96 10 244 in-addr arpa ip6 f cluster local set example com WEB xn--a
    \\046 \\000
"""
LABELS = st.sampled_from(WORDS.split())
ENDS = st.sampled_from(
    ["", "cluster.local.", "Cluster.LOCAL.", "clusterset.", "in-addr.arpa.", "ip6.arpa.", "arpa."]
)


def joined(left: list[str], *right: str) -> str:
    return ".".join([*left, *right])


def reversed_name(place: str) -> str:
    return f"{ip_address(place).reverse_pointer}."


SERVICE_NAMES = st.builds(
    joined,
    st.lists(LABELS, max_size=3),
    st.sampled_from(["web", "db", "ext", "a", "nosuch", "10-244-1-5"]),
    st.just("shop"),
    st.sampled_from(
        ["svc.cluster.local.", "svc.clusterset.", "svc.", "pod.cluster.local.", "cluster.local."]
    ),
)
REVERSE_NAMES = st.builds(
    reversed_name,
    st.sampled_from(["10.96.0.7", "10.244.1.5", "fd00::7", "fd00::1", "192.0.2.9"]),
)
RANDOM_NAMES = st.builds(joined, st.lists(LABELS, min_size=1, max_size=8), ENDS)
NAMES = (
    SERVICE_NAMES
    | REVERSE_NAMES
    | RANDOM_NAMES
    | st.sampled_from([".", "cluster.local.", "svc.cluster.local.", "shop.svc.cluster.local."])
)
KINDS = st.sampled_from([*Kind, 0, 65280])
ZONES = st.sampled_from(
    [
        ("cluster.local.",),
        ("cluster.local.", "in-addr.arpa.", "ip6.arpa."),
        ("cluster.local.", "clusterset.", "10.in-addr.arpa."),
        (".",),
    ]
)
OPTIONS = st.builds(
    Options,
    zones=ZONES,
    multicluster=st.sampled_from([(), ("clusterset.",)]),
    own_addresses=st.just((ip_address("10.244.1.5"), ip_address("192.0.2.1"))),
    endpoint_pod_names=st.booleans(),
    no_endpoints=st.booleans(),
    ignore_empty_service=st.booleans(),
    zonal=st.booleans(),
    pods=st.sampled_from(["disabled", "insecure", "verified"]),
    namespaces=st.sampled_from([frozenset[str](), frozenset({"shop"}), frozenset({"other"})]),
    fallthrough=st.sampled_from([None, (), ("in-addr.arpa.",)]),
)


def filled() -> Table:
    table = Table()
    table.change_namespace(None, convert(Namespace, {"metadata": {"name": "shop"}}))
    specs: dict[str, Json] = {
        "web": {"clusterIPs": ["10.96.0.7", "fd00::7"], "externalIPs": ["10.244.1.5"]},
        "db": {"clusterIPs": ["None"]},
        "ext": {"type": "ExternalName", "externalName": "web.shop.svc.cluster.local"},
        "a": {"type": "ExternalName", "externalName": "ext.shop.svc.cluster.local"},
    }
    for name, spec in specs.items():
        given: Json = {"metadata": _metadata(name), "spec": {"ports": [{"port": 80}], **spec}}
        table.change_service(None, convert(WatchedService, given), now=1)
        table.change_import(None, convert(ServiceImport, given | {"spec": {}}), now=1)
    for service, place in (("web", "10.244.1.5"), ("db", "10.244.1.5"), ("db", "fd00::1")):
        labels = {
            "kubernetes.io/service-name": service,
            "multicluster.kubernetes.io/service-name": service,
            "multicluster.kubernetes.io/source-cluster": "one",
        }
        given = {
            "metadata": {**_metadata(f"{service}-{place}"), "labels": labels},
            "endpoints": [{"addresses": [place], "hostname": "host", "zone": "a"}],
            "ports": [{"name": "http", "port": 8080}],
        }
        table.change_slice(None, convert(WatchedSlice, given), now=1)
        table.change_imported_slice(None, convert(WatchedSlice, given), now=1)
    table.synced()
    return table


def _metadata(name: str) -> Json:
    return {"name": name, "namespace": "shop"}


TABLE = filled()


@settings(max_examples=500, deadline=None)
@given(NAMES, KINDS, OPTIONS)
def test_answers_hold_together(name: str, kind: int, options: Options) -> None:
    reply = answer(Question(name, kind), TABLE, options)
    _check(name, reply)
    # NXDOMAIN denies the whole name (RFC 8020), so both families must agree on that.
    both = [answer(Question(name, family), TABLE, options) for family in (Kind.A, Kind.AAAA)]
    assert len({one.rcode if one else None for one in both}) == 1
    assert _folded(reply) == _folded(answer(Question(name, kind), TABLE, options))


@settings(max_examples=200, deadline=None)
@given(NAMES, KINDS, OPTIONS)
def test_names_for_the_outside_hold_together(name: str, kind: int, options: Options) -> None:
    zones = ("cluster.local.", "10.in-addr.arpa.")
    outside = ExternalOptions(zones=zones, headless=True)
    _check(name, external_answer(Question(name, kind), TABLE, outside, options))


@settings(max_examples=100, deadline=None)
@given(NAMES, OPTIONS)
def test_zones_hold_together(name: str, options: Options) -> None:
    records = zone_records(name, 0, TABLE, options)
    assert (records is None) == all(not within(name, zone) for zone in options.zones)
    for record in records or ():
        _check_name(record.name)
        assert within(record.name, name)


@settings(max_examples=100, deadline=None)
@given(NAMES)
def test_candidates_are_names(name: str) -> None:
    for candidate in autopath_candidates(name, ("cluster.local.", "local.", "")):
        _check_name(candidate)


def _check(name: str, reply: Reply | None) -> None:
    if reply is None or reply.rcode == Rcode.REFUSED:
        return
    assert reply.rcode in (Rcode.NOERROR, Rcode.NXDOMAIN)
    assert reply.authoritative
    assert bool(reply.answer) != bool(reply.authority)
    assert reply.lasting or reply.answer
    assert len(set(reply.answer)) == len(reply.answer)
    for record in (*reply.answer, *reply.authority, *reply.additional):
        _check_name(record.name)
        if isinstance(record.data, str):
            _check_name(record.data)
    if reply.answer and reply.answer[0].kind != Kind.SOA:
        assert reply.answer[0].name == name


def _check_name(name: str) -> None:
    assert name == "." or (name.endswith(".") and "" not in name.split(".")[:-1]), name


def _folded(reply: Reply | None) -> tuple[int, frozenset[Record]] | None:
    return (reply.rcode, frozenset(reply.answer)) if reply else None
