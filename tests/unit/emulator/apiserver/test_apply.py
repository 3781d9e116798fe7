from typing import Any

import pytest
import yaml

from podwire.emulator.apiserver.request import User
from podwire.testing.apiserver import SilentServer
from tests.unit.emulator.apiserver.histories import (
    CONFIG,
    DEPLOYMENT,
    SERVICE,
    Kind,
    act,
    owners,
    play,
    refused,
)

Json = dict[str, Any]

MAP = f"{CONFIG[2]}/x"


@pytest.mark.parametrize(
    ("history", "data", "who_owns"),
    [
        (["alice applies data: {a: '1', b: '2'}"], "{a: '1', b: '2'}", {"alice": ".data.a .data.b"}),
        (["alice applies data: {a: '1', b: '2'}", "alice applies data: {a: '1'}"], "{a: '1'}", {"alice": ".data.a"}),
        (["alice applies data: {a: '1', b: '2'}", "alice applies {}"], "null", {}),
        (["alice applies data: {a: '1', b: '2'}", "bob applies data: {b: '2'}", "alice applies data: {a: '1'}"], "{a: '1', b: '2'}", {"alice": ".data.a", "bob": ".data.b"}),
        (["alice applies data: {a: '1'}", "bob patches data: {a: '2'}"], "{a: '2'}", {"bob": ".data.a"}),
        (["alice applies data: {a: '1'}", "bob patches data: {a: '2'}", "alice forces data: {a: '1'}"], "{a: '1'}", {"alice": ".data.a"}),
        (["alice applies data: {a: '1'}", "bob patches data: {a: '1'}"], "{a: '1'}", {"alice": ".data.a"}),
        (["alice applies data: {a: '1'}", "bob patches data: {a: null}"], "null", {}),
        (["alice creates data: {a: '1'}", "bob patches data: {b: '2'}"], "{a: '1', b: '2'}", {"alice": ".data .data.a", "bob": ".data.b"}),
        (["alice creates data: {a: '1'}", "alice patches data: {b: '2'}"], "{a: '1', b: '2'}", {"alice": ".data .data.a .data.b"}),
        (["alice creates data: {a: '1'}", "bob replaces data: {b: '2'}"], "{b: '2'}", {"alice": ".data", "bob": ".data.b"}),
        (["alice creates data: {a: '1'}", "bob applies data: {a: '1', b: '2'}", "bob applies data: {a: '1'}"], "{a: '1'}", {"alice": ".data .data.a", "bob": ".data.a"}),
    ],
)  # fmt: skip
def test_maps(
    server: SilentServer, history: list[str], data: str, who_owns: dict[str, str]
) -> None:
    obj = play(server, CONFIG, *history)
    assert obj.get("data") == yaml.safe_load(data)
    assert owners(obj) == who_owns


PORTS = "spec: {selector: {app: x}, ports: [%s]}"


@pytest.mark.parametrize(
    ("history", "ports"),
    [
        # A new item follows the one that is before it in the configuration; others keep their place.
        (["alice applies [80 a, 443 b]"], "80 443"),
        (["alice applies [80 a, 443 b]", "bob applies [90 c]"], "80 443 90"),
        (["alice applies [80 a, 443 b]", "bob applies [90 c, 443 b]"], "80 90 443"),
        (["alice applies [80 a, 443 b]", "alice applies [443 b, 80 a]"], "443 80"),
        (["alice applies [80 a, 443 b]", "bob applies [90 c]", "alice applies [443 b, 80 a]"], "443 90 80"),
        (["alice applies [80 a, 443 b]", "bob applies [90 c]", "alice applies [443 b]"], "443 90"),
        (["alice applies [80 a, 443 b]", "bob applies [80 a]", "alice applies [443 b]"], "80 443"),
        (["bob creates [80 a, 443 b]", "alice applies [443 b]", "alice applies [90 c]"], "80 443 90"),
    ],
)  # fmt: skip
def test_the_ports_of_a_service(server: SilentServer, history: list[str], ports: str) -> None:
    lines: list[str] = []
    for line in history:
        who, verb, items = line.split(" ", 2)
        named = [item.split() for item in items.strip("[]").split(", ")]
        text = ", ".join(f"{{port: {port}, name: {name}}}" for port, name in named)
        lines.append(f"{who} {verb} {PORTS % text}")
    obj = play(server, SERVICE, *lines)
    assert " ".join(str(port["port"]) for port in obj["spec"]["ports"]) == ports


