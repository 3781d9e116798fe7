"""The walk through a search list: what glibc was seen to ask, and what its source says."""

import json
from pathlib import Path
from typing import Any

import pytest

from podwire.kube.resolving import search_walk

Json = dict[str, Any]

UNITS: list[Json] = json.loads(
    (Path(__file__).resolve().parents[2] / "data" / "dns" / "units.json").read_text()
)["unit"]
WALKS = [unit for unit in UNITS if unit["kind"] == "unit.search_walk"]
SEARCH = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")


@pytest.mark.parametrize("unit", WALKS, ids=lambda unit: unit["id"])
def test_seen_walk(unit: Json) -> None:
    given = unit["input"]
    asked = [step["qname"] for step in unit["expect"]]
    walk = search_walk(given["name"], given["search"], given["ndots"])
    # What was seen ends at the first data, or with the list.
    assert list(walk[: len(asked)]) == asked
    assert len(walk) == len(asked) or unit["expect"][-1]["rcode"] == "NOERROR"


@pytest.mark.parametrize(
    ("name", "search", "ndots", "walk"),
    [
        ("web", (), 5, ["web."]),
        ("web.", SEARCH, 5, ["web."]),
        ("web", ("corp.example.",), 1, ["web.corp.example.", "web."]),
        ("a.b", ("corp.example",), 1, ["a.b.", "a.b.corp.example."]),
        ("a", ("corp.example",), 0, ["a.", "a.corp.example."]),
        ("web", (".", "corp.example"), 5, ["web.", "web.corp.example."]),
        ("Web", ("Corp.example",), 5, ["Web.Corp.example.", "Web."]),
    ],
)
def test_walk(name: str, search: tuple[str, ...], ndots: int, walk: list[str]) -> None:
    assert list(search_walk(name, search, ndots)) == walk
