"""Pure: Services, EndpointSlices, Namespaces and Pods -> table of what DNS may publish.

The table is fed one change at a time, in the shape that informers report (old, new), and each
change touches the entries of its own object only. Whatever nobody can see in DNS (a label, an
annotation, an endpoint that is not ready) does not change the table's revision, so answers that
were made before stay good.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from podwire.dns.message import Address
from podwire.dns.names import absolute, address
from podwire.kube.names import Key
from podwire.kube.objects import Endpoint, EndpointSlice, Namespace, Pod, Service

SERVICE_NAME_LABEL: Final = "kubernetes.io/service-name"

NO_PORT: Final = -1
"""The port of what declares none: it still has addresses, but no SRV record."""

_GONE_PHASES: Final = frozenset({"Succeeded", "Failed", "Unknown"})

_Place = TypeVar("_Place")
_Entry = TypeVar("_Entry")


@dataclass(frozen=True, slots=True)
class Port:
    """A port by which something can be asked for; *name* and *protocol* in lower case."""

    name: str
    protocol: str
    number: int


_PORTLESS: Final = (Port("", "", NO_PORT),)


@dataclass(frozen=True, slots=True)
class PublishedService:
    """What DNS needs of a Service; *target* is the absolute name of an ExternalName."""

    key: Key
    addresses: tuple[Address, ...]
    ports: tuple[Port, ...]
    is_headless: bool
    is_external: bool
    target: str


@dataclass(frozen=True, slots=True)
class PublishedEndpoint:
    """One ready address of an EndpointSlice."""

    address: Address
    hostname: str
    pod: str


@dataclass(frozen=True, slots=True)
class PublishedSlice:
    """What DNS needs of an EndpointSlice."""

    service: Key
    endpoints: tuple[PublishedEndpoint, ...]
    ports: tuple[Port, ...]


class Table:
    """What DNS may publish, by every key that a question can use.

    *revision* grows with each visible change; *serial* is the time of the last change to Services,
    endpoints or pods in whole seconds since 1970, 0 before the first.
    """

    def __init__(self) -> None:
        self.revision = 0
        self.serial = 0
        self._synced = False
        self._services: dict[Key, PublishedService] = {}
        self._slices: dict[Key, PublishedSlice] = {}
        self._namespaces: set[str] = set()
        self._pods: dict[Key, str] = {}
        self._slices_of: dict[Key, dict[Key, PublishedSlice]] = {}
        self._services_at: dict[Address, dict[Key, PublishedService]] = {}
        self._slices_at: dict[Address, dict[Key, PublishedSlice]] = {}
        self._pods_at: dict[str, dict[Key, None]] = {}

    # What a question asks

    @property
    def is_synced(self) -> bool:
        """Return whether the first whole copy has arrived: until then absence proves nothing."""
        return self._synced

    def has_namespace(self, name: str) -> bool:
        """Return whether the namespace exists."""
        return name in self._namespaces

    def service(self, key: Key) -> PublishedService | None:
        """Return the Service, or None."""
        return self._services.get(key)

    def slices_of(self, service: Key) -> Iterable[PublishedSlice]:
        """Return the slices that name *service* as theirs, whether it exists or not."""
        return self._slices_of.get(service, {}).values()

    def services_at(self, cluster_ip: Address) -> Iterable[PublishedService]:
        """Return the Services with that ClusterIP."""
        return self._services_at.get(cluster_ip, {}).values()

    def slices_at(self, endpoint: Address) -> Iterable[PublishedSlice]:
        """Return the slices with a ready endpoint of that address."""
        return self._slices_at.get(endpoint, {}).values()

    def has_pod(self, address_text: str, namespace: str) -> bool:
        """Return whether a pod of *namespace* has that primary address, compared as text."""
        return any(pod.namespace == namespace for pod in self._pods_at.get(address_text, ()))

    # What informers report

    def synced(self) -> None:
        """Note that the first whole copy has arrived."""
        if not self._synced:
            self._synced = True
            self.revision += 1

    def change_service(self, old: Service | None, new: Service | None, *, now: float) -> None:
        """Take in a Service that came, changed or went at *now* (seconds since 1970)."""
        key = _key(old, new)
        before = self._services.get(key)
        after = publish_service(new) if new else None
        if before == after:
            return
        if before:
            del self._services[key]
            _unlist(self._services_at, before.addresses, key)
        if after:
            self._services[key] = after
            for place in after.addresses:
                self._services_at.setdefault(place, {})[key] = after
        self._changed(now)

    def change_slice(
        self, old: EndpointSlice | None, new: EndpointSlice | None, *, now: float
    ) -> None:
        """Take in an EndpointSlice that came, changed or went at *now*."""
        key = _key(old, new)
        before = self._slices.get(key)
        after = publish_slice(new) if new else None
        if before == after:
            return
        if before:
            del self._slices[key]
            _unlist(self._slices_of, (before.service,), key)
            _unlist(self._slices_at, (e.address for e in before.endpoints), key)
        if after:
            self._slices[key] = after
            self._slices_of.setdefault(after.service, {})[key] = after
            for endpoint in after.endpoints:
                self._slices_at.setdefault(endpoint.address, {})[key] = after
        self._changed(now)

    def change_namespace(self, old: Namespace | None, new: Namespace | None) -> None:
        """Take in a Namespace; it has no part in the serial."""
        name = _key(old, new).name
        if (name in self._namespaces) == (new is not None):
            return
        if new:
            self._namespaces.add(name)
        else:
            self._namespaces.discard(name)
        self.revision += 1

    def change_pod(self, old: Pod | None, new: Pod | None, *, now: float) -> None:
        """Take in a Pod; one first seen while it terminates is left out, a known one stays."""
        key = _key(old, new)
        before = self._pods.get(key, "")
        after = new.status.pod_ip if new and new.status.phase not in _GONE_PHASES else ""
        if new and new.metadata.deletion_timestamp and key not in self._pods:
            after = ""
        if before == after:
            return
        if before:
            del self._pods[key]
            _unlist(self._pods_at, (before,), key)
        if after:
            self._pods[key] = after
            self._pods_at.setdefault(after, {})[key] = None
        self._changed(now)

    def _changed(self, now: float) -> None:
        self.revision += 1
        self.serial = int(now) & 0xFFFFFFFF


def publish_service(service: Service) -> PublishedService:
    """Return what DNS needs of *service*. An externalName that is an address is not published."""
    spec = service.spec
    is_external = spec.type == "ExternalName"
    cluster_ips = spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ())
    is_headless = not is_external and cluster_ips[:1] == ("None",)
    target = spec.external_name.rstrip(".")
    return PublishedService(
        key=Key(service.metadata.namespace, service.metadata.name),
        addresses=() if is_external else tuple(_addresses(cluster_ips)),
        ports=tuple(Port(p.name.lower(), p.protocol.lower(), p.port) for p in spec.ports)
        or _PORTLESS,
        is_headless=is_headless,
        is_external=is_external,
        target=absolute(target) if is_external and target and address(target) is None else "",
    )


def publish_slice(slice_: EndpointSlice) -> PublishedSlice | None:
    """Return what DNS needs of *slice_*: its ready endpoints. None when no Service claims it."""
    service = slice_.metadata.labels.get(SERVICE_NAME_LABEL)
    if not service:
        return None
    ports = tuple(
        Port((p.name or "").lower(), p.protocol.lower(), NO_PORT if p.port is None else p.port)
        for p in slice_.ports or ()
    )
    return PublishedSlice(
        service=Key(slice_.metadata.namespace, service),
        endpoints=tuple(
            PublishedEndpoint(place, endpoint.hostname or "", _pod_of(endpoint))
            for endpoint in slice_.endpoints or ()
            # Absent means "unknown", which counts as ready.
            if endpoint.conditions.ready is not False
            for place in _addresses(endpoint.addresses)
        ),
        ports=ports or _PORTLESS,
    )


def _pod_of(endpoint: Endpoint) -> str:
    target = endpoint.target_ref
    return target.name if target is not None and target.kind == "Pod" else ""


def _addresses(texts: Iterable[str]) -> Iterable[Address]:
    return (place for text in texts if (place := address(text)) is not None)


def _key(
    old: Service | EndpointSlice | Namespace | Pod | None,
    new: Service | EndpointSlice | Namespace | Pod | None,
) -> Key:
    known = new or old
    if known is None:
        raise ValueError("a change needs the object as it was or as it is")
    return Key(known.metadata.namespace, known.metadata.name)


def _unlist(index: dict[_Place, dict[Key, _Entry]], places: Iterable[_Place], key: Key) -> None:
    for place in places:
        listed = index.get(place)
        if listed is not None:
            listed.pop(key, None)
            if not listed:
                del index[place]
