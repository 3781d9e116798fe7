"""What the loop has done, in kube-proxy's metrics."""

from dataclasses import dataclass, field

from podwire.proxy.pages import PROGRAMMING_BOUNDS, SYNC_BOUNDS, Histogram


@dataclass(slots=True)
class Syncs:
    """What the loop has done since it started; times are unix seconds."""

    failures: int = 0
    last: float = 0.0
    last_queued: float = 0.0
    every: Histogram = field(
        default_factory=lambda: Histogram(
            "kubeproxy_sync_proxy_rules_duration_seconds", "Duration of syncs.", SYNC_BOUNDS
        )
    )
    full: Histogram = field(
        default_factory=lambda: Histogram(
            "kubeproxy_sync_full_proxy_rules_duration_seconds",
            "Duration of syncs of everything.",
            SYNC_BOUNDS,
        )
    )
    partial: Histogram = field(
        default_factory=lambda: Histogram(
            "kubeproxy_sync_partial_proxy_rules_duration_seconds",
            "Duration of syncs of what has changed.",
            SYNC_BOUNDS,
        )
    )
    programming: Histogram = field(
        default_factory=lambda: Histogram(
            "kubeproxy_network_programming_duration_seconds",
            "From a change of endpoints to its sync.",
            PROGRAMMING_BOUNDS,
        )
    )

    @property
    def count(self) -> int:
        """How many have succeeded."""
        return self.every.count
