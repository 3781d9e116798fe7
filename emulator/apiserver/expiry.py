"""Objects that live for some time after they were last written: events (--event-ttl of Kubernetes).

etcd gives each write of an event a lease. Here the order of the writes is kept, so that a sweep
looks only at what is over: the oldest is always in front.
"""

from collections.abc import Callable

from podwire.emulator.apiserver.store import Change, Store
from podwire.kube.names import Key

EVENT_SECONDS = 3600.0


class Expiry:
    """Deletes what was not written for *seconds*; *now* is a clock that never jumps."""

    def __init__(
        self, store: Store, collection: str, seconds: float, now: Callable[[], float]
    ) -> None:
        self._store = store
        self._collection = collection
        self._seconds = seconds
        self._now = now
        # When each object was last written, oldest first.
        self._written = {stored.key: now() for stored in store.all(collection)}
        store.subscribe(collection, self._note)

    def sweep(self) -> int:
        """Delete what is over; watches see it as DELETED. Return how many that were."""
        last = self._now() - self._seconds
        over: list[Key] = []
        for key, at in self._written.items():
            if at > last:
                break
            over.append(key)
        for key in over:
            self._store.remove(self._collection, key)
        return len(over)

    def _note(self, change: Change) -> None:
        self._written.pop(change.now.key, None)
        if change.type != "DELETED":
            self._written[change.now.key] = self._now()
