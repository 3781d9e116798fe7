from typing import Any

import msgspec
import pytest

from podwire.emulator.controllers.workloads.deployment_plan import Plan, plan
from podwire.emulator.controllers.workloads.deployment_status import deadline_in
from podwire.kube.clock import rfc3339
from podwire.kube.objects import (
    Condition,
    Deployment,
    DeploymentStatus,
    ReplicaSet,
    RollingUpdate,
    UpdateStrategy,
)
from podwire.testing import build

NOW = build.MOMENT + 1000
REVISION = "deployment.kubernetes.io/revision"


def web(image: str = "v2", replicas: int = 3, **spec: Any) -> Deployment:
    limits = RollingUpdate(max_surge=1, max_unavailable=1)
    strategy = UpdateStrategy(type="RollingUpdate", rolling_update=limits)
    return build.deployment(
        "web", replicas=replicas, image=image, spec={"strategy": strategy, **spec}
    )


def sets(text: str, replicas: int = 3) -> list[ReplicaSet]:
    """Read `v2 1/0 #2, v1 3/3 #1`: image, wanted/available pods, revision; the newest first."""
    found: list[ReplicaSet] = []
    for age, item in enumerate(filter(None, text.split(", "))):
        image, numbers, revision = item.split()
        wanted, available = map(int, numbers.split("/"))
        annotations = {
            REVISION: revision.removeprefix("#"),
            "deployment.kubernetes.io/desired-replicas": str(replicas),
            "deployment.kubernetes.io/max-replicas": str(replicas + 1),
        }
        found.append(
            build.replica_set(
                image,
                replicas=wanted,
                available=available,
                image=image,
                annotations=annotations,
                created=build.MOMENT - 100 * age,
            )
        )
    return found


def step(result: Plan) -> str:
    """Return what the plan changes, as text: `create 2, v1 3->2, delete v0`."""
    words = [f"create {result.create.spec.replicas}"] if result.create else []
    words += [
        f"{wanted.metadata.name} {present.spec.replicas}->{wanted.spec.replicas}"
        for present, wanted in result.updates
        if present.spec.replicas != wanted.spec.replicas
    ]
    return ", ".join([*words, *(f"delete {rs.metadata.name}" for rs in result.delete)])


@pytest.mark.parametrize(
    ("deployment", "present", "next_step"),
    [
        (web(), "", "create 3"),
        (web(), "v2 3/3 #1", ""),
        # One more may be made, one fewer may be there: both at once at the start...
        (web(), "v1 3/3 #1", "create 1, v1 3->2"),
        # ...then up again as far as there is room, and down only when the new ones are up.
        (web(), "v2 1/0 #2, v1 2/2 #1", "v2 1->2"),
        (web(), "v2 2/0 #2, v1 2/2 #1", ""),
        (web(), "v2 2/1 #2, v1 2/2 #1", "v1 2->1"),
        (web(), "v2 3/3 #2, v1 1/1 #1", "v1 1->0"),
        # Back to the old template: its ReplicaSet grows again.
        (web("v1"), "v2 3/3 #2, v1 0/0 #1", "v1 0->1"),
        # The new ones do not come up, and an old one breaks: what is left stays.
        (web(), "v2 2/0 #2, v1 2/1 #1", ""),
        (web(replicas=5), "v2 3/3 #1", "v2 3->5"),
        (web(replicas=0), "v2 3/3 #1", "v2 3->0"),
        (web(paused=True), "v1 3/3 #1", ""),
        (web(paused=True, replicas=4), "v1 3/3 #1", "v1 3->4"),
        (web(paused=True), "", ""),
        (web(strategy=UpdateStrategy(type="Recreate")), "v1 3/3 #1", "v1 3->0"),
        (web(strategy=UpdateStrategy(type="Recreate")), "v1 0/0 #1", "create 3"),
    ],
)
def test_next_step(deployment: Deployment, present: str, next_step: str) -> None:
    assert step(plan(deployment, sets(present), occupied=(), now=NOW)) == next_step


def test_recreate_waits_for_the_last_old_pod() -> None:
    deployment = web(strategy=UpdateStrategy(type="Recreate"))
    present = sets("v1 0/0 #1")
    result = plan(deployment, present, occupied={present[0].metadata.uid}, now=NOW)
    assert step(result) == ""


