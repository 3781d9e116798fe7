"""Objects of custom kinds: pruned, filled in, checked, and their subresources."""

from typing import Any

import pytest

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

SCALE = {
    "specReplicasPath": ".spec.size",
    "statusReplicasPath": ".status.size",
    "labelSelectorPath": ".status.phase",
}


@pytest.fixture
def widgets(server: SilentServer) -> SilentServer:
    """Return a server that has widgets with status and scale."""
    server.must(f"POST {CRDS}", definition(version(subresources={"status": {}, "scale": SCALE})))
    return server


def served(server: SilentServer, spec: Json) -> None:
    """Serve widgets whose spec has the schema *spec*."""
    server.must(f"POST {CRDS}", definition(version(schema=schema(spec))))


@pytest.mark.parametrize(
    ("spec", "stored"),
    [
        ({}, {"size": 3}),
        ({"size": None}, {"size": 3}),
        ({"size": 1, "unknown": 1}, {"size": 1}),
        ({"size": 1, "any": {"x": {"y": 1}}}, {"size": 1, "any": {"x": {"y": 1}}}),
        ({"size": 1, "color": None}, {"size": 1}),
        ({"size": 1, "maybe": None}, {"size": 1, "maybe": None}),
        ({"size": 1, "labels": {"a": "b"}}, {"size": 1, "labels": {"a": "b"}}),
        ({"size": 1, "port": "http"}, {"size": 1, "port": "http"}),
        (
            {"size": 1, "parts": [{"name": "a", "x": 1}]},
            {"size": 1, "parts": [{"name": "a"}]},
        ),
    ],
)
def test_what_is_stored(widgets: SilentServer, spec: Json, stored: Json) -> None:
    assert widgets.must(f"POST {WIDGETS}", widget(**spec))["spec"] == stored


REFUSED: list[tuple[Json, str]] = [
    (
        {"size": "x"},
        'spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"',
    ),
    ({"size": 1.5}, 'spec.size in body must be of type integer: "number"'),
    ({"size": True}, 'spec.size in body must be of type integer: "boolean"'),
    ({"size": 0}, "spec.size: Invalid value: 0: spec.size in body should be greater than or "),
    ({"size": 10}, "spec.size in body should be less than or equal to 9"),
    ({"color": "green"}, 'spec.color: Unsupported value: "green": supported values: "red", "b'),
    ({"parts": [{}]}, "spec.parts[0].name: Required value"),
    (
        {"parts": [{"name": "a"}, {"name": "a"}]},
        'spec.parts[1]: Duplicate value: {"name":"a"}',
    ),
    ({"labels": {"a": 1}}, 'spec.labels.a in body must be of type string: "integer"'),
    ({"port": True}, 'spec.port in body must be of type integer,string: "boolean"'),
]


@pytest.mark.parametrize(("spec", "says"), REFUSED)
def test_what_is_refused(widgets: SilentServer, spec: Json, says: str) -> None:
    refused = widgets.says(f"POST {WIDGETS}", widget(**spec))
    assert refused.startswith('422 Invalid: Widget.example.com "w" is invalid: ')
    assert says in refused


OBJECT: Json = {
    "type": "object",
    "x-kubernetes-embedded-resource": True,
    "x-kubernetes-preserve-unknown-fields": True,
}
# schema of the field `it`, value, what is said of it
RULES: list[tuple[Json, Any, str]] = [
    ({"type": "string", "maxLength": 2}, "abc", "Too long: may not be more than 2 bytes"),
    ({"type": "string", "minLength": 2}, "a", "spec.it in body should be at least 2 chars long"),
    ({"type": "string", "pattern": "^a+$"}, "a\n", "spec.it in body should match '^a+$'"),
    ({"type": "string", "pattern": "[[:digit:]]+\\z"}, "x", "should match '[[:digit:]]+\\z'"),
    ({"type": "string", "format": "ipv4"}, "1.2.3", 'must be of type ipv4: "1.2.3"'),
    ({"type": "string", "format": "date-time"}, "now", 'must be of type date-time: "now"'),
    ({"type": "string", "format": "duration"}, "soon", 'must be of type duration: "soon"'),
    ({"type": "number", "multipleOf": 0.5}, 1.3, "spec.it in body should be a multiple of 0.5"),
    ({"type": "number", "multipleOf": 0.5}, 10**400, "spec.it in body should be a multiple of 0.5"),
    ({"type": "number", "multipleOf": 0.5}, 1e308, "spec.it in body should be a multiple of 0.5"),
    ({"type": "integer", "multipleOf": 3}, 10**400, "spec.it in body should be a multiple of 3"),
    ({"type": "integer", "exclusiveMinimum": True, "minimum": 3}, 3, "should be greater than 3"),
    ({"type": "array", "items": {"type": "string"}, "maxItems": 1}, ["a", "b"],
     "spec.it: Too many: 2: must have at most 1 items"),
    ({"type": "array", "items": {"type": "string"}, "minItems": 1}, [],
     "spec.it in body should have at least 1 items"),
    ({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}, ["a", "a"],
     'spec.it[1]: Duplicate value: "a"'),
    ({"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 1},
     {"a": "1", "b": "2"}, "spec.it: Too many: 2: must have at most 1 items"),
    ({"type": "integer", "not": {"maximum": 5}}, 4, '"spec.it" must not validate the schema (not)'),
    ({"type": "integer", "anyOf": [{"maximum": 5}, {"minimum": 9}]}, 7,
     '<nil>: Invalid value: "": "spec.it" must validate at least one schema (anyOf)'),
    ({"type": "integer", "oneOf": [{"maximum": 5}, {"minimum": 3}]}, 4,
     '"spec.it" must validate one and only one schema (oneOf). Found 2 valid alternatives'),
    ({"type": "integer", "allOf": [{"maximum": 5}, {"minimum": 3}]}, 7,
     '"spec.it" must validate all the schemas (allOf)'),
    ({"type": "string"}, 5, 'spec.it in body must be of type string: "integer"'),
    (OBJECT, {"kind": "Pod"}, "spec.it.apiVersion: Required value"),
    (OBJECT, {"apiVersion": "v1", "kind": ""}, 'spec.it.kind: Invalid value: "": must not be empty'),
    (OBJECT, {"apiVersion": "a/b/c", "kind": "A"}, "unexpected GroupVersion string: a/b/c"),
    ({"type": "array", "items": OBJECT}, [{"apiVersion": "v1", "kind": "A b"}],
     "spec.it[0].kind: Invalid value: \"A b\": may have mixed case, but should otherwise match: "),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "value", "says"), RULES)
