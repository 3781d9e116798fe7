"""One request traced in several modes of the proxy: what is the same, and what is not."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from podwire.emulator.trace.hops import Hop
from podwire.emulator.trace.modes import NodeProxy
from podwire.emulator.trace.trace import Trace

_NARROWEST = 46
"""Columns that a mode's hops need beside those of others."""
_GAP = "   "


@dataclass(frozen=True)
class Compared:
    """The request in one mode: its trace, or why this machine cannot run that mode."""

    mode: str
    trace: Trace | None = None
    reason: str = ""

    @property
    def ran(self) -> str:
        """Return the mode that the nodes say they ran in: "ipvs (userspace)" without IPVS."""
        nodes = self.trace.snapshot.nodes if self.trace is not None else ()
        names = {NodeProxy.of(node.metadata.annotations).mode.name for node in nodes}
        return names.pop() if len(names) == 1 else self.mode


@dataclass(frozen=True)
class Comparison:
    """A request in several modes. *before* is the mode that the cluster had, and has again."""

    request: str
    source: str
    before: str
    compared: tuple[Compared, ...]

    @property
    def traced(self) -> tuple[Compared, ...]:
        """Return those that could be traced."""
        return tuple(one for one in self.compared if one.trace is not None)

    @property
    def left_out(self) -> dict[str, str]:
        """Return why modes could not be run, by mode."""
        return {one.mode: one.reason for one in self.compared if one.trace is None}

    def __getitem__(self, mode: str) -> Trace:
        """Return the trace of *mode*; raises KeyError with the reason if there is none."""
        for one in self.compared:
            if one.mode == mode:
                if one.trace is None:
                    raise KeyError(f"{mode}: {one.reason}")
                return one.trace
        raise KeyError(mode)

    def facts(self) -> dict[str, dict[str, str]]:
        """Return what is compared: by what it is, then by mode."""
        return {
            name: {one.mode: fact(one.trace) for one in self.traced if one.trace is not None}
            for name, fact in _FACTS.items()
        }

    @property
    def differences(self) -> tuple[str, ...]:
        """Return which facts are not the same in all modes; chance and latency are no facts."""
        return tuple(name for name, by_mode in self.facts().items() if len({*by_mode.values()}) > 1)

    @property
    def exit_status(self) -> int:
        """Return 0 if all traces are confirmed, else the status of the worst one."""
        return max((one.trace.exit_status for one in self.compared if one.trace), default=2)

    def document(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        return {
            "request": {"text": self.request, "from": self.source},
            "mode_before": self.before,
            "facts": self.facts(),
            "differences": list(self.differences),
            "left_out": self.left_out,
            "traces": {
                one.mode: json.loads(one.trace.render("json"))
                for one in self.compared
                if one.trace is not None
            },
        }

    def render(self, width: int = 96) -> str:
        """Return all as text; hop tables stand side by side where *width* allows it."""
        lines = [f"{self.request} from {self.source} in {len(self.traced)} modes", ""]
        lines += self._facts()
        for mode, reason in self.left_out.items():
            lines.append(f"  {mode} was left out: {reason}")
        tables = [_hops(one) for one in self.traced]
        count = max(1, len(tables))
        column = (width - len(_GAP) * (count - 1)) // count
        lines.append("")
        if column >= _NARROWEST:
            cells = [
                [part for line in table for part in _wrapped(line, column)] for table in tables
            ]
            for row in zip_longest(*cells, fillvalue=""):
                lines.append(_GAP.join(cell.ljust(column) for cell in row).rstrip())
        else:
            for table in tables:
                lines += [*table, ""]
        return "\n".join(lines).rstrip()

    def __str__(self) -> str:
        return self.render()

    def _facts(self) -> list[str]:
        modes = [one.mode for one in self.traced]
        shown = self.facts() | _by_chance(self.traced)
        rows = [["", *(one.ran for one in self.traced)]]
        for name, by_mode in shown.items():
            mark = "*" if name in self.differences else " "
            rows.append([f"{mark} {name}", *(by_mode[mode] for mode in modes)])
        widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
        lines = [
            "  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return [*lines, "  (* differs)"] if self.differences else lines


def _outcome(trace: Trace) -> str:
    said = str(trace.status) if trace.status else trace.outcome or "unknown"
    wrong = trace.first_wrong_hop
    if wrong is None or trace.outcome not in {"refused", "unreachable"}:
        return said
    return f"{said} (ICMP)" if wrong.protocol == "ICMP" else f"{said} (RST)"


def _verdict(trace: Trace) -> str:
    return trace.verdict


def _connections(trace: Trace) -> str:
    passed = _passed(trace)
    if passed is None:
        return "1" if any(hop.leg == "request" for hop in trace.hops) else "0"
    return "1" if (passed.mode and passed.translation) or not _onward(trace) else "2"


def _nat(trace: Trace) -> str:
    passed = _passed(trace)
    if passed is None:
        return "none"
    if passed.translation is None:
        return "none: a relay" if _onward(trace) else "DNAT"
    onward = _onward(trace)
    changed = passed.translation.source or not passed.translation.original
    if onward and changed:
        return (
            f"DNAT, SNAT to {onward[-1].src.partition(':')[0]}" if _one_way(trace) else "DNAT, SNAT"
        )
    return "DNAT"


def _one_way(trace: Trace) -> bool:
    """Return whether there is one endpoint only, so that chance has no part in the source."""
    passed = _passed(trace)
    return passed is not None and "," not in passed.expected


def _seen_by_backend(trace: Trace) -> str:
    onward = _onward(trace)
    if not onward or onward[-1].packet is None:
        return "nothing"
    source = onward[-1].packet.core.src
    name = trace.snapshot.name_of(source)
    client = trace.snapshot.location(trace.source, trace.wiring)
    if client is not None and source == client.address and client.kind != "node":
        return f"{source} (the client)"
    if name.startswith("node "):
        # Which of a node's addresses it is depends on where the endpoint is.
        return f"{source} ({name})" if _one_way(trace) else name
    return str(source)


_FACTS: dict[str, Callable[[Trace], str]] = {
    "outcome": _outcome,
    "verdict": _verdict,
    "connections": _connections,
    "translation": _nat,
    "backend sees": _seen_by_backend,
}


def _by_chance(traced: Sequence[Compared]) -> dict[str, dict[str, str]]:
    """Return what is shown and not compared."""
    took = {
        one.mode: f"{one.trace.duration_ns / 1e6:.1f} ms" for one in traced if one.trace is not None
    }
    ends = {one.mode: _endpoint(one.trace) for one in traced if one.trace is not None}
    return {"endpoint (by chance)": ends, "took (once)": took}


def _endpoint(trace: Trace) -> str:
    passed = _passed(trace)
    return passed.dst if passed is not None else "-"


def _passed(trace: Trace) -> Hop | None:
    """Return what a proxy did with the request."""
    found = (h for h in trace.hops if h.kind == "inferred" and h.leg == "request")
    return next(found, None)


def _onward(trace: Trace) -> list[Hop]:
    """Return the hops of the request on its way to the backend, as the backend gets it."""
    request = [h for h in trace.hops if h.leg == "request" and h.kind == "packet"]
    passed = _passed(trace)
    if passed is not None:
        return [h for h in request if h.dst == passed.dst]
    return [h for h in request if trace.confirmed and h.dst == request[0].dst]


def _hops(one: Compared) -> list[str]:
    assert one.trace is not None
    lines = [f"--- {one.ran} ---"]
    for hop in one.trace.hops:
        if hop.leg != "request":
            continue
        device = {"inferred": "(inferred)"}.get(
            hop.kind, f"{hop.interface} {hop.direction}".strip()
        )
        arrow = "->" if hop.kind == "inferred" else ">"
        wrong = "  <-- first wrong hop" if hop == one.trace.first_wrong_hop else ""
        said = hop.summary.split("   (")[0]
        lines.append(f"{hop.where} {device}{wrong}")
        lines.append(f"  {hop.src} {arrow} {hop.dst}  {said}")
    if one.trace.reason:
        lines.append(f"{one.trace.verdict}: {one.trace.reason}")
    return lines


def _wrapped(line: str, width: int) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()))
    found: list[str] = []
    rest = line
    while len(rest) > width:
        cut = rest.rfind(" ", len(indent) + 1, width + 1)
        cut = cut if cut > len(indent) else width
        found.append(rest[:cut].rstrip())
        rest = f"{indent}  {rest[cut:].lstrip()}"
    return [*found, rest]