POD = "selector: {matchLabels: {app: x}}, template: {metadata: {labels: {app: x}}, spec: {containers: [%s]}}"


@pytest.mark.parametrize(
    ("history", "container"),
    [
        (["alice applies {name: c, image: a, env: [{name: A, value: '1'}]}", "alice applies {name: c, image: a}"], {"image": "a"}),
        (["alice applies {name: c, image: a, env: [{name: A, value: '1'}]}", "bob applies {name: c, env: [{name: B, value: '2'}]}", "alice applies {name: c, image: a}"], {"image": "a", "env": [{"name": "B", "value": "2"}]}),
        # Whoever owns an item keeps it, with its key, when the other lets go of its parts.
        (["alice applies {name: c, image: a, workingDir: /x}", "bob applies {name: c, image: a}", "alice applies {name: d, image: d}"], {"image": "a"}),
        # An atomic list is one value.
        (["alice applies {name: c, image: a, args: [x]}", "bob forces {name: c, args: [y, z]}"], {"image": "a", "args": ["y", "z"]}),
    ],
)  # fmt: skip
def test_a_container(server: SilentServer, history: list[str], container: Json) -> None:
    lines = [
        f"{who} {verb} spec: {{{POD % text}}}"
        for who, verb, text in (line.split(" ", 2) for line in history)
    ]
    obj = play(server, DEPLOYMENT, *lines)
    found = next(c for c in obj["spec"]["template"]["spec"]["containers"] if c["name"] == "c")
    assert {n: found[n] for n in ("image", "args", "env", "workingDir") if n in found} == container


@pytest.mark.parametrize(
    ("kind", "history", "line", "expected"),
    [
        (CONFIG, ["alice applies data: {a: '1'}"], "bob applies data: {a: '2'}", '409 Apply failed with 1 conflict: conflict with "alice": .data.a'),
        (CONFIG, ["alice creates data: {a: '1'}"], "bob applies data: {a: '2'}", '409 Apply failed with 1 conflict: conflict with "alice" using v1: .data.a'),
        (CONFIG, ["alice creates data: {a: '1', b: '1'}"], "bob applies data: {a: '2', b: '2'}", '409 Apply failed with 2 conflicts: conflicts with "alice" using v1:\n- .data.a\n- .data.b'),
        (CONFIG, ["alice creates data: {a: '1'}", "carol applies data: {b: '1'}"], "bob applies data: {a: '2', b: '2'}", '409 Apply failed with 2 conflicts: conflicts with "alice" using v1:\n- .data.a\nconflicts with "carol":\n- .data.b'),
        (SERVICE, ["alice applies " + PORTS % "{port: 80, targetPort: 1}"], "bob applies " + PORTS % "{port: 80, targetPort: 2}", '409 Apply failed with 1 conflict: conflict with "alice": .spec.ports[port=80,protocol="TCP"].targetPort'),
        (SERVICE, ["alice applies " + PORTS % "{port: 80}"], "bob applies spec: {selector: {app: y}}", '409 Apply failed with 1 conflict: conflict with "alice": .spec.selector'),
        (CONFIG, ["alice applies metadata: {finalizers: [a/b]}"], "bob applies metadata: {ownerReferences: [{uid: u}, {uid: u}]}", "400 failed to create typed patch object (/x; /v1, Kind=ConfigMap): .metadata.ownerReferences: duplicate entries for key [uid=\"u\"]"),
        (CONFIG, ["alice applies data: {a: '1'}"], "alice applies metadata: {resourceVersion: '1'}", '409 Operation cannot be fulfilled on configmaps "x": the object has been modified; please apply your changes to the latest version and try again'),
        (CONFIG, [], "bob applies dta: {}", "400 failed to create typed patch object (/x; /v1, Kind=ConfigMap): .dta: field not declared in schema"),
        (CONFIG, [], "bob applies {data: {a: 1}, immutable: x}", "400 failed to create typed patch object (/x; /v1, Kind=ConfigMap): errors:\n  .data.a: expected string, got &value.valueUnstructured{Value:1}\n  .immutable: expected boolean, got &{x}"),
        (DEPLOYMENT, [], "bob applies spec: {replicas: many}", "400 failed to create typed patch object (/x; apps/v1, Kind=Deployment): .spec.replicas: expected numeric (int or float), got string"),
        (DEPLOYMENT, [], "bob applies spec: 1", "400 failed to create typed patch object (/x; apps/v1, Kind=Deployment): .spec: expected map, got &{1}"),
        (CONFIG, [], "bob applies metadata: {name: y}", "400 the name of the object (y) does not match the name on the URL (x)"),
        (CONFIG, [], "bob applies metadata: {managedFields: []}", "400 metadata.managedFields must be nil"),
        (CONFIG, [], "bob applies metadata: {namespace: other}", "400 the namespace of the provided object does not match the namespace sent on the request (other != default)"),
        (CONFIG, [], "bob applies kind: Secret", "400 invalid object type: /v1, Kind=Secret"),
        (DEPLOYMENT, [], "bob applies apiVersion: apps/v2", "400 invalid object type: apps/v2, Kind=Deployment"),
        (CONFIG, [], f"{'b' * 129} applies {{}}", '422 PatchOptions.meta.k8s.io "" is invalid: fieldManager: Too long: may not be more than 128 bytes'),
        (CONFIG, [], "b%01b applies {}", '422 PatchOptions.meta.k8s.io "" is invalid: fieldManager: Invalid value: "b\\u0001b": invalid character U+0001 (at position 1)'),
    ],
)  # fmt: skip
def test_refusals(
    server: SilentServer, kind: Kind, history: list[str], line: str, expected: str
) -> None:
    before = play(server, kind, *history)
    assert refused(server, kind, line) == expected
    after = server.ask(f"GET {kind[2]}/x")[1]
    assert not history or after == before