def test_rules_of_a_schema(server: SilentServer, rule: Json, value: Any, says: str) -> None:
    served(server, {"type": "object", "properties": {"it": rule}})
    assert says in server.says(f"POST {WIDGETS}", widget(it=value))


# format, a good value
GOOD = {
    "ipv4": "10.0.0.1", "ipv6": "::1", "cidr": "10.0.0.0/8", "date-time": "2026-01-02T03:04:05Z",
    "date": "2026-01-02", "duration": "1h30m", "uuid": "00000000-0000-4000-8000-000000000000",
    "byte": "YWJj", "hostname": "a.example.com", "uri": "https://example.com/x?y",
    "email": "a@example.com", "mac": "00:00:5e:00:53:01", "unheard-of": "anything",
}  # fmt: skip


@pytest.mark.parametrize(("form", "value"), GOOD.items())
def test_formats(server: SilentServer, form: str, value: str) -> None:
    it = {"type": "string", "format": form}
    served(server, {"type": "object", "properties": {"it": it}})
    server.must(f"POST {WIDGETS}", widget(it=value))


def test_unknown_fields_are_told_or_refused(widgets: SilentServer) -> None:
    body = widget(size=1, wrong=1, parts=[{"name": "a", "also": 2}])
    assert widgets.says(f"POST {WIDGETS}?fieldValidation=Strict", body) == (
        '400 BadRequest: Widget in version "v1" cannot be handled as a Widget: strict decoding '
        'error: unknown field "spec.parts[0].also", unknown field "spec.wrong"'
    )
    widgets.must(f"POST {WIDGETS}", body)
    assert widgets.warnings == (
        'unknown field "spec.parts[0].also"',
        'unknown field "spec.wrong"',
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": None}, "400 BadRequest: Object 'Kind' is missing in '"),
        ({"apiVersion": None}, "400 BadRequest: Object 'apiVersion' is missing in '"),
        ({"kind": "Gadget"}, '422 Invalid: Widget.example.com "w" is invalid: kind: Invalid value'),
        (
            {"apiVersion": "example.com/v2"},
            "400 BadRequest: the API version in the data (example.com/v2) does not match the "
            "expected API version (example.com/v1)",
        ),
    ],
)
def test_kind_and_version_are_required(widgets: SilentServer, change: Json, says: str) -> None:
    body = {**widget(size=1), **change}
    body = {name: value for name, value in body.items() if value is not None}
    assert widgets.says(f"POST {WIDGETS}", body).startswith(says)


def test_what_did_not_change_is_not_checked_again(server: SilentServer) -> None:
    spec: Json = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
    }
    served(server, spec)
    server.must(f"POST {WIDGETS}", widget(a="long", b="x"))
    spec["properties"]["a"]["maxLength"] = 2
    patch = {"spec": {"versions": [version(schema=schema(spec))]}}
    server.must(f"PATCH {CRDS}/widgets.example.com", patch, patch="merge")
    server.must(f"PATCH {WIDGETS}/w", {"spec": {"b": "y"}}, patch="merge")
    says = server.says(f"PATCH {WIDGETS}/w", {"spec": {"a": "longer"}}, patch="merge")
    assert "spec.a: Too long" in says


