"""Topology Aware Routing, in words: `a/north>south!` is endpoint a of zone north, hinted for south.

A `!` marks one that is not ready. Nodes are `north:4` (a zone and its CPUs).
"""

import random

import msgspec
import pytest

from podwire.emulator.controllers.services.slicing import SliceWrites
from podwire.emulator.controllers.services.topology import as_before, hinted
from podwire.emulator.controllers.services.zone_shares import (
    allocations_of,
    cpu_shares,
    facts_of,
    is_wanted,
)
from podwire.kube.codec import convert
from podwire.kube.objects import (
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointSlice,
    ForZone,
    Node,
    ObjectMeta,
    ObjectReference,
)
from podwire.testing import build

NO_FACTS = (
    "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
)
OVERLOADED = (
    "Unable to allocate minimum required endpoints to each zone without exceeding overload "
    "threshold"
)


def nodes(text: str) -> list[Node]:
    """Read `north:4 south:500m:sick east:2:control-plane :4`."""
    found: list[Node] = []
    for number, word in enumerate(text.split()):
        zone, cpu, mark = (*word.split(":"), "", "")[:3]
        labels = {"topology.kubernetes.io/zone": zone} if zone else {}
        if mark == "control-plane":
            labels["node-role.kubernetes.io/control-plane"] = ""
        ready = {"type": "Ready", "status": "False" if mark == "sick" else "True"}
        status = {"allocatable": {"cpu": cpu} if cpu else {}, "conditions": [ready]}
        meta = {"name": f"node-{number}", "labels": labels}
        found.append(convert(Node, {"metadata": meta, "status": status}))
    return found


def endpoint(word: str) -> Endpoint:
    name, _, rest = word.removesuffix("!").partition("/")
    zone, _, hint = rest.partition(">")
    return Endpoint(
        addresses=(f"10.244.0.{sum(map(ord, name)) % 250}",),
        conditions=EndpointConditions(ready=not word.endswith("!")),
        zone=zone or None,
        hints=EndpointHints(for_zones=(ForZone(name=hint),)) if hint else None,
        target_ref=ObjectReference(kind="Pod", name=name, uid=f"uid-of-{name}"),
    )


def slices(text: str) -> tuple[EndpointSlice, ...]:
    return tuple(
        EndpointSlice(
            metadata=ObjectMeta(name=f"s{number}"), endpoints=tuple(map(endpoint, part.split()))
        )
        for number, part in enumerate(p for p in text.split("|") if p.strip())
    )


def words(found: tuple[EndpointSlice, ...]) -> str:
    def one(e: Endpoint) -> str:
        hint = f">{e.hints.for_zones[0].name}" if e.hints else ""
        name = e.target_ref.name if e.target_ref else ""
        return f"{name}/{e.zone or ''}{hint}{'' if e.conditions.ready else '!'}"

    return " | ".join(" ".join(map(one, s.endpoints or ())) for s in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("north:4 south:4", {"north": 0.5, "south": 0.5}),
        ("north:1 north:500m south:500m", {"north": 0.75, "south": 0.25}),
        # Who is not ready, or is for the control plane, does not count.
        ("north:4 south:4 south:4:sick", {"north": 0.5, "south": 0.5}),
        ("north:4 south:4 east:4:control-plane", {"north": 0.5, "south": 0.5}),
        # One zone is nothing to choose from; one node that says too little spoils it for all.
        ("north:4 north:4", {}),
        ("north:4 south:4 :4", {}),
        ("north:4 south:4 east:", {}),
        ("north:4 south:4 east:0", {}),
        ("", {}),
    ],
)
def test_shares_of_zones(text: str, expected: dict[str, float]) -> None:
    assert cpu_shares(nodes(text)) == expected


