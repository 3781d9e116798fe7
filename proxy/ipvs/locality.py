"""Pure: lblc and lblcr, the schedulers of ip_vs that keep to one destination while it is not busy.

They remember by the address that is asked. A virtual server has only one, so a Service stays on one
destination until that has more connections than its weight, 1, while another one is idle. An entry
that was not used for a day is forgotten (the kernel looks every half hour; here it is exact).
"""

from collections.abc import Sequence

from podwire.proxy.ipvs.destinations import Destination, Oblivious, Packet

DAY = 24 * 3600.0
"""Seconds that an entry is kept without use (net.ipv4.vs.lblc_expiration, lblcr_expiration)."""


class Locality(Oblivious):
    """lblc: one destination until it is overloaded (ip_vs_lblc.c)."""

    def __init__(self) -> None:
        self._kept: Destination | None = None
        self._used = 0.0

    def choose(self, among: Sequence[Destination], packet: Packet) -> Destination | None:
        """Return the kept destination, or a new one that is kept from now on."""
        if packet.now - self._used > DAY:
            self._kept = None
        kept = self._kept
        if kept is not None:
            self._used = packet.now
            if kept in among and kept.weight > 0 and not overloaded(kept, among):
                return kept
        chosen = least(among)
        if chosen is not None:
            self._kept, self._used = chosen, packet.now
        return chosen


class ReplicatedLocality(Oblivious):
    """lblcr: a set of destinations that grows when all of it is overloaded (ip_vs_lblcr.c).

    When it has not changed for a day, the one with most connections leaves it.
    """

    def __init__(self) -> None:
        self._set: list[Destination] = []  # the latest first
        self._modified = 0.0
        self._used = 0.0

    def choose(self, among: Sequence[Destination], packet: Packet) -> Destination | None:
        """Return the least loaded destination of the set, which may have grown by it."""
        if packet.now - self._used > DAY:
            self._set.clear()
        self._used = packet.now
        if self._set:
            chosen = least([d for d in self._set if d in among])
            if len(self._set) > 1 and packet.now > self._modified + DAY:
                self._shrink(packet.now)
            if chosen is not None and not overloaded(chosen, among):
                return chosen
        chosen = least(among)
        if chosen is not None and chosen not in self._set:
            self._set.insert(0, chosen)
            self._modified = packet.now
        return chosen

    def _shrink(self, now: float) -> None:
        most = max((d for d in self._set if d.weight), key=lambda d: d.overhead, default=None)
        if most is not None:
            self._set.remove(most)
            self._modified = now


def least(among: Sequence[Destination]) -> Destination | None:
    """Return the first of those of *among* with the least overhead that do not drain."""
    return min((d for d in among if d.weight > 0), key=lambda d: d.overhead, default=None)


def overloaded(destination: Destination, among: Sequence[Destination]) -> bool:
    """Return whether it has more connections than it weighs, while one of *among* has few."""
    return destination.active > destination.weight and any(
        other.active * 2 < other.weight for other in among
    )
