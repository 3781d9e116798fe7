"""Pure: the next backend for a new connection, and the memory of session affinity."""

from collections.abc import Collection, Sequence
from typing import Final

from podwire.proxy.endpoints import Backend

_THROWS = 2  # a float has the bits for them, and for one more


class Affinity:
    """Which backend each client address last got, for one Service port (sessionAffinity ClientIP).

    Each new connection renews the client's time; packets of an open one do not. Entries all live
    equally long, so the oldest is always in front and forgetting costs nothing.
    """

    __slots__ = ("__weakref__", "_remembered", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds: Final = seconds
        self._remembered: dict[str, tuple[Backend, float]] = {}

    def __len__(self) -> int:
        return len(self._remembered)

    def backend_of(self, client: str, *, now: float) -> Backend | None:
        """Return what *client* got last, None when that is too long ago."""
        self._forget(now)
        remembered = self._remembered.get(client)
        return remembered[0] if remembered else None

    def remember(self, client: str, backend: Backend, *, now: float) -> None:
        """Note that *client* has got *backend* at *now*."""
        self._remembered.pop(client, None)
        self._remembered[client] = (backend, now + self.seconds)

    def _forget(self, now: float) -> None:
        while self._remembered:
            client, (_, until) = next(iter(self._remembered.items()))
            if until > now:
                return
            del self._remembered[client]


def pick(
    backends: Sequence[Backend],
    *,
    chance: float,
    tried: Collection[Backend] = (),
) -> Backend | None:
    """Return one of *backends* that was not *tried* yet, uniformly by *chance* in [0, 1).

    None when all were tried or there is none.
    """
    # Among thousands most throws hit one that was not tried: to look at all of them each time would
    # take seconds. What a throw leaves of *chance* is as even as it was.
    for _ in range(_THROWS if tried and backends else 0):
        chance *= len(backends)
        thrown = int(chance)
        if backends[thrown] not in tried:
            return backends[thrown]
        chance -= thrown
    left = [b for b in backends if b not in tried] if tried else backends
    return left[int(chance * len(left))] if left else None


def pick_for(
    client: str,
    backends: Sequence[Backend],
    affinity: Affinity,
    *,
    now: float,
    chance: float,
    tried: Collection[Backend] = (),
) -> Backend | None:
    """Return the backend *client* had, if it is still among *backends*, else a new one.

    The answer is remembered. A backend that was *tried* in vain is not kept.
    """
    known = affinity.backend_of(client, now=now)
    if known is None or known in tried or known not in backends:
        known = pick(backends, chance=chance, tried=tried)
    if known is not None:
        affinity.remember(client, known, now=now)
    return known
