"""CustomResourceDefinitions: what is filled in, refused, served, and taken away again."""

from pathlib import Path
from typing import Any

import pytest

from podwire.emulator.apiserver import bootstrap, journal
from podwire.emulator.apiserver.kinds import Kinds
from podwire.emulator.apiserver.negotiate import Form
from podwire.emulator.apiserver.request import Api
from podwire.testing.apiserver import SilentServer
from tests.unit.emulator.apiserver.custom_kinds import (
    CRDS,
    WIDGETS,
    definition,
    schema,
    version,
    widget,
)

Json = dict[str, Any]


def conditions(server: SilentServer, name: str = "widgets.example.com") -> dict[str, str]:
    """Return TYPE -> `STATUS REASON: message`."""
    status = server.get(f"{CRDS}/{name}")["status"]
    return {c["type"]: f"{c['status']} {c['reason']}: {c['message']}" for c in status["conditions"]}


def test_a_definition_is_completed_and_established(server: SilentServer) -> None:
    server.must(f"POST {CRDS}", definition(names={"shortNames": ["wd"], "categories": ["all"]}))
    read = server.get(f"{CRDS}/widgets.example.com")
    names = {
        "plural": "widgets",
        "singular": "widget",
        "kind": "Widget",
        "listKind": "WidgetList",
        "shortNames": ["wd"],
        "categories": ["all"],
    }
    assert read["spec"]["names"] == names
    assert read["spec"]["conversion"] == {"strategy": "None"}
    assert read["status"]["acceptedNames"] == names
    assert read["status"]["storedVersions"] == ["v1"]
    assert conditions(server) == {
        "NamesAccepted": "True NoConflicts: no conflicts found",
        "Established": "True InitialNamesAccepted: the initial names have been accepted",
    }


def test_its_kind_is_served_at_once(server: SilentServer) -> None:
    before = server.api.kinds.revision
    server.must(f"POST {CRDS}", definition())
    assert server.api.kinds.revision > before
    made = server.must(f"POST {WIDGETS}", widget(size=4))
    assert made["metadata"]["generation"] == 1
    assert server.get(WIDGETS)["kind"] == "WidgetList"
    assert server.get("/apis/example.com/v1/widgets")["items"][0]["spec"] == {"size": 4}


