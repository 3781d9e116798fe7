"""The Protocol of what knows images: what an image runs, whether it is made up or pulled."""

from collections.abc import Callable
from typing import Protocol

from podwire.emulator.images.catalogue import Image

# Takes the reason and the message of a Normal event: Pulling, Pulled.
Tell = Callable[[str, str], None]


class Images(Protocol):
    """What images there are for the pods of a node."""

    async def image(self, name: str, pull_policy: str, tell: Tell) -> Image:
        """Return what an image runs, once it is there; raises ImageError.

        *pull_policy* is Always, IfNotPresent or Never; empty means IfNotPresent.
        """
        ...
