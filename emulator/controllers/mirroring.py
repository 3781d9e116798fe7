"""Endpoints written by hand, for Services without selector -> EndpointSlices that mirror them.

What the slices shall hold is decided in mirror_plan.py, how to get there in slicing.py.
"""

from podwire.emulator.controllers.context import ControllerContext
from podwire.emulator.controllers.mirror_plan import (
    CONTROLLER,
    MANAGED_BY,
    MAX_ADDRESSES,
    SERVICE_NAME,
    annotated,
    is_mirrored,
    left_out,
    mirror_metadata,
    mirrored,
)
from podwire.emulator.controllers.own_writes import OwnWrites
from podwire.emulator.controllers.slice_writer import write_slices
from podwire.emulator.controllers.slicing import slice_writes
from podwire.kube.codec import key_of
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
        self._slices = Index(slices, _service_of)
        self._own = OwnWrites(slices)
        self._events = context.recorder("endpoint-slice-mirroring-controller")
        self._loop = Reconciler(self.reconcile, name="endpointslicemirroring")
        self._services.subscribe(self._changed)
        self._endpoints.subscribe(self._changed)
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

    def _changed(self, old: Service | Endpoints | None, new: Service | Endpoints | None) -> None:
        changed = new or old
        if changed is not None:
            self._loop.add(key_of(changed))

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        changed = new or old
        if changed is None or not _service_of(changed) or not self._own.saw(old, new):
            return
        for key in _service_of(changed):
            self._loop.add(key)


def _service_of(slice_: EndpointSlice) -> list[Key]:
    labels = slice_.metadata.labels
    if labels.get(MANAGED_BY) != CONTROLLER or SERVICE_NAME not in labels:
        return []
    return [Key(slice_.metadata.namespace, labels[SERVICE_NAME])]
