"""Pure: objects by key, one counter of revisions, and the changes that watches replay.

Each object is kept with its encoded bytes, so that a list and the fan-out of a watch are joins and
no encoding. What the store hands out is shared: change a `copy()`, never `object`.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from podwire.kube.names import Key

Json = dict[str, Any]
ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]

HISTORY = 16_384
"""How many changes are remembered; a watch from before the oldest must list again."""
LARGEST_HISTORY = 128 * 1024 * 1024
"""Bytes of the states in the history: of large objects fewer changes are remembered."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Json).decode


class TooOld(Exception):
    """A revision from before the remembered history; *oldest* is the first that is known."""

    def __init__(self, oldest: int) -> None:
        super().__init__(oldest)
        self.oldest = oldest


class Stored:
    """One state of one object."""

    __slots__ = ("_object", "encoded", "key", "revision")

    def __init__(self, key: Key, obj: Json, revision: int) -> None:
        self.key = key
        self.revision = revision
        self.encoded: bytes = _encode(obj)
        self._object: Json | None = obj

    @property
    def object(self) -> Json:
        """Return the object, shared: never change it."""
        return _decode(self.encoded) if self._object is None else self._object

    def copy(self) -> Json:
        """Return the object as the caller's own."""
        return _decode(self.encoded)

    def release(self) -> None:
        """Keep the bytes only: a superseded state is read again seldom, and there are many."""
        self._object = None


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one object at one revision."""

    revision: int
    type: ChangeType
    collection: str
    now: Stored
    """The new state; of a deletion the last state, with the deletion's revision."""
    before: Stored | None
    rendered: dict[object, bytes] = field(default_factory=dict[object, bytes], compare=False)
    """Lines that one watch has rendered and others may send too, by their form."""


class _Collection:
    """The objects of one kind, in the order of namespace and name."""

    __slots__ = ("keys", "objects", "subscribers")

    def __init__(self) -> None:
        self.objects: dict[Key, Stored] = {}
        self.keys: list[Key] = []
        self.subscribers: dict[int, Callable[[Change], None]] = {}


_NONE = _Collection()


