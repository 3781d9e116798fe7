from typing import Any

import pytest

from podwire.testing.apiserver import SilentServer

Json = dict[str, Any]
MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


def config(name: str = "cfg", **data: str) -> Json:
    return {"metadata": {"name": name}, "data": data or {"a": "1"}}


def deployment(name: str = "web", image: str = "nginx") -> Json:
    return {
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": image}]},
            },
        },
    }


def pod(name: str = "p") -> Json:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "app", "image": "nginx"}]}}


def test_a_new_object_gets_its_metadata(server: SilentServer) -> None:
    made = server.must(f"POST {MAPS}", config())
    meta = made["metadata"]
    assert (made["kind"], made["apiVersion"]) == ("ConfigMap", "v1")
    assert meta["namespace"] == "default"
    assert meta["creationTimestamp"] == "2023-11-14T22:13:20Z"
    assert len(meta["uid"]) == 36
    assert meta["resourceVersion"] == str(server.api.store.revision)
    assert "generation" not in meta


def test_generate_name_takes_five_letters_and_a_free_name(server: SilentServer) -> None:
    names = {
        server.must(f"POST {MAPS}", {"metadata": {"generateName": "gen-"}})["metadata"]["name"]
        for _ in range(20)
    }
    assert len(names) == 20
    assert all(len(name) == len("gen-") + 5 for name in names)


@pytest.mark.parametrize(
    ("line", "body", "expected"),
    [
        (f"POST {MAPS}", {"metadata": {"name": "cfg", "resourceVersion": "5"}}, "400 : resourceVersion should not be set on objects to be created"),
        (f"POST {MAPS}", {"metadata": {"name": "cfg", "namespace": "other"}}, "400 BadRequest: the namespace of the provided object does not match"),
        (f"POST {MAPS}", {"data": {}}, '422 Invalid: ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required'),
        ("POST /api/v1/namespaces/nope/configmaps", config(), '404 NotFound: namespaces "nope" not found'),
        (f"POST {MAPS}", {"kind": "Secret", "apiVersion": "v1"}, '400 BadRequest: Secret in version "v1" cannot be handled as a ConfigMap: '),
        (f"POST {MAPS}", {"kind": "Gadget", "apiVersion": "v1"}, '400 BadRequest: Gadget in version "v1" cannot be handled as a ConfigMap: no kind "Gadget" is registered'),
        (f"POST {MAPS}", {"kind": "ConfigMap", "apiVersion": "apps/v1"}, "400 BadRequest: "),
        (f"POST {MAPS}", [1], "400 BadRequest: couldn't get version/kind; json parse error: json: cannot unmarshal array"),
        (f"POST {MAPS}", None, "400 BadRequest: the request body is empty"),
        (f"POST {MAPS}?fieldValidation=Strict", {**config(), "datta": {}}, '400 BadRequest: ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "datta"'),
        (f"POST {MAPS}?fieldValidation=Perhaps", config(), '422 Invalid: CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Perhaps"'),
        (f"POST {MAPS}?dryRun=Some", config(), '422 Invalid: CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: '),
        (f"PUT {MAPS}/cfg", config(), '404 NotFound: configmaps "cfg" not found'),
        (f"PUT {MAPS}/other", config(), "400 BadRequest: the name of the object (cfg) does not match the name on the URL (other)"),
        (f"GET {MAPS}/cfg", None, '404 NotFound: configmaps "cfg" not found'),
        (f"GET {DEPLOYMENTS}/web", None, '404 NotFound: deployments.apps "web" not found'),
    ],
)  # fmt: skip
def test_refusals(server: SilentServer, line: str, body: Any, expected: str) -> None:
    assert server.says(line, body).startswith(expected)
    assert server.get(MAPS)["items"] == []


def test_a_name_can_be_taken_once(server: SilentServer) -> None:
    server.must(f"POST {MAPS}", config())
    assert (
        server.says(f"POST {MAPS}", config())
        == '409 AlreadyExists: configmaps "cfg" already exists'
    )


def test_unknown_fields_warn_unless_told_otherwise(server: SilentServer) -> None:
    made = server.must(f"POST {MAPS}", {**config(), "datta": {}})
    assert server.warnings == ('unknown field "datta"',)
    assert "datta" not in made
    server.must(f"POST {MAPS}?fieldValidation=Ignore", {**config("x"), "datta": {}})
    assert not server.warnings


