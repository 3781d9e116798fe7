import json
from pathlib import Path
from typing import Any

import pytest

from podwire.emulator.kubelet.resolver import (
    Complaint,
    Resolver,
    limited_nameservers,
    limited_searches,
    merged_options,
    node_complaint,
    parse,
    resolver_of,
    source_of,
)
from podwire.kube.objects import PodDNSConfig, PodDNSConfigOption, PodSpec

DATA = Path(__file__).parents[3] / "data" / "dns" / "units.json"
UNITS: list[dict[str, Any]] = json.loads(DATA.read_text())["unit"]
DOMAIN = "cluster.local"


def of(kind: str) -> list[Any]:
    found = [u for u in UNITS if u["kind"] == f"unit.{kind}"]
    return [pytest.param(u["input"], u["expect"], id=u["id"].partition("-")[2]) for u in found]


def config(given: dict[str, Any] | None) -> PodDNSConfig | None:
    if given is None:
        return None
    options = [PodDNSConfigOption(**option) for option in given.get("options", ())]
    return PodDNSConfig(
        nameservers=tuple(given.get("nameservers", ())),
        searches=tuple(given.get("searches", ())),
        options=tuple(options),
    )


@pytest.mark.parametrize(("text", "expect"), of("resolv_conf_parse"))
def test_reading_a_nodes_file(text: str, expect: dict[str, Any]) -> None:
    if expect.get("error"):
        with pytest.raises(ValueError, match="nameserver"):
            parse(text)
        return
    read = parse(text)
    assert {
        "nameservers": list(read.nameservers),
        "searches": list(read.searches),
        "options": list(read.options),
    } == expect


@pytest.mark.parametrize(("given", "expect"), of("dns_policy"))
def test_where_the_resolver_comes_from(given: dict[str, Any], expect: str) -> None:
    spec = PodSpec(host_network=given["hostNetwork"], dns_policy=given["dnsPolicy"])
    if expect == "error":
        with pytest.raises(ValueError, match="invalid DNSPolicy=invalidPolicy"):
            source_of(spec)
    else:
        assert source_of(spec) == expect


@pytest.mark.parametrize(("given", "expect"), of("pod_resolv_conf"))
def test_a_pods_resolver(given: dict[str, Any], expect: dict[str, Any]) -> None:
    spec = PodSpec(
        host_network=given["hostNetwork"],
        dns_policy=given["dnsPolicy"],
        dns_config=config(given["dnsConfig"]),
    )
    text = given["node_resolv_conf"]
    node = None if text is None else parse(text)
    made, omitted = resolver_of(
        spec,
        given["namespace"],
        node=node,
        cluster_dns=given["cluster_dns"],
        domain=given["cluster_domain"],
    )
    assert {
        "nameservers": list(made.nameservers),
        "searches": list(made.searches),
        "options_unordered": sorted(made.options),
    } == {**expect, "options_unordered": sorted(expect["options_unordered"])}
    assert omitted == ()


@pytest.mark.parametrize(("searches", "expect"), of("search_limits"))
def test_limits_of_the_search_line(searches: list[str], expect: dict[str, Any]) -> None:
    assert list(limited_searches(searches)) == expect["applied"]
    made, complaints = of_node(Resolver(searches=tuple(searches)))
    assert list(made.searches) == expect["applied"]
    line = " ".join(expect["applied"])
    wanted = Complaint(
        "DNSConfigForming",
        "Search Line limits were exceeded, some search paths have been omitted, "
        f"the applied search line is: {line}",
    )
    assert complaints == ((wanted,) if expect["warning_event"] else ())


@pytest.mark.parametrize(("nameservers", "expect"), of("nameserver_limits"))
def test_limits_of_nameservers(nameservers: list[str], expect: dict[str, Any]) -> None:
    assert list(limited_nameservers(nameservers)) == expect["applied"]
    made, complaints = of_node(Resolver(nameservers=tuple(nameservers)))
    assert list(made.nameservers) == expect["applied"]
    line = " ".join(expect["applied"])
    wanted = Complaint(
        "DNSConfigForming",
        "Nameserver limits were exceeded, some nameservers have been omitted, "
        f"the applied nameserver line is: {line}",
    )
    assert complaints == ((wanted,) if expect["warning_event"] else ())


@pytest.mark.parametrize(("given", "expect"), of("options_merge"))
def test_options_are_merged_by_name(given: dict[str, Any], expect: dict[str, Any]) -> None:
    more = [PodDNSConfigOption(**option) for option in given["dnsConfig.options"]]
    assert sorted(merged_options(given["base"], more)) == sorted(expect["options_unordered"])


