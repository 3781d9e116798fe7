import pytest

from podwire.emulator.controllers.workloads.rollout import (
    DESIRED,
    MAX,
    fence,
    is_scaling,
    new_size,
    old_sizes,
    scaled_sizes,
)
from podwire.kube.objects import Deployment, ReplicaSet, RollingUpdate, UpdateStrategy
from podwire.testing import build


def web(
    replicas: int = 10,
    surge: int | str | None = None,
    unavailable: int | str | None = None,
    kind: str = "RollingUpdate",
) -> Deployment:
    limits = RollingUpdate(max_surge=surge, max_unavailable=unavailable)
    strategy = UpdateStrategy(type=kind, rolling_update=limits)
    return build.deployment("web", replicas=replicas, spec={"strategy": strategy})


def sets(text: str, *, desired: int | None = None, most: int = 0) -> list[ReplicaSet]:
    """Read `new 4/3, old 5/5`: names, the oldest last, with wanted/available pods."""
    found: list[ReplicaSet] = []
    for age, item in enumerate(filter(None, text.split(", "))):
        name, numbers = item.split()
        wanted, available = map(int, numbers.split("/"))
        annotations = {} if desired is None else {DESIRED: str(desired), MAX: str(most)}
        created = build.MOMENT - 100 * age
        found.append(
            build.replica_set(
                name, replicas=wanted, available=available, annotations=annotations, created=created
            )
        )
    return found


@pytest.mark.parametrize(
    ("deployment", "surge", "unavailable"),
    [
        (web(10), 3, 2),
        (web(1), 1, 0),
        (web(4, "0%", "10%"), 0, 1),
        (web(4, 0, 1), 0, 1),
        (web(4, 2, 0), 2, 0),
        (web(4, kind="Recreate"), 0, 0),
    ],
)
def test_limits(deployment: Deployment, surge: int, unavailable: int) -> None:
    assert fence(deployment) == (surge, unavailable)


@pytest.mark.parametrize(
    ("deployment", "new", "everything", "size"),
    [
        (web(10), 0, 0, 10),
        (web(10), 0, 10, 3),
        (web(10), 3, 13, 3),
        (web(10), 3, 11, 5),
        (web(10), 10, 10, 10),
        (web(10), 12, 12, 10),
        (web(10, 0, 1), 0, 10, 0),
        (web(10, 0, 1), 0, 9, 1),
        (web(10, "100%", 0), 0, 10, 10),
        (web(5, kind="Recreate"), 0, 0, 5),
    ],
)
def test_growth_of_the_new_replica_set(
    deployment: Deployment, new: int, everything: int, size: int
) -> None:
    assert new_size(deployment, new, everything) == size


@pytest.mark.parametrize(
    ("deployment", "new", "old", "sizes"),
    [
        # maxUnavailable 2 may go at once, before anything new is up.
        (web(10), "new 3/0", "old 10/10", {"old": 8}),
        (web(10), "new 3/3", "old 10/10", {"old": 5}),
        (web(10), "new 5/3", "old 8/8", {"old": 5}),
        (web(10), "new 5/0", "old 8/8", {"old": 8}),
        (web(10), "new 10/10", "old 3/3", {"old": 0}),
        # Broken old pods go first, without a wait for new ones.
        (web(10, 3, 0), "new 3/0", "old 10/7", {"old": 10}),
        (web(10), "new 3/3", "older 5/0, oldest 5/5", {"older": 0, "oldest": 5}),
        # The oldest gives first.
        (web(10), "new 3/3", "older 5/5, oldest 5/5", {"older": 5, "oldest": 0}),
        (web(10), "new 2/2", "older 5/5, oldest 5/5", {"older": 5, "oldest": 1}),
        (web(10, 1, 0), "new 1/0", "old 10/10", {"old": 10}),
        (web(10, 1, 0), "new 1/1", "old 10/10", {"old": 9}),
        (web(0), "new 0/0", "old 3/3", {"old": 0}),
    ],
)
def test_shrinking_of_the_old_ones(
    deployment: Deployment, new: str, old: str, sizes: dict[str, int]
) -> None:
    assert old_sizes(deployment, sets(new)[0], sets(old)) == sizes


@pytest.mark.parametrize(
    ("replicas", "text", "desired", "scaling"),
    [
        (10, "new 10/10", 10, False),
        (12, "new 10/10", 10, True),
        (12, "new 10/10", None, False),
        (12, "old 0/0", 10, False),
    ],
)
def test_when_replicas_changed(
    *, replicas: int, text: str, desired: int | None, scaling: bool
) -> None:
    assert is_scaling(web(replicas), sets(text, desired=desired)) == scaling


@pytest.mark.parametrize(
    ("deployment", "new", "old", "before", "sizes"),
    [
        (web(5), "new 10/10", "", 10, {"new": 5}),
        (web(5), "new 0/0", "old 0/0", 10, {"new": 5, "old": 0}),
        (web(12), "new 10/10", "old 0/0", 10, {"new": 12, "old": 0}),
        (web(12), "", "old 10/10, older 0/0", 10, {"old": 12, "older": 0}),
        # During an update the change is shared: 10 -> 20 with surge 5.
        (web(20), "new 5/5", "old 8/8", 10, {"new": 10, "old": 15}),
        (web(5), "new 5/5", "old 8/8", 10, {"new": 3, "old": 4}),
        (web(0), "new 5/5", "old 8/8", 10, {"new": 0, "old": 0}),
        # The new one is complete: what is left of the old ones is a mistake.
        (web(10), "new 10/10", "old 3/3", 10, {"new": 10, "old": 0}),
    ],
)
def test_scaling(
    deployment: Deployment, new: str, old: str, before: int, sizes: dict[str, int]
) -> None:
    surge = fence(web(before))[0]
    new_set = next(iter(sets(new, desired=before, most=before + surge)), None)
    old_sets = sets(old, desired=before, most=before + surge)
    assert scaled_sizes(deployment, new_set, old_sets) == sizes
