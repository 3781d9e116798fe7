"""Zone transfers: every case of the vectors, and the cuts that they leave open."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from podwire.dns.cluster.options import Options
from podwire.dns.cluster.records import Table
from podwire.dns.cluster.zone_contents import zone_records
from podwire.dns.messages.message import Kind, Record

Json = dict[str, Any]
Make = Callable[[Json, Json], Table]
Shown = Callable[[tuple[Record, ...]], list[str]]

VECTORS: Json = json.loads(
    (Path(__file__).resolve().parents[2] / "data" / "dns" / "cases.json").read_text()
)
CASES = [case for case in VECTORS["cases"] if case.get("op") in ("axfr", "ixfr")]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(
    case: Json,
    table_of: Make,
    options_of: Callable[[Json], Options],
    shown_of: Shown,
    wanted_of: Callable[[list[Json]], list[str]],
) -> None:
    table = table_of(VECTORS["fixtures"][case["fixture"]], case["config"])
    have = {"current": table.serial, "older": table.serial - 1}.get(case.get("ixfr_serial", ""), 0)
    found = zone_records(case["qname"], have, table, options_of(case["config"]))
    if case.get("result") == "not-authoritative":
        assert found is None
        return
    assert found is not None
    records = tuple(found)
    assert records[0] == records[-1]
    assert records[0].kind == Kind.SOA
    assert shown_of(records) == wanted_of(case["records"])


@pytest.fixture
def shop(table_of: Make) -> Table:
    return table_of(VECTORS["fixtures"]["shop"], {})


@pytest.mark.parametrize(
    ("name", "apex"),
    [
        ("cluster.local.", "cluster.local."),
        ("CLUSTER.local.", "cluster.local."),
        ("svc.cluster.local.", "svc.cluster.local."),
        ("in-addr.arpa.", "in-addr.arpa."),
    ],
)
def test_all_is_named_after_what_is_asked_for(shop: Table, name: str, apex: str) -> None:
    options = Options(zones=("cluster.local.", "in-addr.arpa."))
    records = tuple(zone_records(name, 0, shop, options) or ())
    assert len(records) > 20
    assert all(record.name.endswith(apex) for record in records)


def test_without_endpoints_no_headless_service_is_sent(shop: Table) -> None:
    with_them = tuple(zone_records("cluster.local.", 0, shop, Options()) or ())
    without = tuple(zone_records("cluster.local.", 0, shop, Options(no_endpoints=True)) or ())
    assert any(record.name.startswith("db-0.") for record in with_them)
    assert not any(record.name.startswith("db-0.") for record in without)
    assert any(record.name.startswith("web-svc.") for record in without)


def test_a_cluster_set_has_a_zone_of_its_own(table_of: Make) -> None:
    table = table_of(VECTORS["fixtures"]["serve"], {})
    options = Options(zones=("cluster.local.", "clusterset."), multicluster=("clusterset.",))
    names = {record.name for record in zone_records("clusterset.", 0, table, options) or ()}
    assert "svc1.testns.svc.clusterset." in names
    assert "172-0-0-2.hdls1.testns.svc.clusterset." in names
    assert not any(name.startswith("external.") for name in names)
