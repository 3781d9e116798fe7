"""What a mode of the proxy is: something that makes a node serve what it is told to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol as Interface

from podwire.errors import PodwireError
from podwire.kube.names import Key
from podwire.proxy.endpoints import Backend
from podwire.proxy.node import NodeView
from podwire.proxy.pages import Histogram, Metric
from podwire.proxy.table import PortName, Protocol, ServicePort


class SyncFailed(PodwireError):
    """Nothing of the order was programmed; the whole is to be tried again later."""


class Unservable(str):
    """Why a Service cannot be served in this mode at all: no later try will change that."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Order:
    """What a node shall serve from now on.

    *services* are those that may have changed, with no ports for one that has gone; all others stay
    as they are. When *whole* it is every Service there is: what else is programmed must go, and
    nothing that was programmed before may be trusted to be there still.
    """

    node: NodeView
    services: Mapping[Key, tuple[ServicePort, ...]] = field(
        default_factory=dict[Key, tuple[ServicePort, ...]]
    )
    whole: bool = False


class Mode(Interface):
    """One way to serve: userspace, nftables, iptables, ipvs. It decides nothing about endpoints."""

    @property
    def name(self) -> str:
        """Return its name, as KubeProxyConfiguration and /proxyMode have it."""
        ...

    @property
    def keeps_source(self) -> bool:
        """Whether endpoints see clients' own addresses, where Kubernetes says that they do.

        Who rewrites packets keeps their sources; only a relay may have to use its own.
        """
        ...

    async def sync(self, order: Order) -> Mapping[Key, str]:
        """Obey *order*; return the Services that cannot be served in full, each with the reason.

        They are tried again later, unless the reason is Unservable.
        One sync at a time. Raises SyncFailed or OSError when nothing could be programmed: the next
        order is then whole. Cancelled in the middle it leaves either the old or the new state.
        """
        ...

    async def intact(self) -> bool:
        """Return whether what was programmed is still there; asked every syncPeriod, so cheap.

        If not, the next order is whole: somebody has flushed the rules. Raises SyncFailed or
        OSError if that cannot be found out now.
        """
        ...

    def connections(self) -> Mapping[tuple[PortName, Protocol, Backend], int]:
        """Return how many connections and UDP flows are open now, per Service port and endpoint."""
        ...

    def listings(self) -> Mapping[str, str]:
        """Return what a tool for this mode would print, by the tool's name; may be empty."""
        ...

    def metrics(self) -> tuple[Metric | Histogram, ...]:
        """Return the figures that only this mode has."""
        ...

    async def close(self, *, cleanup: bool) -> None:
        """Stop serving; with *cleanup* leave nothing programmed, as `kube-proxy --cleanup` does.

        Without it kernel rules stay and serve on while the proxy is away.
        """
        ...
