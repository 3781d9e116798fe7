"""What the proxy's health and metrics ports answer."""

from podwire.kube.clock import SystemClock
from podwire.kube.httpd import Page, Pages
from podwire.proxy.pages import Health, Metric, exposition, healthz, livez, summary
from podwire.proxy.proxier import Proxier


def health_pages(proxier: Proxier) -> Pages:
    """Return what the health port answers."""

    def health() -> Health:
        return Health(
            updated=proxier.syncs.last,
            now=SystemClock().now(),
            overdue=proxier.overdue(),
            eligible=proxier.sources.eligible,
        )

    def page(answer: tuple[int, str]) -> Page:
        return Page(answer[1], status=answer[0], content_type="application/json")

    return {
        "/healthz": lambda: page(healthz(health())),
        "/livez": lambda: page(livez(health())),
    }


def metrics_pages(proxier: Proxier) -> Pages:
    """Return what the metrics port answers."""

    def metrics() -> Page:
        syncs, sources = proxier.syncs, proxier.sources
        family = '{ip_family="IPv4"}'
        text = exposition(
            (
                Metric(
                    "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
                    "gauge",
                    "Unix time of the last sync.",
                    syncs.last,
                    family,
                ),
                Metric(
                    "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
                    "gauge",
                    "Unix time at which a sync was last asked for.",
                    syncs.last_queued,
                    family,
                ),
                Metric(
                    "kubeproxy_sync_proxy_rules_service_changes_total",
                    "counter",
                    "Changes of Services heard of.",
                    sources.service_changes,
                ),
                Metric(
                    "kubeproxy_sync_proxy_rules_endpoint_changes_total",
                    "counter",
                    "Changes of EndpointSlices heard of.",
                    sources.slice_changes,
                ),
                Metric(
                    "podwire_proxy_services_failed",
                    "gauge",
                    "Services that cannot be served.",
                    len(proxier.failed),
                ),
                *proxier.mode.metrics(),
            )
        )
        text += summary(
            "kubeproxy_sync_proxy_rules_duration_seconds",
            "Duration of syncs.",
            count=syncs.count,
            seconds=syncs.seconds,
        )
        text += summary(
            "kubeproxy_network_programming_duration_seconds",
            "From a change of endpoints to its sync.",
            count=syncs.programming_count,
            seconds=syncs.programming_seconds,
        )
        return Page(text)

    return {
        "/metrics": metrics,
        "/proxyMode": lambda: Page(proxier.mode.name),
        "/healthz": lambda: Page("ok"),
    }
