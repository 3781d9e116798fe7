"""One step of a StatefulSet, from its pods in a line of words."""

from typing import Any

import msgspec
import pytest

from podwire.emulator.controllers.workloads.stateful_plan import plan_stateful, stateful_status
from podwire.emulator.controllers.workloads.stateful_pods import identity, stateful_pod
from podwire.kube.objects import Pod, StatefulSet
from podwire.testing import build

NOW = build.MOMENT + 1000
TEMPLATE = build.template({"app": "db"})


def db(**spec: Any) -> StatefulSet:
    given = {"replicas": 3, "serviceName": "db", "template": TEMPLATE, **spec}
    made = msgspec.convert({"spec": given}, StatefulSet)
    return msgspec.structs.replace(made, metadata=build.meta("db"))


def pods(text: str, owner: StatefulSet) -> list[Pod]:
    """Read `0 1:old 2:sick 3:old,leaving 4:failed 5:bare`: pods and how they are."""
    found: list[Pod] = []
    for item in text.split():
        number, _, words = item.partition(":")
        kinds = set(words.split(","))
        labels = {} if "bare" in kinds else identity(owner, int(number))
        revision = "db-old" if "old" in kinds else "db-new"
        found.append(
            build.pod(
                f"db-{number}",
                phase="Failed" if "failed" in kinds else "Running",
                ready=not kinds & {"sick", "failed"},
                since=NOW - 5,
                labels={"app": "db", "controller-revision-hash": revision, **labels},
                deleted="leaving" in kinds,
            )
        )
    return found


def told(owner: StatefulSet, text: str, current: str = "db-old") -> str:
    """Return the step in words."""
    step = plan_stateful(owner, pods(text, owner), current=current, update="db-new", now=NOW)
    words = [f"make {c.ordinal} {c.revision.removeprefix('db-')}" for c in step.create]
    words += [f"delete {p.metadata.name.removeprefix('db-')}" for p in step.delete]
    words += [f"label {p.metadata.name.removeprefix('db-')}" for p in step.relabel]
    return ", ".join(words)


def rolling(partition: int) -> dict[str, Any]:
    return {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}}


PARALLEL = {"podManagementPolicy": "Parallel"}
ON_DELETE = {"updateStrategy": {"type": "OnDelete"}}


@pytest.mark.parametrize(
    ("spec", "present", "wanted"),
    [
        # One after the other, and only behind pods that run.
        ({}, "", "make 0 new"),
        ({}, "0", "make 1 new"),
        ({}, "0:sick", ""),
        ({}, "0:leaving 1 2", ""),
        ({}, "0 2", "make 1 new"),
        ({}, "0 1 2", ""),
        ({}, "0:failed 1 2", "delete 0"),
        ({}, "0:bare 1 2", "label 0"),
        ({"minReadySeconds": 10}, "0", ""),
        ({"minReadySeconds": 5}, "0", "make 1 new"),
        ({"ordinals": {"start": 5}}, "5", "make 6 new"),
        # From the end, one at a time, and only while all others run.
        ({}, "0 1 2 3 4", "delete 4"),
        ({}, "0 1 2 3 4:leaving", ""),
        ({}, "0 1:sick 2 3 4", ""),
        ({}, "0 1 2 3:sick 4", "delete 4"),
        ({}, "0 1 2 3:sick 4:sick", ""),
        ({}, "0 1 2 3 4:sick", "delete 4"),
        ({"replicas": 0}, "0 1", "delete 1"),
        # At once.
        (PARALLEL, "", "make 0 new, make 1 new, make 2 new"),
        (PARALLEL, "0:sick 2", "make 1 new"),
        ({}, "0:bare,sick 1 2", ""),
        (PARALLEL, "0:bare,sick 1 2", "label 0"),
        (PARALLEL, "0 1 2 3 4 5:leaving", "delete 4, delete 3"),
        # An update goes from the last to the first, one at a time.
        ({}, "0:old 1:old 2:old", "delete 2"),
        ({}, "0:old 1:old 2:leaving", ""),
        ({}, "0:old 1:old 2:sick", ""),
        ({}, "0:old 1:old 2", "delete 1"),
        ({}, "0:old 1:old", "make 2 new"),
        (PARALLEL, "0:old 1:old 2:old", "delete 2"),
        (PARALLEL, "0:old 1:old 2:sick", ""),
        # A pod that hangs before the update is not replaced: it must be deleted by hand.
        ({}, "0:old 1:old 2:old,sick", ""),
        (rolling(2), "0:old 1:old 2:old", "delete 2"),
        (rolling(2), "0:old 1:old 2", ""),
        (rolling(2), "0:old 2", "make 1 old"),
        (rolling(2), "0:old 1:old", "make 2 new"),
        (rolling(9), "0:old 1:old 2:old", ""),
        (ON_DELETE, "0:old 1:old 2:old", ""),
        (ON_DELETE, "0:old 2:old", "make 1 new"),
    ],
)
def test_a_step(spec: dict[str, Any], present: str, wanted: str) -> None:
    assert told(db(**spec), present) == wanted


@pytest.mark.parametrize(
    ("present", "counts", "current"),
    [
        ("", (0, 0, 0, 0, 0), "db-old"),
        ("0:old 1:old 2:sick", (3, 2, 2, 2, 1), "db-old"),
        ("0:old 1:old 2:leaving", (3, 3, 3, 2, 0), "db-old"),
        ("0 1 2:sick", (3, 2, 2, 0, 3), "db-old"),
        ("0 1 2", (3, 3, 3, 3, 3), "db-new"),
        ("0 1 2 3", (4, 4, 4, 0, 4), "db-old"),
    ],
)
def test_what_is_reported(present: str, counts: tuple[int, ...], current: str) -> None:
    owner = db()
    status = stateful_status(
        owner, pods(present, owner), current="db-old", update="db-new", collisions=0, now=NOW
    )
    assert (
        status.replicas,
        status.ready_replicas,
        status.available_replicas,
        status.current_replicas,
        status.updated_replicas,
    ) == counts
    assert (status.current_revision, status.update_revision) == (current, "db-new")


def test_a_claim_takes_the_place_of_a_volume_of_its_name() -> None:
    template = {
        **TEMPLATE,
        "spec": {
            **TEMPLATE["spec"],
            "volumes": [{"name": "data", "hostPath": {"path": "/x"}}, {"name": "tmp"}],
        },
    }
    owner = db(volumeClaimTemplates=[{"metadata": {"name": "data"}}])
    pod = stateful_pod(owner, template, "db-new", 1)
    assert pod["spec"]["volumes"] == [{"name": "data", "emptyDir": {}}, {"name": "tmp"}]
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-1", "db")
