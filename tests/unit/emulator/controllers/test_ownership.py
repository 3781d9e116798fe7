import msgspec
import pytest

from podwire.emulator.controllers.deletion.owners import (
    Collect,
    Disown,
    Keep,
    OwnerState,
    blocks,
    frees_dependents,
    verdict,
    waits_for_dependents,
)
from podwire.emulator.controllers.ownership import adoption, claim, controller_of, release
from podwire.kube.codec import owned_by
from podwire.kube.objects import Pod
from podwire.kube.selectors import from_labels
from podwire.testing import build

WEB = build.replica_set("web")
OTHER = build.replica_set("other")
LABELS = {"app": "web"}


@pytest.mark.parametrize(
    ("pod", "outcome"),
    [
        (build.pod("p", owner=WEB, labels=LABELS), "owned"),
        (build.pod("p", owner=WEB, labels=LABELS, deleted=True), "owned"),
        (build.pod("p", owner=WEB), "release"),
        (build.pod("p", labels=LABELS), "adopt"),
        (build.pod("p", labels=LABELS, deleted=True), ""),
        (build.pod("p"), ""),
        (build.pod("p", owner=OTHER, labels=LABELS), ""),
    ],
)
def test_claims(pod: Pod, outcome: str) -> None:
    claims = claim(WEB, from_labels(LABELS), [pod])
    found = {name for name in ("owned", "adopt", "release") if getattr(claims, name)}
    assert found == ({outcome} if outcome else set())


def test_a_terminating_owner_takes_and_gives_nothing() -> None:
    leaving = build.replica_set("web", deleted=True)
    pods = [build.pod("a", labels=LABELS), build.pod("b", owner=WEB)]
    claims = claim(leaving, from_labels(LABELS), pods)
    assert claims == type(claims)(())


def test_patches_of_references() -> None:
    orphan = build.pod("p", labels=LABELS)
    [reference] = adoption(WEB, orphan)["metadata"]["ownerReferences"]
    assert (reference["uid"], reference["controller"]) == ("uid-of-web", True)
    owned = build.pod("p", owner=WEB)
    assert release(WEB, owned)["metadata"] == {"resourceVersion": "1", "ownerReferences": None}


def test_only_one_owner_is_the_controller() -> None:
    plain = msgspec.structs.replace(owned_by(OTHER), controller=None)
    meta = build.meta("p")
    pod = Pod(metadata=msgspec.structs.replace(meta, owner_references=(plain, owned_by(WEB))))
    found = controller_of(pod)
    assert found
    assert found.name == "web"


@pytest.mark.parametrize(
    ("states", "has_dependents", "finalizers", "expected"),
    [
        ({}, False, (), "keep"),
        ({"a": "solid"}, False, (), "keep"),
        ({"a": "absent"}, False, (), "Background"),
        ({"a": "absent", "b": "absent"}, True, (), "Background"),
        ({"a": "solid", "b": "absent"}, False, (), "disown b"),
        ({"a": "solid", "b": "waiting"}, True, (), "disown b"),
        ({"a": "waiting"}, False, (), "Background"),
        ({"a": "waiting"}, True, (), "Foreground"),
        ({"a": "absent"}, False, ("orphan",), "Orphan"),
        ({"a": "absent"}, False, ("foregroundDeletion",), "Foreground"),
    ],
)
def test_what_the_collector_does(
    *,
    states: dict[str, OwnerState],
    has_dependents: bool,
    finalizers: tuple[str, ...],
    expected: str,
) -> None:
    references = tuple(msgspec.structs.replace(owned_by(WEB), uid=uid, name=uid) for uid in states)
    meta = msgspec.structs.replace(
        build.meta("p", finalizers=finalizers), owner_references=references
    )
    match verdict(Pod(metadata=meta), states, has_dependents=has_dependents):
        case Keep():
            outcome = "keep"
        case Disown(keep):
            gone = set(states) - {r.uid for r in keep}
            outcome = f"disown {' '.join(sorted(gone))}"
        case Collect(propagation):
            outcome = propagation
    assert outcome == expected


@pytest.mark.parametrize(
    ("finalizers", "deleted", "waits", "frees"),
    [
        ((), True, False, False),
        (("foregroundDeletion",), False, False, False),
        (("foregroundDeletion",), True, True, False),
        (("orphan",), True, False, True),
    ],
)
def test_ways_to_go(
    *, finalizers: tuple[str, ...], deleted: bool, waits: bool, frees: bool
) -> None:
    owner = build.replica_set("web", finalizers=finalizers, deleted=deleted)
    assert (waits_for_dependents(owner), frees_dependents(owner)) == (waits, frees)
    assert blocks(build.pod("p", owner=owner), owner)
    assert not blocks(build.pod("p"), owner)