class Store:
    """All objects of a cluster. Synchronous: a caller sees each write whole or not at all."""

    def __init__(self, history: int = HISTORY, largest_history: int = LARGEST_HISTORY) -> None:
        self.revision = 1
        self._collections: dict[str, _Collection] = {}
        self._history: deque[Change] = deque()
        self._most = history
        self._size = 0
        self._largest = largest_history
        self._forgotten = 0
        self._subscriptions = 0
        self._followers: list[Callable[[Change], None]] = []

    def get(self, collection: str, key: Key) -> Stored | None:
        """Return the present state of an object, or None."""
        return self._of(collection).objects.get(key)

    def all(self, collection: str, namespace: str = "") -> list[Stored]:
        """Return all objects, or those of a namespace, ordered by namespace and name."""
        found = self._of(collection)
        keys = found.keys
        if namespace:
            start = bisect_left(keys, Key(namespace, ""))
            end = bisect_left(keys, Key(namespace + "\0", ""))
            keys = keys[start:end]
        return [found.objects[key] for key in keys]

    def count(self, collection: str) -> int:
        """Return how many objects there are."""
        return len(self._of(collection).keys)

    def put(self, collection: str, key: Key, obj: Json) -> Stored:
        """Create or replace; takes *obj* over and writes its resourceVersion."""
        found = self._made(collection)
        before = found.objects.get(key)
        self.revision += 1
        obj["metadata"]["resourceVersion"] = str(self.revision)
        now = Stored(key, obj, self.revision)
        found.objects[key] = now
        if before is None:
            insort(found.keys, key)
        self._tell(found, "MODIFIED" if before else "ADDED", collection, now, before)
        return now

    def remove(self, collection: str, key: Key, last: Json | None = None) -> Stored:
        """Delete; return the last state with the deletion's revision. Raises KeyError.

        *last* is the last state if the write that deletes also changed the object (the removal of
        its last finalizer); it is taken over.
        """
        found = self._of(collection)
        before = found.objects.pop(key)
        del found.keys[bisect_left(found.keys, key)]
        self.revision += 1
        obj = before.copy() if last is None else last
        obj["metadata"]["resourceVersion"] = str(self.revision)
        now = Stored(key, obj, self.revision)
        self._tell(found, "DELETED", collection, now, before)
        now.release()
        self._tidy(collection)
        return now

    def since(self, collection: str, revision: int) -> list[Change]:
        """Return the changes after *revision*, oldest first; raises TooOld."""
        if revision < self._forgotten:
            raise TooOld(self._forgotten)
        return [change for change in self._after(revision) if change.collection == collection]

    def at(self, collection: str, revision: int, namespace: str = "") -> list[Stored]:
        """Return the list as it was at *revision*; raises TooOld."""
        changes = self.since(collection, revision)
        if not changes:
            return self.all(collection, namespace)
        past = {stored.key: stored for stored in self.all(collection)}
        for change in reversed(changes):
            if change.before is None:
                past.pop(change.now.key, None)
            else:
                past[change.now.key] = change.before
        keys: Iterable[Key] = sorted(past)
        return [past[key] for key in keys if not namespace or key.namespace == namespace]

    def subscribe(self, collection: str, tell: Callable[[Change], None]) -> Callable[[], None]:
        """Call *tell* at each change from now on, within the write; return how to stop that."""
        subscribers = self._made(collection).subscribers
        self._subscriptions += 1
        number = self._subscriptions
        subscribers[number] = tell

        def stop() -> None:
            subscribers.pop(number, None)
            self._tidy(collection)

        return stop

    def subscriptions(self, collection: str) -> int:
        """Return how many are told of the changes of a kind."""
        return len(self._of(collection).subscribers)

    def follow(self, tell: Callable[[Change], None]) -> None:
        """Call *tell* at each change of any kind from now on, before the subscribers hear of it."""
        self._followers.append(tell)

    def restore(self, objects: Iterable[tuple[str, Key, Json]], revision: int) -> None:
        """Fill an empty store with *objects* as an earlier one had them at *revision*.

        Nobody is told. Watches that began with the earlier store must list again: what it
        remembered is lost, and so may objects be that were not worth keeping.
        """
        for collection, key, obj in objects:
            found = self._made(collection)
            found.objects[key] = Stored(key, obj, int(obj["metadata"]["resourceVersion"]))
        for found in self._collections.values():
            found.keys = sorted(found.objects)
        self.revision = self._forgotten = revision + 1

    def everything(self) -> Iterator[tuple[str, Stored]]:
        """Yield the present state of all objects, each with its collection."""
        for name, found in tuple(self._collections.items()):
            for key in found.keys:
                yield name, found.objects[key]

    def _of(self, collection: str) -> _Collection:
        """Return the objects of a kind to read them."""
        return self._collections.get(collection, _NONE)

    def _made(self, collection: str) -> _Collection:
        """Return the objects of a kind to change them."""
        found = self._collections.get(collection)
        if found is None:
            found = self._collections[collection] = _Collection()
        return found

    def _tidy(self, collection: str) -> None:
        """Forget a kind of which nothing is left: those of operators come and go."""
        found = self._of(collection)
        if not found.keys and not found.subscribers:
            self._collections.pop(collection, None)

    def _after(self, revision: int) -> list[Change]:
        newer: list[Change] = []
        for change in reversed(self._history):
            if change.revision <= revision:
                break
            newer.append(change)
        newer.reverse()
        return newer

    def _tell(
        self,
        found: _Collection,
        type_: ChangeType,
        collection: str,
        now: Stored,
        before: Stored | None,
    ) -> None:
        change = Change(self.revision, type_, collection, now, before)
        self._remember(change)
        for follow in self._followers:
            follow(change)
        for tell in tuple(found.subscribers.values()):
            tell(change)
        change.rendered.clear()  # the history keeps states, not what became of them
        if before is not None:
            before.release()

    def _remember(self, change: Change) -> None:
        """Add to the history; the newest change stays there, however large it is."""
        history = self._history
        self._size += len(change.now.encoded)
        while history and (len(history) >= self._most or self._size > self._largest):
            oldest = history.popleft()
            self._size -= len(oldest.now.encoded)
            self._forgotten = oldest.revision
        history.append(change)
