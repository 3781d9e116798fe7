"""Autopath's pure part: whose walk it is, which names are tried, what the client is told."""

import json
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from podwire.dns.cluster.options import Options
from podwire.dns.cluster.records import Table
from podwire.dns.cluster.search_path import (
    autopath_applies,
    autopath_candidates,
    autopath_search,
    renamed,
)
from podwire.dns.messages.message import Kind, Record, Reply

Json = dict[str, Any]

DATA = Path(__file__).resolve().parents[2] / "data" / "dns"
VECTORS: Json = json.loads((DATA / "cases.json").read_text())
UNITS: list[Json] = json.loads((DATA / "units.json").read_text())["unit"]
OWN_SEARCH = ("Node.Example",)
SEARCH = ("shop.svc.cluster.local.", "svc.cluster.local.", "cluster.local.", "node.example.", "")
PLACE = ip_address("10.96.0.7")


@pytest.mark.parametrize(
    "case",
    [case for case in VECTORS["cases"] if case.get("op") == "autopath_search"],
    ids=lambda case: case["id"],
)
def test_search(
    case: Json,
    table_of: Callable[[Json, Json], Table],
    options_of: Callable[[Json], Options],
) -> None:
    table = table_of(VECTORS["fixtures"][case["fixture"]], case["config"])
    options = options_of(case["config"])
    found = autopath_search(case["qname"], case["client_ip"], table, options, OWN_SEARCH)
    assert list(found) == (case["search"] or [])


@pytest.mark.parametrize(
    "unit",
    [unit for unit in UNITS if unit["kind"] == "unit.autopath_applies"],
    ids=lambda unit: unit["id"],
)
def test_applies(unit: Json) -> None:
    assert autopath_applies(unit["input"]["qname"], unit["input"]["search"]) == unit["expect"]


@pytest.mark.parametrize(
    ("name", "candidates"),
    [
        (
            "Web.shop.svc.cluster.local.",
            [
                "Web.shop.svc.cluster.local.",
                "Web.svc.cluster.local.",
                "Web.cluster.local.",
                "Web.node.example.",
                "Web.",
            ],
        ),
        ("shop.svc.cluster.local.", []),
        ("web.other.svc.cluster.local.", []),
        ("google.com", []),
    ],
)
def test_candidates(name: str, candidates: list[str]) -> None:
    assert list(autopath_candidates(name, SEARCH)) == candidates


def test_a_root_zone_has_no_dots_to_spare() -> None:
    search = ("shop.svc.", "svc.", ".", "")
    assert autopath_candidates("web.shop.svc.", search) == (
        "web.shop.svc.",
        "web.svc.",
        "web.",
        "web.",
    )


def test_the_client_is_told_by_which_name_it_was_found() -> None:
    found = Record("web.svc.cluster.local.", Kind.A, 7, PLACE)
    asked = "web.shop.svc.cluster.local."
    assert renamed(Reply(answer=(found,)), asked).answer == (
        Record(asked, Kind.CNAME, 7, "web.svc.cluster.local."),
        found,
    )
    same = Reply(answer=(found,))
    assert renamed(same, "WEB.svc.cluster.local.") is same
    assert renamed(Reply(), asked) == Reply()