@pytest.mark.parametrize(
    ("endpoints", "text", "expected"),
    [
        # Zone: (least, most), the rest may be lent.
        (4, "north:4 south:4", {"north": (2, 2), "south": (2, 2)}),
        (6, "north:4 south:4 east:4", {"north": (2, 2), "south": (2, 2), "east": (2, 2)}),
        (10, "north:4 south:4", {"north": (5, 5), "south": (5, 5)}),
        (12, "north:6 south:3", {"north": (7, 8), "south": (4, 5)}),
        (3, "north:4", NO_FACTS),
        (1, "north:4 south:4", "Insufficient number of endpoints (1 endpoints, 2 zones)"),
        (3, "north:4 south:4", f"{OVERLOADED} (3 endpoints, 2 zones)"),
        (4, "north:4 south:4 east:4", f"{OVERLOADED} (4 endpoints, 3 zones)"),
    ],
)
def test_allocations(endpoints: int, text: str, expected: dict[str, tuple[int, int]] | str) -> None:
    found, why_not = allocations_of(endpoints, cpu_shares(nodes(text)))
    sizes = {zone: (a.minimum, a.maximum) for zone, a in found.items()}
    assert (why_not or sizes) == expected


BOTH = "north:4 south:4"


@pytest.mark.parametrize(
    ("written", "unchanged", "expected", "left"),
    [
        # Every zone has its share: each endpoint is for its own.
        ("a/north b/south", "", "a/north>north b/south>south", ""),
        ("a/north b/south c/north!", "", "a/north>north b/south>south c/north!", ""),
        # A zone with too many lends to those with too few.
        ("a/north b/north c/north d/south", "", "a/north>south b/north>north c/north>north d/south>south", ""),
        ("a/north b/north", "", "a/north>south b/north>north", ""),
        # Zones without nodes count for nothing, and their endpoints serve their own.
        ("a/north b/south c/east d/north e/south f/north", "", "a/north>north b/south>south c/east>east d/north>north e/south>south f/north>north", ""),
        # A slice that needs no write keeps its hints while they do no harm.
        ("a/north", "b/south>south", "a/north>north", "b/south>south"),
        ("", "a/north>south b/south>north", "", "a/north>south b/south>north"),
        # Hints are missing, for zones that are gone, or too many for one zone.
        ("", "a/north b/south", "a/north>north b/south>south", ""),
        ("", "a/north>north b/south>gone", "a/north>north b/south>south", ""),
        ("", "a/north>north b/south>north", "a/north>north b/south>south", ""),
        ("a/south", "b/north>north | c/north>north d/south>south", "a/south>south", "b/north>north | c/north>north d/south>south"),
    ],
)  # fmt: skip
def test_hints(written: str, unchanged: str, expected: str, left: str) -> None:
    writes = SliceWrites(update=slices(written), unchanged=slices(unchanged))
    result = hinted(writes, "IPv4", cpu_shares(nodes(BOTH)))
    assert result.why_not == ""
    assert words(result.writes.update) == expected
    assert words(result.writes.unchanged) == left


@pytest.mark.parametrize("seed", range(200))
def test_a_second_look_finds_nothing_to_write(seed: int) -> None:
    dice = random.Random(seed)
    zones = ["north", "south", "east", "west"]
    cpus = " ".join(f"{zone}:{dice.randint(1, 8)}" for zone in zones[: dice.randint(2, 4)])
    parts = [
        " ".join(
            f"e{number}x{n}/{dice.choice(zones)}{dice.choice(('', '!'))}"
            for n in range(dice.randint(1, 12))
        )
        for number in range(dice.randint(1, 4))
    ]
    shares = cpu_shares(nodes(cpus))
    cut = dice.randint(0, len(parts))
    first = hinted(
        SliceWrites(
            update=slices(" | ".join(parts[:cut])), unchanged=slices(" | ".join(parts[cut:]))
        ),
        "IPv4",
        shares,
    )
    now = (*first.writes.update, *first.writes.unchanged)
    second = hinted(SliceWrites(unchanged=now), "IPv4", shares)
    assert words(second.writes.update) == ""
    assert second.why_not == first.why_not
    # All endpoints that are ready have hints, or none has.
    ready = [e for s in now for e in s.endpoints or () if e.conditions.ready]
    assert {bool(e.hints) for e in ready} == ({not first.why_not} if ready else set())