def test_a_write_that_changes_nothing_leaves_the_kinds_alone(server: SilentServer) -> None:
    server.must(f"POST {CRDS}", definition())
    before = server.api.kinds.revision
    patch = {"metadata": {"labels": {"a": "b"}}}
    server.must(f"PATCH {CRDS}/widgets.example.com", patch, patch="merge")
    assert server.api.kinds.revision == before


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (definition(group="example"), "spec.group: Invalid value: \"example\": should be a domain"),
        (definition(scope="Pod"), 'spec.scope: Unsupported value: "Pod": supported values: "Cluster"'),
        (
            definition(metadata={"name": "others.example.com"}),
            'metadata.name: Invalid value: "others.example.com": must be spec.names.plural+"."+spec',
        ),
        (
            definition(version(storage=False)),
            "must have exactly one version marked as storage version",
        ),
        (definition(version(), version()), "must contain unique version names"),
        (
            definition({"name": "v1", "served": True, "storage": True}),
            "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
        ),
        (
            definition(version(schema=schema({"properties": {}}))),
            "properties[spec].type: Required value: must not be empty for specified object fields",
        ),
        (
            definition(version(schema={"openAPIV3Schema": {"type": "string"}})),
            'openAPIV3Schema.type: Invalid value: "string": must be object at the root',
        ),
        (
            definition(version(schema=schema({"type": "array"}))),
            "properties[spec].items: Required value: must be specified",
        ),
        (
            definition(version(schema=schema({"type": "blob"}))),
            'properties[spec].type: Unsupported value: "blob": supported values: "array", "boolean"',
        ),
        (
            definition(version(schema=schema({"type": "string", "pattern": "("}))),
            "properties[spec].pattern: Invalid value: \"(\": must be a valid regular expression",
        ),
        (
            definition(version(schema=schema({"type": "integer", "default": "x"}))),
            'properties[spec].default: Invalid value: "string":  in body must be of type integer',
        ),
        (
            definition(version(schema=schema({"type": "object", "default": {"x": 1}}))),
            'properties[spec].default: Invalid value: {"x":1}: must not have unknown fields',
        ),
        (
            definition(version(schema=schema({"type": "object", "anyOf": [{"type": "object"}]}))),
            "properties[spec].anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            definition(
                version(
                    schema={
                        "openAPIV3Schema": {"type": "object", "anyOf": [{"properties": {"a": {}}}]}
                    }
                )
            ),
            "openAPIV3Schema.properties[a]: Required value: because it is defined in spec.versions[",
        ),
        (
            definition(version(schema=schema({"type": "object", "$ref": "#/x"}))),
            "properties[spec].$ref: Forbidden: $ref is not supported",
        ),
        (
            definition(
                version(
                    schema=schema(
                        {
                            "type": "array",
                            "items": {"type": "object", "properties": {"a": {"type": "string"}}},
                            "x-kubernetes-list-type": "map",
                            "x-kubernetes-list-map-keys": ["a"],
                        }
                    )
                )
            ),
            "properties[a].default: Required value: this property is in x-kubernetes-list-map-keys",
        ),
        (
            definition(version(additionalPrinterColumns=[{"name": "A", "type": "text",
                                                          "jsonPath": "spec"}])),
            "JSONPath: Invalid value: \"spec\": must be a simple json path starting with .",
        ),
        (
            definition(version(subresources={"scale": {"specReplicasPath": ".size",
                                                       "statusReplicasPath": ".status.size"}})),
            "scale.specReplicasPath: Invalid value: \".size\": should be a json path under .spec",
        ),
        (
            definition(group="x.k8s.io"),
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups",
        ),
        (definition(kind="widget_"), "may have mixed case, but should otherwise match: a DNS-1035"),
        (
            definition(version(selectableFields=[{"jsonPath": ".spec.parts"}])),
            "must point to a field of type string, boolean or integer",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(server: SilentServer, spec: Json, says: str) -> None:
    assert says in server.says(f"POST {CRDS}", spec)


def test_int_or_string_may_be_written_out(server: SilentServer) -> None:
    either = {
        "x-kubernetes-int-or-string": True,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
    }
    spec = {"type": "object", "properties": {"port": either}}
    server.must(f"POST {CRDS}", definition(version(schema=schema(spec))))
    server.must(f"POST {WIDGETS}", widget(port="http"))
    assert "must be of type integer,string" in server.says(f"POST {WIDGETS}", widget("x", port=[]))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"scope": "Cluster"}, "spec.scope: Invalid value: \"Cluster\": field is immutable"),
        ({"names": {"kind": "Gadget"}}, "spec.names.kind: Invalid value: \"Gadget\": field is imm"),
        ({"group": "other.com"}, "spec.group: Invalid value: \"other.com\": field is immutable"),
    ],
)  # fmt: skip
def test_what_may_not_change(server: SilentServer, change: Json, says: str) -> None:
    server.must(f"POST {CRDS}", definition())
    assert says in server.says(f"PATCH {CRDS}/widgets.example.com", {"spec": change}, patch="merge")


def test_put_needs_a_resource_version(server: SilentServer) -> None:
    server.must(f"POST {CRDS}", definition())
    says = server.says(f"PUT {CRDS}/widgets.example.com", definition())
    assert "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update" in says


def test_a_name_belongs_to_one_definition_at_a_time(server: SilentServer) -> None:
    server.must(f"POST {CRDS}", definition())
    server.must(f"POST {CRDS}", definition(plural="gadgets", names={"shortNames": ["widget"]}))
    assert conditions(server, "gadgets.example.com") == {
        "NamesAccepted": 'False ListKindConflict: "WidgetList" is already in use',
        "Established": "False NotAccepted: not all names are accepted",
    }
    assert server.ask("GET /apis/example.com/v1/namespaces/default/gadgets")[0] == 404
    server.must(f"DELETE {CRDS}/widgets.example.com")
    assert conditions(server, "gadgets.example.com")["Established"].startswith("True")
    assert server.get("/apis/example.com/v1/namespaces/default/gadgets")["items"] == []


