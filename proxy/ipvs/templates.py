"""Pure: the persistence of one virtual server: which destination each client address got last.

ip_vs calls such an entry a template. Each new connection of the client renews it. A template whose
destination has gone or drains counts for nothing (net.ipv4.vs.expire_quiescent_template=1), and the
scheduler is asked again. The kernel keeps a template also while its connections are open; here it
is the time since the latest new one that counts.
"""

from collections.abc import Collection
from ipaddress import IPv4Address

from podwire.proxy.ipvs.destinations import Destination


class Templates:
    """The templates of one virtual server. All live equally long, so the oldest is in front."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._kept: dict[IPv4Address, tuple[Destination, float]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def destination_of(
        self, client: IPv4Address, among: Collection[Destination], *, now: float
    ) -> Destination | None:
        """Return what *client* got last, if that is one of *among* and does not drain."""
        while self._kept:
            oldest, (_, until) = next(iter(self._kept.items()))
            if until > now:
                break
            del self._kept[oldest]
        found = self._kept.get(client)
        if found is None or not found[0].weight or found[0] not in among:
            return None
        return found[0]

    def keep(self, client: IPv4Address, destination: Destination, *, now: float) -> None:
        """Note that *client* has got *destination* at *now*."""
        self._kept.pop(client, None)
        self._kept[client] = (destination, now + self.seconds)
