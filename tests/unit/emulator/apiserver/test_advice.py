from typing import Any

import pytest
import yaml

from podwire.emulator.apiserver.admission import advice

Json = dict[str, Any]


def pod(spec: str, name: str = "p") -> Json:
    return {"kind": "Pod", "metadata": {"name": name}, "spec": yaml.safe_load(spec)}


TWO_WEBS = "containers: [{ports: [{containerPort: 80}]}, {ports: [{containerPort: 80}]}]"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("containers: [{ports: [{containerPort: 80}, {containerPort: 81}]}]", []),
        ("containers: [{ports: [{containerPort: 53, protocol: TCP}, {containerPort: 53, protocol: UDP}]}]", []),
        (TWO_WEBS, ["spec.containers[1].ports[0]: duplicate port definition with spec.containers[0].ports[0]"]),
        ("containers: [{ports: [{containerPort: 80}, {containerPort: 80, hostPort: 8080}]}]", ["spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]"]),
        ("containers: [{ports: [{containerPort: 80, hostPort: 80}, {containerPort: 80, hostPort: 80, hostIP: 10.0.0.1}]}]", ["spec.containers[0].ports[1]: dangerously ambiguous port definition with spec.containers[0].ports[0]"]),
        ("containers: [{env: [{name: A, value: x}, {name: A, value: y}]}]", ['spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply']),
        ("containers: [{env: [{name: A, value: x}, {name: A, value: $(A)y}]}]", []),
        ("hostAliases: [{ip: 10.0.0.1}, {ip: 10.0.0.1}]", ['spec.hostAliases[1].ip: duplicate ip "10.0.0.1"']),
        ("imagePullSecrets: [{name: s}, {name: s}, {}]", ['spec.imagePullSecrets[1].name: duplicate name "s"', 'spec.imagePullSecrets[2].name: invalid empty name ""']),
    ],
)  # fmt: skip
def test_what_pods_are_hardly_meant_to_say(spec: str, expected: list[str]) -> None:
    assert list(advice.given(pod(f"{{{spec}}}"), None)) == expected


DOTS = (
    "which can result in surprising behavior; a DNS label is recommended: [must not contain dots]"
)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("Pod", [f"metadata.name: this is used in the Pod's hostname, {DOTS}"]),
        ("Deployment", [f"metadata.name: this is used in Pod names and hostnames, {DOTS}"]),
        ("DaemonSet", []),
        ("ConfigMap", []),
    ],
)
def test_a_name_with_dots_becomes_no_host_name(kind: str, expected: list[str]) -> None:
    named: Json = {"kind": kind, "metadata": {"name": "a.b"}, "spec": {}}
    assert list(advice.given(named, None)) == expected
    assert list(advice.given(named, named)) == []


def test_a_template_is_looked_at_when_the_spec_changes() -> None:
    template = {"spec": yaml.safe_load(f"{{{TWO_WEBS}}}")}
    job = {"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": template}}}}
    at = "spec.jobTemplate.spec.template.spec.containers"
    said = [f"{at}[1].ports[0]: duplicate port definition with {at}[0].ports[0]"]
    assert list(advice.given(job, None)) == said
    assert list(advice.given(job, {**job, "spec": {}})) == said
    assert list(advice.given(job, job)) == []


def test_an_ingress_names_its_class_in_its_spec() -> None:
    noted = {"metadata": {"annotations": {"kubernetes.io/ingress.class": "nginx"}}}
    assert list(advice.given({"kind": "Ingress", **noted}, None)) == [
        'annotation "kubernetes.io/ingress.class" is deprecated, '
        "please use 'spec.ingressClassName' instead"
    ]
