"""Tells thousands of sockets of one thread when they can be read or written, with few system calls.

An epoll of our own, which the event loop watches as one file. For each socket the loop's own
add_reader makes a handle and asks the kernel six times; a relayed connection has two sockets, and
many live only for milliseconds.
"""

import asyncio
import select
from collections.abc import Callable

Call = Callable[[], None]

_AT_ONCE = 256
_READ = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR
_WRITE = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR
_OVER = select.EPOLLHUP | select.EPOLLERR


class _Watched:
    """What to call for one socket."""

    __slots__ = ("over", "read", "write")

    def __init__(self) -> None:
        self.read: Call | None = None
        self.write: Call | None = None
        self.over: Call | None = None


class Readiness:
    """Calls what was added for a file while it is ready; level-triggered, as the loop's are."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._watched: dict[int, _Watched] = {}
        loop.add_reader(self._epoll.fileno(), self._ready)

    def __len__(self) -> int:
        return len(self._watched)

    def add_reader(self, fd: int, call: Call) -> None:
        """Call *call* whenever *fd* can be read, or its connection is over."""
        watched = self._watched.get(fd)
        if watched is None:
            watched = self._watched[fd] = _Watched()
            self._epoll.register(fd, select.EPOLLIN)
        elif watched.read is None:
            self._epoll.modify(fd, select.EPOLLIN | (select.EPOLLOUT if watched.write else 0))
        watched.read = call

    def add_writer(self, fd: int, call: Call) -> None:
        """Call *call* whenever *fd* can be written, or its connection is over."""
        watched = self._watched.get(fd)
        if watched is None:
            watched = self._watched[fd] = _Watched()
            self._epoll.register(fd, select.EPOLLOUT)
        elif watched.write is None:
            self._epoll.modify(fd, select.EPOLLOUT | (select.EPOLLIN if watched.read else 0))
        watched.write = call

    def read_no_more(self, fd: int, over: Call) -> None:
        """Call no more when *fd* can be read, for it has ended; call *over* when it is reset.

        That its peer sends no more is not told again.
        """
        watched = self._watched.get(fd)
        if watched is None:
            watched = self._watched[fd] = _Watched()
            self._epoll.register(fd, 0)
        watched.over = over
        watched.read = None
        self._fewer(fd, watched)

    def remove_reader(self, fd: int) -> None:
        """Call no more when *fd* can be read."""
        watched = self._watched.get(fd)
        if watched is None or watched.read is None:
            return
        watched.read = None
        self._fewer(fd, watched)

    def remove_writer(self, fd: int) -> None:
        """Call no more when *fd* can be written."""
        watched = self._watched.get(fd)
        if watched is None or watched.write is None:
            return
        watched.write = None
        self._fewer(fd, watched)

    def forget(self, fd: int) -> None:
        """Call nothing more for *fd*, which is closed right after: so the kernel forgets it too."""
        watched = self._watched.pop(fd, None)
        if watched is not None:
            watched.read = watched.write = watched.over = None

    def close(self) -> None:
        """Call nothing more at all."""
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._watched.clear()

    def _fewer(self, fd: int, watched: _Watched) -> None:
        if watched.read is not None:
            self._epoll.modify(fd, select.EPOLLIN)
        elif watched.write is not None:
            self._epoll.modify(fd, select.EPOLLOUT)
        elif watched.over is not None:
            self._epoll.modify(fd, 0)
        else:
            # Not an empty mask: errors and hang-ups would be told again and again.
            del self._watched[fd]
            self._epoll.unregister(fd)

    def _ready(self) -> None:
        # All are looked up first. A number may pass from a closed socket to a new one meanwhile,
        # and what was heard of the one must not be told to the other.
        find = self._watched.get
        events = [(find(fd), event) for fd, event in self._epoll.poll(0, _AT_ONCE)]
        for watched, event in events:
            if watched is None:
                continue
            if event & _READ and watched.read is not None:
                watched.read()
            if event & _WRITE and watched.write is not None:
                watched.write()
            if event & _OVER and watched.over is not None:
                watched.over()