def test_hints_for_nodes_are_replaced() -> None:
    [slice_] = slices("a/north>north b/south>south")
    endpoints = tuple(
        msgspec.structs.replace(
            e,
            hints=EndpointHints(
                for_zones=(ForZone(name=e.zone or ""),), for_nodes=(ForZone(name="node-1"),)
            ),
        )
        for e in slice_.endpoints or ()
    )
    left = msgspec.structs.replace(slice_, endpoints=endpoints)
    result = hinted(SliceWrites(unchanged=(left,)), "IPv4", cpu_shares(nodes(BOTH)))
    assert words(result.writes.update) == "a/north>north b/south>south"
    assert not any(
        e.hints.for_nodes for s in result.writes.update for e in s.endpoints or () if e.hints
    )


@pytest.mark.parametrize(
    ("written", "unchanged", "zones", "why_not"),
    [
        ("a/north>north b/north", "c/south>south | d/south", "north:4", NO_FACTS),
        ("a/north>north", "", BOTH, "Insufficient number of endpoints (1 endpoints, 2 zones)"),
        ("", "a/north>north b/south!", BOTH, "Insufficient number of endpoints (1 endpoints, 2 zones)"),
        ("a/ b/north c/south d/south", "", BOTH, "One or more endpoints do not have a zone specified"),
        ("a/north b/north c/south", "", BOTH, f"{OVERLOADED} (3 endpoints, 2 zones)"),
    ],
)  # fmt: skip
def test_giving_up_takes_every_hint_away(
    written: str, unchanged: str, zones: str, why_not: str
) -> None:
    writes = SliceWrites(create=slices(written), unchanged=slices(unchanged))
    result = hinted(writes, "IPv4", cpu_shares(nodes(zones)))
    assert result.why_not == f"{why_not}, addressType: IPv4"
    found = (*result.writes.create, *result.writes.update, *result.writes.unchanged)
    assert not any(e.hints for s in found for e in s.endpoints or ())
    # Only those that had hints are written.
    assert len(result.writes.update) == sum(">" in part for part in unchanged.split("|"))


def test_hints_alone_are_no_change_of_an_endpoint() -> None:
    present = slices("a/north>south b/south>south c/south>south")
    fresh = [endpoint(word) for word in ("a/north", "b/south!", "d/south")]
    found = msgspec.structs.replace(present[0], endpoints=tuple(as_before(fresh, present)))
    # b is not ready any more and d is new: they have none.
    assert words((found,)) == "a/north>south b/south! d/south"


def test_other_families_are_left_alone() -> None:
    other = msgspec.structs.replace(slices("x/north>north")[0], address_type="IPv6")
    result = hinted(SliceWrites(unchanged=(other,)), "IPv4", cpu_shares(nodes(BOTH)))
    assert result.writes.unchanged == (other,)


@pytest.mark.parametrize(
    ("annotations", "wanted"),
    [
        ({}, False),
        ({"service.kubernetes.io/topology-mode": "Auto"}, True),
        ({"service.kubernetes.io/topology-mode": "auto"}, True),
        ({"service.kubernetes.io/topology-mode": "AUTO"}, False),
        ({"service.kubernetes.io/topology-mode": "Disabled"}, False),
        ({"service.kubernetes.io/topology-aware-hints": "Auto"}, True),
    ],
)
def test_who_asks_for_it(*, annotations: dict[str, str], wanted: bool) -> None:
    assert is_wanted(build.service("web", annotations=annotations)) == wanted


@pytest.mark.parametrize(
    ("before", "after", "matters"),
    [
        ("north:4", "north:4", False),
        ("north:4", "south:4", True),
        ("north:4", "north:8", True),
        ("north:4", "north:4:sick", True),
        ("north:4", "north:4:control-plane", True),
    ],
)
def test_which_changes_of_a_node_matter(*, before: str, after: str, matters: bool) -> None:
    assert (facts_of(nodes(before)[0]) != facts_of(nodes(after)[0])) == matters
