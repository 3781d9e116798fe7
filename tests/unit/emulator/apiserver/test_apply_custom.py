from typing import Any

import pytest
import yaml

from podwire.testing.apiserver import SilentServer
from tests.unit.emulator.apiserver.histories import Kind, owners, play, refused

Json = dict[str, Any]

GARDEN: Kind = ("example.com/v1", "Garden", "/apis/example.com/v1/namespaces/default/gardens")

DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gardens.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: gardens, singular: garden, kind: Garden}
  versions:
  - &version
    name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.plots, statusReplicasPath: .status.plots}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              plots: {type: integer}
              soil: {type: object, additionalProperties: {type: string}}
              gate: {type: object, x-kubernetes-map-type: atomic, additionalProperties: {type: string}}
              weeds: {type: array, x-kubernetes-list-type: set, items: {type: string}}
              tools: {type: array, items: {type: string}}
              any: {type: object, x-kubernetes-preserve-unknown-fields: true}
              size: {x-kubernetes-int-or-string: true}
              beds:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [row, side]
                items:
                  type: object
                  required: [row]
                  properties:
                    row: {type: integer}
                    side: {type: string, default: left}
                    crop: {type: string}
                    note: {type: string}
          status: {type: object, properties: {plots: {type: integer}, ripe: {type: boolean}}}
  - {<<: *version, name: v2, storage: false}
"""


@pytest.fixture
def gardens(server: SilentServer) -> SilentServer:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    server.must(f"POST {path}", yaml.safe_load(DEFINITION))
    return server


@pytest.mark.parametrize(
    ("history", "spec", "who_owns"),
    [
        (["alice applies {soil: {ph: '7'}}"], {"soil": {"ph": "7"}}, {"alice": ".spec.soil.ph"}),
        (["alice applies {soil: {ph: '7'}}", "bob applies {soil: {clay: 'no'}}", "alice applies {}"], {"soil": {"clay": "no"}}, {"alice": ".spec", "bob": ".spec.soil.clay"}),
        (["alice applies {weeds: [a, b]}", "bob applies {weeds: [b, c]}", "alice applies {weeds: [a]}"], {"weeds": ["a", "b", "c"]}, {"alice": '.spec.weeds[="a"]', "bob": '.spec.weeds[="b"] .spec.weeds[="c"]'}),
        (["alice applies {beds: [{row: 1, crop: kale}]}", "bob applies {beds: [{row: 1, note: wet}, {row: 1, side: right}]}", "alice applies {}"], {"beds": [{"row": 1, "side": "left", "note": "wet"}, {"row": 1, "side": "right"}]}, {"alice": ".spec", "bob": '.spec.beds[row=1,side="left"] .spec.beds[row=1,side="left"].note .spec.beds[row=1,side="left"].row .spec.beds[row=1,side="right"] .spec.beds[row=1,side="right"].row .spec.beds[row=1,side="right"].side'}),
        (["alice applies {any: {deep: {a: 1, list: [1]}}}", "bob applies {any: {deep: {b: 2}}}"], {"any": {"deep": {"a": 1, "list": [1], "b": 2}}}, {"alice": ".spec.any.deep .spec.any.deep.a .spec.any.deep.list", "bob": ".spec.any.deep .spec.any.deep.b"}),
        (["alice creates {tools: [rake], size: 1}", "bob forces {tools: [hoe], gate: {a: b}}"], {"tools": ["hoe"], "size": 1, "gate": {"a": "b"}}, {"alice": ".spec .spec.size", "bob": ".spec.gate .spec.tools"}),
    ],
)  # fmt: skip
def test_fields_merge_as_the_definition_says(
    gardens: SilentServer, history: list[str], spec: Json, who_owns: dict[str, str]
) -> None:
    lines = [f"{who} {verb} spec: {text}" for who, verb, text in (h.split(" ", 2) for h in history)]
    obj = play(gardens, GARDEN, *lines)
    assert obj["spec"] == spec
    assert owners(obj) == who_owns


@pytest.mark.parametrize(
    ("before", "line", "expected"),
    [
        ("alice applies spec: {gate: {a: b}}", "bob applies spec: {gate: {c: d}}", '409 Apply failed with 1 conflict: conflict with "alice": .spec.gate'),
        ("alice applies spec: {size: 1}", "bob applies spec: {size: 10%}", '409 Apply failed with 1 conflict: conflict with "alice": .spec.size'),
        ("alice applies spec: {beds: [{row: 1, crop: kale}]}", "bob applies spec: {beds: [{row: 1, side: left, crop: oats}]}", '409 Apply failed with 1 conflict: conflict with "alice": .spec.beds[row=1,side="left"].crop'),
        ("alice applies {}", "bob applies spec: {sizes: 1}", "400 failed to create typed patch object (/x; example.com/v1, Kind=Garden): .spec.sizes: field not declared in schema"),
        ("alice applies {}", "bob applies spec: {weeds: [a, a]}", '400 failed to create typed patch object (/x; example.com/v1, Kind=Garden): .spec.weeds: duplicate entries for key [="a"]'),
        ("alice applies {}", "bob applies spec: {beds: [1]}", "400 failed to create typed patch object (/x; example.com/v1, Kind=Garden): .spec.beds: element 0: associative list with keys may not have non-map elements"),
    ],
)  # fmt: skip
def test_refusals(gardens: SilentServer, before: str, line: str, expected: str) -> None:
    play(gardens, GARDEN, before)
    assert refused(gardens, GARDEN, line) == expected


def test_status_scale_and_versions(gardens: SilentServer) -> None:
    path = f"{GARDEN[2]}/x"
    play(gardens, GARDEN, "alice applies spec: {plots: 1}")
    body = {
        "apiVersion": GARDEN[0],
        "kind": "Garden",
        "status": {"ripe": True},
        "spec": {"plots": 9},
    }
    obj = gardens.must(f"PATCH {path}/status?fieldManager=op", body, patch="apply")
    assert (obj["status"], obj["spec"]) == ({"ripe": True}, {"plots": 1})
    assert owners(obj)["op"] == ".status.ripe"
    gardens.must(f"PATCH {path}/scale?fieldManager=hpa", {"spec": {"replicas": 4}}, patch="merge")
    second = {"apiVersion": "example.com/v2", "kind": "Garden", "spec": {"plots": 2}}
    other = path.replace("v1", "v2")
    said = gardens.says(f"PATCH {other}?fieldManager=bob", second, patch="apply")
    assert said.endswith(
        'conflict with "hpa" with subresource "scale" using example.com/v1: .spec.plots'
    )
    obj = gardens.must(f"PATCH {other}?fieldManager=bob&force=true", second, patch="apply")
    assert owners(obj) == {"bob": ".spec.plots", "op": ".status.ripe"}
    again = gardens.must(
        f"PATCH {path}?fieldManager=bob", {**second, "apiVersion": GARDEN[0]}, patch="apply"
    )
    assert [e["apiVersion"] for e in again["metadata"]["managedFields"]] == [GARDEN[0]] * 2


def test_no_strategic_patch(gardens: SilentServer) -> None:
    play(gardens, GARDEN, "alice applies spec: {plots: 1}")
    assert gardens.says(f"PATCH {GARDEN[2]}/x", {}, patch="strategic") == (
        "415 UnsupportedMediaType: the body of the request was in an unknown format - accepted "
        "media types include: application/json-patch+json, application/merge-patch+json, "
        "application/apply-patch+yaml"
    )
