"""The first look at everything; who waits for it is told when the last key has been through."""

from collections.abc import Callable, Iterable

from podwire.kube.names import Key


class FirstRound:
    """The keys that have not been looked at since `begin`."""

    def __init__(self) -> None:
        self.begun = False
        self._left: set[Key] = set()
        self._done: Callable[[], None] = lambda: None

    def begin(
        self, keys: Iterable[Key], look: Callable[[Key], None], done: Callable[[], None]
    ) -> None:
        """Have all *keys* looked at; *done* is called once, when each of them has been."""
        self.begun, self._left, self._done = True, set(keys), done
        for key in sorted(self._left):
            look(key)
        if not self._left:
            done()

    def through(self, key: Key) -> None:
        """Take note that *key* has been looked at, with success or not."""
        if key in self._left:
            self._left.discard(key)
            if not self._left:
                self._done()
