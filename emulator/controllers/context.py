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
        """Tell whether objects may be made in *namespace*: it is not known to be terminating."""
        found = self.informers.of(Namespace).get(Key("", namespace))
        # Unknown means that its event is still on its way, behind those of what is in it; nobody
        # would wake the controller up again, so it tries, and the API server has the last word.
        return found is None or found.metadata.deletion_timestamp is None

    async def serve(self, *runs: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run the loops of a controller until cancelled, from the first whole copies on."""
        await self.informers.synced()
        async with asyncio.TaskGroup() as tasks:
            for run in runs:
                tasks.create_task(run())
