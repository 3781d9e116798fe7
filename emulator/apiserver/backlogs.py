"""Pure: how far clients may lag behind with reading: each alone, and all of them together.

Kubernetes cuts a watcher off when a few hundred events wait for it (storage/cacher). Here the bytes
count, since these are what fills the memory: a thousand watchers of large objects that stop to read
must not take more than one has a right to.
"""

from typing import Protocol

LARGEST = 32 * 1024 * 1024
"""Bytes by which one client may lag behind."""
TOGETHER = 256 * 1024 * 1024
"""Bytes by which all may; if it is more, each may have its fair share."""


class Client(Protocol):
    """A connection, as far as it matters here."""

    def get_write_buffer_size(self) -> int:
        """Return how many bytes the client has still to read."""
        ...


class Backlogs:
    """What the clients of a server have still to read."""

    def __init__(self, together: int = TOGETHER) -> None:
        self._together = together
        self._unread: dict[Client, int] = {}
        self._sum = 0

    def expect(self, client: Client, size: int) -> None:
        """Count *size* bytes that are about to be written to *client*, until it is forgotten."""
        self._sum += size - self._unread.pop(client, 0)
        if size:
            self._unread[client] = size

    def forget(self, client: Client) -> None:
        """Count *client* no more: it has got all, or it is gone."""
        self.expect(client, 0)

    def bears(self, client: Client, opening: int = 0) -> bool:
        """Tell whether *client* may get more although it has not read all.

        *opening*: bytes with which its answer began; a long list is no lag.
        """
        unread = client.get_write_buffer_size()
        self.expect(client, unread)
        if unread > LARGEST + opening:
            return False
        return self.have_room() or unread <= self._together // len(self._unread)

    def have_room(self) -> bool:
        """Tell whether all together have still to read less than they may."""
        if self._sum > self._together:
            # Who reads without being written to is known by asking only.
            for client in tuple(self._unread):
                self.expect(client, client.get_write_buffer_size())
        return self._sum <= self._together
