import copy
from typing import Any

import pytest
import yaml

from podwire.emulator.apiserver.patches.patch import PatchError, strategic_merge_patch

POD_TEMPLATE = """
spec:
  template:
    spec:
      containers: [{name: a, image: "1", args: [x, y]}, {name: b, image: "2"}]
"""


def containers(patch: str) -> Any:
    wrapped = {"spec": {"template": {"spec": yaml.safe_load(patch)}}}
    result = strategic_merge_patch(yaml.safe_load(POD_TEMPLATE), wrapped, "apps/v1", "Deployment")
    return result["spec"]["template"]["spec"]["containers"]


@pytest.mark.parametrize(
    ("patch", "result"),
    [
        ("containers: [{name: a, image: '3'}]", "[{name: a, image: '3', args: [x, y]}, {name: b, image: '2'}]"),
        ("containers: [{name: a, args: [z]}]", "[{name: a, image: '1', args: [z]}, {name: b, image: '2'}]"),
        ("containers: [{name: a, args: null}]", "[{name: a, image: '1'}, {name: b, image: '2'}]"),
        ("containers: [{name: c}]", "[{name: c}, {name: a, image: '1', args: [x, y]}, {name: b, image: '2'}]"),
        ("containers: [{name: a, $patch: delete}, {name: c}]", "[{name: c}, {name: b, image: '2'}]"),
        ("containers: [{name: c}, {$patch: replace}]", "[{name: c}]"),
        ("containers: [{name: a, $patch: replace, image: '9'}]", "[]"),
        ("{$setElementOrder/containers: [{name: b}, {name: a}]}", "[{name: b, image: '2'}, {name: a, image: '1', args: [x, y]}]"),
        ("{$setElementOrder/containers: [{name: b}, {name: a}], containers: [{name: a, image: '3'}]}", "[{name: b, image: '2'}, {name: a, image: '3', args: [x, y]}]"),
        ("{$setElementOrder/containers: [{name: c}, {name: b}], containers: [{name: c}]}", "[{name: c}, {name: a, image: '1', args: [x, y]}, {name: b, image: '2'}]"),
    ],
)  # fmt: skip
def test_lists_with_a_key_merge(patch: str, result: str) -> None:
    assert containers(patch) == yaml.safe_load(result)


@pytest.mark.parametrize(
    ("kind", "doc", "patch", "result"),
    [
        # Elements of the patch come in its order; the server's own keep their place.
        ("v1 Service", "spec: {ports: [{port: 80}]}", "spec: {ports: [{port: 443}, {port: 80}]}", "spec: {ports: [{port: 443}, {port: 80}]}"),
        ("v1 Service", "spec: {ports: [{port: 1}, {port: 2}, {port: 3}]}", "spec: {ports: [{port: 3}, {port: 1}]}", "spec: {ports: [{port: 2}, {port: 3}, {port: 1}]}"),
        ("v1 ConfigMap", "metadata: {finalizers: [a, b]}", "metadata: {finalizers: [c, b]}", "metadata: {finalizers: [c, a, b]}"),
        ("v1 ConfigMap", "metadata: {finalizers: [a, b, c]}", "metadata: {$deleteFromPrimitiveList/finalizers: [b]}", "metadata: {finalizers: [a, c]}"),
        ("v1 ConfigMap", "data: {a: '1', b: '2'}", "data: {a: null, c: '3'}", "data: {b: '2', c: '3'}"),
        ("v1 ConfigMap", "data: {a: '1'}", "data: {$patch: replace, b: '2'}", "data: {b: '2'}"),
        ("v1 ConfigMap", "data: {a: '1'}", "data: {$patch: delete}", "data: {}"),
        ("v1 ConfigMap", "{}", "metadata: {labels: {a: b, c: null}}", "metadata: {labels: {a: b}}"),
        ("apps/v1 Deployment", "spec: {strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1}}}", "spec: {strategy: {$retainKeys: [type], type: Recreate}}", "spec: {strategy: {type: Recreate}}"),
        # A list without a merge strategy is replaced.
        ("v1 Endpoints", "subsets: [{ports: [{port: 1}]}]", "subsets: [{ports: [{port: 2}]}]", "subsets: [{ports: [{port: 2}]}]"),
        ("v1 Pod", "spec: {tolerations: [{key: a}]}", "spec: {tolerations: [{key: b}]}", "spec: {tolerations: [{key: b}]}"),
        ("v1 Node", "spec: {taints: [{key: a, effect: NoSchedule}]}", "spec: {taints: null}", "spec: {}"),
    ],
)  # fmt: skip
def test_objects_merge_by_their_types(kind: str, doc: str, patch: str, result: str) -> None:
    api_version, _, name = kind.partition(" ")
    before = yaml.safe_load(doc)
    kept = copy.deepcopy(before)
    assert strategic_merge_patch(
        before, yaml.safe_load(patch), api_version, name
    ) == yaml.safe_load(result)
    assert before == kept


@pytest.mark.parametrize(
    ("kind", "patch", "code", "message"),
    [
        ("v1 Service", "spec: {$setElementOrder/ports: [{port: 80}, {port: 443}], ports: [{port: 443}, {port: 80}]}", 400, r"The order in patch list:\n[map[port:443] map[port:80]]\n doesn't match $setElementOrder list:\n[map[port:80] map[port:443]]\n"),
        ("v1 Service", "spec: {ports: [{name: http}]}", 400, "map: map[name:http] does not contain declared merge key: port"),
        ("v1 Service", "spec: {ports: [{port: 80, $patch: merge}]}", 400, "merging lists cannot yet be specified in the patch"),
        ("v1 Service", "spec: {ports: [{port: 80, $patch: jump}]}", 400, "unknown patch type: jump in map: map[$patch:jump port:80]"),
        ("v1 Service", "spec: {ports: [7]}", 400, "list element types are not identical: [[map[port:80]] [7]]"),
        ("v1 Service", "spec: {$retainKeys: [type], ports: []}", 400, "invalid patch format of retainKeys"),
    ],
)  # fmt: skip
def test_bad_patches(kind: str, patch: str, code: int, message: str) -> None:
    api_version, _, name = kind.partition(" ")
    doc: dict[str, Any] = {"spec": {"ports": [{"port": 80}]}}
    with pytest.raises(PatchError) as caught:
        strategic_merge_patch(doc, yaml.safe_load(patch), api_version, name)
    assert (caught.value.code, str(caught.value)) == (code, message.replace(r"\n", "\n"))


def test_an_unknown_directive_is_shown_as_go_does() -> None:
    patch = {"metadata": {"labels": {"$patch": "foo", "q": "r"}}}
    with pytest.raises(PatchError) as error:
        strategic_merge_patch({"metadata": {"labels": {"a": "b"}}}, patch, "v1", "ConfigMap")
    assert error.value.message == "unknown patch type: foo in map: map[$patch:foo q:r]"