def test_status_is_a_subresource(widgets: SilentServer) -> None:
    made = widgets.must(f"POST {WIDGETS}", {**widget(size=1), "status": {"phase": "x"}})
    assert "status" not in made
    patch = {"status": {"phase": "up"}, "spec": {"size": 9}, "metadata": {"labels": {"a": "b"}}}
    read = widgets.must(f"PATCH {WIDGETS}/w/status", patch, patch="merge")
    assert (read["status"], read["spec"]) == ({"phase": "up"}, {"size": 1})
    assert "labels" not in read["metadata"]
    assert read["metadata"]["generation"] == 1
    read = widgets.must(f"PATCH {WIDGETS}/w", {**patch, "status": {"phase": "z"}}, patch="merge")
    assert (read["status"], read["spec"]) == ({"phase": "up"}, {"size": 9})
    assert read["metadata"]["generation"] == 2
    wrong = widgets.says(f"PATCH {WIDGETS}/w/status", {"status": {"phase": 1}}, patch="merge")
    assert 'status.phase: Invalid value: "integer": phase in body must be of type string' in wrong


def test_without_the_subresource_status_is_a_field(server: SilentServer) -> None:
    server.must(f"POST {CRDS}", definition())
    server.must(f"POST {WIDGETS}", {**widget(size=1), "status": {"phase": "x"}})
    read = server.must(f"PATCH {WIDGETS}/w", {"status": {"phase": "y"}}, patch="merge")
    assert read["status"] == {"phase": "y"}
    assert read["metadata"]["generation"] == 2
    assert server.says(f"GET {WIDGETS}/w/status").startswith("404")


def test_scale(widgets: SilentServer) -> None:
    widgets.must(f"POST {WIDGETS}", widget(size=1))
    widgets.must(
        f"PATCH {WIDGETS}/w/status", {"status": {"size": 2, "phase": "a=b"}}, patch="merge"
    )
    scale = widgets.get(f"{WIDGETS}/w/scale")
    assert scale["spec"] == {"replicas": 1}
    assert scale["status"] == {"replicas": 2, "selector": "a=b"}
    widgets.must(f"PATCH {WIDGETS}/w/scale", {"spec": {"replicas": 5}}, patch="merge")
    assert widgets.get(f"{WIDGETS}/w")["spec"]["size"] == 5
    says = widgets.says(f"PATCH {WIDGETS}/w/scale", {"spec": {"replicas": 50}}, patch="merge")
    assert "spec.size in body should be less than or equal to 9" in says


def test_patches(widgets: SilentServer) -> None:
    widgets.must(f"POST {WIDGETS}", widget(size=1))
    patch = [{"op": "replace", "path": "/spec/size", "value": 2}]
    assert widgets.must(f"PATCH {WIDGETS}/w", patch, patch="json")["spec"]["size"] == 2
    assert widgets.says(f"PATCH {WIDGETS}/w", {}, patch="strategic") == (
        "415 UnsupportedMediaType: the body of the request was in an unknown format - accepted "
        "media types include: application/json-patch+json, application/merge-patch+json, "
        "application/apply-patch+yaml"
    )


def test_put_needs_a_resource_version(widgets: SilentServer) -> None:
    made = widgets.must(f"POST {WIDGETS}", widget(size=1))
    assert "must be specified for an update" in widgets.says(f"PUT {WIDGETS}/w", widget(size=2))
    made["spec"]["size"] = 2
    assert widgets.must(f"PUT {WIDGETS}/w", made)["metadata"]["generation"] == 2
    assert widgets.says(f"PUT {WIDGETS}/w", made).startswith("409 Conflict")


def test_selectors(server: SilentServer) -> None:
    fields = [{"jsonPath": ".spec.color"}]
    server.must(f"POST {CRDS}", definition(version(selectableFields=fields)))
    server.must(f"POST {WIDGETS}", widget("a", color="red"))
    server.must(f"POST {WIDGETS}", widget("b", color="blue"))
    for selector, names in (
        ("metadata.name=a", ["a"]),
        ("metadata.namespace=default", ["a", "b"]),
        ("spec.color=blue", ["b"]),
        ("spec.color!=blue", ["a"]),
    ):
        items = server.get(f"{WIDGETS}?fieldSelector={selector.replace('=', '%3D')}")["items"]
        assert [item["metadata"]["name"] for item in items] == names
    refused = server.says(f"GET {WIDGETS}?fieldSelector=spec.size%3D3")
    assert refused == "400 BadRequest: field label not supported: spec.size"


def test_watches_tell_of_custom_resources(widgets: SilentServer) -> None:
    seen = widgets.watch(f"{WIDGETS}?watch=1")
    widgets.must(f"POST {WIDGETS}", widget(size=1))
    widgets.must(f"DELETE {WIDGETS}/w")
    assert [event["type"] for event in seen.events()] == ["ADDED", "DELETED"]


def test_finalizers_want_a_domain(widgets: SilentServer) -> None:
    body = widget(size=1)
    body["metadata"]["finalizers"] = ["mine"]
    widgets.must(f"POST {WIDGETS}", body)
    assert widgets.warnings == (
        'metadata.finalizers: "mine": prefer a domain-qualified finalizer name to avoid accidental '
        "conflicts with other finalizer writers",
    )
