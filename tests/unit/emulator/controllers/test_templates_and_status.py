from typing import Any

import pytest

from podwire.emulator.controllers.deletion.contents import (
    Contents,
    finalizers_message,
    remaining_message,
)
from podwire.emulator.controllers.patches import status_patch
from podwire.emulator.controllers.pod_templates import (
    generated_name,
    pod_of,
    same_template,
    template_hash,
    with_label,
)
from podwire.emulator.controllers.podstate import available_in
from podwire.emulator.controllers.workloads.replicaset_status import replica_set_status
from podwire.kube.codec import convert
from podwire.kube.names import ALPHABET
from podwire.kube.objects import Pod, ReplicaSetStatus, Resource
from podwire.testing import build

NOW = build.MOMENT + 100
WEB = build.replica_set("web")


class First:
    """Dice that always show the first side."""

    def choice(self, seq: str, /) -> str:
        return seq[0]


@pytest.mark.parametrize(
    ("owner", "name"),
    [("web-7f9", "web-7f9-bbbbb"), ("x" * 63, "x" * 58 + "bbbbb")],
)
def test_generated_names_have_at_most_63_characters(owner: str, name: str) -> None:
    assert generated_name(owner, First()) == name


def test_hash_of_a_template() -> None:
    one, two = build.template({"app": "web"}, "v1"), build.template({"app": "web"}, "v2")
    assert template_hash(one) == template_hash(build.template({"app": "web"}, "v1"))
    assert len({template_hash(one), template_hash(two), template_hash(one, 1)}) == 3
    assert set(template_hash(one)) <= set(ALPHABET)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ({"spec": {"x": 1}}, {"spec": {"x": 1}}, True),
        ({"spec": {"x": 1}}, {"spec": {"x": 2}}, False),
        ({"metadata": {"creationTimestamp": None}, "spec": {}}, {"spec": {}}, True),
        ({"metadata": {"labels": {"a": "b"}}}, {"metadata": {}}, False),
        ({}, with_label({}, "pod-template-hash", "x"), True),
    ],
)
def test_same_template(*, a: dict[str, Any], b: dict[str, Any], same: bool) -> None:
    assert same_template(a, b) == same


def test_a_pod_is_a_whole_copy_of_its_template() -> None:
    template = build.template({"app": "web"})
    template["metadata"]["annotations"] = {"a": "b"}
    template["spec"]["securityContext"] = {"runAsUser": 1000}
    made = pod_of(WEB, template, "web-x")
    assert made["spec"] == template["spec"]
    assert made["metadata"]["annotations"] == {"a": "b"}
    assert [r["name"] for r in made["metadata"]["ownerReferences"]] == ["web"]
    assert "finalizers" not in made["metadata"]


@pytest.mark.parametrize(
    ("pod", "seconds", "wait"),
    [
        (build.pod("p"), 0, None),
        (build.pod("p", ready=True, since=NOW - 1), 0, 0),
        (build.pod("p", ready=True, since=NOW - 1), 10, 9),
        (build.pod("p", ready=True, since=NOW - 10), 10, 0),
        (build.pod("p"), 10, None),
    ],
)
def test_when_a_pod_is_available(pod: Pod, seconds: int, wait: float | None) -> None:
    assert available_in(pod, seconds, now=NOW) == wait


def test_status_of_a_replica_set() -> None:
    pods = [
        build.pod("a", ready=True, labels={"app": "web"}),
        build.pod("b", ready=True, labels={"app": "web"}, since=NOW - 1),
        build.pod("c", labels={}),
    ]
    status = replica_set_status(build.replica_set("web", min_ready_seconds=10), pods, "", now=NOW)
    assert (status.replicas, status.fully_labeled_replicas) == (3, 2)
    assert (status.ready_replicas, status.available_replicas) == (2, 1)


def test_a_refusal_is_shown_until_the_number_is_right() -> None:
    status = replica_set_status(WEB, [], "no room", now=NOW)
    [condition] = status.conditions
    assert (condition.type, condition.reason, condition.message) == (
        "ReplicaFailure",
        "FailedCreate",
        "no room",
    )
    failed = convert(
        type(WEB),
        {
            "spec": {"replicas": 1, "template": {}},
            "status": {
                "conditions": [
                    {
                        "type": "ReplicaFailure",
                        "status": "True",
                        "reason": "FailedCreate",
                        "message": "no room",
                    }
                ]
            },
        },
    )
    assert replica_set_status(failed, [], "", now=NOW).conditions == failed.status.conditions
    assert replica_set_status(failed, [build.pod("a")], "", now=NOW).conditions == ()


def test_zeros_are_left_out_of_a_status_as_kubernetes_does() -> None:
    patch = status_patch(ReplicaSetStatus(ready_replicas=2), always=("replicas",))
    assert patch["status"]["replicas"] == 0
    assert patch["status"]["readyReplicas"] == 2
    assert patch["status"]["availableReplicas"] is None


def test_what_remains_in_a_namespace() -> None:
    pods, sets = Resource("", "v1", "pods", "Pod"), Resource("apps", "v1", "replicasets", "R")
    left = [Contents(sets, 1, {}), Contents(pods, 2, {"b/y": 1, "a/x": 2})]
    assert remaining_message(left) == (
        "Some resources are remaining: pods. has 2 resource instances, "
        "replicasets.apps has 1 resource instances"
    )
    assert finalizers_message(left) == (
        "Some content in the namespace has finalizers remaining: a/x in 2 resource instances, "
        "b/y in 1 resource instances"
    )
    assert finalizers_message(left[:1]) == ""
