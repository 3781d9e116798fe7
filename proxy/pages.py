"""Pure: the texts of /healthz, /livez and /metrics, in kube-proxy's words where it has them."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Health:
    """How the proxy is; *updated* and *now* are unix seconds."""

    updated: float
    now: float
    overdue: bool
    eligible: bool


def healthz(health: Health) -> tuple[int, str]:
    """Return status and JSON for load balancers: 503 also when the node is about to go."""
    eligible = "true" if health.eligible else "false"
    status = 200 if health.eligible and not health.overdue else 503
    return status, f'{{{_times(health)}, "nodeEligible": {eligible}}}'


def livez(health: Health) -> tuple[int, str]:
    """Return status and JSON for liveness probes: the state of the node does not matter."""
    return (503 if health.overdue else 200), f"{{{_times(health)}}}"


@dataclass(frozen=True, slots=True)
class Metric:
    """One number; *kind* is counter or gauge. *labels* are written as in the text: {code="200"}."""

    name: str
    kind: str
    help: str
    value: float
    labels: str = ""


@dataclass(slots=True)
class Histogram:
    """How long something took, in seconds, counted by upper bounds (the last one, +Inf, too)."""

    name: str
    help: str
    bounds: tuple[float, ...]
    labels: str = 'ip_family="IPv4"'
    count: int = 0
    sum: float = 0.0
    counts: list[int] = field(default_factory=list[int])

    def __post_init__(self) -> None:
        self.counts = [0] * len(self.bounds)

    def observe(self, seconds: float) -> None:
        """Count one that took *seconds*."""
        self.count += 1
        self.sum += seconds
        at = bisect_left(self.bounds, seconds)
        if at < len(self.bounds):
            self.counts[at] += 1

    def exposition(self) -> str:
        """Return it in the text format of Prometheus."""
        lines = [f"# HELP {self.name} {self.help}", f"# TYPE {self.name} histogram"]
        for bound, below in zip(self.bounds, accumulate(self.counts), strict=True):
            lines.append(f'{self.name}_bucket{{{self.labels},le="{bound:.17g}"}} {below}')
        lines += [
            f'{self.name}_bucket{{{self.labels},le="+Inf"}} {self.count}',
            f"{self.name}_sum{{{self.labels}}} {self.sum:.17g}",
            f"{self.name}_count{{{self.labels}}} {self.count}",
        ]
        return "\n".join(lines) + "\n"


SYNC_BOUNDS = tuple(0.001 * 2**n for n in range(15))
"""kube-proxy's bounds of the durations of syncs (pkg/proxy/metrics)."""

PROGRAMMING_BOUNDS = (
    *(0.25, 0.5),
    *(float(n) for n in range(1, 60)),
    *(float(n) for n in range(60, 120, 5)),
    *(float(n) for n in range(120, 301, 30)),
)
"""kube-proxy's bounds of the time from a change of endpoints to its programming."""


def exposition(metrics: Iterable[Metric | Histogram]) -> str:
    """Return *metrics* in the text format of Prometheus, those of one name together."""
    families: dict[str, list[Metric]] = {}
    histograms: list[str] = []
    for metric in metrics:
        if isinstance(metric, Histogram):
            histograms.append(metric.exposition())
        else:
            families.setdefault(metric.name, []).append(metric)
    lines: list[str] = []
    for name, members in families.items():
        lines += [f"# HELP {name} {members[0].help}", f"# TYPE {name} {members[0].kind}"]
        lines += [f"{name}{metric.labels} {metric.value:.17g}" for metric in members]
    return "".join(f"{line}\n" for line in lines) + "".join(histograms)


def _times(health: Health) -> str:
    updated = health.updated if health.overdue else health.now
    return f'"lastUpdated": "{_go_time(updated)}","currentTime": "{_go_time(health.now)}"'


def _go_time(seconds: float) -> str:
    # What Go prints for a time.Time, without the monotonic reading that only Go's own have.
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    return f"{moment.rstrip('0').rstrip('.')} +0000 UTC"
