"""Pure: wanted endpoints + present slices -> the fewest writes that make them equal.

The rules are those of Kubernetes' endpointslice reconciler: present slices are walked first, new
endpoints go where a write is due anyway, nothing is ever re-balanced.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from podwire.kube.objects import Endpoint, EndpointPort, EndpointSlice, ObjectMeta

MAX_ENDPOINTS = 100

Ports = tuple[EndpointPort, ...]
Family = str


@dataclass(frozen=True, slots=True)
class Group:
    """Endpoints that may share a slice: one address family, one exact set of ports."""

    family: Family
    ports: Ports


Wanted = Mapping[Group, Sequence[Endpoint]]


@dataclass(frozen=True)
class SliceWrites:
    """What to write, in this order; *unchanged* are the slices that are right as they are."""

    create: tuple[EndpointSlice, ...] = ()
    update: tuple[EndpointSlice, ...] = ()
    delete: tuple[EndpointSlice, ...] = ()
    unchanged: tuple[EndpointSlice, ...] = ()


@dataclass
class _Groups:
    """Slices of one group, sorted by what must happen to them."""

    unchanged: list[EndpointSlice] = field(default_factory=list[EndpointSlice])
    update: list[EndpointSlice] = field(default_factory=list[EndpointSlice])
    delete: list[EndpointSlice] = field(default_factory=list[EndpointSlice])
    create: list[EndpointSlice] = field(default_factory=list[EndpointSlice])


def slice_writes(
    wanted: Wanted,
    present: Iterable[EndpointSlice],
    *,
    families: Sequence[Family],
    metadata: ObjectMeta,
    limit: int = MAX_ENDPOINTS,
    may_create: bool = True,
) -> SliceWrites:
    """Return the writes that make *present* hold exactly the *wanted* endpoints.

    *metadata* is what every slice must carry: generateName, labels, ownerReferences; annotations
    are only refreshed where a slice is written anyway. With no endpoints at all one empty slice
    per family stays. *may_create* is False when the Service is going.
    """
    owners = {reference.uid for reference in metadata.owner_references}
    by_group: dict[Group, list[EndpointSlice]] = {}
    create: list[EndpointSlice] = []
    update: list[EndpointSlice] = []
    delete: list[EndpointSlice] = []
    unchanged: list[EndpointSlice] = []
    for slice_ in present:
        if owners.isdisjoint(r.uid for r in slice_.metadata.owner_references) and owners:
            delete.append(slice_)  # of an earlier Service of this name: the collector takes it too
            continue
        group = Group(slice_.address_type, ports_key(slice_.ports or ()))
        by_group.setdefault(group, []).append(slice_)
    for group in dict.fromkeys((*by_group, *wanted)):
        result = _fit(group, wanted.get(group, ()), by_group.get(group, ()), metadata, limit)
        create += result.create
        update += result.update
        delete += result.delete
        unchanged += result.unchanged
    _keep_placeholders(create, delete, by_group, families, metadata)
    if not may_create:
        return SliceWrites((), tuple(update), tuple(delete), tuple(unchanged))
    writes = _reuse(create, update, delete, metadata)
    return replace(writes, unchanged=tuple(unchanged))


def ports_key(ports: Iterable[EndpointPort]) -> Ports:
    """Return the ports in an order that makes equal sets equal."""
    return tuple(sorted(ports, key=lambda p: (p.name or "", p.protocol, p.port or 0)))


def _fit(
    group: Group,
    wanted: Sequence[Endpoint],
    present: Sequence[EndpointSlice],
    metadata: ObjectMeta,
    limit: int,
) -> _Groups:
    result = _Groups()
    left = {identity(endpoint): endpoint for endpoint in wanted}
    for slice_ in present:
        _walk(slice_, left, metadata, result)
    # The fullest first: few slices become full instead of many half-full.
    result.update.sort(key=lambda s: -len(s.endpoints or ()))
    result.update = [_filled(s, left, limit) for s in result.update]
    while left:
        target = _best_fit(result.unchanged, len(left), limit) if len(left) < limit else None
        if target is not None:
            result.unchanged.remove(target)
            result.update.append(_filled(_renewed(target, metadata), left, limit))
        else:
            result.create.append(_filled(_empty(group, metadata), left, limit))
    return result


def _walk(
    slice_: EndpointSlice,
    left: dict[tuple[object, ...], Endpoint],
    metadata: ObjectMeta,
    result: _Groups,
) -> None:
    kept: list[Endpoint] = []
    changed = False
    for endpoint in slice_.endpoints or ():
        now = left.pop(identity(endpoint), None)
        if now is None:
            changed = True
            continue
        kept.append(now)
        changed = changed or now != endpoint
    if not kept:
        result.delete.append(slice_)  # perhaps to stay as a placeholder, see _keep_placeholders
    elif changed or _labels_differ(slice_, metadata):
        fresh = _renewed(slice_, metadata)
        result.update.append(msgspec.structs.replace(fresh, endpoints=tuple(kept)))
    else:
        result.unchanged.append(slice_)


def _filled(
    slice_: EndpointSlice, left: dict[tuple[object, ...], Endpoint], limit: int
) -> EndpointSlice:
    """Return the slice with as many of *left* as fit, and take those out of *left*."""
    endpoints = list(slice_.endpoints or ())
    for identity in list(left)[: max(0, limit - len(endpoints))]:
        endpoints.append(left.pop(identity))
    return msgspec.structs.replace(slice_, endpoints=tuple(endpoints))


def _best_fit(slices: Sequence[EndpointSlice], count: int, limit: int) -> EndpointSlice | None:
    fitting = [s for s in slices if len(s.endpoints or ()) + count <= limit]
    return max(fitting, key=lambda s: len(s.endpoints or ()), default=None)


def _keep_placeholders(
    create: list[EndpointSlice],
    delete: list[EndpointSlice],
    by_group: Mapping[Group, Sequence[EndpointSlice]],
    families: Sequence[Family],
    metadata: ObjectMeta,
) -> None:
    """See to it that each family has a slice, an empty one without ports if need be."""
    for family in families:
        present = [s for g, slices in by_group.items() if g.family == family for s in slices]
        if any(s.address_type == family for s in create) or any(s not in delete for s in present):
            continue
        placeholder = _empty(Group(family, ()), metadata)
        kept = next((s for s in present if _is_placeholder(s, metadata)), None)
        if kept is not None:
            delete.remove(kept)
        else:
            create.append(placeholder)


def _is_placeholder(slice_: EndpointSlice, metadata: ObjectMeta) -> bool:
    return not slice_.endpoints and not slice_.ports and not _labels_differ(slice_, metadata)


def _reuse(
    create: list[EndpointSlice],
    update: list[EndpointSlice],
    delete: list[EndpointSlice],
    metadata: ObjectMeta,
) -> SliceWrites:
    """Turn a create and a delete into one update, where family and owner are the same."""
    owners = {reference.uid for reference in metadata.owner_references}
    doomed: list[EndpointSlice] = []
    for old in delete:
        # addressType is immutable; a slice of an earlier Service of this name is the collector's.
        same_owner = owners >= {r.uid for r in old.metadata.owner_references}
        new = next((s for s in create if s.address_type == old.address_type), None)
        if new is None or not same_owner:
            doomed.append(old)
            continue
        create.remove(new)
        renewed = _renewed(old, metadata)
        update.append(msgspec.structs.replace(renewed, endpoints=new.endpoints, ports=new.ports))
    return SliceWrites(tuple(create), tuple(update), tuple(doomed))


def _empty(group: Group, metadata: ObjectMeta) -> EndpointSlice:
    return EndpointSlice(metadata=metadata, address_type=group.family, ports=group.ports)


def _renewed(slice_: EndpointSlice, metadata: ObjectMeta) -> EndpointSlice:
    return msgspec.structs.replace(
        slice_,
        metadata=msgspec.structs.replace(
            slice_.metadata,
            labels=metadata.labels,
            annotations={**slice_.metadata.annotations, **metadata.annotations},
            owner_references=metadata.owner_references,
        ),
    )


def _labels_differ(slice_: EndpointSlice, metadata: ObjectMeta) -> bool:
    return slice_.metadata.labels != metadata.labels


def identity(endpoint: Endpoint) -> tuple[object, ...]:
    """Return what makes two endpoints the same one, whatever their conditions say."""
    target = endpoint.target_ref
    return (endpoint.addresses, target.uid if target else "", target.name if target else "")