def test_a_conflict_names_each_field_as_a_cause(server: SilentServer) -> None:
    play(server, CONFIG, "alice creates data: {a: '1'}")
    _, status = act(server, CONFIG, "bob applies data: {a: '2'}")
    assert status["reason"] == "Conflict"
    assert status["details"]["causes"] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "alice" using v1',
            "field": ".data.a",
        }
    ]


def test_who_applies_must_say_who_he_is(server: SilentServer) -> None:
    assert server.says(f"PATCH {MAP}", {}, patch="apply") == (
        '422 Invalid: PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: '
        "is required for apply patch"
    )


def test_applying_creates_and_then_changes_nothing(server: SilentServer) -> None:
    line = "alice applies spec: {ports: [{port: 80}], selector: {app: x}}"
    assert act(server, SERVICE, line)[0] == 201
    made = server.get(f"{SERVICE[2]}/x")
    watching = server.watch(f"{SERVICE[2]}?watch=1&resourceVersion={server.api.store.revision}")
    server.clock.advance(10)
    code, again = act(server, SERVICE, line)
    assert (code, again) == (200, made)
    assert watching.events() == []


def test_a_dry_run_shows_and_stores_nothing(server: SilentServer) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "1"}}
    code, shown = server.ask(f"PATCH {MAP}?fieldManager=alice&dryRun=All", body, patch="apply")
    assert (code, shown["data"]) == (201, {"a": "1"})
    assert owners(shown) == {"alice": ".data.a"}
    assert server.ask(f"GET {MAP}")[0] == 404


def test_co_owners_come_first_for_they_have_no_time(server: SilentServer) -> None:
    obj = play(server, CONFIG, "zoe applies data: {a: '1'}", "bob applies data: {a: '1'}")
    entries = obj["metadata"]["managedFields"]
    assert [(e["manager"], "time" in e) for e in entries] == [("bob", False), ("zoe", True)]


def test_entries_stand_by_operation_time_and_manager(server: SilentServer) -> None:
    obj = play(
        server,
        DEPLOYMENT,
        f"zoe creates spec: {{{POD % '{name: c, image: i}'}}}",
        "bob patches metadata: {labels: {a: b}}",
        "ann reports status: {observedGeneration: 1}",
        "cid applies metadata: {labels: {c: d}}",
    )
    entries = obj["metadata"]["managedFields"]
    assert [f"{e['manager']} {e['operation']} {e.get('subresource', '')}" for e in entries] == [
        "cid Apply ",
        "zoe Update ",
        "bob Update ",
        "ann Update status",
    ]


