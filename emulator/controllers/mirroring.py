"""Endpoints written by hand, for Services without selector -> EndpointSlices that mirror them."""

from collections.abc import Iterable

from podwire.emulator.controllers.context import ControllerContext
from podwire.emulator.controllers.own_writes import OwnWrites
from podwire.emulator.controllers.slice_writer import write_slices
from podwire.emulator.controllers.slicing import Group, ports_key, slice_writes
from podwire.emulator.controllers.trigger_times import LAST_CHANGE
from podwire.kube.codec import key_of, owned_by
from podwire.kube.index import Index
from podwire.kube.names import Key
from podwire.kube.objects import (
    Endpoint,
    EndpointAddress,
    EndpointConditions,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    EndpointsPort,
    ObjectMeta,
    Service,
)
from podwire.kube.reconcile import Reconciler

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"

# --mirroring-max-endpoints-per-subset
MAX_ADDRESSES = 1000

_NOT_COPIED = frozenset({LAST_CHANGE, "kubectl.kubernetes.io/last-applied-configuration"})


class EndpointSliceMirroring:
    """Keeps the mirror slices of every Endpoints object that needs them."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._services = context.informers.of(Service)
        self._endpoints = context.informers.of(Endpoints)
        slices = context.informers.of(EndpointSlice)
        self._slices = Index(slices, _service_of)
        self._own = OwnWrites(slices)
        self._loop = Reconciler(self.reconcile, name="endpointslicemirroring")
        self._services.subscribe(self._changed)
        self._endpoints.subscribe(self._changed)
        slices.subscribe(self._slice_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.serve(self._loop.run)

    async def reconcile(self, key: Key) -> float | None:
        """Make the mirror of one Endpoints object true."""
        endpoints = self._endpoints.get(key)
        present = self._own.over(key, self._slices.get(key))
        if endpoints is None or not is_mirrored(endpoints, self._services.get(key)):
            writes = slice_writes({}, present, families=(), metadata=ObjectMeta(), may_create=False)
        else:
            writes = slice_writes(
                mirrored(endpoints),
                present,
                families=(),
                metadata=mirror_metadata(endpoints),
                limit=MAX_ADDRESSES,
                may_create=self._context.accepts_objects(key.namespace),
            )
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


def is_mirrored(endpoints: Endpoints, service: Service | None) -> bool:
    """Tell whether *endpoints* are written by hand and somebody must make slices of them."""
    return (
        service is not None
        and not service.spec.selector
        and service.spec.type != "ExternalName"
        and endpoints.metadata.labels.get(SKIP) != "true"
        and LEADER not in endpoints.metadata.annotations
    )


def mirrored(endpoints: Endpoints) -> dict[Group, list[Endpoint]]:
    """Return the endpoints that the slices shall hold: at most 1000 of each subset."""
    wanted: dict[Group, list[Endpoint]] = {}
    for subset in endpoints.subsets:
        ports = ports_key(_port(port) for port in subset.ports)
        addresses = [
            *((address, True) for address in subset.addresses),
            *((address, False) for address in subset.not_ready_addresses),
        ][:MAX_ADDRESSES]
        for address, ready in addresses:
            group = Group("IPv6" if ":" in address.ip else "IPv4", ports)
            wanted.setdefault(group, []).append(_endpoint(address, ready=ready))
    return wanted


def mirror_metadata(endpoints: Endpoints) -> ObjectMeta:
    """Return what every mirror slice carries."""
    meta = endpoints.metadata
    return ObjectMeta(
        generate_name=f"{meta.name}-",
        namespace=meta.namespace,
        labels={**meta.labels, SERVICE_NAME: meta.name, MANAGED_BY: CONTROLLER},
        annotations=_without(meta.annotations, _NOT_COPIED),
        owner_references=(owned_by(endpoints),),
    )


def _without(annotations: dict[str, str], names: Iterable[str]) -> dict[str, str]:
    return {k: v for k, v in annotations.items() if k not in set(names)}


def _endpoint(address: EndpointAddress, *, ready: bool) -> Endpoint:
    return Endpoint(
        addresses=(address.ip,),
        conditions=EndpointConditions(ready=ready),
        hostname=address.hostname or None,
        target_ref=address.target_ref,
        node_name=address.node_name,
    )


def _port(port: EndpointsPort) -> EndpointPort:
    return EndpointPort(
        name=port.name, port=port.port, protocol=port.protocol, app_protocol=port.app_protocol
    )


def _service_of(slice_: EndpointSlice) -> list[Key]:
    labels = slice_.metadata.labels
    if labels.get(MANAGED_BY) != CONTROLLER or SERVICE_NAME not in labels:
        return []
    return [Key(slice_.metadata.namespace, labels[SERVICE_NAME])]
