"""The Service `kubernetes`, by which pods reach the API server, and its endpoints.

In Kubernetes the API server itself keeps these; whoever deletes them gets them back.
"""

from dataclasses import dataclass

import msgspec

from podwire.emulator.controllers.context import ControllerContext
from podwire.emulator.controllers.services.mirror_plan import SKIP
from podwire.emulator.controllers.services.slice_labels import SERVICE_NAME
from podwire.errors import AlreadyExists, NotFound
from podwire.kube.codec import key_of
from podwire.kube.names import Key
from podwire.kube.objects import (
    Endpoint,
    EndpointAddress,
    EndpointConditions,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    EndpointsPort,
    EndpointSubset,
    Object,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
    T,
)
from podwire.kube.reconcile import Reconciler

KEY = Key("default", "kubernetes")


@dataclass(frozen=True, slots=True)
class ApiAddress:
    """Where the API server is: its ClusterIP, and the address and port behind it."""

    cluster_ip: str = "10.96.0.1"
    address: str = "192.168.1.2"
    port: int = 6443


class KubernetesService:
    """Keeps the Service `kubernetes`, its EndpointSlice and its Endpoints."""

    def __init__(self, context: ControllerContext, api: ApiAddress) -> None:
        self._context = context
        self._api = api
        self._services = context.informers.of(Service)
        self._slices = context.informers.of(EndpointSlice)
        self._endpoints = context.informers.of(Endpoints)
        self._loop = Reconciler(self.reconcile, name="kubernetes")
        for informer in (self._services, self._slices, self._endpoints):
            informer.subscribe(self._changed)
        self._loop.add(KEY)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.serve(self._loop.run)

    async def reconcile(self, key: Key) -> float | None:
        """Write what is missing or was changed."""
        service = self._services.get(key)
        if service is not None and service.spec.cluster_ip != self._api.cluster_ip:
            await self._delete(service)  # a ClusterIP cannot be changed
            return None
        if service is None:
            await self._create(kubernetes_service(self._api))
        elif not _holds(service, kubernetes_service(self._api)):
            ports = msgspec.to_builtins(kubernetes_service(self._api).spec.ports)
            await self._context.client.patch(Service, key, {"spec": {"ports": ports}})
        await self._keep(kubernetes_slice(self._api), self._slices.get(key))
        await self._keep(kubernetes_endpoints(self._api), self._endpoints.get(key))
        return None

    def _changed(self, old: Object | None, new: Object | None) -> None:
        changed = new or old
        if changed is not None and key_of(changed) == KEY:
            self._loop.add(KEY)

    async def _keep(self, wanted: T, present: T | None) -> None:
        if present is None:
            await self._create(wanted)
            return
        labels = {**present.metadata.labels, **wanted.metadata.labels}
        metadata = msgspec.structs.replace(present.metadata, labels=labels)
        wanted = msgspec.structs.replace(wanted, metadata=metadata)
        if wanted != present:
            await self._context.client.replace(wanted)

    async def _create(self, obj: Object) -> None:
        try:
            await self._context.client.create(obj)
        except AlreadyExists:
            return

    async def _delete(self, service: Service) -> None:
        try:
            await self._context.client.delete(Service, key_of(service), uid=service.metadata.uid)
        except NotFound:
            return


def kubernetes_service(api: ApiAddress) -> Service:
    """Return the Service as a fresh cluster has it."""
    return Service(
        metadata=ObjectMeta(
            name=KEY.name,
            namespace=KEY.namespace,
            labels={"component": "apiserver", "provider": "kubernetes"},
        ),
        spec=ServiceSpec(
            cluster_ip=api.cluster_ip,
            ports=(ServicePort(name="https", port=443, target_port=api.port),),
        ),
    )


def kubernetes_slice(api: ApiAddress) -> EndpointSlice:
    """Return the Service's only slice, which no controller of slices manages."""
    return EndpointSlice(
        metadata=ObjectMeta(
            name=KEY.name,
            namespace=KEY.namespace,
            labels={SERVICE_NAME: KEY.name},
        ),
        endpoints=(Endpoint(addresses=(api.address,), conditions=EndpointConditions(ready=True)),),
        ports=(EndpointPort(name="https", port=api.port),),
    )


def kubernetes_endpoints(api: ApiAddress) -> Endpoints:
    """Return the Service's Endpoints, marked so that they are not mirrored."""
    return Endpoints(
        metadata=ObjectMeta(
            name=KEY.name,
            namespace=KEY.namespace,
            labels={SKIP: "true"},
        ),
        subsets=(
            EndpointSubset(
                addresses=(EndpointAddress(ip=api.address),),
                ports=(EndpointsPort(name="https", port=api.port),),
            ),
        ),
    )


def _holds(service: Service, wanted: Service) -> bool:
    return [(p.name, p.port, p.target_port) for p in service.spec.ports] == [
        (p.name, p.port, p.target_port) for p in wanted.spec.ports
    ]
