import json
from pathlib import Path
from typing import Any

import pytest

from podwire.emulator.kubelet.resolver import (
    Resolver,
    hosts,
    parse,
    resolver_of,
    source_of,
)
from podwire.kube.objects import HostAlias, PodDNSConfig, PodDNSConfigOption, PodSpec

DATA = Path(__file__).parents[3] / "data" / "kubelet" / "resolver.json"
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
        cluster_dns=given["cluster_dns"][0],
        domain=given["cluster_domain"],
    )
    assert {
        "nameservers": list(made.nameservers),
        "searches": list(made.searches),
        "options_unordered": list(made.options),
    } == expect
    assert omitted == ()


@pytest.mark.parametrize(("searches", "expect"), of("search_limits"))
def test_limits_of_the_search_line(searches: list[str], expect: dict[str, Any]) -> None:
    made, omitted = of_node(Resolver(searches=tuple(searches)))
    assert list(made.searches) == expect["applied"]
    assert bool(omitted) == expect["warning_event"]
    if omitted:
        line = " ".join(expect["applied"])
        assert omitted[0].endswith(f"the applied search line is: {line}")


@pytest.mark.parametrize(("nameservers", "expect"), of("nameserver_limits"))
def test_limits_of_nameservers(nameservers: list[str], expect: dict[str, Any]) -> None:
    made, omitted = of_node(Resolver(nameservers=tuple(nameservers)))
    assert list(made.nameservers) == expect["applied"]
    assert bool(omitted) == expect["warning_event"]


@pytest.mark.parametrize(("given", "expect"), of("options_merge"))
def test_options_are_merged_by_name(given: dict[str, Any], expect: dict[str, Any]) -> None:
    spec = PodSpec(dns_policy="Default", dns_config=config({"options": given["dnsConfig.options"]}))
    node = Resolver(("192.0.2.1",), (), tuple(given["base"]))
    made, _omitted = resolver_of(spec, "default", node=node, cluster_dns="", domain=DOMAIN)
    assert sorted(made.options) == sorted(expect["options_unordered"])


def of_node(node: Resolver) -> tuple[Resolver, tuple[str, ...]]:
    spec = PodSpec(dns_policy="Default")
    return resolver_of(spec, "default", node=node, cluster_dns="", domain=DOMAIN)


def test_what_a_usual_pod_gets() -> None:
    node = parse("nameserver 192.168.1.1\nsearch example.com\noptions timeout:1\n")
    made, _omitted = resolver_of(
        PodSpec(), "shop", node=node, cluster_dns="10.96.0.10", domain=DOMAIN
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
        cluster_dns="10.96.0.10",
        domain=DOMAIN,
    )
    assert made.text() == (
        "nameserver 10.96.0.10\nnameserver 192.0.2.7\n"
        "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example\n"
        "options ndots:2 edns0\n"
    )


def test_an_unknown_policy_falls_back_to_the_clusters_dns() -> None:
    spec = PodSpec(dns_policy="Strange")
    made, _ = resolver_of(spec, "shop", node=Resolver(), cluster_dns="10.96.0.10", domain=DOMAIN)
    assert made.nameservers == ("10.96.0.10",)


@pytest.mark.parametrize(
    ("spec", "ending"),
    [
        (PodSpec(), "10.244.1.2\tweb-0\n"),
        (PodSpec(subdomain="web"), "10.244.1.2\tweb-0.web.shop.svc.cluster.local\tweb-0\n"),
        (
            PodSpec(host_aliases=(HostAlias(ip="192.0.2.1", hostnames=("a", "b")),)),
            "10.244.1.2\tweb-0\n\n# Entries added by HostAliases.\n192.0.2.1\ta\tb\n",
        ),
    ],
)
def test_a_pods_hosts_file(spec: PodSpec, ending: str) -> None:
    text = hosts(spec, address="10.244.1.2", hostname="web-0", domain=DOMAIN, namespace="shop")
    assert text == (
        "# Kubernetes-managed hosts file.\n"
        "127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        "fe00::0\tip6-localnet\n"
        "fe00::0\tip6-mcastprefix\n"
        "fe00::1\tip6-allnodes\n"
        "fe00::2\tip6-allrouters\n" + ending
    )