def test_a_creation_owns_defaults_and_not_what_was_allocated(server: SilentServer) -> None:
    obj = play(
        server, SERVICE, "kubectl-create creates spec: {type: NodePort, ports: [{port: 80}]}"
    )
    assert obj["metadata"]["managedFields"][0]["fieldsV1"] == {
        "f:spec": {
            "f:externalTrafficPolicy": {},
            "f:internalTrafficPolicy": {},
            "f:ports": {
                ".": {},
                'k:{"port":80,"protocol":"TCP"}': {
                    ".": {},
                    "f:port": {},
                    "f:protocol": {},
                    "f:targetPort": {},
                },
            },
            "f:sessionAffinity": {},
            "f:type": {},
        }
    }


def test_what_was_there_before_anybody_was_counted(server: SilentServer) -> None:
    admin, server.user = server.user, User("system:podwire", ("system:masters",))
    made = play(server, CONFIG, "podwire creates data: {a: '1', b: '2'}")
    assert "managedFields" not in made["metadata"]
    server.user = admin
    play(server, CONFIG, "alice patches data: {b: '3'}")
    assert refused(server, CONFIG, "alice applies data: {a: '2'}") == (
        '409 Apply failed with 1 conflict: conflict with "before-first-apply" using v1: .data.a'
    )
    obj = play(server, CONFIG, "alice applies data: {c: '4'}")
    assert owners(obj) == {"alice": ".data.c", "before-first-apply": ".data .data.a .data.b"}


def test_managed_fields_can_be_dropped_and_written(server: SilentServer) -> None:
    obj = play(server, CONFIG, "alice applies data: {a: '1'}")
    [entry] = obj["metadata"]["managedFields"]
    renamed = [{"op": "replace", "path": "/metadata/managedFields/0/manager", "value": "bob"}]
    patched = server.must(f"PATCH {MAP}", renamed, patch="json")
    assert patched["metadata"]["managedFields"] == [{**entry, "manager": "bob"}]
    nonsense = {"metadata": {"managedFields": [{**entry, "fieldsV1": {"x:": 5}}]}}
    kept = server.must(f"PATCH {MAP}", nonsense, patch="merge")
    assert kept["metadata"]["managedFields"] == [{**entry, "manager": "bob"}]
    empties: list[list[Json]] = [[], [{}]]
    for empty in empties:
        play(server, CONFIG, "alice applies data: {b: '1'}")
        reset = {"metadata": {"managedFields": empty}}
        assert "managedFields" not in server.must(f"PATCH {MAP}", reset, patch="merge")["metadata"]


def test_only_so_many_updates_are_told_apart(server: SilentServer) -> None:
    lines = [f"m{i:02d} patches data: {{k{i}: '1'}}" for i in range(13)]
    obj = play(server, CONFIG, "first creates data: {a: '1'}", *lines)
    found = owners(obj)
    assert len(found) == 10
    assert found["ancient-changes"] == ".data .data.a .data.k0 .data.k1 .data.k2 .data.k3"


def test_status_and_wish_are_owned_apart(server: SilentServer) -> None:
    path = f"{DEPLOYMENT[2]}/x"
    play(server, DEPLOYMENT, f"alice applies spec: {{{POD % '{name: c, image: i}'}}}")
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "status": {"replicas": 3}}
    body |= {"spec": {"paused": True}}
    obj = server.must(f"PATCH {path}/status?fieldManager=alice", body, patch="apply")
    assert (obj["status"]["replicas"], "paused" in obj["spec"]) == (3, False)
    entry = obj["metadata"]["managedFields"][-1]
    assert (entry["subresource"], entry["fieldsV1"]) == ("status", {"f:status": {"f:replicas": {}}})
    other = {**body, "status": {"replicas": 4}}
    assert server.says(f"PATCH {path}/status?fieldManager=bob", other, patch="apply").endswith(
        'conflict with "alice" with subresource "status": .status.replicas'
    )
    assert server.says(f"PATCH {DEPLOYMENT[2]}/y/status?fieldManager=a", body, patch="apply") == (
        '404 NotFound: deployments.apps "y" not found'
    )


