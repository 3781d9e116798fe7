from typing import Any

import pytest

from podwire.testing.apiserver import SilentServer

Json = dict[str, Any]
MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
NAMESPACES = "/api/v1/namespaces"


def running_pod(server: SilentServer, name: str = "p", grace: int = 30) -> Json:
    spec = {
        "containers": [{"name": "c", "image": "nginx"}],
        "nodeName": "node-1",
        "terminationGracePeriodSeconds": grace,
    }
    return server.must(f"POST {PODS}", {"metadata": {"name": name}, "spec": spec})


def config(server: SilentServer, *finalizers: str) -> Json:
    meta = {"name": "cfg", "finalizers": list(finalizers)}
    return server.must(f"POST {MAPS}", {"metadata": meta})


def gone(server: SilentServer, path: str) -> bool:
    return server.ask(f"GET {path}")[0] == 404


def test_a_deletion_at_once_answers_success(server: SilentServer) -> None:
    made = config(server)
    watching = server.watch(f"{MAPS}?watch=1&resourceVersion={made['metadata']['resourceVersion']}")
    assert server.must(f"DELETE {MAPS}/cfg", {"propagationPolicy": "Background"}) == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {"name": "cfg", "kind": "configmaps", "uid": made["metadata"]["uid"]},
    }
    assert watching.seen() == [f"DELETED cfg@{server.api.store.revision}"]
    assert server.says(f"DELETE {MAPS}/cfg").startswith("404 NotFound")


@pytest.mark.parametrize(
    ("options", "timestamp", "grace"),
    [
        ({}, "2023-11-14T22:13:50Z", 30),
        ({"gracePeriodSeconds": 1}, "2023-11-14T22:13:21Z", 1),
        ({"gracePeriodSeconds": 60}, "2023-11-14T22:14:20Z", 60),
    ],
)
def test_a_running_pod_gets_time_to_stop(
    server: SilentServer, options: Json, timestamp: str, grace: int
) -> None:
    running_pod(server)
    left = server.must(f"DELETE {PODS}/p", options)
    assert left["metadata"]["deletionTimestamp"] == timestamp
    assert left["metadata"]["deletionGracePeriodSeconds"] == grace


def test_the_kubelet_ends_the_pod(server: SilentServer) -> None:
    made = running_pod(server)
    since = made["metadata"]["resourceVersion"]
    watching = server.watch(f"{PODS}?watch=1&resourceVersion={since}")
    server.must(f"DELETE {PODS}/p")
    server.clock.advance(2)
    options = {"gracePeriodSeconds": 0, "preconditions": {"uid": made["metadata"]["uid"]}}
    # A pod answers its deletion itself; a ConfigMap does by a Status.
    assert server.must(f"DELETE {PODS}/p", options)["kind"] == "Pod"
    events = watching.events()
    graces = [e["object"]["metadata"].get("deletionGracePeriodSeconds") for e in events]
    assert [(e["type"], grace) for e, grace in zip(events, graces, strict=True)] == [
        ("MODIFIED", 30),
        ("MODIFIED", 0),
        ("DELETED", 0),
    ]


def test_a_second_deletion_can_only_shorten_the_time(server: SilentServer) -> None:
    running_pod(server)
    first = server.must(f"DELETE {PODS}/p")
    server.clock.advance(1)
    assert server.must(f"DELETE {PODS}/p") == first
    assert server.must(f"DELETE {PODS}/p", {"gracePeriodSeconds": 90}) == first
    shorter = server.must(f"DELETE {PODS}/p", {"gracePeriodSeconds": 5})
    assert shorter["metadata"]["deletionTimestamp"] == "2023-11-14T22:13:26Z"


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_does_not_run_goes_at_once(server: SilentServer, phase: str) -> None:
    running_pod(server)
    server.must(f"PATCH {PODS}/p/status", {"status": {"phase": phase}}, patch="merge")
    assert server.must(f"DELETE {PODS}/p")["kind"] == "Pod"
    assert server.says(f"GET {PODS}/p").startswith("404")
    unscheduled = {"metadata": {"name": "q"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    server.must(f"POST {PODS}", unscheduled)
    assert server.must(f"DELETE {PODS}/q")["kind"] == "Pod"
    assert server.says(f"GET {PODS}/q").startswith("404")


def test_a_finalizer_holds_the_object_until_it_is_removed(server: SilentServer) -> None:
    made = config(server, "example.com/wait")
    watching = server.watch(f"{MAPS}?watch=1&resourceVersion={made['metadata']['resourceVersion']}")
    left = server.must(f"DELETE {MAPS}/cfg")
    assert left["metadata"]["deletionGracePeriodSeconds"] == 0
    added = {"metadata": {"finalizers": ["example.com/wait", "example.com/more"]}}
    assert "no new finalizers can be added" in server.says(
        f"PATCH {MAPS}/cfg", added, patch="merge"
    )
    last = server.must(f"PATCH {MAPS}/cfg", {"metadata": {"finalizers": None}}, patch="merge")
    assert last["metadata"]["name"] == "cfg"
    assert gone(server, f"{MAPS}/cfg")
    assert [event["type"] for event in watching.events()] == ["MODIFIED", "DELETED"]


@pytest.mark.parametrize(
    ("policy", "finalizers"),
    [("Orphan", ["orphan"]), ("Foreground", ["foregroundDeletion"])],
)
def test_propagation_leaves_work_for_the_garbage_collector(
    server: SilentServer, policy: str, finalizers: list[str]
) -> None:
    config(server)
    left = server.must(f"DELETE {MAPS}/cfg?propagationPolicy={policy}")
    assert left["metadata"]["finalizers"] == finalizers


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"preconditions": {"uid": "other"}}, '409 Conflict: Operation cannot be fulfilled on ConfigMap "cfg": the UID in the precondition (other)'),
        ({"preconditions": {"resourceVersion": "1"}}, '409 Conflict: Operation cannot be fulfilled on ConfigMap "cfg": the ResourceVersion in the precondition (1)'),
        ({"propagationPolicy": "Sometimes"}, "400 BadRequest: "),
        ({"gracePeriodSeconds": "soon"}, "400 BadRequest: "),
        ({"kind": "Pod"}, "400 BadRequest: expected DeleteOptions"),
    ],
)  # fmt: skip
def test_options_that_prevent_a_deletion(
    server: SilentServer, options: Json, expected: str
) -> None:
    config(server)
    assert server.says(f"DELETE {MAPS}/cfg", options).startswith(expected)
    assert not gone(server, f"{MAPS}/cfg")