def test_dry_run_stores_nothing_and_tells_nobody(server: SilentServer) -> None:
    watching = server.watch(f"{MAPS}?watch=1")
    watching.events()
    made = server.must(f"POST {MAPS}?dryRun=All", config())
    assert made["metadata"]["uid"]
    assert "resourceVersion" not in made["metadata"]
    server.must(f"POST {MAPS}", config())
    shown = server.must(f"PATCH {MAPS}/cfg?dryRun=All", {"data": {"a": "2"}}, patch="merge")
    assert shown["data"] == {"a": "2"}
    assert server.get(f"{MAPS}/cfg")["data"] == {"a": "1"}
    assert server.must(f"DELETE {MAPS}/cfg?dryRun=All")["status"] == "Success"
    assert [event["type"] for event in watching.events()] == ["ADDED"]


def test_a_write_that_changes_nothing_keeps_the_revision(server: SilentServer) -> None:
    made = server.must(f"POST {DEPLOYMENTS}", deployment())
    watching = server.watch(
        f"{DEPLOYMENTS}?watch=1&resourceVersion={made['metadata']['resourceVersion']}"
    )
    assert server.must(f"PUT {DEPLOYMENTS}/web", made) == made
    assert server.must(f"PUT {DEPLOYMENTS}/web", deployment()) == made
    assert server.must(f"PATCH {DEPLOYMENTS}/web", {"spec": {"replicas": 1}}, patch="merge") == made
    assert watching.events() == []


def test_a_stale_revision_conflicts(server: SilentServer) -> None:
    old = server.must(f"POST {MAPS}", config())
    server.must(f"PATCH {MAPS}/cfg", {"data": {"a": "2"}}, patch="merge")
    words = (
        '409 Conflict: Operation cannot be fulfilled on configmaps "cfg": the object has been '
        "modified; please apply your changes to the latest version and try again"
    )
    assert server.says(f"PUT {MAPS}/cfg", old) == words
    stale = {"metadata": {"resourceVersion": old["metadata"]["resourceVersion"]}}
    assert server.says(f"PATCH {MAPS}/cfg", stale, patch="merge") == words
    other = {**config(), "metadata": {"name": "cfg", "uid": "another"}}
    assert "Precondition failed: UID in precondition: another" in server.says(
        f"PUT {MAPS}/cfg", other
    )


def test_a_daemon_set_counts_its_templates(server: SilentServer) -> None:
    path = "/apis/apps/v1/namespaces/default/daemonsets"
    labels = {"app": "agent"}

    def wanted(image: str, **annotations: str) -> Json:
        spec = {"containers": [{"name": "agent", "image": image}]}
        template = {"metadata": {"labels": labels}, "spec": spec}
        metadata = {"name": "agent", "annotations": annotations}
        return {
            "metadata": metadata,
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        }

    name = "deprecated.daemonset.template.generation"
    counts = [server.must(f"POST {path}", wanted("a:1"))["metadata"]["annotations"][name]]
    for step in (
        wanted("a:1", note="no other template"),
        wanted("a:2"),
        wanted("a:2", **{name: "7"}),
        wanted("a:1"),
    ):
        changed = server.must(f"PUT {path}/agent", step)
        counts.append(changed["metadata"]["annotations"][name])
    assert counts == ["1", "1", "2", "2", "3"]


def test_generation_counts_wishes_only(server: SilentServer) -> None:
    generations = [server.must(f"POST {DEPLOYMENTS}", deployment())["metadata"]["generation"]]
    for line, patch in (
        (f"PATCH {DEPLOYMENTS}/web", {"metadata": {"labels": {"a": "b"}}}),
        (f"PATCH {DEPLOYMENTS}/web", {"spec": {"replicas": 5}}),
        (f"PATCH {DEPLOYMENTS}/web/status", {"status": {"replicas": 5}}),
        (f"PATCH {DEPLOYMENTS}/web/scale", {"spec": {"replicas": 2}}),
    ):
        server.must(line, patch, patch="merge")
        generations.append(server.get(f"{DEPLOYMENTS}/web")["metadata"]["generation"])
    assert generations == [1, 1, 2, 2, 3]
    assert server.get(f"{DEPLOYMENTS}/web")["spec"]["replicas"] == 2


