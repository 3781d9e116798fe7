"""Kinds without a view here, custom resources among them: followed by their metadata.

They are followed a moment after the start, and again whenever a CustomResourceDefinition changes.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import cast

import msgspec

from podwire.emulator.controllers.context import ControllerContext
from podwire.emulator.controllers.deletion.contents import collectable_resources
from podwire.errors import ApiError, UnreachableError
from podwire.kube.informer import Informer
from podwire.kube.objects import KINDS, Event, Object, Resource

log = logging.getLogger(__name__)

Changed = Callable[[Object | None, Object | None], None]

# Nobody waits for them in the first second, which is full of other work.
_AFTER_START = 1.0
# A definition is written several times when it is made: names accepted, established.
_SETTLED = 0.05
_AGAIN = 1.0

_DEFINITIONS = ("apiextensions.k8s.io", "CustomResourceDefinition")


class FollowedKinds:
    """Calls *changed* for every change of an object of those kinds.

    *kinds* are all that are known, by group and kind, those with views too; *news* is called when
    there are others. When a kind is no longer served, its objects are reported as gone.
    """

    def __init__(
        self, context: ControllerContext, changed: Changed, news: Callable[[], None]
    ) -> None:
        self._context = context
        self._changed = changed
        self._news = news
        self._wake = asyncio.Event()
        self._running: dict[Resource, tuple[Informer[Object], asyncio.Task[None]]] = {}
        self.kinds = {(k.RESOURCE.group, k.RESOURCE.kind): k for k in KINDS if k is not Event}
        self._viewed = frozenset(self.kinds) | {("", "Event")}

    async def run(self) -> None:
        """Work until cancelled."""
        await asyncio.sleep(_AFTER_START)
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                try:
                    served = await collectable_resources(self._context.client)
                except (ApiError, UnreachableError) as error:
                    log.info("discovery for the garbage collector: %s", error)
                    await asyncio.sleep(_AGAIN)
                    continue
                self._follow(tasks, {r for r in served if (r.group, r.kind) not in self._viewed})
                await self._wake.wait()
                await asyncio.sleep(_SETTLED)

    def _follow(self, tasks: asyncio.TaskGroup, served: set[Resource]) -> None:
        if served == set(self._running):
            return
        for resource in set(self._running) - served:
            informer, task = self._running.pop(resource)
            task.cancel()
            del self.kinds[resource.group, resource.kind]
            for obj in informer.all():
                self._changed(obj, None)
        for resource in served - set(self._running):
            kind = metadata_of(resource)
            informer = Informer(self._context.client, kind)
            informer.subscribe(self._changed)
            if (resource.group, resource.kind) == _DEFINITIONS:
                informer.subscribe(lambda _old, _new: self._wake.set())
            task = tasks.create_task(informer.run(), name=f"garbage {resource.plural}")
            self._running[resource] = informer, task
            self.kinds[resource.group, resource.kind] = kind
        self._news()


def metadata_of(resource: Resource) -> type[Object]:
    """Return a view of the metadata of a kind that is known by discovery only."""
    made = msgspec.defstruct(
        resource.kind, [], bases=(Object,), namespace={"RESOURCE": resource}, frozen=True
    )
    return cast("type[Object]", made)
