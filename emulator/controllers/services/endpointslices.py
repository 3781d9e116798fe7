"""Services and pods -> EndpointSlices, within a few milliseconds of a pod's change.

What the slices shall hold is decided in service_endpoints.py, how to get there in slicing.py.
"""

from podwire.emulator.controllers.context import ControllerContext
from podwire.emulator.controllers.own_writes import OwnWrites
from podwire.emulator.controllers.services import topology, zone_shares
from podwire.emulator.controllers.services.service_endpoints import (
    endpoints_of,
    families,
    has_managed_endpoints,
    is_headless,
    leaves,
    matters_to_endpoints,
)
from podwire.emulator.controllers.services.slice_labels import MANAGED_BY, SERVICE_NAME, services_of
from podwire.emulator.controllers.services.slice_writer import write_slices
from podwire.emulator.controllers.services.slicing import slice_writes
from podwire.emulator.controllers.services.trigger_times import TriggerTimes
from podwire.kube.codec import key_of, owned_by
from podwire.kube.index import Index
from podwire.kube.names import Key
from podwire.kube.objects import EndpointSlice, Node, ObjectMeta, Pod, Service
from podwire.kube.reconcile import Reconciler
from podwire.kube.selectors import from_labels

CONTROLLER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"

# The first change is written at once; those that follow within this time are written together, in
# seconds. A pod that leaves never waits: connections would still go to it.
SPACING = 0.01


class EndpointSlices:
    """Keeps the slices of every Service that has a selector."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._services = context.informers.of(Service)
        self._nodes = context.informers.of(Node)
        slices = context.informers.of(EndpointSlice)
        pods = context.informers.of(Pod)
        self._slices = Index(slices, lambda s: services_of(s, CONTROLLER))
        self._pods = Index(pods, lambda p: [p.metadata.namespace])
        self._by_namespace = Index(self._services, lambda s: [s.metadata.namespace])
        self._own = OwnWrites(slices)
        self._times = TriggerTimes()
        self._last: dict[Key, float] = {}
        self._events = context.recorder("endpoint-slice-controller")
        # What was last said of topology hints, by Service and family; "": that there are some.
        self._told: dict[tuple[Key, str], str] = {}
        self._loop = Reconciler(self.reconcile, name="endpointslice", concurrency=8)
        self._services.subscribe(self._loop.add_changed)
        slices.subscribe(self._slice_changed)
        pods.subscribe(self._pod_changed)
        self._nodes.subscribe(self._node_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.serve(self._loop.run, self._events.run)

    async def reconcile(self, key: Key) -> float | None:
        """Make the slices of one Service true."""
        self._last[key] = self._context.clock.monotonic()
        service = self._services.get(key)
        if service is None:
            # Its slices are the garbage collector's.
            self._times.forget(key)
            self._last.pop(key, None)
            for family in ("IPv4", "IPv6"):
                self._told.pop((key, family), None)
            return None
        if not has_managed_endpoints(service):
            return None
        selector = from_labels(service.spec.selector)
        pods = [p for p in self._pods.get(key.namespace) if selector.matches(p.metadata.labels)]
        wanted = endpoints_of(service, pods, lambda name: self._nodes.get(Key("", name)))
        may_create = service.metadata.deletion_timestamp is None
        present = self._own.over(key, self._slices.get(key))
        by_topology = zone_shares.is_wanted(service)
        if by_topology:
            wanted = {g: topology.as_before(found, present) for g, found in wanted.items()}
        writes = slice_writes(
            wanted,
            present,
            families=families(service),
            metadata=slice_metadata(service, self._times.annotation(service, pods)),
            may_create=may_create and self._context.accepts_objects(key.namespace),
        )
        for family in families(service) if by_topology else ():
            shares = zone_shares.cpu_shares(self._nodes.all())
            hinted = topology.hinted(writes, family, shares)
            writes = hinted.writes
            self._tell(service, (key, family), hinted.why_not)
        await write_slices(self._context.client, self._own, key, writes)
        if not by_topology:
            for family in families(service):
                self._tell_end(service, (key, family))
        return None

    def _tell(self, service: Service, about: tuple[Key, str], why_not: str) -> None:
        """Say by an event, once, that hints are written or why they are not."""
        if self._told.get(about) == why_not:
            return
        self._told[about] = why_not
        if why_not:
            self._events.event(service, "Warning", "TopologyAwareHintsDisabled", why_not)
        else:
            message = f"{topology.ENABLED}, addressType: {about[1]}"
            self._events.event(service, "Normal", "TopologyAwareHintsEnabled", message)

    def _tell_end(self, service: Service, about: tuple[Key, str]) -> None:
        """Say that hints are no longer asked for, if there were any."""
        if self._told.pop(about, None) == "":
            message = f"{topology.DISABLED}, addressType: {about[1]}"
            self._events.event(service, "Warning", "TopologyAwareHintsDisabled", message)

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        changed = new or old
        if changed is None or not self._own.saw(old, new):
            return
        for key in services_of(changed, CONTROLLER):
            self._soon(key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and new is not None and not matters_to_endpoints(old, new):
            return
        urgent = leaves(old, new)
        for service in self._selecting(old, new):
            if urgent:
                self._loop.add(key_of(service))
            else:
                self._soon(key_of(service))

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        zone_stays = (
            old
            and new
            and old.metadata.labels.get(zone_shares.ZONE)
            == new.metadata.labels.get(zone_shares.ZONE)
        )
        if old and new and zone_shares.facts_of(old) == zone_shares.facts_of(new):
            return
        for service in self._services.all():
            if not zone_stays or zone_shares.is_wanted(service):
                self._soon(key_of(service))

    def _selecting(self, *versions: Pod | None) -> list[Service]:
        pods = [pod for pod in versions if pod is not None]
        return [
            service
            for service in self._by_namespace.get(pods[0].metadata.namespace)
            if has_managed_endpoints(service)
            and any(service.spec.selector.items() <= pod.metadata.labels.items() for pod in pods)
        ]

    def _soon(self, key: Key) -> None:
        due = self._last.get(key, float("-inf")) + SPACING
        wait = due - self._context.clock.monotonic()
        if wait > 0:
            self._loop.add_after(key, wait)
        else:
            self._loop.add(key)


def slice_metadata(service: Service, annotations: dict[str, str]) -> ObjectMeta:
    """Return what every slice of *service* carries."""
    labels = {**service.metadata.labels, SERVICE_NAME: service.metadata.name}
    labels[MANAGED_BY] = CONTROLLER
    labels.pop(HEADLESS, None)
    if is_headless(service):
        labels[HEADLESS] = ""
    return ObjectMeta(
        generate_name=f"{service.metadata.name}-",
        namespace=service.metadata.namespace,
        labels=labels,
        annotations=annotations,
        owner_references=(owned_by(service),),
    )
