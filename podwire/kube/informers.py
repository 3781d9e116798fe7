"""One informer per kind, shared by everything in a process."""

import asyncio
from typing import Any, cast

from podwire.kube.client import Client
from podwire.kube.informer import Informer
from podwire.kube.objects import Object, T


class Informers:
    """Makes informers on demand, and runs them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._informers: dict[type[Object], Informer[Any]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def of(self, kind: type[T]) -> Informer[T]:
        """Return the informer of all objects of *kind*; it starts at once if we are running."""
        if kind not in self._informers:
            informer = Informer(self._client, kind)
            self._informers[kind] = informer
            if self._tasks is not None:
                self._tasks.create_task(informer.run(), name=f"informer {kind.__name__}")
        return cast(Informer[T], self._informers[kind])

    async def synced(self) -> None:
        """Wait until every informer asked for so far has its first whole copy."""
        for informer in tuple(self._informers.values()):
            await informer.synced.wait()

    async def run(self) -> None:
        """Run all informers until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for kind, informer in self._informers.items():
                tasks.create_task(informer.run(), name=f"informer {kind.__name__}")
            # The group must stay open for informers that are asked for later.
            await asyncio.Event().wait()
