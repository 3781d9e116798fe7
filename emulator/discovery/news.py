"""Pure: what was heard of containers while the engine was asked about them."""

from collections.abc import Collection
from itertools import count


class News:
    """Tells whether an answer about a container is older than what was heard of it since.

    It remembers containers that were heard of, or asked for, and not yet forgotten.
    """

    def __init__(self) -> None:
        # No number comes twice: who asked before a container was forgotten is not taken in.
        self._serial = count(1)
        self._last: dict[str, int] = {}

    def __len__(self) -> int:
        """Return how many containers are remembered."""
        return len(self._last)

    def heard(self, id_: str) -> None:
        """Note that something happened to a container: answers that are under way are too old."""
        self._last[id_] = next(self._serial)

    def asked(self, id_: str) -> int:
        """Return what `silent_since` takes, before the engine is asked."""
        if id_ not in self._last:
            self.heard(id_)
        return self._last[id_]

    def silent_since(self, id_: str, asked: int) -> bool:
        """Tell whether nothing was heard of a container since *asked*."""
        return self._last.get(id_) == asked

    def forget(self, id_: str) -> None:
        """Note that a container is gone."""
        self._last.pop(id_, None)

    def all_of(self, ids: Collection[str]) -> None:
        """Note that *ids* are all there is, and that something was heard of each."""
        self._last = {id_: next(self._serial) for id_ in ids}