def test_status_and_spec_are_written_apart(server: SilentServer) -> None:
    made = server.must(f"POST {DEPLOYMENTS}", {**deployment(), "status": {"replicas": 9}})
    assert "replicas" not in made["status"]
    changed = {**made, "status": {"replicas": 3}}
    changed["spec"]["replicas"] = 7
    assert server.must(f"PUT {DEPLOYMENTS}/web/status", changed)["spec"]["replicas"] == 1
    assert server.get(f"{DEPLOYMENTS}/web")["status"]["replicas"] == 3
    wished = server.must(
        f"PATCH {DEPLOYMENTS}/web", {"spec": {"replicas": 7}, "status": None}, patch="merge"
    )
    assert (wished["spec"]["replicas"], wished["status"]["replicas"]) == (7, 3)


def test_a_pod_begins_pending_and_a_node_keeps_its_status(server: SilentServer) -> None:
    made = server.must(f"POST {PODS}", {**pod(), "status": {"phase": "Running"}})
    assert made["status"]["phase"] == "Pending"
    node = {
        "metadata": {"name": "node-1"},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.168.1.10"}]},
    }
    assert (
        server.must("POST /api/v1/nodes", node)["status"]["addresses"][0]["address"]
        == "192.168.1.10"
    )


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/v1/namespaces/default/endpoints/x", 201),
        ("/apis/coordination.k8s.io/v1/namespaces/default/leases/x", 201),
        ("/api/v1/namespaces/default/secrets/x", 404),
    ],
)
def test_put_creates_some_kinds(server: SilentServer, path: str, expected: int) -> None:
    assert server.ask(f"PUT {path}", {"metadata": {"name": "x"}})[0] == expected


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1"}}, "Burstable"),
    ],
)
def test_quality_of_service(server: SilentServer, resources: Json, expected: str) -> None:
    wanted = pod()
    wanted["spec"]["containers"][0]["resources"] = resources
    assert server.must(f"POST {PODS}", wanted)["status"]["qosClass"] == expected
    written = server.must(f"PATCH {PODS}/p/status", {"status": None}, patch="merge")
    assert written["status"]["qosClass"] == expected


def test_a_lease_is_never_overwritten_blindly(server: SilentServer) -> None:
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/x"
    body = {"metadata": {"name": "x"}}
    server.must(f"PUT {path}", body)
    assert server.says(f"PUT {path}", body) == (
        '422 Invalid: Lease.coordination.k8s.io "x" is invalid: metadata.resourceVersion: '
        "Invalid value: 0x0: must be specified for an update"
    )


def test_scale(server: SilentServer) -> None:
    server.must(f"POST {DEPLOYMENTS}", deployment())
    scale = server.get(f"{DEPLOYMENTS}/web/scale")
    assert (scale["spec"], scale["status"]) == (
        {"replicas": 1},
        {"replicas": 0, "selector": "app=web"},
    )
    scale["spec"] = {}  # what is left of zero in Go's JSON
    assert server.must(f"PUT {DEPLOYMENTS}/web/scale", scale)["spec"] == {}
    assert server.get(f"{DEPLOYMENTS}/web")["spec"]["replicas"] == 0
    assert server.says(f"PUT {DEPLOYMENTS}/web/scale", scale).startswith("409 Conflict")
    assert server.says(
        f"PATCH {DEPLOYMENTS}/web/scale", {"spec": {"replicas": -1}}, patch="merge"
    ).endswith("spec.replicas: Invalid value: -1: must be greater than or equal to 0")
    assert server.says(f"GET {DEPLOYMENTS}/nope/scale").startswith("404 NotFound")


