"""One request, traced: capture everywhere, let the client ask, join, judge.

The cluster is reached through the protocol `TraceTarget`, so the same run serves the command line,
the pytest plugin and tests with namespaces of their own.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from podwire.emulator.trace import pcapng
from podwire.emulator.trace.agent import NOT_CAPTURED
from podwire.emulator.trace.case import Case, ClientReport, points
from podwire.emulator.trace.clients import (
    NOT_THERE,
    Execution,
    clients,
    not_running,
    nothing_to_ask_with,
    of_any,
)
from podwire.emulator.trace.comments import comments
from podwire.emulator.trace.fetch import TIMED_OUT
from podwire.emulator.trace.frames import Packet, packets
from podwire.emulator.trace.hops import Finding, Hop
from podwire.emulator.trace.join import Sightings
from podwire.emulator.trace.naming import Naming
from podwire.emulator.trace.render import Shown, rendered
from podwire.emulator.trace.request import Command, Request
from podwire.emulator.trace.snapshot import EXTERNAL, Snapshot
from podwire.emulator.trace.verify import judge
from podwire.emulator.trace.wiring import Wiring
from podwire.errors import PodwireError, UsageError
from podwire.kube import meant

EXIT_STATUS = {"confirmed": 0, "refuted": 1, "inconclusive": 2}


class Captured(Protocol):
    """A capture that may be read once its block has been left."""

    def capture(self) -> pcapng.Capture:
        """Return all that was captured."""
        ...


class TraceTarget(Protocol):
    """A cluster as a trace needs it."""

    @property
    def builtins(self) -> bool:
        """Tell whether the built-in client (clients.FETCH) can be run in every pod."""
        ...

    def capture(self, points: Sequence[str]) -> AbstractAsyncContextManager[Captured]:
        """Capture at *points* ("namespace/pod", a node, "external", "router") in the block.

        The block is entered when every point is armed; a point that does not exist is left out.
        """
        ...

    async def exec(self, where: str, argv: Sequence[str]) -> Execution:
        """Run a command at *where*; it ends when this is cancelled. Absent programs give 127."""
        ...

    async def objects(self) -> Snapshot:
        """Return the cluster's Pods, Services, EndpointSlices and Nodes of now."""
        ...


@dataclass(frozen=True)
class Trace:
    """What a traced request did, and the verdict on it."""

    request: str
    source: str
    finding: Finding
    capture: pcapng.Capture
    snapshot: Snapshot
    wiring: Wiring
    execution: Execution
    duration_ns: int
    pcap: str = ""

    @property
    def verdict(self) -> str:
        """Return confirmed, refuted or inconclusive."""
        return self.finding.word

    @property
    def confirmed(self) -> bool:
        """Return whether every hop was seen and the request was answered."""
        return self.finding.word == "confirmed"

    @property
    def outcome(self) -> str | None:
        """Return answered, refused, timed out, unreachable or no such name; None if unknown."""
        return self.finding.outcome

    @property
    def status(self) -> int | None:
        """Return the HTTP status, if there was one."""
        return self.finding.status

    @property
    def hops(self) -> tuple[Hop, ...]:
        """Return the hops in order."""
        return self.finding.hops

    @property
    def first_wrong_hop(self) -> Hop | None:
        """Return the hop where the request died, or None."""
        return self.finding.wrong

    @property
    def reason(self) -> str:
        """Return why the verdict is not confirmed, or what is to be noted besides."""
        return self.finding.reason

    @property
    def naming(self) -> Naming | None:
        """Return the search for the request's name: its steps and their cost; None without one."""
        return self.finding.naming

    @property
    def dropped(self) -> int:
        """Return how many packets the capture lost."""
        return self.capture.dropped

    @cached_property
    def packets(self) -> tuple[Packet, ...]:
        """Return all captured packets in order of time, other traffic included."""
        return packets(self.capture)

    @property
    def exit_status(self) -> int:
        """Return 0 for confirmed, 1 for refuted, 2 for inconclusive."""
        return EXIT_STATUS[self.finding.word]

    def render(self, form: str = "table") -> str:
        """Return the trace as "table", "json" or "mermaid"."""
        return rendered(self._shown(), form)

    def write(self, path: str | Path) -> "Trace":
        """Write the capture, commented, to *path*; return the trace that knows its file."""
        target = Path(path)
        kept = _commented(self)
        try:
            with target.open("wb") as file:
                try:
                    file.writelines(pcapng.encode(kept))
                    file.flush()
                except OSError:
                    # Half a capture would look like a whole one. Devices and pipes stay.
                    if target.is_file():
                        target.unlink()
                    raise
        except OSError as error:
            raise PodwireError(
                f"cannot write the capture {target}: {error.strerror}\n"
                "  choose another place with -w FILE"
            ) from error
        return replace(self, pcap=str(target))

    def written(self) -> str:
        """Return the line that tells of the written file."""
        shown = self._shown()
        return (
            f"wrote {shown.pcap} ({shown.interfaces} interfaces, {shown.packets} packets,"
            f" {shown.dropped} dropped)"
        )

    def __str__(self) -> str:
        return self.render("table")

    def __repr__(self) -> str:  # what pytest shows of `assert trace.confirmed, trace`
        reason = f": {self.reason}" if self.reason else ""
        return f"<{self.request} from {self.source}: {self.verdict}{reason}>"

    def _shown(self) -> Shown:
        return Shown(
            request=self.request,
            source=self.source,
            finding=self.finding,
            duration_ns=self.duration_ns,
            interfaces=len({frame.interface for frame in self.capture.frames}),
            packets=len(self.capture.frames),
            dropped=self.capture.dropped,
            pcap=self.pcap,
            hint=self.wiring.hint,
        )