def test_a_definition_does_not_get_the_name_of_a_built_in_kind(server: SilentServer) -> None:
    """Else it would show, and its end delete, the objects of that kind."""
    leases = "/apis/coordination.k8s.io/{}/namespaces/default/leases"
    server.must(f"POST {leases.format('v1')}", {"metadata": {"name": "kept"}, "spec": {}})
    own = {"annotations": {"api-approved.kubernetes.io": "unapproved, a test"}}
    crd = definition(
        version("v9"), plural="leases", kind="Lessee", group="coordination.k8s.io", metadata=own
    )
    server.must(f"POST {CRDS}", crd)
    said = conditions(server, "leases.coordination.k8s.io")
    assert said["NamesAccepted"] == 'False PluralConflict: "leases" is already in use'
    assert server.ask(f"GET {leases.format('v9')}")[0] == 404
    server.must(f"DELETE {CRDS}/leases.coordination.k8s.io")
    assert server.get(leases.format("v1"))["items"][0]["metadata"]["name"] == "kept"


def test_what_has_no_effect_is_told(server: SilentServer) -> None:
    spec = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "x-kubernetes-validations": [{"rule": "self.a != 'x'"}],
    }
    server.must(f"POST {CRDS}", definition(version(schema=schema(spec))))
    assert "rules in CEL are not evaluated here" in server.warnings[0]


def test_versions_share_their_objects(server: SilentServer) -> None:
    old = version("v1alpha1", storage=False, deprecated=True)
    server.must(f"POST {CRDS}", definition(old, version("v1")))
    alpha = WIDGETS.replace("/v1/", "/v1alpha1/")
    server.must(f"POST {alpha}", {**widget(size=2), "apiVersion": "example.com/v1alpha1"})
    assert server.warnings == ("example.com/v1alpha1 Widget is deprecated",)
    assert server.get(f"{WIDGETS}/w")["apiVersion"] == "example.com/v1"
    assert not server.warnings
    assert server.get(f"{alpha}/w")["apiVersion"] == "example.com/v1alpha1"
    assert [w["apiVersion"] for w in server.get(alpha)["items"]] == ["example.com/v1alpha1"]


def test_another_version_becomes_the_stored_one(server: SilentServer) -> None:
    server.must(f"POST {CRDS}", definition(version("v1"), version("v2", storage=False)))
    server.must(f"POST {WIDGETS}", widget(size=2))
    read = server.get(f"{CRDS}/widgets.example.com")
    for entry in read["spec"]["versions"]:
        entry["storage"] = not entry["storage"]
    written = server.must(f"PUT {CRDS}/widgets.example.com", read)
    assert written["status"]["storedVersions"] == ["v1", "v2"]
    newer = WIDGETS.replace("/v1/", "/v2/")
    assert server.get(f"{newer}/w")["apiVersion"] == "example.com/v2"
    assert server.get(f"{WIDGETS}/w")["apiVersion"] == "example.com/v1"
    assert (
        server.must(f"PATCH {newer}/w", {"spec": {"size": 5}}, patch="merge")["spec"]["size"] == 5
    )


