"""What is said of one request in several modes, and how a trace shows what a mode did."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from podwire.emulator.trace import pcapng
from podwire.emulator.trace.clients import Execution
from podwire.emulator.trace.comments import comments
from podwire.emulator.trace.compare import Compared, Comparison
from podwire.emulator.trace.frames import packets
from podwire.emulator.trace.trace import Trace
from podwire.emulator.trace.wiring import Wiring
from tests.unit.emulator.trace.mode_stories import DNAT, RELAYED, TO, judged, kept
from tests.unit.emulator.trace.test_render import SCHEMA, faults

if TYPE_CHECKING:
    from tests.unit.emulator.trace.conftest import Bench


def traced(bench: "Bench", story: str, mode: str, *objects: dict[str, Any], **how: Any) -> Trace:
    nodes = [bench.node("node-1", 1, mode=mode), bench.node("node-2", 2, mode=mode)]
    return Trace(
        request=f"GET {how.get('to', TO)}/",
        source="default/client",
        finding=judged(bench, story, mode, *objects, **how),
        capture=bench.capture(bench.lines(story)),
        snapshot=bench.cluster(*nodes, *objects),
        wiring=Wiring(),
        execution=Execution(0),
        duration_ns=1_500_000,
    )


def relayed(bench: "Bench", mode: str = "userspace") -> Trace:
    here = bench.slice("default/web-svc", "10.244.1.6 default/web-0")
    return traced(bench, RELAYED.replace("PORT", "41007"), mode, here)


def comparison(*compared: Compared) -> Comparison:
    return Comparison("GET http://10.96.14.7/", "default/client", "userspace", compared)


def test_what_differs_between_a_relay_and_rules(bench: "Bench") -> None:
    found = comparison(
        Compared("userspace", relayed(bench)),
        Compared("nftables", traced(bench, kept(DNAT), "nftables")),
        Compared("ipvs", reason="the kernel has no ip_vs"),
    )
    assert found.facts() == {
        "outcome": {"userspace": "200", "nftables": "200"},
        "verdict": {"userspace": "confirmed", "nftables": "confirmed"},
        "connections": {"userspace": "2", "nftables": "1"},
        "translation": {"userspace": "none: a relay", "nftables": "DNAT"},
        "backend sees": {
            "userspace": "10.244.1.5 (the client)",
            "nftables": "10.244.1.5 (the client)",
        },
    }
    assert found.differences == ("connections", "translation")
    assert found.left_out == {"ipvs": "the kernel has no ip_vs"}
    assert found.exit_status == 0
    assert found["nftables"].confirmed
    with pytest.raises(KeyError, match="the kernel has no ip_vs"):
        _ = found["ipvs"]


def test_refusals_are_told_apart(bench: "Bench") -> None:
    syn = """