def test_a_collection_is_deleted_by_selector(server: SilentServer) -> None:
    for name, app in (("a", "x"), ("b", "y"), ("c", "x")):
        server.must(f"POST {MAPS}", {"metadata": {"name": name, "labels": {"app": app}}})
    deleted = server.must(f"DELETE {MAPS}?labelSelector=app=x")
    assert deleted["kind"] == "ConfigMapList"
    assert [item["metadata"]["name"] for item in deleted["items"]] == ["a", "c"]
    assert [item["metadata"]["name"] for item in server.get(MAPS)["items"]] == ["b"]


def test_a_namespace_waits_for_its_content(server: SilentServer) -> None:
    server.must(f"POST {NAMESPACES}", {"metadata": {"name": "shop"}})
    server.must(f"POST {NAMESPACES}/shop/configmaps", {"metadata": {"name": "a"}})
    left = server.must(f"DELETE {NAMESPACES}/shop")
    assert (left["status"]["phase"], left["spec"]["finalizers"]) == ("Terminating", ["kubernetes"])
    assert server.says(f"POST {NAMESPACES}/shop/configmaps", {"metadata": {"name": "b"}}) == (
        '403 Forbidden: configmaps "b" is forbidden: unable to create new content in namespace '
        "shop because it is being terminated"
    )
    # Only /finalize may take the finalizer away.
    without: Json = {**left, "spec": {}}
    assert server.must(f"PUT {NAMESPACES}/shop", without)["spec"]["finalizers"] == ["kubernetes"]
    server.must(f"PUT {NAMESPACES}/shop/finalize", without)
    assert gone(server, f"{NAMESPACES}/shop")


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
def test_some_namespaces_stay(server: SilentServer, name: str) -> None:
    assert server.says(f"DELETE {NAMESPACES}/{name}") == (
        f'403 Forbidden: namespaces "{name}" is forbidden: this namespace may not be deleted'
    )


def test_eviction_deletes(server: SilentServer) -> None:
    running_pod(server)
    eviction = {"metadata": {"name": "p"}, "deleteOptions": {"gracePeriodSeconds": 3}}
    assert (
        server.must(f"POST {PODS}/p/eviction", {**eviction, "kind": "Eviction"})["status"]
        == "Success"
    )
    assert server.get(f"{PODS}/p")["metadata"]["deletionGracePeriodSeconds"] == 3
    other = {**eviction, "metadata": {"name": "q"}}
    assert server.says(f"POST {PODS}/q/eviction", other).startswith("404")
    assert server.says(f"POST {PODS}/q/eviction", eviction) == (
        "400 BadRequest: name in URL does not match name in Eviction object"
    )


def test_deleting_a_workload_counts_a_generation_once(server: SilentServer) -> None:
    slice_: Json = {
        "metadata": {"name": "s", "finalizers": ["example.com/x"]},
        "addressType": "IPv4",
        "endpoints": [],
    }
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    server.must(f"POST {path}", slice_)
    generations = [server.must(f"DELETE {path}/s")["metadata"]["generation"] for _ in "12"]
    assert generations == [2, 2]


def test_a_job_leaves_its_pods_unless_it_is_told_otherwise(server: SilentServer) -> None:
    jobs = "/apis/batch/v1/namespaces/default/jobs"
    container = {"name": "c", "image": "busybox"}
    pod = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    job = {"metadata": {"name": "j"}, "spec": {"template": pod}}
    for options, finalizers, warned in (
        ({}, ["orphan"], True),
        ({"propagationPolicy": "Background"}, None, False),
        ({"propagationPolicy": "Orphan"}, ["orphan"], False),
    ):
        server.must(f"POST {jobs}", job)
        left = server.must(f"DELETE {jobs}/j", options)
        warning = "child pods are preserved by default when jobs are deleted"
        assert any(text.startswith(warning) for text in server.warnings) == warned
        assert left.get("metadata", {}).get("finalizers") == finalizers
        if finalizers:
            free = {"metadata": {"finalizers": None}}
            server.must(f"PATCH {jobs}/j", free, patch="merge")
