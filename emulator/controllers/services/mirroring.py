"""Endpoints written by hand, for Services without selector -> EndpointSlices that mirror them.

What the slices shall hold is decided in mirror_plan.py, how to get there in slicing.py.
"""

from podwire.emulator.controllers.context import ControllerContext
from podwire.emulator.controllers.own_writes import OwnWrites
from podwire.emulator.controllers.services.mirror_plan import (
    CONTROLLER,
    MAX_ADDRESSES,
    annotated,
    is_mirrored,
    left_out,
    mirror_metadata,
    mirrored,
)
from podwire.emulator.controllers.services.slice_labels import services_of
from podwire.emulator.controllers.services.slice_writer import write_slices
from podwire.emulator.controllers.services.slicing import slice_writes
from podwire.kube.index import Index
from podwire.kube.names import Key
from podwire.kube.objects import Endpoints, EndpointSlice, ObjectMeta, Service
from podwire.kube.reconcile import Reconciler


class EndpointSliceMirroring:
    """Keeps the mirror slices of every Endpoints object that needs them."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._services = context.informers.of(Service)
        self._endpoints = context.informers.of(Endpoints)
        slices = context.informers.of(EndpointSlice)
        self._slices = Index(slices, lambda s: services_of(s, CONTROLLER))
        self._own = OwnWrites(slices)
        self._events = context.recorder("endpoint-slice-mirroring-controller")
        self._loop = Reconciler(self.reconcile, name="endpointslicemirroring")
        self._services.subscribe(self._loop.add_changed)
        self._endpoints.subscribe(self._loop.add_changed)
        slices.subscribe(self._slice_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.serve(self._loop.run, self._events.run)

    async def reconcile(self, key: Key) -> float | None:
        """Make the mirror of one Endpoints object true."""
        endpoints = self._endpoints.get(key)
        present = self._own.over(key, self._slices.get(key))
        if endpoints is None or not is_mirrored(endpoints, self._services.get(key)):
            writes = slice_writes({}, present, families=(), metadata=ObjectMeta(), may_create=False)
        else:
            wanted = mirrored(endpoints)
            for reason, message in left_out(endpoints):
                self._events.event(endpoints, "Warning", reason, message)
            writes = slice_writes(
                wanted,
                present,
                families=(),
                metadata=mirror_metadata(endpoints),
                limit=MAX_ADDRESSES,
                may_create=self._context.accepts_objects(key.namespace),
            )
            writes = annotated(writes, mirror_metadata(endpoints).annotations)
        await write_slices(self._context.client, self._own, key, writes)
        return None

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        changed = new or old
        if changed is None or not self._own.saw(old, new):
            return
        for key in services_of(changed, CONTROLLER):
            self._loop.add(key)
