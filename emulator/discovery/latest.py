"""An informer's copy with our own writes over it, until the watch has caught up with them."""

from collections.abc import Callable
from typing import Generic

from podwire.kube.codec import key_of
from podwire.kube.informer import Informer
from podwire.kube.names import Key
from podwire.kube.objects import T


class Latest(Generic[T]):
    """What is known of the objects of a kind; *changed* is called for each change of the copy."""

    def __init__(self, informer: Informer[T], changed: Callable[[T | None, T | None], None]):
        self._informer = informer
        self._changed = changed
        self._written: dict[Key, T] = {}
        # The uid of what we deleted.
        self._removed: dict[Key, str] = {}

    def follow(self) -> None:
        """Call *changed* for each known object now, and for each change from now on."""
        self._informer.subscribe(self._saw)

    def get(self, key: Key) -> T | None:
        """Return the object, None if there is none."""
        seen, written = self._informer.get(key), self._written.get(key)
        newest = written if seen is None or _newer(written, seen) else seen
        if newest is not None and newest.metadata.uid == self._removed.get(key):
            return None
        return newest

    def wrote(self, obj: T) -> None:
        """Note the server's answer to a write."""
        if _newer(obj, self._informer.get(key_of(obj))):
            self._written[key_of(obj)] = obj

    def removed(self, obj: T) -> None:
        """Note that *obj* was deleted, or was found to be gone."""
        key = key_of(obj)
        self._written.pop(key, None)
        seen = self._informer.get(key)
        if seen is not None and seen.metadata.uid == obj.metadata.uid:
            self._removed[key] = obj.metadata.uid

    def _saw(self, old: T | None, new: T | None) -> None:
        obj = new or old
        if obj is None:
            return
        key, written = key_of(obj), self._written.get(key_of(obj))
        if written is not None and (
            (new is None and written.metadata.uid == obj.metadata.uid)
            or (new is not None and not _newer(written, new))
        ):
            del self._written[key]
        if new is None or new.metadata.uid != self._removed.get(key):
            self._removed.pop(key, None)
        self._changed(old, new)


def _newer(one: T | None, other: T | None) -> bool:
    """Tell whether *one* is of a later revision (they can be compared: KEP-5504)."""
    if one is None or other is None:
        return other is None
    return int(one.metadata.resource_version or 0) > int(other.metadata.resource_version or 0)
