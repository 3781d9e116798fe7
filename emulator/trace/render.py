"""Pure: a trace as text: a table for people, JSON for programs, Mermaid for documents."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from podwire.emulator.trace.hops import Finding, Hop, Translation

WIDTH = 96


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown of a trace. *pcap* is the capture's file, or empty if none was written.

    *hint* says how places that were not captured can be.
    """

    request: str
    source: str
    finding: Finding
    duration_ns: int
    interfaces: int
    packets: int
    dropped: int
    pcap: str = ""
    hint: str = ""


def table(shown: Shown, width: int = WIDTH) -> str:
    """Return the hops as aligned text: the result and the verdict above, the cause below."""
    finding = shown.finding
    rows = [(hop, *_cells(hop, _start(finding))) for hop in finding.hops]
    where_width = max((len(hop.where) for hop, *_ in rows), default=5)
    device_width = max((len(cells[2]) for cells in rows), default=0)
    ms_width = max((len(cells[1]) for cells in rows), default=4)
    lines = [_header(shown, width)]
    if rows:
        place = f"{'where':<{where_width + 2 + device_width}}"
        lines.append(f"  #  {'+ms':>{ms_width}}  {place}  packet")
    for hop, ms, device, packet in rows:
        place = f"{hop.where:<{where_width}}  {device:<{device_width}}"
        mark = "  <-- first wrong hop" if hop is _wrong(finding) else ""
        lines.append(f"{hop.index:>3}  {ms:>{ms_width}}  {place}  {packet}{mark}")
    if finding.reason:
        lines.append(f"  {'note' if finding.word == 'confirmed' else 'reason'}: {finding.reason}")
    search = finding.naming.line() if finding.naming is not None else ""
    if search:
        lines.append(f"  dns: {search}")
    if finding.not_captured:
        hint = f" ({shown.hint})" if shown.hint else ""
        lines.append(f"  not captured: {', '.join(finding.not_captured)}{hint}")
    return "\n".join(line.rstrip() for line in lines)


def to_json(shown: Shown) -> str:
    """Return the trace as JSON; docs/trace.schema.json describes it."""
    return json.dumps(document(shown), indent=2)


def document(shown: Shown) -> dict[str, Any]:
    """Return the trace as JSON values."""
    finding = shown.finding
    start = _start(finding)
    wrong = _wrong(finding)
    return {
        "verdict": finding.word,
        "reason": finding.reason,
        "request": {"text": shown.request, "from": shown.source},
        "outcome": finding.outcome,
        "status": finding.status,
        "duration_us": round(shown.duration_ns / 1000, 3),
        "dns": finding.naming.document() if finding.naming is not None else None,
        "hops": [_hop(hop, start) for hop in finding.hops],
        "first_wrong_hop": _hop(wrong, start) if wrong is not None else None,
        "packets": shown.packets,
        "interfaces": shown.interfaces,
        "dropped": shown.dropped,
        "not_captured": list(finding.not_captured),
        "pcap": shown.pcap or None,
    }


def mermaid(shown: Shown) -> str:
    """Return a sequence diagram: arrows from place to place, notes for what is inferred."""
    finding = shown.finding
    names = {where: f"p{n}" for n, where in enumerate(dict.fromkeys(h.where for h in finding.hops))}
    lines = ["sequenceDiagram", f"    title {_quoted(_result(shown))}"]
    lines += [f"    participant {name} as {_quoted(where)}" for where, name in names.items()]
    previous: Hop | None = None
    for hop in finding.hops:
        text = _quoted(f"{hop.index}. {hop.summary}")
        here = names[hop.where]
        if hop.kind == "inferred":
            lines.append(f"    Note over {here}: {text}")
        elif previous is None or previous.where == hop.where:
            lines.append(f"    {here}->>{here}: {text}")
        else:
            arrow = "--x" if hop.kind == "missing" else "->>"
            lines.append(f"    {names[previous.where]}{arrow}{here}: {text}")
        previous = hop
    if finding.word != "confirmed" and finding.hops:
        last = names[(_wrong(finding) or finding.hops[-1]).where]
        lines.append(f"    Note over {last}: {_quoted(f'{finding.word}: {finding.reason}')}")
    return "\n".join(lines)


def _header(shown: Shown, width: int) -> str:
    left = _result(shown)
    right = f"verdict: {shown.finding.word}"
    return f"{left}  {right:>{max(len(right), width - len(left) - 2)}}"


def _result(shown: Shown) -> str:
    finding = shown.finding
    result = str(finding.status) if finding.status else finding.outcome or "outcome unknown"
    word = "after" if finding.outcome == "timed out" else "in"
    took = f" {word} {_duration(shown.duration_ns)}" if finding.outcome else ""
    return f"{shown.request} from {shown.source}: {result}{took}"


def _duration(nanoseconds: int) -> str:
    ms = nanoseconds / 1e6
    return f"{ms / 1000:.1f} s" if ms >= 1000 else f"{ms:.1f} ms"


def _cells(hop: Hop, start: int) -> tuple[str, str, str]:
    """Return time, interface and packet as the table shows them."""
    ms = f"{(hop.time_ns - start) / 1e6:.2f}" if hop.time_ns else "-"
    if hop.kind == "inferred":
        return ms, "(inferred)", f"{hop.src} -> {hop.dst}   {hop.summary}"
    device = f"{hop.interface} {hop.direction}".strip()
    if hop.kind == "missing":
        device = f"{device} (missing)".strip()
    return ms, device, f"{hop.src} > {hop.dst}   {hop.protocol}  {hop.summary}"


def _hop(hop: Hop, start: int) -> dict[str, Any]:
    return {
        "index": hop.index,
        "kind": hop.kind,
        "leg": hop.leg,
        "time_us": round((hop.time_ns - start) / 1000, 3) if hop.time_ns else None,
        "where": hop.where,
        "node": hop.node or None,
        "pod": hop.pod or None,
        "interface": hop.interface or None,
        "direction": hop.direction or None,
        "ttl": hop.packet.core.ttl or None if hop.packet and hop.kind == "packet" else None,
        "protocol": hop.protocol,
        "src": hop.src,
        "dst": hop.dst,
        "summary": hop.summary,
        "expected": hop.expected or None,
        "mode": hop.mode or None,
        "translation": _translation(hop.translation),
    }


def _translation(made: Translation | None) -> dict[str, Any] | None:
    if made is None:
        return None
    return {"original": made.original or None, "reply": made.reply, "source": made.source or None}


def _start(finding: Finding) -> int:
    return min((hop.time_ns for hop in finding.hops if hop.time_ns), default=0)


def _wrong(finding: Finding) -> Hop | None:
    """Return the wrong hop as it stands in the list."""
    if finding.wrong is None:
        return None
    return next((hop for hop in finding.hops if hop.index == finding.wrong.index), None)


def _quoted(text: str) -> str:
    # Mermaid ends a statement at ; and reads # as an entity.
    return text.replace("#", "no. ").replace(";", ",")


FORMATS: Sequence[str] = ("table", "json", "mermaid")


def rendered(shown: Shown, form: str) -> str:
    """Return the trace in one of FORMATS."""
    return {"table": table, "json": to_json, "mermaid": mermaid}[form](shown)
