"""What the proxy has heard of Services, EndpointSlices and its Node, sorted by Service.

Events only mark what must be looked at again; `order` then looks at all there is.
"""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network

from podwire.kube.names import Key
from podwire.kube.objects import EndpointSlice, Node, Service
from podwire.proxy.endpoints import Place
from podwire.proxy.mode import Order
from podwire.proxy.node import NodeView
from podwire.proxy.table import ServicePort, service_ports

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
ZONE_LABEL = "topology.kubernetes.io/zone"
AUTOSCALER_TAINT = "ToBeDeletedByClusterAutoscaler"


class Sources:
    """The objects that decide where this node's Services lead, and which of them to look at."""

    def __init__(self, view: NodeView, changed: Callable[[], None]) -> None:
        self.view = view
        self.eligible = True
        self.service_changes = self.services_pending = 0
        self.slice_changes = self.endpoints_pending = 0
        self._changed = changed
        self._services: dict[Key, Service] = {}
        self._slices: dict[Key, dict[str, EndpointSlice]] = {}
        self._dirty: set[Key] = set()
        self._whole = True

    def service(self, old: Service | None, new: Service | None) -> None:
        """Hear of a Service."""
        known = new or old
        if known is None:
            return
        key = Key(known.metadata.namespace, known.metadata.name)
        if new is None:
            self._services.pop(key, None)
        else:
            self._services[key] = new
        self.service_changes += 1
        self.services_pending += 1
        self._look_at(key)

    def slice(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        """Hear of an EndpointSlice."""
        self.slice_changes += 1
        self.endpoints_pending += 1
        if old is not None:
            key = _owner(old)
            slices = self._slices.get(key, {})
            slices.pop(old.metadata.name, None)
            if not slices:
                self._slices.pop(key, None)
            self._look_at(key)
        if new is not None:
            key = _owner(new)
            self._slices.setdefault(key, {})[new.metadata.name] = new
            self._look_at(key)

    def node(self, _: Node | None, new: Node | None) -> None:
        """Hear of the Node that this proxy runs on; another zone concerns every Service."""
        if new is None:
            self.eligible = False
            return
        self.eligible = new.metadata.deletion_timestamp is None and not any(
            taint.key == AUTOSCALER_TAINT for taint in new.spec.taints
        )
        place = Place(self.view.place.node, new.metadata.labels.get(ZONE_LABEL, ""))
        self.see(replace(self.view, place=place, pods=_pod_ranges(new)))

    def see(self, view: NodeView) -> None:
        """Take *view* as what this node is like; another one concerns every Service."""
        if view != self.view:
            self.view = view
            self.mark_all()
            self._changed()

    def take_order(self) -> Order:
        """Return what is to be served differently, and forget that it was marked."""
        whole, self._whole = self._whole, False
        keys = self._services.keys() if whole else self._dirty
        order = Order(self.view, {key: self.ports_of(key) for key in keys}, whole=whole)
        self._dirty.clear()
        self.services_pending = self.endpoints_pending = 0
        return order

    def mark(self, key: Key) -> None:
        """Have *key* looked at again, though nothing has changed."""
        self._dirty.add(key)

    def mark_all(self) -> None:
        """Have everything looked at again, and what is programmed compared with it."""
        self._whole = True

    def service_of(self, key: Key) -> Service | None:
        """Return the Service *key*."""
        return self._services.get(key)

    def ports_of(self, key: Key) -> tuple[ServicePort, ...]:
        """Return the ports of one Service; none when it is gone."""
        service = self._services.get(key)
        if service is None:
            return ()
        return service_ports(service, self._slices.get(key, {}).values(), self.view.place)

    def changed_at(self, key: Key) -> list[str]:
        """Return when the endpoints of *key* last changed, as their controller has noted it."""
        noted = (
            slice_.metadata.annotations.get("endpoints.kubernetes.io/last-change-trigger-time", "")
            for slice_ in self._slices.get(key, {}).values()
        )
        return [moment for moment in noted if moment]

    def _look_at(self, key: Key) -> None:
        self._dirty.add(key)
        self._changed()


def _owner(slice_: EndpointSlice) -> Key:
    return Key(slice_.metadata.namespace, slice_.metadata.labels.get(SERVICE_NAME_LABEL, ""))


def _pod_ranges(node: Node) -> tuple[IPv4Network, ...]:
    texts = node.spec.pod_cidrs or ((node.spec.pod_cidr,) if node.spec.pod_cidr else ())
    return tuple(IPv4Network(text) for text in texts if ":" not in text)
