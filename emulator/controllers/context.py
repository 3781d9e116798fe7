"""What every controller is given, and how it is run."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from podwire.kube.client import Client
from podwire.kube.clock import Clock
from podwire.kube.events import EventRecorder
from podwire.kube.informers import Informers
from podwire.kube.names import Key
from podwire.kube.objects import Namespace


class Controller(Protocol):
    """Something that keeps a part of the cluster as it should be."""

    async def run(self) -> None:
        """Work until cancelled."""
        ...


@dataclass(frozen=True)
class ControllerContext:
    """The API server, the shared informers, time and chance."""

    client: Client
    informers: Informers
    clock: Clock
    rng: random.Random

    def recorder(self, component: str) -> EventRecorder:
        """Return a recorder of events for one controller; it must be run."""
        return EventRecorder(self.client, self.clock, component)

    def accepts_objects(self, namespace: str) -> bool:
        """Tell whether new objects may be made in *namespace*: it exists and is not terminating."""
        found = self.informers.of(Namespace).get(Key("", namespace))
        return found is not None and found.metadata.deletion_timestamp is None

    async def serve(self, *runs: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run the loops of a controller until cancelled, from the first whole copies on."""
        await self.informers.synced()
        async with asyncio.TaskGroup() as tasks:
            for run in runs:
                tasks.create_task(run())