def test_binding_happens_once(server: SilentServer) -> None:
    server.must(f"POST {PODS}", pod())
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "node-1"}}
    another = {**binding, "metadata": {"name": "p", "uid": "another"}}
    assert "UID in precondition: another" in server.says(f"POST {PODS}/p/binding", another)
    assert server.must(f"POST {PODS}/p/binding", binding)["status"] == "Success"
    bound = server.get(f"{PODS}/p")
    assert bound["spec"]["nodeName"] == "node-1"
    assert [c["type"] for c in bound["status"]["conditions"] if c["status"] == "True"] == [
        "PodScheduled"
    ]
    assert server.says(f"POST {PODS}/p/binding", binding).endswith(
        'pod p is already assigned to node "node-1"'
    )
    assert server.says(f"POST {PODS}/p/binding", {"target": {}}).startswith("400")
    gated = pod(name="gated")
    gated["spec"]["schedulingGates"] = [{"name": "example.com/wait"}]
    server.must(f"POST {PODS}", gated)
    [condition] = server.get(f"{PODS}/gated")["status"]["conditions"]
    assert (condition["type"], condition["reason"]) == ("PodScheduled", "SchedulingGated")
    assert server.says(f"POST {PODS}/gated/binding", binding).endswith(
        "pod gated has non-empty .spec.schedulingGates"
    )


@pytest.mark.parametrize(
    ("kind", "patch", "expected"),
    [
        ("merge", {"data": {"a": None, "c": "3"}}, {"b": "2", "c": "3"}),
        ("strategic", {"data": {"$patch": "replace", "c": "3"}}, {"c": "3"}),
        ("json", [{"op": "replace", "path": "/data/a", "value": "9"}], {"a": "9", "b": "2"}),
    ],
)
def test_patches(server: SilentServer, kind: str, patch: Any, expected: Json) -> None:
    server.must(f"POST {MAPS}", config(a="1", b="2"))
    assert server.must(f"PATCH {MAPS}/cfg", patch, patch=kind)["data"] == expected


@pytest.mark.parametrize(
    ("kind", "patch", "expected"),
    [
        (
            "json",
            [{"op": "test", "path": "/data/a", "value": "9"}],
            "422 Invalid: the server rejected our request due to an error in our request",
        ),
        (
            "merge",
            {"metadata": {"name": "other"}},
            "400 BadRequest: the name of the object (other)",
        ),
        ("merge", {"metadata": None}, "400 BadRequest: name must be provided"),
        ("merge", {"kind": "Secret"}, "400 BadRequest: kind and apiVersion"),
        ("merge", {"data": 5}, '422 Invalid:  "" is invalid: patch: Invalid value: '),
        ("", {}, "415 UnsupportedMediaType: the body of the request was in an unknown format"),
    ],
)
def test_patches_that_are_refused(
    server: SilentServer, kind: str, patch: Any, expected: str
) -> None:
    server.must(f"POST {MAPS}", config())
    assert server.says(f"PATCH {MAPS}/cfg", patch, patch=kind).startswith(expected)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"replicas": "two"}, "unrecognized type: int32"),
        ({"replicas": 1.5}, "cannot convert float64 to int32"),
        ({"paused": 1}, "unrecognized type: bool"),
        ({"template": "x"}, "cannot restore struct from: string"),
        ({"template": {"metadata": {"labels": {"app": 1}}}}, "cannot convert int64 to string"),
        ({"template": {"metadata": {"finalizers": "x"}}}, "cannot restore slice from string"),
        ({"strategy": {"type": 5}}, "cannot convert int64 to v1.DeploymentStrategyType"),
    ],
)
def test_a_strategic_patch_of_a_wrong_type_is_refused_in_the_converters_words(
    server: SilentServer, spec: Any, why: str
) -> None:
    template = {
        "metadata": {"labels": {"app": "a"}},
        "spec": {"containers": [{"name": "a", "image": "b"}]},
    }
    whole = {"selector": {"matchLabels": {"app": "a"}}, "template": template}
    server.must(f"POST {DEPLOYMENTS}", {"metadata": {"name": "web"}, "spec": whole})
    said = server.says(f"PATCH {DEPLOYMENTS}/web", {"spec": spec}, patch="strategic")
    assert said.startswith('422 Invalid:  "" is invalid: patch: Invalid value: "map[spec:')
    assert said.endswith(f'": {why}')


def test_a_service_keeps_its_address_whichever_field_says_otherwise(server: SilentServer) -> None:
    services = "/api/v1/namespaces/default/services"
    server.must(
        f"POST {services}", {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}
    )
    said = server.says(f"PATCH {services}/web", {"spec": {"clusterIP": "None"}}, patch="merge")
    assert said == (
        '422 Invalid: Service "web" is invalid: spec.clusterIPs[0]: '
        'Invalid value: []string{"None"}: may not change once set'
    )