_WIRING = Wiring()


async def trace(
    target: TraceTarget,
    source: str,
    request: Request,
    *,
    timeout: float = 10.0,  # noqa: ASYNC109 - the client program is told and keeps it itself
    wiring: Wiring = _WIRING,
) -> Trace:
    """Trace *request* made at *source* ("namespace/pod", a node or "external").

    The client has *timeout* seconds. Raises UsageError if there is no such source.
    """
    before = await target.objects()
    place = before.location(source, wiring)
    if place is None and source == EXTERNAL:
        raise UsageError(
            "this cluster has no external host\n"
            "  trace from a pod; what this machine asks of a published port begins outside of the"
            " cluster: podwire capture shows it"
        )
    if place is None:
        namespace, _, name = source.rpartition("/")
        known = ((pod.metadata.namespace, pod.metadata.name) for pod in before.pods)
        near = meant.suggestion(name, namespace, known) if namespace else ""
        raise UsageError(f"{source} is no pod with an address, no node and not external{near}")
    case = Case(before, wiring, place, request, ClientReport())
    async with target.capture(points(case)) as recording:
        began = time.monotonic_ns()
        execution, report = await _ask(target, source, request, timeout)
        took = time.monotonic_ns() - began
    after = await target.objects()
    capture = recording.capture()
    case = replace(case, report=report)
    places = {interface.where for interface in capture.interfaces}
    sightings = Sightings(packets(capture), places, _why_not(capture.comments))
    lost, whole_until_ns = capture.dropped, capture.whole_until_ns
    finding = judge(case, sightings, dropped=lost, whole_until_ns=whole_until_ns)
    if finding.word != "confirmed" and after != before:
        # Endpoints may have changed while the request was on its way: then both are right.
        case = replace(case, snapshot=after)
        again = judge(case, sightings, dropped=lost, whole_until_ns=whole_until_ns)
        finding = again if again.word == "confirmed" else finding
    return Trace(
        request=str(request),
        source=source,
        finding=finding,
        capture=capture,
        snapshot=before,
        wiring=wiring,
        execution=execution,
        duration_ns=_duration(finding, took),
    )


async def _ask(
    target: TraceTarget, source: str, request: Request, limit: float
) -> tuple[Execution, ClientReport]:
    """Let the client ask; return how its program ended and what it said."""
    try:
        # The client's own limit comes first, so that it can still say what it waited for.
        async with asyncio.timeout(limit + 1.0):
            return await _run(target, source, request, limit)
    except TimeoutError:
        text = f"no answer within {limit:g} s"
        return Execution(124, "", text), ClientReport(TIMED_OUT, timed_out=True, error=text)


async def _run(
    target: TraceTarget, source: str, request: Request, limit: float
) -> tuple[Execution, ClientReport]:
    if isinstance(request, Command):
        async with asyncio.timeout(limit):
            done = await target.exec(source, request.argv)
        return done, of_any(done)
    usable = clients(request, limit, builtins=target.builtins)
    for client in usable:
        done = await target.exec(source, client.argv)
        if done.exit_code not in NOT_THERE:
            return done, client.report(done)
        down = not_running(source, done.stderr)
        if down is not None:
            raise down
    raise nothing_to_ask_with(source, usable)


def _why_not(comments: Sequence[str]) -> dict[str, str]:
    """Return which places a capture lacks, and why, from the comments of its agent."""
    found = [text.removeprefix(NOT_CAPTURED) for text in comments if text.startswith(NOT_CAPTURED)]
    return {where: why for where, _, why in (text.partition(": ") for text in found)}


def _duration(finding: Finding, took_ns: int) -> int:
    """Return the time from first to last hop on the wire; of a time-out, what the client took."""
    times = [hop.time_ns for hop in finding.hops if hop.time_ns]
    if finding.outcome == "timed out" or not times:
        return took_ns
    return max(times) - min(times)


def _commented(trace: Trace) -> pcapng.Capture:
    """Return the capture with comments, without interfaces that stayed silent."""
    frames = sorted(trace.capture.frames, key=lambda frame: frame.time_ns)
    texts = comments(trace.packets, trace.snapshot, trace.finding)
    lossy = {s.interface for s in trace.capture.statistics if s.dropped}
    used = sorted({frame.interface for frame in frames} | lossy)
    numbers = {old: new for new, old in enumerate(used)}
    head = f"{trace.request} from {trace.source}: {trace.finding.word}"
    reason = f"; {trace.finding.reason}" if trace.finding.reason else ""
    return pcapng.Capture(
        interfaces=tuple(trace.capture.interfaces[old] for old in used),
        frames=tuple(
            replace(frame, interface=numbers[frame.interface], comments=texts.get(number, ()))
            for number, frame in enumerate(frames, 1)
        ),
        statistics=tuple(
            replace(s, interface=numbers[s.interface])
            for s in trace.capture.statistics
            if s.interface in numbers
        ),
        comments=(head + reason, *trace.capture.comments),
    )
