"""Pure: the schedulers of ip_vs that take turns or count connections, and all of them by name.

They follow net/netfilter/ipvs/ip_vs_*.c of Linux 6. Weights are 1, or 0 for what drains, as
kube-proxy sets them: so the weighted ones differ from the plain ones only in details.
"""

from collections.abc import Callable, Mapping, Sequence

from podwire.proxy.ipvs.destinations import Destination, Oblivious, Packet, Scheduler
from podwire.proxy.ipvs.hashing import DestinationHash, Maglev, SourceHash
from podwire.proxy.ipvs.locality import Locality, ReplicatedLocality


class RoundRobin:
    """rr: the next destination after the last chosen one (ip_vs_rr.c)."""

    def __init__(self) -> None:
        self._last: Destination | None = None

    def choose(self, among: Sequence[Destination], packet: Packet) -> Destination | None:
        """Return the next one of *among* that does not drain."""
        del packet
        chosen = _next(among, self._last)
        if chosen is not None:
            self._last = chosen
        return chosen

    def changed(self, among: Sequence[Destination]) -> None:
        """Stay where it is."""

    def removed(self, gone: Destination, before: Destination | None) -> None:
        """Step back from *gone*, so that its follower is next."""
        if self._last is gone:
            self._last = before


class WeightedRoundRobin(RoundRobin):
    """wrr: as rr with these weights, but each change starts the round anew (ip_vs_wrr.c)."""

    def changed(self, among: Sequence[Destination]) -> None:
        """Start anew."""
        self._last = None

    def removed(self, gone: Destination, before: Destination | None) -> None:
        """Nothing more: `changed` says it too."""


class LeastConnection(Oblivious):
    """lc and wlc: the least overhead; of equals the first (ip_vs_lc.c, ip_vs_wlc.c)."""

    def choose(self, among: Sequence[Destination], packet: Packet) -> Destination | None:
        """Return the one of *among* with the least overhead."""
        del packet
        return min((d for d in among if d.weight), key=lambda d: d.overhead, default=None)


class ShortestDelay(Oblivious):
    """sed and nq: the least number of active connections (ip_vs_sed.c, ip_vs_nq.c).

    sed compares (active + 1) / weight; nq takes the first idle destination before it compares. With
    weights of 1 the first idle one *is* the first with the least: they choose alike.
    """

    def choose(self, among: Sequence[Destination], packet: Packet) -> Destination | None:
        """Return the one of *among* with the fewest active connections."""
        del packet
        return min((d for d in among if d.weight), key=lambda d: d.active + 1, default=None)


SCHEDULERS: Mapping[str, Callable[[], Scheduler]] = {
    "rr": RoundRobin,
    "wrr": WeightedRoundRobin,
    "lc": LeastConnection,
    "wlc": LeastConnection,
    "lblc": Locality,
    "lblcr": ReplicatedLocality,
    "sh": SourceHash,
    "dh": DestinationHash,
    "sed": ShortestDelay,
    "nq": ShortestDelay,
    "mh": Maglev,
}
"""All that KubeProxyConfiguration takes."""


def _next(among: Sequence[Destination], last: Destination | None) -> Destination | None:
    """Return the first one of *among* after *last*, round about, that does not drain."""
    start = 0
    if last is not None:
        start = next((n + 1 for n, each in enumerate(among) if each is last), 0)
    for each in (*among[start:], *among[:start]):
        if each.weight > 0:
            return each
    return None