def test_a_strict_patch_names_the_unknown_field(server: SilentServer) -> None:
    server.must(f"POST {MAPS}", config())
    said = server.says(
        f"PATCH {MAPS}/cfg?fieldValidation=Strict", {"spec": {"x": 1}}, patch="strategic"
    )
    assert said == (
        '422 Invalid:  "" is invalid: patch: Invalid value: "map[spec:map[x:1]]": strict decoding '
        'error: unknown field "spec"'
    )


def test_events_have_two_versions_and_one_store(server: SilentServer) -> None:
    event = {
        "metadata": {"name": "e"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
        "note": "hello",
        "reason": "Why",
        "action": "Do",
        "type": "Normal",
        "reportingController": "podwire.dev/test",
        "reportingInstance": "test-1",
    }
    made = server.must("POST /apis/events.k8s.io/v1/namespaces/default/events", event)
    assert (made["apiVersion"], made["note"]) == ("events.k8s.io/v1", "hello")
    old = server.get("/api/v1/namespaces/default/events/e")
    assert (old["apiVersion"], old["message"]) == ("v1", "hello")
    assert old["involvedObject"]["name"] == "p"
    query = "fieldSelector=regarding.name=p"
    listed = server.get(f"/apis/events.k8s.io/v1/namespaces/default/events?{query}")
    assert [item["regarding"]["name"] for item in listed["items"]] == ["p"]


def test_users_without_rights_may_only_ask_what_they_may(server: SilentServer) -> None:
    server.user = server.user.__class__("eve", ("system:authenticated",))
    assert server.says(f"GET {PODS}") == (
        '403 Forbidden: pods is forbidden: User "eve" cannot list resource "pods" in API group "" '
        'in the namespace "default"'
    )
    review = server.must(
        "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        {"spec": {"resourceAttributes": {"verb": "list", "resource": "pods"}}},
    )
    assert review["status"]["allowed"] is False
    me = server.must("POST /apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    assert me["status"]["userInfo"] == {"username": "eve", "groups": ["system:authenticated"]}


def test_no_verb_writes_in_a_dry_run(server: SilentServer) -> None:
    server.must(f"POST {DEPLOYMENTS}", deployment())
    server.must(f"POST {PODS}", pod())
    server.must(f"POST {MAPS}", config(a="1"))
    before = server.api.store.revision
    put = config(a="2")
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cfg"}, "data": {}}
    node = {"target": {"name": "node-1"}}
    for line, body, patch in (
        (f"POST {MAPS}?dryRun=All", config("other"), ""),
        (f"PUT {MAPS}/cfg?dryRun=All", put, ""),
        (f"PATCH {MAPS}/cfg?dryRun=All", {"data": {"a": "3"}}, "merge"),
        (f"PATCH {MAPS}/cfg?dryRun=All", {"data": {"a": "3"}}, "strategic"),
        (f"PATCH {MAPS}/cfg?dryRun=All", [{"op": "remove", "path": "/data"}], "json"),
        (f"PATCH {MAPS}/cfg?dryRun=All&fieldManager=x", applied, "apply"),
        (f"PATCH {MAPS}/new?dryRun=All&fieldManager=x", {**applied, "metadata": {"name": "new"}}, "apply"),
        (f"PATCH {DEPLOYMENTS}/web/scale?dryRun=All", {"spec": {"replicas": 4}}, "merge"),
        (f"PATCH {DEPLOYMENTS}/web/status?dryRun=All", {"status": {"replicas": 4}}, "merge"),
        (f"POST {PODS}/p/binding?dryRun=All", node, ""),
        (f"POST {PODS}/p/eviction?dryRun=All", {"kind": "Eviction", "metadata": {"name": "p"}}, ""),
        (f"POST {PODS}/p/eviction", {"kind": "Eviction", "metadata": {"name": "p"}, "deleteOptions": {"dryRun": ["All"]}}, ""),
        (f"DELETE {MAPS}/cfg?dryRun=All", None, ""),
        (f"DELETE {MAPS}/cfg", {"kind": "DeleteOptions", "dryRun": ["All"]}, ""),
        (f"DELETE {MAPS}?dryRun=All", None, ""),
    ):  # fmt: skip
        server.must(line, body, patch=patch)
        assert server.api.store.revision == before, line
