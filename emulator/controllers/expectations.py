"""What a controller wrote and its informer has not shown yet; till then it must not count again."""

from podwire.kube.clock import Clock
from podwire.kube.codec import key_of
from podwire.kube.names import Key
from podwire.kube.objects import Object

# As in Kubernetes: after this long a missing event is taken for lost.
PATIENCE = 300.0


class Expectations:
    """Per owner: the names that it created and the uids that it deleted, until they are seen."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._creations: dict[Key, Key] = {}
        self._deletions: dict[str, Key] = {}
        self._pending: dict[Key, dict[Key | str, float]] = {}

    def create(self, owner: Key, name: Key) -> None:
        """Expect to see *name*. Call it before the write: the event may overtake the answer."""
        self._creations[name] = owner
        self._pending.setdefault(owner, {})[name] = self._clock.monotonic()

    def delete(self, owner: Key, uid: str) -> None:
        """Expect to see *uid* terminating or gone. Call it before the write."""
        self._deletions[uid] = owner
        self._pending.setdefault(owner, {})[uid] = self._clock.monotonic()

    def saw(self, old: Object | None, new: Object | None) -> None:
        """Take note of a change that the informer reports."""
        obj = new or old
        if obj is None:
            return
        self.forget(key_of(obj))
        # After a gap in the watch one change may show another object of the same name.
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self.forget(old.metadata.uid)
        if new is not None and new.metadata.deletion_timestamp is not None:
            self.forget(new.metadata.uid)

    def forget(self, what: Key | str) -> None:
        """Stop expecting a name or uid: it was seen, or its write was refused."""
        owner = (
            self._creations.pop(what, None)
            if isinstance(what, Key)
            else self._deletions.pop(what, None)
        )
        if owner is None:
            return
        pending = self._pending.get(owner, {})
        pending.pop(what, None)
        if not pending:
            self._pending.pop(owner, None)

    def missing(self, owner: Key) -> float | None:
        """Return None if all was seen, else how many seconds the owner should wait at most."""
        oldest = min(self._pending.get(owner, {}).values(), default=None)
        if oldest is None:
            return None
        left = oldest + PATIENCE - self._clock.monotonic()
        if left > 0:
            return left
        for what in tuple(self._pending.get(owner, {})):
            self.forget(what)
        return None
