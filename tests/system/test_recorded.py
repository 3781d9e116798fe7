"""What runs under the names of a recording's images, derived from the file."""

import pytest

from tests.system.recorded import images

POD = """
kind: Pod
spec:
  containers:
  - {name: a, image: "nginx:1.25", ports: [{containerPort: 8080}]}
"""
WEB = ["builtin:web", "--port", "8080"]
UP = ["builtin:pause"]


@pytest.mark.parametrize(
    ("manifest", "command", "image", "runs"),
    [
        (POD, "", "nginx:1.25", WEB),
        (POD, "kubectl set image deploy/x a=nginx:1.26 b=own:2", "nginx:1.26", WEB),
        (POD, "kubectl set image deploy/x a=nginx:1.26 b=own:2", "own:2", UP),
        (POD, "kubectl create deployment web --image=nginx", "nginx", None),
        ("", "kubectl run a --image busybox -- sh", "busybox", None),
        ("", "kubectl run a --image=agent:1", "agent:1", UP),
        ("", """kubectl patch x -p '{"containers":[{"name":"b","image":"b:1"}]}'""", "b:1", UP),
        ("", """kubectl patch x --type=json -p '[{"path":"/0/image","value":"c:1"}]'""", "c:1", UP),
        ("spec: {jobTemplate: {spec: {template: {spec: {initContainers: [{image: d:1}]}}}}}", "", "d:1", UP),
        ("#!/bin/sh\nsed -i 's/a: b: c/x/'", "", "a", None),
    ],
)  # fmt: skip
def test_images(manifest: str, command: str, image: str, runs: list[str] | None) -> None:
    assert images([manifest], [command]).get(image) == runs


def test_no_other_word_is_taken_for_an_image() -> None:
    found = images([], ["kubectl set image deploy/myapp app=x:1; echo a=b | grep image"])
    assert set(found) == {"x:1", "podwire/recorded-echo"}
