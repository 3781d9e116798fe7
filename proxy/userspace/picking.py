"""Who chooses the backend of a new connection instead of the relay's own dice."""

from collections.abc import Sequence
from typing import Protocol

from podwire.proxy.endpoints import Backend
from podwire.proxy.userspace.borrowing import Address
from podwire.proxy.userspace.routes import Frontend


class Picker(Protocol):
    """Chooses for every frontend, session affinity included, and hears how long it lasts."""

    def pick(self, frontend: Frontend, client: Address, tried: Sequence[Backend]) -> Backend | None:
        """Return the backend for *client*; those *tried* have not answered. None: no other."""
        ...

    def counted(self, frontend: Frontend, backend: Backend, change: int) -> None:
        """Hear that a connection or flow to *backend* has begun (1) or is over (-1)."""
        ...