def test_what_a_new_replica_set_looks_like() -> None:
    annotations = {"team": "shop", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
    deployment = msgspec.structs.replace(
        web(min_ready_seconds=5), metadata=build.meta("web", annotations=annotations)
    )
    made = plan(deployment, sets("v1 3/3 #4"), occupied=(), now=NOW).create
    assert made is not None
    suffix = made.metadata.name.removeprefix("web-")
    assert made.metadata.labels == {"app": "web", "pod-template-hash": suffix}
    assert made.spec.selector.match_labels == made.metadata.labels
    assert made.spec.template["metadata"]["labels"] == made.metadata.labels
    assert made.spec.min_ready_seconds == 5
    assert made.metadata.annotations == {
        "team": "shop",
        REVISION: "5",
        "deployment.kubernetes.io/desired-replicas": "3",
        "deployment.kubernetes.io/max-replicas": "4",
    }
    [owner] = made.metadata.owner_references
    assert (owner.kind, owner.controller, owner.block_owner_deletion) == ("Deployment", True, True)


def test_a_collision_of_names_gives_another_name() -> None:
    first = plan(web(), [], occupied=(), now=NOW).create
    collided = msgspec.structs.replace(web(), status=DeploymentStatus(collision_count=1))
    second = plan(collided, [], occupied=(), now=NOW).create
    assert first
    assert second
    assert first.metadata.name != second.metadata.name


@pytest.mark.parametrize(
    ("limit", "deleted"),
    [(10, ""), (2, ""), (1, "delete v0"), (0, "delete v0, delete v1")],
)
def test_history(limit: int, deleted: str) -> None:
    status = DeploymentStatus(
        observed_generation=1, replicas=3, updated_replicas=3, available_replicas=3
    )
    deployment = msgspec.structs.replace(web(revision_history_limit=limit), status=status)
    present = sets("v2 3/3 #3, v1 0/0 #2, v0 0/0 #1")
    assert step(plan(deployment, present, occupied=(), now=NOW)) == deleted


def reported(deployment: Deployment, present: str) -> dict[str, tuple[str, str, str]]:
    conditions = plan(deployment, sets(present), occupied=(), now=NOW).status.conditions
    return {c.type: (c.status, c.reason, c.message) for c in conditions}


def since(seconds: float, reason: str = "ReplicaSetUpdated", **counts: int) -> DeploymentStatus:
    moment = rfc3339(NOW - seconds)
    condition = Condition(
        type="Progressing",
        status="True",
        reason=reason,
        last_update_time=moment,
        last_transition_time=moment,
    )
    return DeploymentStatus(observed_generation=1, conditions=(condition,), **counts)


@pytest.mark.parametrize(
    ("status", "present", "progress", "message"),
    [
        (DeploymentStatus(), "", "NewReplicaSetCreated", "Created new replica set"),
        (DeploymentStatus(), "v2 3/0 #1", "ReplicaSetUpdated", 'ReplicaSet "v2" is progressing.'),
        (
            since(10, replicas=3, updated_replicas=3),
            "v2 3/3 #1",
            "NewReplicaSetAvailable",
            'ReplicaSet "v2" has successfully progressed.',
        ),
        (since(10, replicas=3, updated_replicas=3), "v2 3/0 #1", "ReplicaSetUpdated", ""),
        (
            since(601, replicas=3, updated_replicas=3),
            "v2 3/0 #1",
            "ProgressDeadlineExceeded",
            'ReplicaSet "v2" has timed out progressing.',
        ),
        # What was finished once does not time out when a pod falls ill later.
        (
            since(9999, "NewReplicaSetAvailable", replicas=3, updated_replicas=3),
            "v2 3/1 #1",
            "NewReplicaSetAvailable",
            "",
        ),
    ],
)
def test_progress(status: DeploymentStatus, present: str, progress: str, message: str) -> None:
    deployment = msgspec.structs.replace(web(), status=status)
    _, reason, text = reported(deployment, present)["Progressing"]
    assert reason == progress
    assert text.startswith(message)


@pytest.mark.parametrize(
    ("known", "progress"),
    [("v1", "NewReplicaSetCreated"), ("v2", "NewReplicaSetAvailable")],
)
def test_the_note_of_a_new_replica_set_is_made_up_for(known: str, progress: str) -> None:
    counts = {"replicas": 3, "ready_replicas": 3, "available_replicas": 3}
    status = since(10, "NewReplicaSetAvailable", **counts)
    said = f'ReplicaSet "{known}" has successfully progressed.'
    condition = msgspec.structs.replace(status.conditions[0], message=said)
    status = msgspec.structs.replace(status, conditions=(condition,))
    deployment = msgspec.structs.replace(web(), status=status)
    assert reported(deployment, "v2 0/0 #2, v1 3/3 #1")["Progressing"][1] == progress


@pytest.mark.parametrize(
    ("present", "available"),
    [
        ("v2 3/3 #1", ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")),
        ("v2 3/2 #1", ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")),
        (
            "v2 3/1 #1",
            (
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            ),
        ),
    ],
)
def test_availability(present: str, available: tuple[str, str, str]) -> None:
    assert reported(web(), present)["Available"] == available


def test_counts() -> None:
    status = plan(web(), sets("v2 2/1 #2, v1 2/2 #1"), occupied=(), now=NOW).status
    assert (status.replicas, status.updated_replicas, status.ready_replicas) == (4, 2, 3)
    assert (status.available_replicas, status.unavailable_replicas) == (3, 0)


def test_pausing_and_resuming_are_noted() -> None:
    paused = plan(web(paused=True), sets("v2 3/3 #1"), occupied=(), now=NOW).status
    assert [(c.reason, c.message) for c in paused.conditions if c.type == "Progressing"] == [
        ("DeploymentPaused", "Deployment is paused")
    ]
    resumed = msgspec.structs.replace(web(), status=paused)
    assert reported(resumed, "v1 3/3 #1")["Progressing"][1] == "NewReplicaSetCreated"


@pytest.mark.parametrize(
    ("status", "seconds"),
    [
        (since(100), 501),
        (since(700), 1),
        (since(100, "NewReplicaSetAvailable"), None),
        (DeploymentStatus(), None),
    ],
)
def test_when_to_look_for_the_deadline(status: DeploymentStatus, seconds: float | None) -> None:
    assert deadline_in(web(), status, now=NOW) == seconds
