"""Names and what they ask for."""

import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from podwire.dns.messages import names
from podwire.dns.messages.names import Asked

Json = dict[str, Any]
UNITS: list[Json] = json.loads(
    (Path(__file__).resolve().parents[2] / "data" / "dns" / "units.json").read_text()
)["unit"]


def of(kind: str) -> pytest.MarkDecorator:
    """Parametrize a test with the vectors of one kind."""
    found = [u for u in UNITS if u["kind"] == f"unit.{kind}"]
    assert found
    return pytest.mark.parametrize("unit", found, ids=lambda unit: unit["id"])


@of("parse_name")
def test_ask(unit: Json) -> None:
    given, expect = unit["input"], unit["expect"]
    asked = names.ask(
        given["qname"], given["zone"], multicluster=given["multicluster"], zonal=given["zonal"]
    )
    if not expect["valid"]:
        assert asked is None
        return
    assert asked == Asked(
        branch=expect["pod_or_svc"],
        namespace=expect["namespace"],
        service=expect["service"],
        endpoint=expect["endpoint"],
        port=expect["port"],
        protocol=expect["protocol"],
        cluster=expect["cluster"],
        topology_zone=expect["topology_zone"],
    )


@pytest.mark.parametrize(
    ("left", "asked"),
    [
        ("", Asked()),
        ("pod", Asked()),
        ("other", None),
        ("svc.svc", Asked("svc", "svc")),
        ("shop.other", None),
        ("web.shop.svc", Asked("svc", "shop", "web")),
        ("10-0-0-1.shop.pod", Asked("pod", "shop", "10-0-0-1")),
        ("_a.b.web.shop.svc", Asked("svc", "shop", "web", port="a", protocol="b")),
        ("__a.__b.web.shop.svc", Asked("svc", "shop", "web", port="_a", protocol="_b")),
        ("a.b.c.web.shop.svc", None),
    ],
)
def test_ask_in_a_plain_zone(left: str, asked: Asked | None) -> None:
    assert names.ask(f"{left}.local." if left else "local.", "local.") == asked


@pytest.mark.parametrize(
    ("left", "asked"),
    [
        ("a.one.web.shop.svc", Asked("svc", "shop", "web", "a", cluster="one")),
        ("_a.one.web.shop.svc", Asked("svc", "shop", "web", port="a", protocol="one")),
        ("a._tcp.web.shop.svc", Asked("svc", "shop", "web", port="a", protocol="tcp")),
        ("a.web.shop.svc", Asked("svc", "shop", "web", "a")),
        ("z.pin._zone.web.shop.svc", None),
    ],
)
def test_ask_in_a_cluster_set(left: str, asked: Asked | None) -> None:
    assert names.ask(f"{left}.local.", "local.", multicluster=True, zonal=True) == asked


@pytest.mark.parametrize(
    ("left", "zone", "prefer"),
    [
        ("a.pin._zone", "a", False),
        ("a.b.prefer._zone", "a.b", True),
        ("a.other._zone", None, False),
        ("a.pin.zone", None, False),
    ],
)
def test_ask_for_a_topology_zone(
    left: str,
    zone: str | None,
    prefer: bool,  # noqa: FBT001 - a table's column
) -> None:
    asked = names.ask(f"{left}.web.shop.svc.local.", "local.", zonal=True)
    assert asked == (zone and Asked("svc", "shop", "web", topology_zone=zone, prefer=prefer))


@of("endpoint_name")
def test_endpoint_name(unit: Json) -> None:
    given = unit["input"]
    assert unit["expect"] == names.endpoint_name(
        ip_address(given["ip"]),
        given["hostname"],
        given["pod_name"],
        pod_names=given["endpoint_pod_names"],
    )


def test_an_endpoint_name_does_not_end_in_a_dash() -> None:
    place = ip_address("fd00:10:244::")
    assert names.endpoint_name(place, "", "", pod_names=False) == "fd00-10-244--0"


@of("reverse_to_ip")
def test_reversed_address(unit: Json) -> None:
    found = names.reversed_address(unit["input"])
    assert (str(found) if found else None) == unit["expect"]


ALL_NIBBLES = "1." + "0." * 23 + "8.b.d.0.1.0.0.2.ip6.arpa."


