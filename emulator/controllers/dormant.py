"""Controllers of kinds that most clusters never have: they are loaded with the first object."""

import asyncio
from collections.abc import Callable

from podwire.emulator.controllers.context import Controller, ControllerContext
from podwire.kube.objects import Object


class Dormant:
    """Waits for the first object of one of *kinds*, then loads and runs the controller.

    Until then it costs a watch for each kind: no module, and no work at the changes of pods.
    """

    def __init__(
        self,
        context: ControllerContext,
        kinds: tuple[type[Object], ...],
        load: Callable[[ControllerContext], Controller],
    ) -> None:
        self._context = context
        self._load = load
        self._awake = asyncio.Event()
        for kind in kinds:
            context.informers.of(kind).subscribe(self._changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._awake.wait()
        await self._load(self._context).run()

    def _changed(self, old: Object | None, new: Object | None) -> None:
        self._awake.set()
