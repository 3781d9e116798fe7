"""Pure: the texts of /healthz, /livez and /metrics, in kube-proxy's words where it has them."""

from dataclasses import dataclass
from datetime import UTC, datetime


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
    """One number; *kind* is counter, gauge, or empty for the parts of a summary."""

    name: str
    kind: str
    help: str
    value: float
    labels: str = ""


def exposition(metrics: tuple[Metric, ...]) -> str:
    """Return *metrics* in the text format of Prometheus."""
    lines: list[str] = []
    for metric in metrics:
        lines += [
            f"# HELP {metric.name} {metric.help}",
            f"# TYPE {metric.name} {metric.kind}",
            f"{metric.name}{metric.labels} {metric.value:.17g}",
        ]
    return "\n".join(lines) + "\n"


def summary(name: str, text: str, *, count: int, seconds: float) -> str:
    """Return a summary without quantiles: how often, and how long in all."""
    return (
        f"# HELP {name} {text}\n# TYPE {name} summary\n{name}_sum {seconds:.17g}\n"
        f"{name}_count {count}\n"
    )


def _times(health: Health) -> str:
    updated = health.updated if health.overdue else health.now
    return f'"lastUpdated": "{_go_time(updated)}","currentTime": "{_go_time(health.now)}"'


def _go_time(seconds: float) -> str:
    # What Go prints for a time.Time, without the monotonic reading that only Go's own have.
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    return f"{moment.rstrip('0').rstrip('.')} +0000 UTC"
