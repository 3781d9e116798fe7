"""The documents by which clients learn what is served: OpenAPI and discovery."""

from typing import Any

import msgspec
import pytest

from podwire.emulator.apiserver.documents import discovery, fixed, openapi
from podwire.emulator.apiserver.kinds import Kinds
from podwire.testing.apiserver import SilentServer
from tests.unit.emulator.apiserver.custom_kinds import CRDS, definition, version

Json = dict[str, Any]

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def document(kinds: Kinds, name: str) -> Json:
    """Return a version 3 document."""
    found = openapi.document(kinds, name)
    assert found is not None, name
    decoded: Json = msgspec.json.decode(found.body)
    return decoded


def references(value: Any) -> set[str]:
    """Return every `$ref` that is one: properties may have that name."""
    found: set[str] = set()
    if isinstance(value, list):
        for entry in value:  # pyright: ignore[reportUnknownVariableType]
            found |= references(entry)
    elif isinstance(value, dict):
        members: Json = value  # pyright: ignore[reportUnknownVariableType]
        for name, entry in members.items():
            if name == "$ref" and isinstance(entry, str):
                found.add(entry)
            else:
                found |= references(entry)
    return found


def resolve(document: Json, reference: str) -> Any:
    """Return what a reference means; raises KeyError."""
    value: Any = document
    for step in reference.removeprefix("#/").split("/"):
        value = value[step]
    return value


def test_every_reference_leads_somewhere() -> None:
    kinds = Kinds()
    for name in openapi.index(kinds)["paths"]:
        whole = document(kinds, name)
        for reference in references(whole):
            assert resolve(whole, reference), (name, reference)
    swagger: Json = msgspec.json.decode(openapi.swagger(kinds).body)
    for reference in references(swagger):
        assert resolve(swagger, reference), reference


def test_every_verb_of_every_kind_is_described() -> None:
    kinds = Kinds()
    methods = {"get": "get", "create": "post", "update": "put", "patch": "patch"}
    methods |= {"delete": "delete", "list": "get", "deletecollection": "delete"}
    for resource in kinds.all():
        base = f"apis/{resource.group}/{resource.version}"
        name = base if resource.group else f"api/{resource.version}"
        paths = document(kinds, name)["paths"]
        scope = "/namespaces/{namespace}" if resource.namespaced else ""
        collection = f"/{name}{scope}/{resource.plural}"
        for verb in resource.verbs:
            if verb == "watch":
                continue
            many = verb in ("create", "list", "deletecollection")
            path = collection if many else f"{collection}/{{name}}"
            operation = paths[path][methods[verb]]
            assert operation["x-kubernetes-group-version-kind"]["kind"] == resource.kind
        for below in resource.subresources:
            for verb in below.verbs:
                assert methods[verb] in paths[f"{collection}/{{name}}/{below.name}"]


def test_operations_have_names_of_their_own() -> None:
    swagger: Json = msgspec.json.decode(openapi.swagger(Kinds()).body)
    names = [
        operation["operationId"]
        for operations in swagger["paths"].values()
        for method, operation in operations.items()
        if method != "parameters"
    ]
    assert len(names) == len(set(names))


def test_kubectl_finds_field_validation_in_a_patch() -> None:
    # It looks for the name in the operation itself and follows no reference.
    patch = document(Kinds(), "apis/apps/v1")["paths"][
        "/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
    ]["patch"]
    assert "fieldValidation" in [p.get("name") for p in patch["parameters"]]
    assert patch["x-kubernetes-group-version-kind"] == {
        "group": "apps", "version": "v1", "kind": "Deployment",
    }  # fmt: skip


