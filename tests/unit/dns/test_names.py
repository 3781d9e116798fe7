"""Names and what they ask for."""

import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from podwire.dns import names
from podwire.dns.names import Asked

Json = dict[str, Any]
UNITS: list[Json] = json.loads(
    (Path(__file__).resolve().parents[2] / "data" / "dns" / "units.json").read_text()
)["unit"]


def is_left_out(unit: Json) -> bool:
    """Return whether a vector is about names of a cluster set or of topology zones: optional."""
    if unit["kind"] != "unit.parse_name":
        return False
    given, expect = unit["input"], unit["expect"]
    return bool(given["multicluster"] or (given["zonal"] and expect.get("topology_zone")))


def of(kind: str) -> pytest.MarkDecorator:
    """Parametrize a test with the vectors of one kind."""
    found = [u for u in UNITS if u["kind"] == f"unit.{kind}" and not is_left_out(u)]
    assert found
    return pytest.mark.parametrize("unit", found, ids=lambda unit: unit["id"])


@of("parse_name")
def test_ask(unit: Json) -> None:
    given, expect = unit["input"], unit["expect"]
    asked = names.ask(given["qname"], given["zone"])
    if not expect["valid"]:
        assert asked is None
        return
    fields = ("pod_or_svc", "namespace", "service", "endpoint", "port", "protocol")
    assert asked == Asked(*(expect[field] for field in fields))


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