def test_scale_owns_the_replicas(server: SilentServer) -> None:
    path = f"{DEPLOYMENT[2]}/x"
    play(server, DEPLOYMENT, f"alice applies spec: {{replicas: 1, {POD % '{name: c, image: i}'}}}")
    scale: Json = {"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 3}}
    url = f"PATCH {path}/scale?fieldManager=hpa"
    said = server.says(url, scale, patch="apply")
    assert said.endswith('conflict with "alice": .spec.replicas')
    assert server.must(f"{url}&force=true", scale, patch="apply")["spec"] == {"replicas": 3}
    obj = server.get(path)
    assert obj["metadata"]["managedFields"][1]["fieldsV1"] == {"f:spec": {"f:replicas": {}}}
    assert obj["metadata"]["managedFields"][1]["subresource"] == "scale"
    assert "replicas" not in owners(obj)["alice"]
    server.must(f"PATCH {path}/scale?fieldManager=bob", {"spec": {"replicas": 5}}, patch="merge")
    assert owners(server.get(path))["bob"] == ".spec.replicas"
    wrong = {**scale, "spec": {"replica": 3}}
    assert server.says(url, wrong, patch="apply").endswith(
        ".spec.replica: field not declared in schema"
    )


ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"


def test_who_comes_from_client_side_apply_is_in_nobodys_way(server: SilentServer) -> None:
    config = '{"apiVersion":"v1","data":{"a":"1","b":"2"},"kind":"ConfigMap"}\n'
    play(
        server,
        CONFIG,
        f"kubectl-client-side-apply creates {{metadata: {{annotations: {{{ANNOTATION}: '{config}'}}}},"
        " data: {a: '1', b: '2'}}",
    )
    assert refused(server, CONFIG, "other applies data: {a: '9'}").startswith("409")
    obj = play(server, CONFIG, "kubectl applies data: {a: '9', b: '2'}")
    assert obj["data"] == {"a": "9", "b": "2"}
    assert obj["metadata"]["annotations"][ANNOTATION] == (
        '{"apiVersion":"v1","data":{"a":"9","b":"2"},"kind":"ConfigMap","metadata":{"name":"x"}}\n'
    )
    play(server, CONFIG, "bob patches data: {b: '3'}")
    assert refused(server, CONFIG, "kubectl applies data: {a: '8', b: '2'}") == (
        '409 Apply failed with 1 conflict: conflict with "bob" using v1: .data.b'
    )


def test_yaml_may_be_applied(server: SilentServer) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\ndata:\n  a: '1'\n  a: '2'\n"
    query = "fieldManager=alice"
    code, obj = server.ask(f"PATCH {MAP}?{query}", patch="apply", raw=text)
    assert (code, obj["data"]) == (201, {"a": "2"})
    assert server.warnings == ('line 7: key "a" already set in map',)
    code, status = server.ask(
        f"PATCH {MAP}?{query}&fieldValidation=Strict", patch="apply", raw=text
    )
    assert (code, status["message"]) == (
        400,
        "error strict decoding patch: error converting YAML to JSON: yaml: unmarshal errors:\n"
        '  line 7: key "a" already set in map',
    )


def test_each_owner_speaks_his_own_version(server: SilentServer) -> None:
    """Version 1 of an autoscaler names its target as one value, version 2 field by field."""
    first = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}
    one: Json = {"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler"}
    one |= {"metadata": {"name": "h"}, "spec": {"maxReplicas": 5, "scaleTargetRef": target}}
    server.must(f"POST {first}?fieldManager=old", one)
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    two: Json = {**one, "apiVersion": "autoscaling/v2"}
    two["spec"] = {**one["spec"], "metrics": [{"type": "Resource", "resource": cpu}]}
    second = f"PATCH {first.replace('v1', 'v2')}/h?fieldManager=new&force=true"
    obj = server.must(second, two, patch="apply")
    assert owners(obj) == {
        "old": ".spec.maxReplicas .spec.minReplicas .spec.scaleTargetRef",
        "new": ".spec.maxReplicas .spec.metrics .spec.scaleTargetRef.apiVersion "
        ".spec.scaleTargetRef.kind .spec.scaleTargetRef.name",
    }
    assert server.must(second, two, patch="apply") == obj
    # What the new one lets go of stays, for the old one has it.
    less = {**two, "spec": {"metrics": two["spec"]["metrics"]}}
    obj = server.must(second, less, patch="apply")
    assert (obj["spec"]["scaleTargetRef"], obj["spec"]["maxReplicas"]) == (target, 5)