a  default/client eth0   10.244.1.5:40002 > 10.96.14.7:80   SYN
b  node-1 cni0:in        10.244.1.5:40002 > 10.96.14.7:80   SYN
"""
    reject = (
        "c  node-1 cni0:out  10.244.1.1 > 10.244.1.5"
        "  unreachable port 10.244.1.5:40002 10.96.14.7:80 TCP\n"
    )
    reset = "c  node-1 cni0:out  10.96.14.7:80 > 10.244.1.5:40002  RST\n"
    nothing = bench.slice("default/web-svc", "")
    found = comparison(
        Compared("userspace", traced(bench, syn + reset, "userspace", nothing)),
        Compared("iptables", traced(bench, syn + reject, "iptables", nothing)),
        Compared("nftables", traced(bench, syn, "nftables", nothing)),
    )
    assert found.facts()["outcome"] == {
        "userspace": "refused (RST)",
        "iptables": "refused (ICMP)",
        "nftables": "timed out",
    }
    assert found.exit_status == 1


def test_a_masqueraded_source_is_named(bench: "Bench") -> None:
    story = DNAT.replace("SRC", "10.244.1.0").replace("10.96.14.7:80", "192.168.1.10:30080")
    trace = traced(bench, story, "iptables", to="http://192.168.1.10:30080")
    found = comparison(Compared("iptables", trace))
    assert found.facts()["translation"] == {"iptables": "DNAT, SNAT to 10.244.1.0"}
    assert found.facts()["backend sees"] == {"iptables": "10.244.1.0 (node node-1)"}


def test_hops_stand_side_by_side_or_one_under_another(bench: "Bench") -> None:
    found = comparison(
        Compared("userspace", relayed(bench)),
        Compared("nftables", traced(bench, kept(DNAT), "nftables")),
        Compared("ipvs", reason="the kernel has no ip_vs"),
    )
    wide, narrow = found.render(120), found.render(80)
    assert all(len(line) <= 120 for line in wide.splitlines())
    (heads,) = [line for line in wide.splitlines() if "---" in line]
    assert heads.split() == ["---", "userspace", "---", "---", "nftables", "---"]
    assert [line for line in narrow.splitlines() if "---" in line] == [
        "--- userspace ---",
        "--- nftables ---",
    ]
    for text in (wide, narrow):
        assert "* connections" in text
        assert "ipvs was left out: the kernel has no ip_vs" in text
        assert "(* differs)" in text


def test_a_mode_goes_by_what_its_nodes_say(bench: "Bench") -> None:
    found = comparison(Compared("ipvs", relayed(bench, "ipvs (userspace)")))
    assert "--- ipvs (userspace) ---" in found.render()


def test_the_document_holds_each_trace(bench: "Bench") -> None:
    found = comparison(
        Compared("userspace", relayed(bench)),
        Compared("nftables", traced(bench, kept(DNAT), "nftables")),
    )
    document = json.loads(json.dumps(found.document()))
    assert document["mode_before"] == "userspace"
    assert document["differences"] == ["connections", "translation"]
    for trace in document["traces"].values():
        assert list(faults(trace, SCHEMA)) == []
    (passed,) = (h for h in document["traces"]["nftables"]["hops"] if h["kind"] == "inferred")
    assert passed["mode"] == "nftables"
    assert passed["translation"] == {
        "original": "10.244.1.5:40002 > 10.96.14.7:80",
        "reply": "10.244.2.6:80 > 10.244.1.5:40002",
        "source": None,
    }
    (entered,) = (h for h in document["traces"]["nftables"]["hops"] if h["interface"] == "cni0")
    assert (entered["direction"], entered["ttl"]) == ("in", 64)


def test_the_comment_of_a_packet_that_is_a_hop_begins_with_its_number(bench: "Bench") -> None:
    trace = relayed(bench)
    texts = comments(packets(trace.capture), trace.snapshot, trace.finding)
    found = [text.split(":")[0] for (text,) in texts.values() if text.startswith("hop ")]
    seen = [hop for hop in trace.finding.hops if hop.kind == "packet"]
    assert sorted(found) == sorted(f"hop {hop.index}" for hop in seen)


def test_the_file_says_which_rules_a_packet_met(bench: "Bench", tmp_path: Path) -> None:
    story = DNAT.replace("SRC", "10.244.1.0").replace("10.96.14.7:80", "192.168.1.10:30080")
    trace = traced(bench, story, "iptables", to="http://192.168.1.10:30080")
    texts = comments(packets(trace.capture), trace.snapshot, trace.finding)
    rule = (
        "iptables rules on node-1: DNAT 192.168.1.10:30080 -> 10.244.2.6:80,"
        " SNAT 10.244.1.5 -> 10.244.1.0"
    )
    assert sum(rule in text for (text,) in texts.values()) > 10
    again = comments(packets(relayed(bench).capture), trace.snapshot, relayed(bench).finding)
    rule = "userspace proxy on node-1: 10.96.14.7:80 -> 10.244.1.6:80"
    assert any(rule in text for (text,) in again.values())
    written = trace.write(tmp_path / "x.pcapng")
    assert pcapng.decode(Path(written.pcap).read_bytes()).frames


def test_a_diagram_shows_the_translation(bench: "Bench") -> None:
    text = traced(bench, kept(DNAT), "nftables").render("mermaid")
    assert "Note over" in text
    assert "DNAT to endpoint default/web-1" in text


def test_an_assertion_shows_a_trace_by_its_verdict(bench: "Bench") -> None:
    trace = relayed(bench)
    reason = f": {trace.reason}" if trace.reason else ""
    assert repr(trace) == f"<GET {TO}/ from default/client: {trace.verdict}{reason}>"
