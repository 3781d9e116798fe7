"""Services and pods -> classic Endpoints objects (deprecated since Kubernetes 1.33, still read)."""

import msgspec

from podwire.emulator.controllers.context import ControllerContext
from podwire.emulator.controllers.own_writes import OwnWrites
from podwire.emulator.controllers.services.service_endpoints import (
    has_managed_endpoints,
    is_headless,
    matters_to_endpoints,
)
from podwire.emulator.controllers.services.subsets import subsets_of, truncated
from podwire.emulator.controllers.services.trigger_times import TriggerTimes
from podwire.errors import ApiError, NotFound
from podwire.kube.codec import key_of
from podwire.kube.index import Index
from podwire.kube.names import Key
from podwire.kube.objects import Endpoints, ObjectMeta, Pod, Service
from podwire.kube.reconcile import Reconciler
from podwire.kube.selectors import from_labels

HEADLESS = "service.kubernetes.io/headless"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"

# Nothing in the data path reads Endpoints, so changes are collected for this long, in seconds.
SPACING = 0.05


class EndpointsObjects:
    """Keeps the Endpoints object of every Service that has a selector."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._client = context.client
        self._services = context.informers.of(Service)
        self._endpoints = context.informers.of(Endpoints)
        pods = context.informers.of(Pod)
        self._pods = Index(pods, lambda p: [p.metadata.namespace])
        self._by_namespace = Index(self._services, lambda s: [s.metadata.namespace])
        self._own = OwnWrites(self._endpoints)
        self._times = TriggerTimes()
        self._loop = Reconciler(self.reconcile, name="endpoints")
        self._services.subscribe(self._loop.add_changed)
        self._endpoints.subscribe(self._endpoints_changed)
        pods.subscribe(self._pod_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.serve(self._loop.run)

    async def reconcile(self, key: Key) -> float | None:
        """Make the Endpoints of one Service true; without the Service there are none."""
        service = self._services.get(key)
        seen = self._endpoints.get(key)
        present = next(iter(self._own.over(key, [seen] if seen else [])), None)
        if service is None:
            self._times.forget(key)
            if present is not None:
                await self._delete(present)
            return None
        if not has_managed_endpoints(service) or not self._context.accepts_objects(key.namespace):
            return None
        selector = from_labels(service.spec.selector)
        pods = [p for p in self._pods.get(key.namespace) if selector.matches(p.metadata.labels)]
        wanted = wanted_endpoints(service, pods, present, self._times.annotation(service, pods))
        if wanted is None or wanted == present:
            return None
        try:
            written = await (
                self._client.create(wanted) if present is None else self._client.replace(wanted)
            )
        except ApiError:
            self._own.forget(key)
            raise
        self._own.wrote(key, written)
        return None

    async def _delete(self, present: Endpoints) -> None:
        try:
            await self._client.delete(Endpoints, key_of(present), uid=present.metadata.uid)
        except NotFound:
            return

    def _endpoints_changed(self, old: Endpoints | None, new: Endpoints | None) -> None:
        changed = new or old
        if changed is None or not self._own.saw(old, new):
            return
        if self._services.get(key_of(changed)) is not None:
            self._loop.add_after(key_of(changed), SPACING)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and new is not None and not matters_to_endpoints(old, new):
            return
        pods = [pod for pod in (old, new) if pod is not None]
        for service in self._by_namespace.get(pods[0].metadata.namespace):
            if has_managed_endpoints(service) and any(
                service.spec.selector.items() <= pod.metadata.labels.items() for pod in pods
            ):
                self._loop.add_after(key_of(service), SPACING)


def wanted_endpoints(
    service: Service, pods: list[Pod], present: Endpoints | None, trigger: dict[str, str]
) -> Endpoints | None:
    """Return the Endpoints object to write, or None if the present one is right."""
    subsets = subsets_of(service, pods)
    cut = truncated(subsets)
    labels = {k: v for k, v in service.metadata.labels.items() if k != HEADLESS}
    if is_headless(service):
        labels[HEADLESS] = ""
    meta = (
        present.metadata
        if present
        else ObjectMeta(name=service.metadata.name, namespace=service.metadata.namespace)
    )
    annotations = {**meta.annotations}
    annotations.pop(OVER_CAPACITY, None)
    if cut is not None:
        annotations[OVER_CAPACITY] = "truncated"
    wanted = Endpoints(
        metadata=msgspec.structs.replace(meta, labels=labels, annotations=annotations),
        subsets=subsets if cut is None else cut,
    )
    if wanted == present:
        return None
    # The time of the change alone is no reason to write.
    return msgspec.structs.replace(
        wanted,
        metadata=msgspec.structs.replace(wanted.metadata, annotations={**annotations, **trigger}),
    )
