"""What is counted of the way to the API server, and of how long a change takes to get here."""

from __future__ import annotations

import logging
from typing import Final

from podwire.dns.cluster.watched import WatchedService, WatchedSlice
from podwire.dns.serving.metrics import Counters, Histograms, Metrics
from podwire.kube.clock import Clock
from podwire.kube.times import parse_rfc3339

LAST_CHANGE: Final = "endpoints.kubernetes.io/last-change-trigger-time"

PROGRAMMING: Final = Histograms(
    "coredns_kubernetes_dns_programming_duration_seconds",
    "Histogram of the time (in seconds) it took to program a dns instance.",
    ("service_kind",),
    tuple(0.001 * 2**k for k in range(20)),
)
CALLS: Final = Counters(
    "coredns_kubernetes_rest_client_requests_total",
    "Number of HTTP requests, partitioned by status code, method, and host.",
    ("code", "method", "host"),
)
CALL_DURATION: Final = Histograms(
    "coredns_kubernetes_rest_client_request_duration_seconds",
    "Request latency in seconds. Broken down by verb and host.",
    ("verb", "host"),
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)

log = logging.getLogger("podwire.dns")


class ApiMetrics:
    """Counts for everything that is followed, into the page of *metrics*."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock

    def called(self, method: str, host: str, code: str, seconds: float) -> None:
        """Count a request; *code* is the reply's status, or ``<error>`` if there was none."""
        self._metrics.counter(CALLS, code, method, host).value += 1
        self._metrics.histogram(CALL_DURATION, method, host).add(seconds)

    def programmed(self, slice_: WatchedSlice, service: WatchedService | None) -> None:
        """Count how old the change is that *slice_*, now in the answers, brings to *service*.

        Only its controller notes when that was, so it is a Service with a selector. One whose
        Service is not known yet is not counted (SIG Scalability's DNS programming latency).
        """
        text = slice_.metadata.annotations.get(LAST_CHANGE, "")
        if not text or service is None:
            return
        try:
            moment = parse_rfc3339(text)
        except ValueError:
            log.warning(
                "plugin/kubernetes: DnsProgrammingLatency cannot be calculated for Endpoints "
                "'%s/%s'; invalid %r annotation RFC3339 value of %s",
                slice_.metadata.namespace,
                slice_.metadata.name,
                LAST_CHANGE,
                text,
            )
            return
        is_headless = service.spec.cluster_ip == "None"
        kind = "headless_with_selector" if is_headless else "cluster_ip"
        self._metrics.histogram(PROGRAMMING, kind).add(max(self._clock.now() - moment, 0.0))
