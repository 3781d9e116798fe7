from typing import Any

import pytest
import yaml

from podwire.emulator.apiserver.types.normalise import TypeMismatch, normalise


@pytest.mark.parametrize(
    ("what", "kind", "given", "stored"),
    [
        ("null is nothing", "v1 ConfigMap", "data: {a: x, b: null}", "data: {a: x, b: ''}"),
        ("an empty map is nothing", "v1 ConfigMap", "data: {}", ""),
        ("empty labels vanish", "v1 ConfigMap", "metadata: {name: c, labels: {}}", "metadata: {name: c, creationTimestamp: null}"),
        ("empty finalizers vanish", "v1 ConfigMap", "metadata: {finalizers: []}", ""),
        ("false that is no pointer vanishes", "v1 Node", "spec: {unschedulable: false}", ""),
        ("false behind a pointer stays", "v1 ConfigMap", "immutable: false", "immutable: false"),
        ("zero behind a pointer stays", "apps/v1 ReplicaSet", "spec: {replicas: 0}", "spec: {replicas: 0, selector: null, template: {metadata: {creationTimestamp: null}, spec: {containers: null}}}"),
        ("an empty struct behind a pointer stays", "v1 Pod", "spec: {containers: [], volumes: [{name: v, emptyDir: {}}]}", "spec: {containers: null, volumes: [{name: v, emptyDir: {}}]}"),
        ("a slice without endpoints", "discovery.k8s.io/v1 EndpointSlice", "addressType: IPv4\nendpoints: []", "addressType: IPv4\nendpoints: null\nports: null"),
        ("times are in UTC and whole seconds", "v1 ConfigMap", "metadata: {creationTimestamp: '2026-01-02T05:04:05.9+02:00'}", "metadata: {creationTimestamp: '2026-01-02T03:04:05Z'}"),
        ("leases keep microseconds", "coordination.k8s.io/v1 Lease", "spec: {renewTime: '2026-01-02T03:04:05Z'}", "spec: {renewTime: '2026-01-02T03:04:05.000000Z'}"),
        ("quantities become canonical", "v1 Node", "status: {capacity: {cpu: 2000m, memory: 1024Ki, pods: 110}}", "status: {capacity: {cpu: '2', memory: 1Mi, pods: '110'}, daemonEndpoints: {kubeletEndpoint: {Port: 0}}, nodeInfo: {architecture: '', bootID: '', containerRuntimeVersion: '', kernelVersion: '', kubeProxyVersion: '', kubeletVersion: '', machineID: '', operatingSystem: '', osImage: '', systemUUID: ''}}"),
        ("raw JSON stays as it is", "apps/v1 ControllerRevision", "data: {a: null, b: {}}\nrevision: 1", "data: {a: null, b: {}}\nrevision: 1"),
    ],
)  # fmt: skip
def test_an_object_is_stored_as_go_would_write_it(
    what: str, kind: str, given: str, stored: str
) -> None:
    result = normal(given, kind).object
    expected: dict[str, Any] = yaml.safe_load(stored) or {}
    assert {name: result.get(name) for name in expected} == expected
    extra = {k: v for k, v in result.items() if k not in expected}
    assert not {k for k in extra if k not in ("metadata", "spec", "status")}, what


def normal(text: str, kind: str) -> Any:
    api_version, _, name = kind.partition(" ")
    return normalise(yaml.safe_load(text), api_version, name)


@pytest.mark.parametrize(
    ("kind", "given", "unknown"),
    [
        ("v1 Service", "spec: {ports: [{port: 80, targetPrt: 8080}], selectr: {app: x}}", ['"spec.ports[0].targetPrt"', '"spec.selectr"']),
        ("v1 Pod", "spec: {containers: [{name: a}, {name: b, imag: c}]}", ['"spec.containers[1].imag"']),
        ("v1 ConfigMap", "dat: {a: b}", ['"dat"']),
        ("example.com/v1 Widget", "metadata: {name: w, lables: {}}\nspec: {anything: [1]}", ['"metadata.lables"']),
    ],
)  # fmt: skip
def test_unknown_fields_are_named_and_dropped(kind: str, given: str, unknown: list[str]) -> None:
    result = normal(given, kind)
    assert result.unknown == [f"unknown field {name}" for name in unknown]


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("v1 Service", "spec: {ports: [{port: eighty}]}", "json: cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type int32"),
        ("v1 Service", "spec: {ports: [{port: 80.5}]}", "json: cannot unmarshal number 80.5 into Go struct field ServicePort.spec.ports.port of type int32"),
        ("v1 Service", "spec: {ports: [{port: 5000000000}]}", "json: cannot unmarshal number 5000000000 into Go struct field ServicePort.spec.ports.port of type int32"),
        ("v1 Service", "spec: {type: 5}", "json: cannot unmarshal number into Go struct field ServiceSpec.spec.type of type v1.ServiceType"),
        ("v1 Service", "spec: {ports: {port: 80}}", "json: cannot unmarshal object into Go struct field ServiceSpec.spec.ports of type []v1.ServicePort"),
        ("v1 Service", "spec: {ports: [{port: 80, targetPort: true}]}", "json: cannot unmarshal bool into Go value of type int32"),
        ("v1 Service", "spec: nothing", "json: cannot unmarshal string into Go struct field Service.spec of type v1.ServiceSpec"),
        ("v1 ConfigMap", "data: {a: 1}", "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"),
        ("v1 ConfigMap", "metadata: {labels: {a: true}}", "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string"),
        ("v1 Pod", "spec: {containers: [{env: [{name: a, value: 1}]}]}", "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string"),
        ("v1 Secret", "data: {a: 'not base64!'}", "illegal base64 data at input byte 3"),
        ("v1 Pod", "spec: {containers: [{resources: {limits: {cpu: lots}}}]}", "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
        ("v1 Pod", "metadata: {deletionTimestamp: soon}", 'parsing time "soon" as "2006-01-02T15:04:05Z07:00": cannot parse "soon" as "2006"'),
    ],
)  # fmt: skip
def test_a_wrong_type_is_told_in_gos_words(kind: str, given: str, message: str) -> None:
    with pytest.raises(TypeMismatch) as caught:
        normal(given, kind)
    assert str(caught.value) == message


def test_normalising_twice_changes_nothing() -> None:
    given = "spec: {template: {spec: {containers: [{name: a, resources: {limits: {cpu: 1000m}}}]}}}"
    once = normal(given, "apps/v1 Deployment").object
    assert normalise(once, "apps/v1", "Deployment").object == once