def test_a_reference_with_words_is_wrapped() -> None:
    schemas = document(Kinds(), "api/v1")["components"]["schemas"]
    port = schemas["io.k8s.api.core.v1.ServicePort"]["properties"]["targetPort"]
    assert [*port] == ["allOf", "description"]
    intstr = schemas["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]
    assert intstr["format"] == "int-or-string"


def test_custom_kinds_come_and_go(server: SilentServer) -> None:
    kinds = server.api.kinds
    before = openapi.index(kinds)["paths"]
    server.must(f"POST {CRDS}", definition(version(subresources={"status": {}})))
    made = document(kinds, "apis/example.com/v1")
    schema = made["components"]["schemas"]["com.example.v1.Widget"]
    assert schema["properties"]["spec"]["properties"]["size"]["maximum"] == 9
    assert schema["properties"]["metadata"]["allOf"]
    assert schema["x-kubernetes-group-version-kind"] == [
        {"group": "example.com", "version": "v1", "kind": "Widget"}
    ]
    path = "/apis/example.com/v1/namespaces/{namespace}/widgets/{name}/status"
    assert set(made["paths"][path]) == {"get", "put", "patch", "parameters"}
    after = openapi.index(kinds)["paths"]
    assert set(after) - set(before) == {"apis/example.com/v1"}
    assert after["api/v1"] == before["api/v1"]
    changed = definition(version(subresources={"scale": SCALE}))["spec"]
    server.must(f"PATCH {CRDS}/widgets.example.com", {"spec": changed}, patch="merge")
    assert openapi.index(kinds)["paths"]["apis/example.com/v1"] != after["apis/example.com/v1"]
    server.must(f"DELETE {CRDS}/widgets.example.com")
    assert openapi.index(kinds)["paths"] == before
    assert openapi.document(kinds, "apis/example.com/v1") is None


SCALE = {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}


@pytest.mark.parametrize(
    "path", ["/openapi/v2", "/openapi/v3", "/openapi/v3/apis/apps/v1", "/apis", "/api"]
)
def test_what_is_known_is_not_sent_again(path: str) -> None:
    headers = {"Accept": AGGREGATED}
    first = fixed.document(Kinds(), path, headers)
    assert first is not None
    assert (first.code, bool(first.body)) == (200, True)
    again = fixed.document(Kinds(), path, {**headers, "If-None-Match": first.headers["ETag"]})
    assert again is not None
    assert (again.code, again.body) == (304, b"")
    other = fixed.document(Kinds(), path, {**headers, "If-None-Match": '"x"'})
    assert other is not None
    assert other.code == 200


def test_discovery_changes_with_the_kinds(server: SilentServer) -> None:
    kinds = server.api.kinds
    headers = {"Accept": AGGREGATED}
    before = fixed.document(kinds, "/apis", headers)
    names = {"shortNames": ["wd"], "categories": ["all"]}
    scale = version(subresources={"status": {}, "scale": SCALE})
    server.must(f"POST {CRDS}", definition(scale, names=names))
    after = fixed.document(kinds, "/apis", headers)
    assert before is not None
    assert after is not None
    assert before.headers["ETag"] != after.headers["ETag"]
    group = msgspec.json.decode(after.body)["items"][-1]
    assert group["metadata"]["name"] == "example.com"
    assert group["versions"] == [
        {
            "version": "v1",
            "freshness": "Current",
            "resources": [
                {
                    "resource": "widgets",
                    "responseKind": {"group": "example.com", "version": "v1", "kind": "Widget"},
                    "scope": "Namespaced",
                    "singularResource": "widget",
                    "verbs": [
                        "delete", "deletecollection", "get", "list", "patch", "create", "update",
                        "watch",
                    ],
                    "shortNames": ["wd"],
                    "categories": ["all"],
                    "subresources": [
                        {
                            "subresource": "status",
                            "responseKind": {
                                "group": "example.com", "version": "v1", "kind": "Widget",
                            },
                            "verbs": ["get", "patch", "update"],
                        },
                        {
                            "subresource": "scale",
                            "responseKind": {
                                "group": "autoscaling", "version": "v1", "kind": "Scale",
                            },
                            "verbs": ["get", "patch", "update"],
                        },
                    ],
                }
            ],
        }
    ]  # fmt: skip
    legacy = discovery.resource_list(kinds, "example.com", "v1")
    assert legacy is not None
    assert [entry["name"] for entry in legacy["resources"]] == [
        "widgets", "widgets/status", "widgets/scale",
    ]  # fmt: skip
    assert fixed.document(kinds, "/apis/gone.example.com/v1/things", {}) == fixed.not_here()
