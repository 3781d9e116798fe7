"""A view of an informer's copy by a value of its objects: nobody has to walk through all."""

from collections.abc import Callable, Hashable, Iterable
from typing import Generic

from podwire.kube.codec import key_of
from podwire.kube.informer import Informer
from podwire.kube.names import Key
from podwire.kube.objects import T


class Index(Generic[T]):
    """The objects of an informer under each of their *values*; as fresh as the informer.

    Make it before other subscribers that read it: subscribers are called in order.
    """

    def __init__(self, informer: Informer[T], values: Callable[[T], Iterable[Hashable]]) -> None:
        self._values = values
        self._objects: dict[Hashable, dict[Key, T]] = {}
        informer.subscribe(self._changed)

    def get(self, value: Hashable) -> tuple[T, ...]:
        """Return the objects that have *value*."""
        return tuple(self._objects.get(value, {}).values())

    def _changed(self, old: T | None, new: T | None) -> None:
        if old is not None:
            for value in self._values(old):
                under = self._objects.get(value, {})
                under.pop(key_of(old), None)
                if not under:
                    self._objects.pop(value, None)
        if new is not None:
            for value in self._values(new):
                self._objects.setdefault(value, {})[key_of(new)] = new