LONG = "a" * 254
MANY = tuple(f"d{number}" for number in range(40))


@pytest.mark.parametrize(
    ("searches", "expected"),
    [
        (MANY, MANY[:32]),
        # First by number, so that one which is too long takes the place of one that would fit.
        ((LONG, *MANY), MANY[:31]),
        (("a" * 253,), ("a" * 253,)),
        ((".", "_msdcs.corp.example"), (".", "_msdcs.corp.example")),
        (("a" * 250,) * 9, ("a" * 250,) * 8),
        ((), ()),
    ],
)
def test_search_domains_are_cut_from_the_end(
    searches: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert limited_searches(searches) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("search . a.example.\n", (".", "a.example")),
        ("search a.example..\n", ("a.example.",)),
        ("search _tcp.example\n", ("_tcp.example",)),
        # Only lines that begin with `#` are comments, and `domain` is no word of the kubelet's.
        ("search a.example ;b # c\ndomain d.example\n", ("a.example", ";b", "#", "c")),
        ("search a.example\r\nsearch\n", ()),
    ],
)
def test_search_domains_of_a_node(text: str, expected: tuple[str, ...]) -> None:
    assert parse(text).searches == expected


@pytest.mark.parametrize(
    ("spec", "complains"),
    [
        (PodSpec(), True),
        (PodSpec(dns_policy="ClusterFirstWithHostNet", host_network=True), True),
        (PodSpec(host_network=True), False),
        (PodSpec(dns_policy="Default"), False),
    ],
)
def test_a_kubelet_that_knows_no_cluster_dns_says_so(spec: PodSpec, *, complains: bool) -> None:
    node = parse("nameserver 192.0.2.1\nsearch example.com\n")
    made, complaints = resolver_of(spec, "shop", node=node, cluster_dns=(), domain=DOMAIN)
    assert (made.nameservers, made.searches) == (("192.0.2.1",), ("example.com",))
    wanted = (
        "kubelet does not have ClusterDNS IP configured and cannot create Pod using "
        '"ClusterFirst" policy. Falling back to "Default" policy.'
    )
    assert complaints == ((Complaint("MissingClusterDNS", wanted),) if complains else ())


@pytest.mark.parametrize(
    ("searches", "domain", "complaint"),
    [
        (MANY[:29], DOMAIN, ""),
        (MANY[:30], DOMAIN, "Resolv.conf file 'F' contains search line consisting of more than 29 domains!"),
        (MANY[:32], "", ""),
        (("a" * 254,), DOMAIN, 'Resolv.conf file "F" contains a search path which length is more than allowed 253 chars!'),
        (("a" * 250,) * 9, DOMAIN, "Resolv.conf file 'F' contains search line which length is more than allowed 2048 chars!"),
    ],
)  # fmt: skip
def test_what_a_kubelet_says_of_its_nodes_file(
    searches: tuple[str, ...], domain: str, complaint: str
) -> None:
    assert node_complaint(Resolver(searches=searches), domain, "F") == complaint


def of_node(node: Resolver) -> tuple[Resolver, tuple[Complaint, ...]]:
    spec = PodSpec(dns_policy="Default")
    return resolver_of(spec, "default", node=node, cluster_dns=("10.96.0.10",), domain=DOMAIN)


def test_what_a_usual_pod_gets() -> None:
    node = parse("nameserver 192.168.1.1\nsearch example.com\noptions timeout:1\n")
    made, _omitted = resolver_of(
        PodSpec(), "shop", node=node, cluster_dns=("10.96.0.10",), domain=DOMAIN
    )
    assert made.text() == (
        "nameserver 10.96.0.10\n"
        "search shop.svc.cluster.local svc.cluster.local cluster.local example.com\n"
        "options ndots:5\n"
    )


def test_dns_config_adds_to_it_without_doubling_and_wins_with_options() -> None:
    extra = {
        "nameservers": ["10.96.0.10", "192.0.2.7"],
        "searches": ["svc.cluster.local", "corp.example"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    }
    made, _omitted = resolver_of(
        PodSpec(dns_config=config(extra)),
        "shop",
        node=Resolver(),
        cluster_dns=("10.96.0.10",),
        domain=DOMAIN,
    )
    assert made.text() == (
        "nameserver 10.96.0.10\nnameserver 192.0.2.7\n"
        "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example\n"
        "options ndots:2 edns0\n"
    )


def test_an_unknown_policy_falls_back_to_the_clusters_dns() -> None:
    spec = PodSpec(dns_policy="Strange")
    made, _ = resolver_of(spec, "shop", node=Resolver(), cluster_dns=("10.96.0.10",), domain=DOMAIN)
    assert made.nameservers == ("10.96.0.10",)