@pytest.mark.parametrize(
    ("name", "place"),
    [
        (ALL_NIBBLES, "2001:db8::1"),
        (ALL_NIBBLES.upper(), "2001:db8::1"),
        ("x.y.z." + ALL_NIBBLES, "2001:db8::1"),
        ("w.x.y.z." + ALL_NIBBLES, None),
        (ALL_NIBBLES.replace("1.0.", "_.0.", 1), None),
        (ALL_NIBBLES.removeprefix("1."), None),
        ("1.0.a.0." + "f." * 4 + "0." * 20 + "ip6.arpa.", None),
        ("3.0.2.0.1.0.a.0." + "f." * 4 + "0." * 20 + "ip6.arpa.", "10.1.2.3"),
        ("7.0.96.10.in-addr.arpa.", "10.96.0.7"),
        ("07.0.96.10.in-addr.arpa.", None),
        ("256.0.96.10.in-addr.arpa.", None),
        ("0.96.10.in-addr.arpa.", None),
        ("1.7.0.96.10.in-addr.arpa.", None),
        ("in-addr.arpa.", None),
        ("7.0.96.10.in-addr.arpa.example.", None),
    ],
)
def test_reversed_addresses(name: str, place: str | None) -> None:
    found = names.reversed_address(name)
    assert (str(found) if found else None) == place


@of("reverse_family")
def test_reverse_family(unit: Json) -> None:
    families = {4: "IPv4", 6: "IPv6", 0: None}
    assert families[names.reverse_family(unit["input"])] == unit["expect"]


@of("trim_zone")
def test_below(unit: Json) -> None:
    assert names.below(unit["input"]["qname"], unit["input"]["zone"]) == unit["expect"]


@of("cidr_to_zones")
def test_zones_of(unit: Json) -> None:
    assert list(names.zones_of(unit["input"])) == unit["expect"]


@pytest.mark.parametrize(
    ("word", "zones"),
    [
        ("10.96.0.0/12", tuple(f"{n}.10.in-addr.arpa." for n in range(96, 112))),
        ("0.0.0.0/0", ("in-addr.arpa.",)),
        ("::/0", ("ip6.arpa.",)),
        ("Cluster.Local", ("cluster.local.",)),
        ("10.1.2.3/24", ("2.1.10.in-addr.arpa.",)),
        ("10.1.2.0/24:5353", ("2.1.10.in-addr.arpa.",)),
        ("10.1.2.3", ("10.1.2.3.",)),
        ("0/25.2.0.192.in-addr.arpa", ("0/25.2.0.192.in-addr.arpa.",)),
    ],
)
def test_zones_of_more_words(word: str, zones: tuple[str, ...]) -> None:
    assert names.zones_of(word) == zones


@pytest.mark.parametrize(
    ("label", "place"),
    [
        ("10-244-1-5", "10.244.1.5"),
        ("fd00-10-244-1--8", "fd00:10:244:1::8"),
        ("--1", "::1"),
        ("999-1-1-1", None),
        ("01-02-03-04", None),
        ("web-1", None),
        ("fe80--1%eth0", None),
        ("1--2-3", "1::2:3"),
        ("--ffff-a60-7", "10.96.0.7"),
    ],
)
def test_pod_labels(label: str, place: str | None) -> None:
    found = names.address(names.pod_address_text(label))
    assert (str(found) if found else None) == place


@pytest.mark.parametrize(
    ("name", "zone", "inside"),
    [
        ("web.cluster.local.", "cluster.local.", True),
        ("CLUSTER.local.", "cluster.LOCAL.", True),
        ("xcluster.local.", "cluster.local.", False),
        ("local.", "cluster.local.", False),
        ("web.", ".", True),
    ],
)
def test_within(name: str, zone: str, inside: bool) -> None:  # noqa: FBT001 - a table's column
    assert names.within(name, zone) is inside


def test_the_longest_zone_wins() -> None:
    zones = (".", "first.local.", "second.first.local.")
    assert names.longest_match("web.second.first.local.", zones) == "second.first.local."
    assert names.longest_match("web.third.", zones) == "."
    assert names.longest_match("web.third.", zones[1:]) is None


def test_suffixes() -> None:
    zones = names.Suffixes((z, z) for z in (".", "first.local.", "second.first.local.", "local."))
    for name, zone in [
        ("web.second.first.local.", "second.first.local."),
        ("second.first.local.", "second.first.local."),
        ("xfirst.local.", "local."),
        ("web.", "."),
        (".", "."),
    ]:
        assert zones.find(name.split(".")) == zone
    assert names.Suffixes([("local.", 1)]).find(["web", ""]) is None
    assert names.Suffixes[int]([]).find(["web", ""]) is None
