"""Pure: hints of Topology Aware Routing on the slices of a Service.

First every endpoint is for its own zone; then zones with more than their share lend some to those
with less. Slices that need no write for another reason are left alone while their hints are not
wrong. Source: k8s.io/endpointslice/topologycache of Kubernetes 1.32 (KEP-2433).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from podwire.emulator.controllers.services.slicing import SliceWrites, identity
from podwire.emulator.controllers.services.zone_shares import Allocation, Shares, allocations_of
from podwire.kube.objects import Endpoint, EndpointHints, EndpointSlice, ForZone

ENABLED = "Topology Aware Hints has been enabled"
DISABLED = "Topology Aware Hints has been disabled"

_NO_ZONE = "One or more endpoints do not have a zone specified"
_NO_HINTS = "No hints allocated for zones"


@dataclass(frozen=True, slots=True)
class Hinted:
    """What to write once hints are settled; *why_not* says why there are none."""

    writes: SliceWrites
    why_not: str = ""


@dataclass(slots=True)
class _Slices:
    """The slices of one family: those that are written, and those that are not."""

    create: list[EndpointSlice]
    update: list[EndpointSlice]
    unchanged: list[EndpointSlice]
    others: SliceWrites = field(default_factory=SliceWrites)

    def all(self) -> Iterable[EndpointSlice]:
        return (*self.create, *self.update, *self.unchanged)

    def as_writes(self) -> SliceWrites:
        return SliceWrites(
            (*self.others.create, *self.create),
            (*self.others.update, *self.update),
            self.others.delete,
            (*self.others.unchanged, *self.unchanged),
        )


def as_before(endpoints: Sequence[Endpoint], present: Iterable[EndpointSlice]) -> list[Endpoint]:
    """Return *endpoints* with the hints they have in *present*: hints alone change no slice."""
    known = {
        identity(endpoint): endpoint.hints
        for slice_ in present
        for endpoint in slice_.endpoints or ()
        if endpoint.conditions.ready
    }
    return [
        _with_hints(endpoint, known.get(identity(endpoint)) if endpoint.conditions.ready else None)
        for endpoint in endpoints
    ]


def hinted(writes: SliceWrites, family: str, shares: Shares) -> Hinted:
    """Return *writes* with hints on the endpoints of *family*, or with all hints taken away.

    Slices that need no write keep their hints as long as those are not wrong.
    """
    slices = _of_family(writes, family)
    ready = sum(1 for slice_ in slices.all() for _ in _ready(slice_))
    allocations, why_not = allocations_of(ready, shares)
    if why_not:
        return Hinted(_unhinted(slices), f"{why_not}, addressType: {family}")
    counts, wrong = _take_wrong_ones(slices, allocations)
    written = (*slices.create, *slices.update, *wrong)
    if any(not endpoint.zone for slice_ in written for endpoint in _ready(slice_)):
        slices.unchanged += wrong
        return Hinted(_unhinted(slices), f"{_NO_ZONE}, addressType: {family}")
    counts.update(endpoint.zone or "" for slice_ in written for endpoint in _ready(slice_))
    if not counts:
        slices.unchanged += wrong
        return Hinted(_unhinted(slices), f"{_NO_HINTS}, addressType: {family}")
    moves = _Moves(*_giving_and_receiving(allocations, counts))
    slices.create = [_with_zones(slice_, moves) for slice_ in slices.create]
    slices.update = [_with_zones(slice_, moves) for slice_ in slices.update]
    for slice_ in wrong:
        again = _with_zones(slice_, moves)
        # An endpoint of a zone without nodes is hinted for that zone, which is never right: the
        # same hints once more are no reason to write.
        (slices.unchanged if again == slice_ else slices.update).append(again)
    return Hinted(slices.as_writes())


def _take_wrong_ones(
    slices: _Slices, allocations: Mapping[str, Allocation]
) -> tuple[Counter[str], list[EndpointSlice]]:
    """Take those with wrong hints out of the unchanged ones; count the hints of the others."""
    counts: Counter[str] = Counter()
    right: list[EndpointSlice] = []
    wrong: list[EndpointSlice] = []
    for slice_ in slices.unchanged:
        zones = [_hinted_zones(endpoint) for endpoint in _ready(slice_)]
        here = Counter(zone for names in zones for zone in names)
        fits = all(
            zone in allocations and counts[zone] + number <= allocations[zone].maximum
            for zone, number in here.items()
        )
        if all(zones) and fits:
            counts += here
            right.append(slice_)
        else:
            wrong.append(slice_)
    slices.unchanged = right
    return counts, wrong


def _giving_and_receiving(
    allocations: Mapping[str, Allocation], counts: Mapping[str, int]
) -> tuple[Counter[str], Counter[str]]:
    """Return how many endpoints zones give away, and how many others get."""
    too_many = {z: counts[z] - a.desired for z, a in allocations.items() if counts[z] > a.desired}
    too_few = {z: a.desired - counts[z] for z, a in allocations.items() if counts[z] < a.desired}
    giving: Counter[str] = Counter()
    receiving: Counter[str] = Counter()
    while too_many and too_few:
        giver, receiver = _most(too_many), _most(too_few)
        give, get = too_many[giver], too_few[receiver]
        # A whole endpoint moves for a whole one that one side has too many of, or half of it.
        if (give < 1 and get < 1) or give < 0.5 or get < 0.5:
            break
        giving[giver] += 1
        receiving[receiver] += 1
        too_many[giver] -= 1
        too_few[receiver] -= 1
    return giving, receiving


def _most(zones: Mapping[str, float]) -> str:
    return max(sorted(zones), key=lambda zone: zones[zone])


@dataclass(slots=True)
class _Moves:
    """Endpoints that are still to be hinted for another zone than their own."""

    giving: Counter[str]
    receiving: Counter[str]

    def zone_for(self, own: str) -> str:
        """Return the zone that shall use an endpoint of zone *own*."""
        if self.giving[own] <= 0:
            return own
        other = next((zone for zone in sorted(self.receiving) if self.receiving[zone] > 0), "")
        if not other:
            return own
        self.giving[own] -= 1
        self.receiving[other] -= 1
        return other


def _with_zones(slice_: EndpointSlice, moves: _Moves) -> EndpointSlice:
    endpoints = tuple(
        _with_hints(
            endpoint,
            EndpointHints(for_zones=(ForZone(name=moves.zone_for(endpoint.zone or "")),))
            if endpoint.conditions.ready
            else None,
        )
        for endpoint in slice_.endpoints or ()
    )
    return msgspec.structs.replace(slice_, endpoints=endpoints)


def _unhinted(slices: _Slices) -> SliceWrites:
    before, slices.unchanged = slices.unchanged, []
    for slice_ in before:
        has_hints = any(endpoint.hints for endpoint in slice_.endpoints or ())
        (slices.update if has_hints else slices.unchanged).append(slice_)
    slices.create = [_without_hints(slice_) for slice_ in slices.create]
    slices.update = [_without_hints(slice_) for slice_ in slices.update]
    return slices.as_writes()


def _without_hints(slice_: EndpointSlice) -> EndpointSlice:
    endpoints = tuple(_with_hints(endpoint, None) for endpoint in slice_.endpoints or ())
    return msgspec.structs.replace(slice_, endpoints=endpoints)


def _with_hints(endpoint: Endpoint, hints: EndpointHints | None) -> Endpoint:
    return msgspec.structs.replace(endpoint, hints=hints)


def _of_family(writes: SliceWrites, family: str) -> _Slices:
    def mine(slices: Iterable[EndpointSlice]) -> list[EndpointSlice]:
        return [slice_ for slice_ in slices if slice_.address_type == family]

    def other(slices: Iterable[EndpointSlice]) -> tuple[EndpointSlice, ...]:
        return tuple(slice_ for slice_ in slices if slice_.address_type != family)

    return _Slices(
        mine(writes.create),
        mine(writes.update),
        mine(writes.unchanged),
        SliceWrites(
            other(writes.create), other(writes.update), writes.delete, other(writes.unchanged)
        ),
    )


def _ready(slice_: EndpointSlice) -> Iterable[Endpoint]:
    return (endpoint for endpoint in slice_.endpoints or () if endpoint.conditions.ready)


def _hinted_zones(endpoint: Endpoint) -> list[str]:
    hints = endpoint.hints
    # Hints for nodes are left from trafficDistribution: PreferSameNode.
    return [] if hints is None or hints.for_nodes else [zone.name for zone in hints.for_zones]
