"""What the proxy has heard of Services, EndpointSlices and its Node, sorted by Service.

Events only mark what must be looked at again; `routes_of` then looks at all there is.
"""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network

from podwire.kube.names import Key
from podwire.kube.objects import EndpointSlice, Node, Service
from podwire.proxy.endpoints import Place
from podwire.proxy.table import Frontend, Route, frontends, service_ports

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
ZONE_LABEL = "topology.kubernetes.io/zone"
AUTOSCALER_TAINT = "ToBeDeletedByClusterAutoscaler"

_LOOPBACK = IPv4Network("127.0.0.0/8")


class Sources:
    """The objects that decide where this node's frontends lead, and which Services to look at."""

    def __init__(self, node: str, address: IPv4Address, changed: Callable[[], None]) -> None:
        self.place = Place(node)
        self.inside: tuple[IPv4Network, ...] = (_LOOPBACK, IPv4Network(address))
        self.eligible = True
        self.service_changes = 0
        self.slice_changes = 0
        self._address = address
        self._changed = changed
        self._services: dict[Key, Service] = {}
        self._slices: dict[Key, dict[str, EndpointSlice]] = {}
        self._dirty: set[Key] = set()

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
        self._look_at(key)

    def slice(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        """Hear of an EndpointSlice."""
        self.slice_changes += 1
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
        place = Place(self.place.node, new.metadata.labels.get(ZONE_LABEL, ""))
        inside = (_LOOPBACK, IPv4Network(self._address), *_pod_ranges(new))
        if (place, inside) != (self.place, self.inside):
            self.place, self.inside = place, inside
            self._dirty.update(self._services)
            self._changed()

    def take_dirty(self) -> frozenset[Key]:
        """Return the Services to look at, and forget that they were marked."""
        dirty = frozenset(self._dirty)
        self._dirty.clear()
        return dirty

    def mark(self, key: Key) -> None:
        """Have *key* looked at again, though nothing has changed."""
        self._dirty.add(key)

    def routes_of(self, key: Key) -> dict[Frontend, Route]:
        """Return the frontends of one Service; none when it is gone."""
        service = self._services.get(key)
        if service is None:
            return {}
        slices = self._slices.get(key, {}).values()
        return frontends(service_ports(service, slices, self.place), (self._address,))

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
