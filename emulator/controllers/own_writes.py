"""What a controller wrote and its informer has not shown yet, laid over the informer's copy.

So the next pass can start at once, from the truth, instead of waiting for the watch.
"""

from collections.abc import Iterable
from typing import Generic

from podwire.kube.codec import key_of
from podwire.kube.informer import Informer
from podwire.kube.names import Key
from podwire.kube.objects import Object, T


class OwnWrites(Generic[T]):
    """Objects by *group* (the key of what they are made for), as we last wrote them."""

    def __init__(self, informer: Informer[T]) -> None:
        self._informer = informer
        self._written: dict[Key, dict[Key, T | None]] = {}
        self._groups: dict[Key, Key] = {}

    def wrote(self, group: Key, obj: T) -> None:
        """Note the server's answer to a create or an update."""
        seen = self._informer.get(key_of(obj))
        if seen is None or _revision(seen) < _revision(obj):
            self._keep(group, key_of(obj), obj)

    def deleted(self, group: Key, key: Key) -> None:
        """Note that a delete succeeded."""
        if self._informer.get(key) is not None:
            self._keep(group, key, None)

    def saw(self, old: T | None, new: T | None) -> bool:
        """Take note of a change that the informer reports; tell whether it is somebody else's."""
        obj = new or old
        if obj is None:
            return False
        group = self._groups.get(key_of(obj))
        if group is None:
            # Our write may be seen before its answer: then it is taken for another's, and the pass
            # that follows finds nothing to do.
            return True
        written = self._written[group][key_of(obj)]
        if new is None:
            self._drop(key_of(obj))
            return written is not None
        if written is None:
            return False
        if _revision(new) >= _revision(written):
            self._drop(key_of(obj))
        return _revision(new) > _revision(written)

    def forget(self, group: Key) -> None:
        """Trust the informer alone: a write was refused, so what we remember is wrong."""
        for key in tuple(self._written.get(group, ())):
            self._drop(key)

    def over(self, group: Key, seen: Iterable[T]) -> tuple[T, ...]:
        """Return the objects of *group*: those the informer has *seen*, and ours over them."""
        merged: dict[Key, T | None] = {key_of(obj): obj for obj in seen}
        merged.update(self._written.get(group, {}))
        return tuple(obj for obj in merged.values() if obj is not None)

    def _keep(self, group: Key, key: Key, obj: T | None) -> None:
        self._written.setdefault(group, {})[key] = obj
        self._groups[key] = group

    def _drop(self, key: Key) -> None:
        group = self._groups.pop(key)
        self._written[group].pop(key)
        if not self._written[group]:
            del self._written[group]


def newer(seen: T, written: T | None) -> T:
    """Return *written*, our own last write, if it is of the same object and after *seen*."""
    if written is None or written.metadata.uid != seen.metadata.uid:
        return seen
    return written if _revision(written) > _revision(seen) else seen


def _revision(obj: Object) -> int:
    # Kubernetes promises since 1.35 that revisions of one kind can be compared (KEP-5504).
    return int(obj.metadata.resource_version or "0")
