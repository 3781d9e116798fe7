import pytest

from podwire.emulator.apiserver.store import Change, Store, TooOld
from podwire.kube.names import Key


def obj(name: str, **more: str) -> dict[str, object]:
    return {"kind": "ConfigMap", "metadata": {"name": name}, **more}


def key(text: str) -> Key:
    namespace, _, name = text.partition("/")
    return Key(namespace, name)


def written(store: Store, *names: str) -> None:
    for name in names:
        store.put("configmaps", key(name), obj(name))


def test_one_counter_counts_all_kinds() -> None:
    store = Store()
    first = store.put("configmaps", key("a/x"), obj("x"))
    second = store.put("secrets", key("a/x"), obj("x"))
    assert (second.revision - first.revision, store.revision) == (1, second.revision)
    assert second.object["metadata"]["resourceVersion"] == str(second.revision)


@pytest.mark.parametrize(
    ("namespace", "expected"),
    [("", "a/b a/c a-b/a b/a"), ("a", "a/b a/c"), ("a-b", "a-b/a"), ("none", "")],
)
def test_lists_are_ordered_by_namespace_and_name(namespace: str, expected: str) -> None:
    store = Store()
    written(store, "b/a", "a/c", "a-b/a", "a/b")
    assert " ".join(str(s.key) for s in store.all("configmaps", namespace)) == expected


def test_a_copy_is_the_callers_own() -> None:
    store = Store()
    stored = store.put("configmaps", key("a/x"), obj("x"))
    stored.copy()["metadata"]["name"] = "changed"
    assert stored.object["metadata"]["name"] == "x"


def test_a_deletion_has_a_revision_of_its_own() -> None:
    store = Store()
    written(store, "a/x")
    gone = store.remove("configmaps", key("a/x"))
    assert gone.object["metadata"]["resourceVersion"] == str(store.revision) == "3"
    assert store.get("configmaps", key("a/x")) is None
    with pytest.raises(KeyError):
        store.remove("configmaps", key("a/x"))


def test_replay_of_the_changes_gives_the_list() -> None:
    store = Store()
    written(store, "a/x", "a/y", "a/z")
    since = store.revision
    past = {s.key: s.encoded for s in store.all("configmaps")}
    store.put("configmaps", key("a/y"), obj("y", data="2"))
    store.remove("configmaps", key("a/x"))
    written(store, "a/w")
    for change in store.since("configmaps", since):
        if change.type == "DELETED":
            del past[change.now.key]
        else:
            past[change.now.key] = change.now.encoded
    assert past == {s.key: s.encoded for s in store.all("configmaps")}


def test_an_old_list_can_be_seen_again() -> None:
    store = Store()
    written(store, "a/x", "a/y", "b/z")
    revision = store.revision
    before = [s.encoded for s in store.all("configmaps", "a")]
    store.remove("configmaps", key("a/x"))
    store.put("configmaps", key("a/y"), obj("y", data="2"))
    written(store, "a/new")
    assert [s.encoded for s in store.at("configmaps", revision, "a")] == before


def test_history_is_bounded_and_says_what_it_forgot() -> None:
    store = Store(history=3)
    written(store, "a/1", "a/2", "a/3", "a/4")  # revisions 2, 3, 4, 5; 2 is forgotten
    with pytest.raises(TooOld) as error:
        store.since("configmaps", 1)
    assert error.value.oldest == 2
    assert [c.revision for c in store.since("configmaps", 2)] == [3, 4, 5]


def test_subscribers_hear_their_kind_until_they_stop() -> None:
    store = Store()
    heard: list[Change] = []
    stop = store.subscribe("configmaps", heard.append)
    written(store, "a/x")
    store.put("secrets", key("a/x"), obj("x"))
    stop()
    written(store, "a/y")
    assert [(c.type, str(c.now.key)) for c in heard] == [("ADDED", "a/x")]


def test_superseded_states_are_still_readable() -> None:
    store = Store()
    written(store, "a/x")
    store.put("configmaps", key("a/x"), obj("x", data="2"))
    change = store.since("configmaps", 2)[0]
    assert change.before is not None
    assert "data" not in change.before.object


def test_followers_hear_of_every_kind_before_the_subscribers() -> None:
    store, heard = Store(), list[str]()
    store.follow(lambda change: heard.append(f"follower: {change.type} {change.collection}"))
    store.subscribe("pods", lambda change: heard.append(f"subscriber: {change.type}"))
    store.put("services", Key("default", "web"), {"metadata": {}})
    store.put("pods", Key("default", "web"), {"metadata": {}})
    store.remove("pods", Key("default", "web"))
    assert heard == [
        "follower: ADDED services",
        "follower: ADDED pods",
        "subscriber: ADDED",
        "follower: DELETED pods",
        "subscriber: DELETED",
    ]


def test_of_large_objects_fewer_changes_are_remembered() -> None:
    store = Store(history=100, largest_history=10_000)
    first = store.revision
    for _ in range(20):
        store.put("configmaps", key("a/x"), obj("x", text="x" * 1000))
    with pytest.raises(TooOld) as error:
        store.since("configmaps", first)
    assert store.revision - error.value.oldest == 9
    store.put("configmaps", key("a/y"), obj("y", text="x" * 20_000))
    (last,) = store.since("configmaps", store.revision - 1)
    assert last.now.key == key("a/y"), "the newest is remembered, however large it is"
    small = store.revision
    for _ in range(50):
        store.put("configmaps", key("a/x"), obj("x"))
    assert len(store.since("configmaps", small)) == 50
