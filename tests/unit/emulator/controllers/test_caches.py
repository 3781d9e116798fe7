"""What keeps a controller from acting twice on an old copy."""

import msgspec
import pytest

from podwire.emulator.controllers.expectations import PATIENCE, Expectations
from podwire.emulator.controllers.own_writes import OwnWrites
from podwire.emulator.controllers.services.trigger_times import LAST_CHANGE, TriggerTimes
from podwire.kube.client import Client
from podwire.kube.codec import key_of
from podwire.kube.index import Index
from podwire.kube.informer import Informer
from podwire.kube.names import Key
from podwire.kube.objects import Pod
from podwire.testing import build
from podwire.testing.clock import FakeClock

OWNER = Key("default", "web")


def pod(name: str, revision: int = 1, *, deleted: bool = False, uid: str = "") -> Pod:
    meta = build.meta(name, deleted=deleted, uid=uid)
    return Pod(metadata=msgspec.structs.replace(meta, resource_version=str(revision)))


@pytest.mark.parametrize(
    ("created", "deleted", "seen", "satisfied"),
    [
        ([], [], [], True),
        (["a"], [], [], False),
        (["a"], [], [(None, pod("a"))], True),
        (["a", "b"], [], [(None, pod("a"))], False),
        # Made and gone before anybody looked.
        (["a"], [], [(pod("a"), None)], True),
        ([], ["a"], [], False),
        ([], ["a"], [(pod("a"), pod("a"))], False),
        ([], ["a"], [(pod("a"), pod("a", deleted=True))], True),
        ([], ["a"], [(pod("a"), None)], True),
        # A gap in the watch: gone, and another of its name came.
        ([], ["a"], [(pod("a"), pod("a", uid="another"))], True),
        (["a"], [], [(None, pod("other"))], False),
    ],
)
def test_expectations(
    *,
    created: list[str],
    deleted: list[str],
    seen: list[tuple[Pod | None, Pod | None]],
    satisfied: bool,
) -> None:
    expectations = Expectations(FakeClock())
    for name in created:
        expectations.create(OWNER, Key("default", name))
    for name in deleted:
        expectations.delete(OWNER, f"uid-of-{name}")
    for old, new in seen:
        expectations.saw(old, new)
    assert (expectations.missing(OWNER) is None) == satisfied


def test_a_refused_write_is_expected_no_longer() -> None:
    expectations = Expectations(FakeClock())
    expectations.create(OWNER, Key("default", "a"))
    expectations.forget(Key("default", "a"))
    assert expectations.missing(OWNER) is None


def test_patience_ends() -> None:
    clock = FakeClock()
    expectations = Expectations(clock)
    expectations.create(OWNER, Key("default", "a"))
    clock.advance(PATIENCE - 1)
    assert expectations.missing(OWNER) == 1
    clock.advance(1)
    assert expectations.missing(OWNER) is None


class Copy(Informer[Pod]):
    """An informer whose events come from the test."""

    def __init__(self) -> None:
        super().__init__(Client("http://nowhere"), Pod)

    def show(self, key: Key, new: Pod | None) -> None:
        self._change(key, new)


def names(pods: tuple[Pod, ...]) -> list[str]:
    return sorted(f"{p.metadata.name}@{p.metadata.resource_version}" for p in pods)


def test_own_writes_lie_over_the_copy_until_it_has_them() -> None:
    copy = Copy()
    own = OwnWrites(copy)
    foreign: list[bool] = []
    copy.subscribe(lambda old, new: foreign.append(own.saw(old, new)))
    a = Key("default", "a")

    def seen() -> list[str]:
        return names(own.over(OWNER, copy.all()))

    own.wrote(OWNER, pod("a", 5))
    assert seen() == ["a@5"]
    copy.show(a, pod("a", 5))
    assert (seen(), foreign) == (["a@5"], [False])
    own.wrote(OWNER, pod("a", 7))
    copy.show(a, pod("a", 6))
    assert (seen(), foreign) == (["a@7"], [False, False])
    copy.show(a, pod("a", 8))
    assert (seen(), foreign) == (["a@8"], [False, False, True])
    own.deleted(OWNER, a)
    assert seen() == []
    copy.show(a, None)
    assert (seen(), foreign) == ([], [False, False, True, False])


def test_the_event_may_overtake_the_answer() -> None:
    copy = Copy()
    own = OwnWrites(copy)
    foreign: list[bool] = []
    copy.subscribe(lambda old, new: foreign.append(own.saw(old, new)))
    copy.show(Key("default", "a"), pod("a", 5))
    own.wrote(OWNER, pod("a", 5))
    copy.show(Key("default", "a"), None)
    own.deleted(OWNER, Key("default", "a"))
    assert own.over(OWNER, copy.all()) == ()


def test_a_refusal_makes_the_copy_right_again() -> None:
    copy = Copy()
    own = OwnWrites(copy)
    own.wrote(OWNER, pod("a", 5))
    own.forget(OWNER)
    assert own.over(OWNER, copy.all()) == ()


def test_an_index_follows_its_informer() -> None:
    copy = Copy()
    index = Index(copy, lambda p: [p.metadata.labels.get("app", "")])

    def under(app: str) -> list[str]:
        return [key_of(p).name for p in index.get(app)]

    copy.show(Key("default", "a"), pod("a", 2))
    copy.show(Key("default", "b"), pod("b", 3))
    assert (under(""), under("web")) == (["a", "b"], [])
    labelled = msgspec.structs.replace(
        pod("a", 4), metadata=msgspec.structs.replace(pod("a", 4).metadata, labels={"app": "web"})
    )
    copy.show(Key("default", "a"), labelled)
    assert (under(""), under("web")) == (["b"], ["a"])
    copy.show(Key("default", "a"), None)
    assert under("web") == []


def test_the_oldest_of_the_new_changes_is_the_trigger() -> None:
    times = TriggerTimes()
    service = build.service("web", created=build.MOMENT)
    early = build.pod("a", since=build.MOMENT + 10)
    late = build.pod("b", since=build.MOMENT + 20)
    later = build.pod("b", since=build.MOMENT + 30)
    assert times.annotation(service, [early]) == {LAST_CHANGE: "2023-11-14T22:13:20Z"}
    assert times.annotation(service, [early]) == {}
    assert times.annotation(service, [early, late]) == {LAST_CHANGE: "2023-11-14T22:13:40Z"}
    assert times.annotation(service, [early, later]) == {LAST_CHANGE: "2023-11-14T22:13:50Z"}
