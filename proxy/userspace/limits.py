"""How many files, so connections, this process may have open; what is said when it has no more."""

import asyncio
import errno
import logging
import os
import resource
from collections.abc import Callable

log = logging.getLogger(__name__)

NO_MORE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors that say that the machine or our limit of files is exhausted, not that a peer is bad."""

_OTHERS = 256  # listeners, pipes, the connection to the API server

_KEPT = 64
"""Files that no listener may have: one more Service must not end the connections of all others."""

_EPISODE = 10.0
"""Seconds without a lack after which the next one is said again."""


def raise_file_limit() -> int:
    """Raise the soft limit of open files to the hard one; return how many sockets that leaves."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(hard - _OTHERS, hard // 2)


def check_room(listener: int) -> None:
    """Raise OSError if the new file *listener* is one of those that are kept for connections."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    kept = min(_KEPT, most // 2)
    # The kernel gives the lowest number that is free.
    if most != resource.RLIM_INFINITY and listener >= most - kept:
        why = f"{os.strerror(errno.EMFILE)}: the last {kept} of {most} are for connections"
        raise OSError(errno.EMFILE, why)


_RELIEF = 0.05
"""Seconds between two times that files are asked back."""


class Scarcity:
    """Says that new clients must wait: once, however many there are; and asks for files back.

    *relief* gives back files that are of little use.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.relief: Callable[[], None] | None = None
        self._last = self._relieved = float("-inf")

    def met(self, error: OSError) -> None:
        """Take note that *error*, one of NO_MORE, was met."""
        self.say(str(error))
        now = self._loop.time()
        if self.relief is not None and now - self._relieved > _RELIEF:
            self._relieved = now
            self.relief()

    def say(self, why: str) -> None:
        """Say *why* clients wait, unless that was said and they have waited since."""
        now = self._loop.time()
        if now - self._last > _EPISODE:
            log.warning("clients wait to be accepted until others end: %s", why)
        self._last = now