def test_a_default_that_came_later_is_seen_in_older_objects(server: SilentServer) -> None:
    spec: Json = {"type": "object", "properties": {"a": {"type": "string"}}}
    server.must(f"POST {CRDS}", definition(version(schema=schema(spec))))
    made = server.must(f"POST {WIDGETS}", widget())
    spec["properties"]["b"] = {"type": "string", "default": "new"}
    patch = {"spec": {"versions": [version(schema=schema(spec))]}}
    server.must(f"PATCH {CRDS}/widgets.example.com", patch, patch="merge")
    read = server.get(f"{WIDGETS}/w")
    assert read["spec"] == {"b": "new"}
    assert read["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


def test_the_end_of_a_definition_is_the_end_of_its_objects(server: SilentServer) -> None:
    server.must(f"POST {CRDS}", definition())
    server.must(f"POST {WIDGETS}", widget(size=2))
    seen = server.watch(f"{WIDGETS}?watch=1")
    seen.events()
    left = server.must(f"DELETE {CRDS}/widgets.example.com")
    assert left["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    assert "deletionGracePeriodSeconds" not in left["metadata"]
    assert [event["type"] for event in seen.events()] == ["DELETED"]
    assert server.says(f"GET {CRDS}/widgets.example.com").startswith("404")
    assert server.api.kinds.find("example.com", "v1", "widgets") is None


def test_a_definition_waits_for_the_finalizers_of_its_objects(server: SilentServer) -> None:
    server.must(f"POST {CRDS}", definition())
    held = widget(size=2)
    held["metadata"]["finalizers"] = ["example.com/wait"]
    server.must(f"POST {WIDGETS}", held)
    server.must(f"DELETE {CRDS}/widgets.example.com")
    says = "True InstanceDeletionInProgress: CustomResource deletion is in progress"
    assert conditions(server)["Terminating"] == says
    assert server.get(f"{WIDGETS}/w")["metadata"]["deletionTimestamp"]
    refused = server.says(f"POST {WIDGETS}", widget("x", size=2))
    assert refused == (
        "405 MethodNotAllowed: create not allowed while custom resource definition is terminating"
    )
    server.must(f"PATCH {WIDGETS}/w", {"metadata": {"finalizers": None}}, patch="merge")
    assert server.says(f"GET {CRDS}/widgets.example.com").startswith("404")


def test_a_built_in_kind_cannot_be_replaced(server: SilentServer) -> None:
    approved = {"annotations": {"api-approved.kubernetes.io": "https://example.com/approval"}}
    made = definition(
        plural="leases",
        kind="Lease",
        group="coordination.k8s.io",
        metadata={"name": "leases.coordination.k8s.io", **approved},
    )
    server.must(f"POST {CRDS}", made)
    found = server.api.kinds.find("coordination.k8s.io", "v1", "leases")
    assert found is not None
    assert found.custom is None


def test_custom_kinds_are_served_again_after_a_restart(tmp_path: Path) -> None:
    store, kept = journal.opened(tmp_path / "journal")
    server = SilentServer(Api(store, SilentServer().api.dice))
    bootstrap.fill(server.api, now=server.clock.now(), port=6443)
    server.must(f"POST {CRDS}", definition(version(subresources={"status": {}})))
    server.must(f"POST {WIDGETS}", widget(size=7))
    kept.close()
    store, kept = journal.opened(tmp_path / "journal")
    again = SilentServer(Api(store, server.api.dice))
    bootstrap.fill(again.api, now=again.clock.now(), port=6443)
    assert again.get(f"{WIDGETS}/w")["spec"] == {"size": 7}
    again.must(f"PATCH {WIDGETS}/w/status", {"status": {"phase": "up"}}, patch="merge")
    kept.close()


def test_versions_are_preferred_as_kubernetes_does(server: SilentServer) -> None:
    names = ("foo", "v1alpha2", "v1", "v2beta1", "v10", "v2", "v1beta2")
    versions = [version(name, storage=name == "v1") for name in names]
    server.must(f"POST {CRDS}", definition(*versions))
    assert server.api.kinds.groups()["example.com"] == (
        "v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha2", "foo",
    )  # fmt: skip


def test_a_registry_tells_of_changes() -> None:
    kinds = Kinds()
    told: list[int] = []
    stop = kinds.on_change(lambda: told.append(kinds.revision))
    kinds.replace_custom(())
    assert told == []
    resource = kinds.all()[0]
    assert kinds.serves(resource)
    stop()


COLUMNS = [
    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
    {"name": "Ready", "type": "string",
     "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
    {"name": "Parts", "type": "string", "jsonPath": ".spec.parts[*].name", "priority": 1},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]  # fmt: skip


def test_its_columns_are_shown(server: SilentServer) -> None:
    open_ = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    both = {"openAPIV3Schema": {"type": "object", "properties": {"spec": open_, "status": open_}}}
    server.must(f"POST {CRDS}", definition(version(schema=both, additionalPrinterColumns=COLUMNS)))
    ready = {"conditions": [{"type": "Synced", "status": "No"}, {"type": "Ready", "status": "Yes"}]}
    parts = [{"name": "x"}, {"name": "y"}]
    server.must(f"POST {WIDGETS}", {**widget("a", size=4, parts=parts), "status": ready})
    server.must(f"POST {WIDGETS}", widget("b"))
    server.clock.advance(90)
    code, table = server.ask(f"GET {WIDGETS}", form=Form("table"))
    assert code == 200
    assert [c["name"] for c in table["columnDefinitions"]] == [
        "Name", "Size", "Ready", "Parts", "Age",
    ]  # fmt: skip
    assert [row["cells"] for row in table["rows"]] == [
        ["a", 4, "Yes", "x", "90s"],
        ["b", None, None, None, "90s"],
    ]


def test_without_columns_there_is_the_age(server: SilentServer) -> None:
    server.must(f"POST {CRDS}", definition())
    _, table = server.ask(f"GET {WIDGETS}", form=Form("table"))
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Age"]
