"""The connections that a kernel mode leads, looked at after its syncs; for all kernel modes."""

import logging
from collections.abc import Iterable, Iterator, Mapping

from podwire.kube.clock import Clock
from podwire.kube.names import Key
from podwire.netlink.conntrack import Conntrack
from podwire.proxy import conntrack
from podwire.proxy.endpoints import Backend
from podwire.proxy.mode import Order
from podwire.proxy.pages import SYNC_BOUNDS, Histogram, Metric
from podwire.proxy.table import PortName, Protocol, ServicePort

log = logging.getLogger(__name__)


class Flows:
    """The Service ports that a mode has programmed, and the kernel's connections to them.

    It belongs to the network namespace in which it was made.
    """

    def __init__(self, clock: Clock) -> None:
        self.deleted = 0
        self._clock = clock
        self._took = Histogram(
            "kubeproxy_conntrack_reconciler_sync_duration_seconds",
            "Duration of looking for flows without an endpoint.",
            SYNC_BOUNDS,
        )
        self._ports: dict[Key, tuple[ServicePort, ...]] = {}
        self._conntrack: Conntrack | None = None

    def programmed(self, order: Order) -> None:
        """Take *order* as obeyed, and forget UDP flows that it leaves without an endpoint.

        What goes wrong is logged: a mode serves without this, too.
        """
        before = {} if order.whole else self._ports
        touched = any(
            _answering(ports) != _answering(before.get(key, ()))
            for key, ports in order.services.items()
        )
        if order.whole:
            self._ports = {}
        for key, ports in order.services.items():
            if ports:
                self._ports[key] = ports
            else:
                self._ports.pop(key, None)
        if touched:
            self._forget()

    def ports(self) -> Iterator[ServicePort]:
        """Yield all Service ports that are programmed."""
        return (port for ports in self._ports.values() for port in ports)

    def connections(self) -> Mapping[tuple[PortName, Protocol, Backend], int]:
        """Return how many connections and UDP flows are open to each endpoint."""
        try:
            return conntrack.connections(self._table().flows(), self.ports())
        except OSError as error:
            log.warning("cannot read the table of connections: %s", error)
            return {}

    def metrics(self) -> tuple[Metric | Histogram, ...]:
        """Return kube-proxy's figures of how UDP flows were forgotten."""
        deleted = Metric(
            "kubeproxy_conntrack_reconciler_deleted_entries_total",
            "counter",
            "UDP flows deleted because their endpoint is gone.",
            self.deleted,
            '{ip_family="IPv4"}',
        )
        return deleted, self._took

    def close(self) -> None:
        """Close the socket to the kernel."""
        if self._conntrack is not None:
            self._conntrack.close()
            self._conntrack = None

    def _forget(self) -> None:
        began = self._clock.monotonic()
        try:
            table = self._table()
            self.deleted += table.delete(conntrack.stale(table.flows("UDP"), self.ports()))
        except OSError as error:
            log.warning("UDP flows to endpoints that are gone may stay: %s", error)
        self._took.observe(self._clock.monotonic() - began)

    def _table(self) -> Conntrack:
        if self._conntrack is None:
            self._conntrack = Conntrack()
        return self._conntrack


def _answering(ports: Iterable[ServicePort]) -> dict[tuple[PortName, Protocol], object]:
    return {
        (port.name, port.protocol): (
            port.usable.lasting,
            port.cluster_ip,
            port.node_port,
            port.external_ips,
            port.load_balancer_ips,
        )
        for port in ports
        if port.protocol == "UDP"
    }
