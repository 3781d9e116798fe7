from typing import Any

import msgspec
import pytest

from podwire.emulator.controllers.nodes.scheduling import Placements, choose
from podwire.emulator.controllers.pod_templates import template_hash
from podwire.emulator.controllers.workloads.daemon_plan import daemon_set_status, plan_daemons
from podwire.emulator.controllers.workloads.daemonsets import daemon_pod
from podwire.kube.codec import convert
from podwire.kube.objects import (
    DaemonSet,
    DaemonSetSpec,
    LabelSelectorSpec,
    Node,
    Pod,
    RollingUpdate,
    Taint,
    UpdateStrategy,
)
from podwire.testing import build

NOW = build.MOMENT + 1000
LABELS = {"app": "proxy"}
TEMPLATE = build.template(LABELS)
NEW = template_hash(TEMPLATE)


def proxy(kind: str = "RollingUpdate", *, surge: int = 0, **spec: Any) -> DaemonSet:
    limits = RollingUpdate(max_unavailable=0 if surge else 1, max_surge=surge)
    template = msgspec.json.decode(msgspec.json.encode(TEMPLATE))
    template["spec"].update(spec)
    return DaemonSet(
        metadata=build.meta("proxy"),
        spec=DaemonSetSpec(
            selector=LabelSelectorSpec(match_labels=LABELS),
            template=template,
            update_strategy=UpdateStrategy(type=kind, rolling_update=limits),
        ),
    )


def nodes(count: int) -> list[Node]:
    return [build.node(f"node-{n}") for n in range(1, count + 1)]


def pods(text: str) -> list[Pod]:
    """Read `1 2:old 3:old,sick 4:failed 5:leaving`: the pod on each node; it is new and ready."""
    found: list[Pod] = []
    for number, item in enumerate(text.split()):
        node, _, words = item.partition(":")
        flags = set(words.split(","))
        revision = "0" if "old" in flags else NEW
        found.append(
            build.pod(
                f"proxy-{number}",
                node=f"node-{node}",
                ready=not flags & {"sick", "failed"},
                phase="Failed" if "failed" in flags else "Running",
                deleted="leaving" in flags,
                labels={**LABELS, "controller-revision-hash": revision},
                created=build.MOMENT + number,
            )
        )
    return found


def step(daemon_set: DaemonSet, on: list[Node], present: list[Pod]) -> tuple[str, str]:
    """Return (numbers of nodes that get a pod, numbers of nodes that lose one)."""
    plan = plan_daemons(daemon_set, on, present, revision=NEW, now=NOW)
    return (
        " ".join(name.removeprefix("node-") for name in plan.create_on),
        " ".join(pod.spec.node_name.removeprefix("node-") for pod in plan.delete),
    )


@pytest.mark.parametrize(
    ("present", "makes", "deletes"),
    [
        ("", "1 2 3", ""),
        ("1 2", "3", ""),
        ("1 2 3", "", ""),
        # A pod that leaves still holds the node's ports.
        ("1 2 3:leaving", "", ""),
        ("1 2 3:failed", "", "3"),
        ("1 2 3 3", "", "3"),
        # One at a time; what is broken goes at once.
        ("1:old 2:old 3:old", "", "1"),
        ("1:old 2:old 3:old,sick", "", "3"),
        ("1:old,sick 2:old,sick 3:old", "", "1 2"),
        ("1 2:old 3:old", "", "2"),
        ("1:sick 2:old 3:old", "", ""),
        ("1:leaving 2:old 3:old", "", ""),
        # Missing pods first.
        ("1:old 2:old", "3", ""),
    ],
)
def test_rolling_one_by_one(present: str, makes: str, deletes: str) -> None:
    assert step(proxy(), nodes(3), pods(present)) == (makes, deletes)


@pytest.mark.parametrize(
    ("present", "makes", "deletes"),
    [
        ("1:old 2:old 3:old", "1", ""),
        ("1:old 1:sick 2:old 3:old", "", ""),
        ("1:old 1 2:old 3:old", "2", "1"),
        ("1:old 2:old,sick 3:old", "2", ""),
    ],
)
def test_rolling_with_a_surge(present: str, makes: str, deletes: str) -> None:
    assert step(proxy(surge=1), nodes(3), pods(present)) == (makes, deletes)


def test_on_delete_waits_for_the_user() -> None:
    assert step(proxy("OnDelete"), nodes(1), pods("1:old")) == ("", "")


@pytest.mark.parametrize(
    ("node", "spec", "runs", "stays"),
    [
        (build.node("node-1"), {}, True, True),
        (build.node("node-1"), {"nodeSelector": {"disk": "ssd"}}, False, False),
        (
            build.node("node-1", labels={"disk": "ssd"}),
            {"nodeSelector": {"disk": "ssd"}},
            True,
            True,
        ),
        (build.node("node-1", unschedulable=True), {}, True, True),
        (build.node("node-1", taints=[Taint(key="k", effect="NoSchedule")]), {}, False, True),
        (build.node("node-1", taints=[Taint(key="k", effect="NoExecute")]), {}, False, False),
        (
            build.node(
                "node-1",
                taints=[Taint(key="node.kubernetes.io/not-ready", effect="NoExecute")],
            ),
            {},
            True,
            True,
        ),
    ],
)
def test_which_nodes_a_daemon_wants(
    *, node: Node, spec: dict[str, Any], runs: bool, stays: bool
) -> None:
    makes, _ = step(proxy(**spec), [node], [])
    assert makes == ("1" if runs else "")
    daemon_set = proxy("OnDelete", **spec)
    _, deletes = step(daemon_set, [node], pods("1"))
    assert deletes == ("" if stays else "1")


def test_the_scheduler_puts_a_daemon_where_it_was_made_for() -> None:
    made = daemon_pod(proxy(), "proxy-x", "node-2", NEW)
    pod = convert(Pod, made)
    assert choose(pod, nodes(3), Placements()) == "node-2"
    assert pod.metadata.labels["controller-revision-hash"] == NEW
    assert made["metadata"]["generateName"] == "proxy-"


def test_a_daemons_pods_say_which_template_they_are_of() -> None:
    annotations = {"deprecated.daemonset.template.generation": "3"}
    metadata = msgspec.structs.replace(proxy().metadata, annotations=annotations)
    made = daemon_pod(msgspec.structs.replace(proxy(), metadata=metadata), "x", "node-1", NEW)
    assert made["metadata"]["labels"]["pod-template-generation"] == "3"


@pytest.mark.parametrize(
    ("present", "desired", "current", "ready", "updated", "unavailable"),
    [
        ("", 3, 0, 0, 0, 3),
        ("1 2 3", 3, 3, 3, 3, 0),
        ("1 2:old 3:sick", 3, 3, 2, 2, 1),
    ],
)
def test_status(
    present: str, desired: int, current: int, ready: int, updated: int, unavailable: int
) -> None:
    status = daemon_set_status(proxy(), nodes(3), pods(present), revision=NEW, now=NOW)
    assert status.desired_number_scheduled == desired
    assert status.current_number_scheduled == current
    assert status.number_ready == ready
    assert status.updated_number_scheduled == updated
    assert status.number_unavailable == unavailable


def test_pods_where_they_should_not_be_are_counted() -> None:
    daemon_set = proxy(nodeSelector={"disk": "ssd"})
    status = daemon_set_status(daemon_set, nodes(2), pods("1"), revision=NEW, now=NOW)
    assert (status.desired_number_scheduled, status.number_misscheduled) == (0, 1)
