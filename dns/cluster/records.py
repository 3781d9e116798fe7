"""Pure: Services, EndpointSlices, Namespaces and Pods -> table of what DNS may publish.

The table is fed one change at a time, in the shape that informers report (old, new), and each
change touches the entries of its own object only. Whatever nobody can see in DNS (a label, an
annotation, an endpoint that is not ready) does not change the table's revision, so answers that
were made before stay good.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from podwire.dns.cluster.published import (
    Entry,
    PublishedPod,
    PublishedService,
    PublishedSlice,
    publish_import,
    publish_imported_slice,
    publish_service,
    publish_slice,
)
from podwire.dns.cluster.watched import ServiceImport, WatchedPod, WatchedService, WatchedSlice
from podwire.dns.messages.message import Address
from podwire.kube.names import Key
from podwire.kube.objects import Namespace, Object

_GONE_PHASES = frozenset({"Succeeded", "Failed", "Unknown"})

_Place = TypeVar("_Place")
_Thing = TypeVar("_Thing")


class Table:
    """What DNS may publish, by every key that a question can use.

    *revision* grows with each visible change; *serial* is the time of the last change to Services,
    endpoints or pods in whole seconds since 1970, 0 before the first, and *import_serial* that of
    the cluster set's Services and endpoints. A name such as ``web.shop`` is a Service's and its
    namespace's, the way both stand in DNS.
    """

    def __init__(self) -> None:
        self.revision = 0
        self.serial = 0
        self.import_serial = 0
        self._synced = False
        self._namespaces: set[str] = set()
        self._here = Shelf()
        self._imported = Shelf()
        self._pods: dict[Key, PublishedPod] = {}
        self._services_at: dict[Address, tuple[PublishedService, ...]] = {}
        self._services_outside_at: dict[Address | str, tuple[PublishedService, ...]] = {}
        self._slices_at: dict[Address, tuple[PublishedSlice, ...]] = {}
        self._pods_at: dict[str, tuple[PublishedPod, ...]] = {}

    # What a question asks

    @property
    def is_synced(self) -> bool:
        """Return whether the first whole copy has arrived: until then absence proves nothing."""
        return self._synced

    def has_namespace(self, name: str) -> bool:
        """Return whether the namespace exists."""
        return name in self._namespaces

    def entry(self, name: str) -> Entry | None:
        """Return what is known under *name*: a Service, slices that name it, or both."""
        return self._here.entries.get(name)

    def imported_entry(self, name: str) -> Entry | None:
        """Return what the cluster set has under *name*."""
        return self._imported.entries.get(name)

    def services(self) -> Iterable[PublishedService]:
        """Return every Service."""
        return self._here.services()

    def imported_services(self) -> Iterable[PublishedService]:
        """Return every Service of the cluster set."""
        return self._imported.services()

    def services_at(self, cluster_ip: Address) -> tuple[PublishedService, ...]:
        """Return the Services with that ClusterIP."""
        return self._services_at.get(cluster_ip, ())

    def services_outside_at(self, external_ip: Address) -> tuple[PublishedService, ...]:
        """Return the Services with that external or load balancer's address."""
        return self._services_outside_at.get(external_ip, ())

    def slices_at(self, endpoint: Address) -> tuple[PublishedSlice, ...]:
        """Return the slices with a ready endpoint of that address."""
        return self._slices_at.get(endpoint, ())

    def has_pod(self, address_text: str, namespace: str) -> bool:
        """Return whether a pod of *namespace* has that primary address, compared as text."""
        return any(pod.namespace == namespace for pod in self._pods_at.get(address_text, ()))

    def namespace_of_pod(self, address_text: str) -> str:
        """Return the namespace of the pod with that primary address; empty: there is none.

        Pods on a host's network share its address: the first that was seen counts.
        """
        found = self._pods_at.get(address_text)
        return found[0].namespace if found else ""

    # What informers report

    def synced(self) -> None:
        """Note that the first whole copy has arrived."""
        if not self._synced:
            self._synced = True
            self.revision += 1

    def change_service(
        self, old: WatchedService | None, new: WatchedService | None, *, now: float
    ) -> None:
        """Take in a Service that came, changed or went at *now* (seconds since 1970)."""
        key = _key(old, new)
        before = self._here.service(key)
        after = publish_service(new) if new else None
        if before == after:
            return
        if before:
            _unlist(self._services_at, before.addresses, before)
            _unlist(self._services_outside_at, before.outside, before)
        self._here.put_service(key, after)
        if after:
            _list(self._services_at, after.addresses, after)
            _list(self._services_outside_at, after.outside, after)
        self._changed(now)

    def change_slice(
        self, old: WatchedSlice | None, new: WatchedSlice | None, *, now: float
    ) -> None:
        """Take in an EndpointSlice that came, changed or went at *now*."""
        key = _key(old, new)
        before = self._here.slices.get(key)
        after = publish_slice(new) if new else None
        if before == after:
            return
        if before:
            _unlist(self._slices_at, (e.address for e in before.endpoints), before)
        self._here.put_slice(key, after)
        if after:
            _list(self._slices_at, (e.address for e in after.endpoints), after)
        self._changed(now)

    def change_import(
        self, old: ServiceImport | None, new: ServiceImport | None, *, now: float
    ) -> None:
        """Take in a ServiceImport of a cluster set."""
        key = _key(old, new)
        after = publish_import(new) if new else None
        if self._imported.service(key) != after:
            self._imported.put_service(key, after)
            self._import_changed(now)

    def change_imported_slice(
        self, old: WatchedSlice | None, new: WatchedSlice | None, *, now: float
    ) -> None:
        """Take in an EndpointSlice that may hold endpoints of a cluster set."""
        key = _key(old, new)
        after = publish_imported_slice(new) if new else None
        if self._imported.slices.get(key) != after:
            self._imported.put_slice(key, after)
            self._import_changed(now)

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

    def change_pod(self, old: WatchedPod | None, new: WatchedPod | None, *, now: float) -> None:
        """Take in a Pod; one first seen while it terminates is left out, a known one stays."""
        key = _key(old, new)
        before = self._pods.get(key)
        text = new.status.pod_ip if new and new.status.phase not in _GONE_PHASES else ""
        if new and new.metadata.deletion_timestamp and before is None:
            text = ""
        after = PublishedPod(key.namespace, text) if text else None
        if before == after:
            return
        if before:
            del self._pods[key]
            _unlist(self._pods_at, (before.address_text,), before)
        if after:
            self._pods[key] = after
            _list(self._pods_at, (text,), after)
        self._changed(now)

    def _changed(self, now: float) -> None:
        self.revision += 1
        self.serial = max(self.serial, int(now) & 0xFFFFFFFF)

    def _import_changed(self, now: float) -> None:
        self.revision += 1
        self.import_serial = max(self.import_serial, int(now) & 0xFFFFFFFF)


