import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from podwire.emulator.trace.render import Shown, rendered
from podwire.emulator.trace.wiring import Wiring

if TYPE_CHECKING:
    from tests.unit.emulator.trace.conftest import Bench

SCHEMA = json.loads((Path(__file__).parents[4] / "docs" / "trace.schema.json").read_text())


def shown(bench: "Bench", **story: Any) -> Shown:
    return Shown(
        request="GET http://web-svc/",
        source="default/client",
        finding=bench.judge(bench.answered, **story),
        duration_ns=3_400_000,
        interfaces=7,
        packets=64,
        dropped=0,
        pcap="web-svc.pcapng",
    )


def test_table_of_a_confirmed_request(bench: "Bench") -> None:
    lines = rendered(shown(bench), "table").splitlines()
    assert lines[0].startswith("GET http://web-svc/ from default/client: 200 in 3.4 ms  ")
    assert lines[0].endswith("  verdict: confirmed")
    assert len(lines[0]) == 96
    assert lines[1].split() == ["#", "+ms", "where", "packet"]
    assert lines[2] == (
        "  1  0.00  default/client       eth0        10.244.1.5:40001 > 10.96.0.10:53   UDP"
        "  A? web-svc.default.svc.cluster.local."
    )
    assert (
        "  node-1               (inferred)  10.96.14.7:80 -> 10.244.2.6:80   relayed to"
        in lines[11]
    )
    assert len(lines) == 18


def test_table_of_a_refuted_request_marks_the_first_wrong_hop(bench: "Bench") -> None:
    lines = rendered(shown(bench, without="ok.client"), "table").splitlines()
    assert lines[0].endswith("verdict: refuted")
    marked = [line for line in lines if "<-- first wrong hop" in line]
    assert len(marked) == 1
    assert "default/client       eth0 (missing)" in marked[0]
    assert lines[-1] == (
        "  reason: the answer left node-1 cni0 but never reached default/client eth0"
    )


@pytest.mark.parametrize(
    "story",
    [
        {},
        {"without": "ok.client"},
        {"without": "told.client"},
        {"dropped": 1},
        {"blind": "default/client"},
        {"blind": "default/client", "wiring": Wiring(captures="nodes")},
    ],
)
def test_json_fits_the_published_schema(bench: "Bench", story: dict[str, Any]) -> None:
    document = json.loads(rendered(shown(bench, **story), "json"))
    assert list(faults(document, SCHEMA)) == []


def test_places_that_were_not_captured_are_named(bench: "Bench") -> None:
    story = shown(bench, blind="default/client", wiring=Wiring(captures="nodes"))
    assert story.finding.word == "confirmed"
    lines = rendered(replace(story, hint="say so"), "table").splitlines()
    assert lines[-1] == "  not captured: default/client (say so)"
    assert rendered(story, "table").splitlines()[-1] == "  not captured: default/client"
    assert json.loads(rendered(story, "json"))["not_captured"] == ["default/client"]
    assert json.loads(rendered(shown(bench), "json"))["not_captured"] == []


def test_json_of_a_refuted_request(bench: "Bench") -> None:
    document = json.loads(rendered(shown(bench, without="ok.client"), "json"))
    assert document["verdict"] == "refuted"
    assert document["first_wrong_hop"] == document["hops"][-1]
    assert document["first_wrong_hop"]["where"] == "default/client"
    assert document["first_wrong_hop"]["time_us"] is None
    assert document["hops"][1]["time_us"] == 10
    assert document["hops"][1]["expected"] == "to Service kube-system/kube-dns (10.96.0.10:53)"
    assert (document["pcap"], document["dropped"]) == ("web-svc.pcapng", 0)


def test_the_schema_test_notices_what_does_not_fit(bench: "Bench") -> None:
    document = json.loads(rendered(shown(bench), "json"))
    del document["hops"][0]["expected"]
    document["hops"][1]["kind"] = "guessed"
    document["dropped"] = "none"
    document["more"] = 1
    assert len(list(faults(document, SCHEMA))) == 4


def test_mermaid(bench: "Bench") -> None:
    lines = rendered(shown(bench), "mermaid").splitlines()
    assert lines[:2] == [
        "sequenceDiagram",
        "    title GET http://web-svc/ from default/client: 200 in 3.4 ms",
    ]
    assert "    participant p0 as default/client" in lines
    assert "    p0->>p1: 2. A? web-svc.default.svc.cluster.local." in lines
    assert any(line.startswith("    Note over p1: 10. relayed to endpoint") for line in lines)
    missing = rendered(shown(bench, without="ok.client"), "mermaid")
    assert "--xp0: 16. never seen here" in missing
    assert "refuted: the answer left" in missing


def faults(value: Any, schema: dict[str, Any], at: str = "$") -> list[str]:
    """Return where *value* does not fit: the words of JSON Schema that ours uses."""
    if "$ref" in schema:
        return faults(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], at)
    if "anyOf" in schema:
        tried = [faults(value, option, at) for option in schema["anyOf"]]
        return [] if [] in tried else tried[0]
    found: list[str] = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at}: {value!r}")
    kinds: dict[str, Any] = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "number": (int, float),
    }
    allowed = schema.get("type", [])
    allowed = [allowed] if isinstance(allowed, str) else allowed
    if allowed and not any(
        value is None if kind == "null" else isinstance(value, kinds[kind]) for kind in allowed
    ):
        return [*found, f"{at}: {value!r} is no {allowed}"]
    if isinstance(value, dict):
        value = cast("dict[str, Any]", value)
        properties = schema.get("properties", {})
        found += [
            f"{at}.{name} is missing" for name in schema.get("required", []) if name not in value
        ]
        found += [f"{at}.{name} is unknown" for name in value if name not in properties]
        for name in value.keys() & properties.keys():
            found += faults(value[name], properties[name], f"{at}.{name}")
    if isinstance(value, list):
        for index, item in enumerate(list[Any](value)):  # pyright: ignore[reportUnknownArgumentType]
            found += faults(item, schema.get("items", {}), f"{at}[{index}]")
    return found
