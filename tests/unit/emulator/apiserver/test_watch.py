import pytest

from podwire.emulator.apiserver.negotiate import Form
from podwire.emulator.apiserver.statuses import Refused
from podwire.emulator.apiserver.store import Store
from podwire.testing.apiserver import SilentServer

MAPS = "/api/v1/namespaces/default/configmaps"


def put(server: SilentServer, name: str, **labels: str) -> int:
    body = {"metadata": {"name": name, "labels": labels}}
    found = server.ask(f"GET {MAPS}/{name}")[0] == 200
    server.must(f"PUT {MAPS}/{name}" if found else f"POST {MAPS}", body)
    return server.api.store.revision


@pytest.mark.parametrize("version", ["", "&resourceVersion=0"])
def test_without_a_revision_all_objects_come_first(server: SilentServer, version: str) -> None:
    one = put(server, "a")
    watching = server.watch(f"{MAPS}?watch=1{version}")
    two = put(server, "b")
    assert watching.seen() == [f"ADDED a@{one}", f"ADDED b@{two}"]


def test_from_a_revision_only_what_is_newer(server: SilentServer) -> None:
    since = put(server, "a")
    two = put(server, "b")
    server.must(f"DELETE {MAPS}/a")
    gone = server.api.store.revision
    watching = server.watch(f"{MAPS}?watch=1&resourceVersion={since}")
    three = put(server, "b", x="y")
    assert watching.seen() == [f"ADDED b@{two}", f"DELETED a@{gone}", f"MODIFIED b@{three}"]


def test_other_namespaces_and_kinds_are_not_seen(server: SilentServer) -> None:
    watching = server.watch(f"{MAPS}?watch=1")
    server.must("POST /api/v1/namespaces/kube-system/configmaps", {"metadata": {"name": "a"}})
    server.must("POST /api/v1/namespaces/default/secrets", {"metadata": {"name": "a"}})
    assert watching.seen() == []


def test_an_object_that_begins_or_stops_to_match(server: SilentServer) -> None:
    watching = server.watch(f"{MAPS}?watch=1&labelSelector=app=x")
    put(server, "a", app="y")
    begins = put(server, "a", app="x")
    again = put(server, "a", app="x", more="1")
    stops = put(server, "a", app="y")
    put(server, "a", app="z")
    server.must(f"DELETE {MAPS}/a")
    events = watching.events()
    shown = [(e["type"], e["object"]["metadata"]["resourceVersion"]) for e in events]
    assert shown == [("ADDED", str(begins)), ("MODIFIED", str(again)), ("DELETED", str(stops))]
    # The object as the client knew it, with the revision at which it stopped to match.
    assert events[-1]["object"]["metadata"]["labels"] == {"app": "x", "more": "1"}


def test_an_old_revision_ends_the_watch(server: SilentServer) -> None:
    small = SilentServer()
    object.__setattr__(small.api, "store", Store(history=2))
    for name in "abc":
        small.must("POST /api/v1/namespaces", {"metadata": {"name": name}})
    watching = small.watch("/api/v1/namespaces?watch=1&resourceVersion=1")
    assert watching.seen() == ["ERROR too old resource version: 1 (2)"]
    assert watching.watch.over
    del server


def test_watch_list_ends_its_first_part_with_a_bookmark(server: SilentServer) -> None:
    one = put(server, "a")
    watching = server.watch(
        f"{MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    )
    added, mark = watching.events()
    assert (added["type"], mark["type"]) == ("ADDED", "BOOKMARK")
    assert mark["object"] == {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {
            "resourceVersion": str(one),
            "creationTimestamp": None,
            "annotations": {"k8s.io/initial-events-end": "true"},
        },
    }


def test_a_watch_may_begin_with_nothing(server: SilentServer) -> None:
    put(server, "a")
    watching = server.watch(
        f"{MAPS}?watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan"
    )
    assert watching.seen() == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sendInitialEvents=true", "422 Invalid"),
        ("resourceVersionMatch=NotOlderThan&resourceVersion=1", "422 Invalid"),
        ("resourceVersion=abc", "400 BadRequest"),
        ("labelSelector=a b", "400 BadRequest"),
        ("timeoutSeconds=soon", "400 BadRequest"),
    ],
)
def test_options_that_are_refused(server: SilentServer, query: str, expected: str) -> None:
    with pytest.raises(Refused) as refusal:
        server.watch(f"{MAPS}?watch=1&{query}")
    assert f"{refusal.value.code} {refusal.value.status['reason']}" == expected


def test_tables_name_their_columns_once(server: SilentServer) -> None:
    put(server, "a")
    watching = server.watch(f"{MAPS}?watch=1", Form("table"))
    put(server, "b")
    put(server, "a", x="y")
    tables = [event["object"] for event in watching.events()]
    assert [bool(table["columnDefinitions"]) for table in tables] == [True, False, False]
    assert [table["rows"][0]["cells"][0] for table in tables] == ["a", "b", "a"]


def test_two_tables_begin_each_with_their_columns(server: SilentServer) -> None:
    first, second = (server.watch(f"{MAPS}?watch=1", Form("table")) for _ in "12")
    put(server, "a")
    for watching in (first, second):
        assert watching.events()[0]["object"]["columnDefinitions"]


def test_lines_are_shared_by_watches_of_a_form(server: SilentServer) -> None:
    since = server.api.store.revision
    one, other = (server.watch(f"{MAPS}?watch=1") for _ in "12")
    put(server, "a")
    change = server.api.store.since("configmaps", since)[0]
    assert one.watch.line(change) is other.watch.line(change)


def test_metadata_alone(server: SilentServer) -> None:
    watching = server.watch(f"{MAPS}?watch=1", Form("metadata"))
    put(server, "a")
    assert watching.events()[0]["object"]["kind"] == "PartialObjectMetadata"


def test_events_are_watched_in_their_version(server: SilentServer) -> None:
    watching = server.watch("/apis/events.k8s.io/v1/events?watch=1&fieldSelector=regarding.name=p")
    for name in ("p", "q"):
        event = {
            "metadata": {"name": name},
            "involvedObject": {"name": name, "namespace": "default", "kind": "Pod"},
            "message": "hello",
        }
        server.must("POST /api/v1/namespaces/default/events", event)
    assert [(e["object"]["apiVersion"], e["object"]["note"]) for e in watching.events()] == [
        ("events.k8s.io/v1", "hello")
    ]
