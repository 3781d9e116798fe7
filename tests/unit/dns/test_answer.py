"""Question + table -> answer: every case of the vectors, and what they leave open."""

import json
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from podwire.dns.answer import Options, answer, joined
from podwire.dns.message import Kind, Question, Record, Reply
from podwire.dns.records import Table

Json = dict[str, Any]

VECTORS: Json = json.loads(
    (Path(__file__).resolve().parents[2] / "data" / "dns" / "cases.json").read_text()
)

# Features that are handlers of their own, in front of this one, and not written yet.
LATER = {
    "axfr": "zone transfer",
    "ixfr": "zone transfer",
    "autopath.search": "autopath",
    "multicluster": "names of a cluster set",
}
CASES = [case for case in VECTORS["cases"] if case["kind"] not in LATER]


def test_only_named_features_are_left_out() -> None:
    left_out = {case["kind"] for case in VECTORS["cases"]} - {case["kind"] for case in CASES}
    assert left_out <= set(LATER)
    assert len(CASES) > 300


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
