"""What the proxy's health and metrics ports answer."""

import json
from collections import Counter
from contextlib import AsyncExitStack
from ipaddress import IPv4Address

from podwire.errors import MachineError
from podwire.kube.clock import SystemClock
from podwire.kube.httpd import Page, Pages, serving
from podwire.proxy import pages as texts
from podwire.proxy.configuration import Address
from podwire.proxy.pages import Health, Metric, healthz, livez
from podwire.proxy.proxier import Proxier
from podwire.proxy.state import state
from podwire.proxy.table import without_local_endpoint

_FAMILY = '{ip_family="IPv4"}'


async def serve(
    stack: AsyncExitStack, pages: Pages, address: Address | None, own: IPv4Address
) -> None:
    """Answer with *pages* at *address* until *stack* is closed; None is nowhere.

    *own* is the node's address, for an address that names no host. Raises MachineError.
    """
    if address is None:
        return
    hosts = (own, IPv4Address("127.0.0.1")) if address.host is None else (address.host,)
    for host in dict.fromkeys(hosts):
        try:
            await stack.enter_async_context(serving(pages, str(host), address.port))
        except OSError as error:
            raise MachineError(f"cannot serve on {host}:{address.port}: {error}") from error


class Serving:
    """The pages of one proxier; it counts how often health was asked for."""

    def __init__(self, proxier: Proxier) -> None:
        self._proxier = proxier
        self._asked: Counter[tuple[str, int]] = Counter()

    def health(self) -> Pages:
        """Return what the health port answers."""
        return {
            "/healthz": lambda: self._health("healthz", *healthz(self._state_of_health())),
            "/livez": lambda: self._health("livez", *livez(self._state_of_health())),
        }

    def metrics(self) -> Pages:
        """Return what the metrics port answers; /podwire/state is ours."""
        return {
            "/metrics": lambda: Page(self._exposition()),
            "/proxyMode": lambda: Page(self._proxier.mode.name),
            "/healthz": lambda: Page("ok"),
            "/podwire/state": lambda: Page(self._state(), content_type="application/json"),
        }

    def _state_of_health(self) -> Health:
        proxier = self._proxier
        return Health(
            updated=proxier.syncs.last,
            now=SystemClock().now(),
            overdue=proxier.overdue(),
            eligible=proxier.sources.eligible,
        )

    def _health(self, what: str, status: int, body: str) -> Page:
        self._asked[what, status] += 1
        return Page(body, status=status, content_type="application/json")

    def _state(self) -> str:
        proxier = self._proxier
        found = state(
            proxier.sources.view,
            proxier.mode.name,
            proxier.served,
            proxier.failed,
            proxier.mode.connections(),
        )
        found |= {"frozen": proxier.frozen, "lastSync": proxier.syncs.last}
        return json.dumps(found | dict(proxier.mode.listings()))

    def _exposition(self) -> str:
        proxier = self._proxier
        syncs, sources = proxier.syncs, proxier.sources
        ports = (port for ports in proxier.served.values() for port in ports)
        metrics = (
            Metric(
                "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
                "gauge",
                "Unix time of the last sync.",
                syncs.last,
                _FAMILY,
            ),
            Metric(
                "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
                "gauge",
                "Unix time at which a sync was last asked for.",
                syncs.last_queued,
                _FAMILY,
            ),
            Metric(
                "kubeproxy_sync_proxy_rules_service_changes_total",
                "counter",
                "Changes of Services heard of.",
                sources.service_changes,
            ),
            Metric(
                "kubeproxy_sync_proxy_rules_service_changes_pending",
                "gauge",
                "Services that wait for a sync.",
                sources.services_pending,
            ),
            Metric(
                "kubeproxy_sync_proxy_rules_endpoint_changes_total",
                "counter",
                "Changes of EndpointSlices heard of.",
                sources.slice_changes,
            ),
            Metric(
                "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
                "gauge",
                "Services whose endpoints wait for a sync.",
                sources.endpoints_pending,
            ),
            *(
                Metric(
                    "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
                    "gauge",
                    "Service ports with policy Local that have endpoints, but none on this node.",
                    count,
                    f'{{ip_family="IPv4",traffic_policy="{policy}"}}',
                )
                for policy, count in without_local_endpoint(ports).items()
            ),
            *(
                Metric(
                    f"kubeproxy_proxy_{what}_total",
                    "counter",
                    f"Answers of /{what} by status.",
                    count,
                    f'{{code="{status}"}}',
                )
                for (what, status), count in sorted(self._asked.items())
            ),
            Metric(
                "podwire_proxy_services_failed",
                "gauge",
                "Services that cannot be served.",
                len(proxier.failed),
            ),
            *proxier.mode.metrics(),
            *(syncs.every, syncs.full, syncs.partial, syncs.programming),
        )
        return texts.exposition(metrics)