class Shelf:
    """Services and slices of one cluster, or of a cluster set, by the names that they stand under.

    An entry is there for as long as it holds anything.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.slices: dict[Key, PublishedSlice] = {}

    def services(self) -> Iterable[PublishedService]:
        """Return every Service."""
        return (entry.service for entry in self.entries.values() if entry.service is not None)

    def service(self, key: Key) -> PublishedService | None:
        """Return a Service."""
        entry = self.entries.get(f"{key.name}.{key.namespace}")
        return entry.service if entry else None

    def put_service(self, key: Key, service: PublishedService | None) -> None:
        """Put *service* in the place of what *key* was."""
        name = f"{key.name}.{key.namespace}"
        entry = self.entries.get(name)
        self._put(name, Entry(service, entry.slices if entry else ()))

    def put_slice(self, key: Key, slice_: PublishedSlice | None) -> None:
        """Put *slice_* in the place of what *key* was; its Service may be another one now."""
        before = self.slices.pop(key, None)
        if slice_ is not None:
            self.slices[key] = slice_
        if before is not None and (slice_ is None or before.service != slice_.service):
            left = self.entries[before.service]
            rest = tuple(one for one in left.slices if one is not before)
            self._put(before.service, Entry(left.service, rest))
            before = None
        if slice_ is not None:
            entry = self.entries.get(slice_.service)
            listed = entry.slices if entry else ()
            if before is None:
                listed = (*listed, slice_)
            else:
                # In its old place, so that the order of answers stays as it was.
                listed = tuple(slice_ if one is before else one for one in listed)
            self._put(slice_.service, Entry(entry.service if entry else None, listed))

    def _put(self, name: str, entry: Entry) -> None:
        if entry.service is None and not entry.slices:
            self.entries.pop(name, None)
        else:
            self.entries[name] = entry


def _key(old: Object | None, new: Object | None) -> Key:
    known = new or old
    if known is None:
        raise ValueError("a change needs the object as it was or as it is")
    return Key(known.metadata.namespace, known.metadata.name)


def _list(index: dict[_Place, tuple[_Thing, ...]], places: Iterable[_Place], thing: _Thing) -> None:
    alone = (thing,)
    for place in places:
        listed = index.get(place)
        if listed is None:
            # One tuple for all places: most hold one thing, and there may be 100,000 of them.
            index[place] = alone
        elif listed[-1] is not thing:
            index[place] = (*listed, thing)


def _unlist(
    index: dict[_Place, tuple[_Thing, ...]], places: Iterable[_Place], thing: _Thing
) -> None:
    for place in places:
        listed = index.get(place)
        if listed is None:
            continue
        # By identity: two slices may well say the same.
        rest = tuple(one for one in listed if one is not thing)
        if rest:
            index[place] = rest
        else:
            del index[place]
