"""One step of a Job, from its pods in a line of words."""

from typing import Any

import msgspec
import pytest

from podwire.emulator.controllers.jobs.job_backoff import Backoff, delay_left
from podwire.emulator.controllers.jobs.job_facts import TRACKING
from podwire.emulator.controllers.jobs.job_indexes import (
    COMPLETION_INDEX,
    INDEX_FAILURES,
    parsed,
    written,
)
from podwire.emulator.controllers.jobs.job_plan import JobPlan, plan_job
from podwire.emulator.controllers.jobs.job_pods import job_pod
from podwire.emulator.controllers.jobs.job_status import ended, freed
from podwire.kube.clock import rfc3339
from podwire.kube.objects import (
    ContainerState,
    ContainerStateTerminated,
    ContainerStatus,
    Job,
    Pod,
)
from podwire.testing import build

NOW = build.MOMENT + 1000
TEMPLATE = build.template({"job": "j"})


def job(*, status: dict[str, Any] | None = None, **spec: Any) -> Job:
    given = {"completions": 1, "template": TEMPLATE, **spec}
    begun = {"startTime": rfc3339(build.MOMENT), **(status or {})}
    made = msgspec.convert({"spec": given, "status": begun}, Job)
    return msgspec.structs.replace(made, metadata=build.meta("j"))


def pods(text: str, owner: Job) -> list[Pod]:
    """Read `a b:good c:bad=3@990 d:leaving e:good,free 0.2:bad`: pods and how they are.

    `free` has no finalizer, `=3` is the exit code, `@990` the second of the end, `1.2` the pod of
    index 1 before which the index failed twice.
    """
    found: list[Pod] = []
    for item in text.split():
        name, _, words = item.partition(":")
        flags, _, at = words.partition("@")
        flags, _, code = flags.partition("=")
        kinds = set(flags.split(","))
        phase = "Succeeded" if "good" in kinds else "Failed" if "bad" in kinds else "Running"
        index, dot, failures = name.partition(".")
        annotations = {COMPLETION_INDEX: index} if index.isdigit() else {}
        if dot:
            annotations[INDEX_FAILURES] = failures
        pod = build.pod(
            f"j-{name}",
            uid=name,
            phase=phase,
            ready=phase == "Running",
            owner=owner,
            annotations=annotations,
            finalizers=() if "free" in kinds else (TRACKING,),
            deleted="leaving" in kinds,
        )
        end = ContainerStateTerminated(
            exit_code=int(code or (1 if phase == "Failed" else 0)),
            finished_at=rfc3339(build.MOMENT + int(at or 0)),
        )
        state = ContainerState(terminated=end if phase != "Running" else None)
        status = msgspec.structs.replace(
            pod.status, container_statuses=(ContainerStatus(name="main", state=state),)
        )
        found.append(msgspec.structs.replace(pod, status=status))
    return found


def step(owner: Job, text: str, **known: Any) -> JobPlan:
    given: dict[str, Any] = {"backoff": Backoff(), "now": NOW, **known}
    return plan_job(owner, pods(text, owner), **given)


def told(plan: JobPlan) -> str:
    """Return the step in words."""
    made = [f"make {len(plan.create)}"] if plan.create and plan.create[0] is None else []
    made += [f"make {i}" for i in plan.create if i is not None]
    words = [*made, *(f"delete {p.metadata.uid}" for p in plan.delete)]
    words += [f"free {p.metadata.uid}" for p in plan.free]
    words += [f"{plan.outcome.type}: {plan.outcome.reason}"] if plan.outcome else []
    return ", ".join(words)


@pytest.mark.parametrize(
    ("spec", "present", "wanted"),
    [
        ({}, "", "make 1"),
        ({"completions": 5, "parallelism": 2}, "", "make 2"),
        ({"completions": 5, "parallelism": 2}, "a", "make 1"),
        ({"completions": 5, "parallelism": 2}, "a b", ""),
        ({"completions": 5, "parallelism": 2}, "a b c", "delete a"),
        ({"completions": 2, "parallelism": 2}, "a b:good", "free b"),
        ({"completions": 2, "parallelism": 2}, "a:good b:good", "free a, free b, Complete: CompletionsReached"),
        ({"parallelism": 0}, "", ""),
        # A deleted pod counts as failed, and is replaced at once (after the back-off).
        ({}, "a:leaving", "make 1, free a"),
        ({"podReplacementPolicy": "Failed"}, "a:leaving", ""),
        # A work queue: the first success ends it, when the others have ended too.
        ({"completions": None, "parallelism": 3}, "", "make 3"),
        ({"completions": None, "parallelism": 3}, "a:good b", "free a"),
        ({"completions": None, "parallelism": 3}, "a:good", "free a, Complete: CompletionsReached"),
        ({"suspend": True}, "a b", "delete a, delete b"),
        ({"backoffLimit": 0, "completions": 2, "parallelism": 2}, "a:bad b", "delete b, free a, free b, Failed: BackoffLimitExceeded"),
        ({"backoffLimit": 1}, "a:bad b:bad", "free a, free b, Failed: BackoffLimitExceeded"),
        ({"activeDeadlineSeconds": 1000}, "a", "delete a, free a, Failed: DeadlineExceeded"),
        ({"activeDeadlineSeconds": 1001}, "a", ""),
    ],
)  # fmt: skip
def test_a_step(spec: dict[str, Any], present: str, wanted: str) -> None:
    assert told(step(job(**spec), present)) == wanted


@pytest.mark.parametrize(
    ("spec", "present", "wanted"),
    [
        ({"parallelism": 2}, "", "make 0, make 1"),
        ({"parallelism": 2}, "1", "make 0"),
        ({"parallelism": 3}, "0:good 1", "make 2, free 0"),
        ({"parallelism": 3}, "0:good 1:good 2:good", "free 0, free 1, free 2, Complete: CompletionsReached"),
        ({"parallelism": 3}, "0 1 7", "delete 7"),
        ({"parallelism": 3, "successPolicy": {"rules": [{"succeededIndexes": "1"}]}}, "0 1:good", "delete 0, free 0, free 1, Complete: SuccessPolicy"),
        ({"parallelism": 3, "successPolicy": {"rules": [{"succeededCount": 2}]}}, "0 1:good", "make 2, free 1"),
        # Failures are counted for each index; its last failed pod stays till there is another.
        ({"parallelism": 3, "backoffLimitPerIndex": 1}, "0.0:bad@0 1.0 2.0", "make 0"),
        ({"parallelism": 3, "backoffLimitPerIndex": 1}, "0.0:bad@995 1.0 2.0", ""),
        ({"parallelism": 3, "backoffLimitPerIndex": 1}, "0.0:bad@0 0.1 1.0 2.0", "free 0.0"),
        ({"parallelism": 3, "backoffLimitPerIndex": 1}, "0.1:bad@0 1.0 2.0", "free 0.1"),
        ({"parallelism": 3, "backoffLimitPerIndex": 0}, "0.0:bad 1.0:good 2.0:good", "free 0.0, free 1.0, free 2.0, Failed: FailedIndexes"),
        ({"parallelism": 3, "backoffLimitPerIndex": 0, "maxFailedIndexes": 0}, "0.0:bad 1.0", "delete 1.0, free 0.0, free 1.0, Failed: MaxFailedIndexesExceeded"),
    ],
)  # fmt: skip
def test_a_step_of_an_indexed_job(spec: dict[str, Any], present: str, wanted: str) -> None:
    indexed: dict[str, Any] = {
        "completionMode": "Indexed",
        "completions": 3,
        "backoffLimit": 2**31 - 1,
    }
    assert told(step(job(**{**indexed, **spec}), present)) == wanted


def test_an_index_hands_its_failures_on() -> None:
    owner = job(completionMode="Indexed", completions=1, backoffLimitPerIndex=3)
    [last] = pods("0.1:bad", owner)
    made = job_pod(owner, "j-0-abcde", 0, last)
    assert made["metadata"]["annotations"] == {COMPLETION_INDEX: "0", INDEX_FAILURES: "2"}
    assert made["metadata"]["generateName"] == "j-0-"
    assert made["spec"]["hostname"] == "j-0"


def test_no_pod_is_counted_twice() -> None:
    owner = job(completions=2, parallelism=2)
    first = step(owner, "a:good b")
    assert first.status.uncounted_terminated_pods is not None
    assert first.status.uncounted_terminated_pods.succeeded == ("a",)
    assert first.status.succeeded == 0
    # The status is written, the finalizer is not gone yet: the same step again adds nothing.
    again = msgspec.structs.replace(owner, status=first.status)
    second = step(again, "a:good b")
    assert second.status == first.status
    assert told(second) == "free a"
    # The finalizer is gone, whether the copy of the pod shows it or not.
    for text, gone in (("a:good,free b", ()), ("a:good b", {"a"})):
        third = plan_job(again, pods(text, again), gone=gone, backoff=Backoff(), now=NOW)
        assert (third.status.succeeded, told(third)) == (1, "")
        counted = msgspec.structs.replace(again, status=third.status)
        fourth = plan_job(counted, pods(text, counted), gone=gone, backoff=Backoff(), now=NOW)
        assert fourth.status == third.status


def test_counts_wait_for_the_finalizer() -> None:
    status = step(job(completions=2, parallelism=2), "a:good b:bad").status
    some = freed(status, {"b"})
    assert (some.succeeded, some.failed) == (1, 0)
    every = freed(some, set())
    assert (every.succeeded, every.failed) == (1, 1)
    assert freed(every, set()) == every


def test_the_end_waits_for_the_last_pod() -> None:
    plan = step(job(backoffLimit=0, completions=2, parallelism=2), "a:bad b")
    assert plan.status.terminating == 1
    assert ended(freed(plan.status, set()), plan.outcome, now=NOW) is None
    over = msgspec.structs.replace(freed(plan.status, set()), terminating=0)
    last = ended(over, plan.outcome, now=NOW)
    assert last is not None
    assert [(c.type, c.reason) for c in last.conditions] == [
        ("FailureTarget", "BackoffLimitExceeded"),
        ("Failed", "BackoffLimitExceeded"),
    ]


def test_pods_that_were_not_seen_yet_hold_up_the_end() -> None:
    plan = step(job(backoffLimit=0), "a:bad", settled=False)
    assert plan.outcome is None
    assert step(job(completions=2, parallelism=2), "a", settled=False).create == ()


@pytest.mark.parametrize(
    ("failures", "ago", "left"),
    [(0, 0, 0), (1, 4, 6), (1, 10, 0), (2, 4, 16), (7, 0, 600), (99, 0, 600)],
)
def test_the_back_off_doubles(failures: int, ago: int, left: float) -> None:
    assert delay_left(failures, NOW - ago, now=NOW) == left


def test_a_failure_is_waited_for_and_a_success_makes_good() -> None:
    owner = job(completions=3, parallelism=1)
    plan = step(owner, "a:bad@995")
    assert (plan.create, plan.again) == ((), 5.0)
    assert plan.backoff == Backoff(1, build.MOMENT + 995)
    assert step(owner, "a:bad@995 b:good@996").create == (None,)


@pytest.mark.parametrize(
    ("indexes", "text"),
    [((), ""), ((3,), "3"), ((1, 2), "1,2"), ((0, 1, 2, 5, 7, 8), "0-2,5,7,8")],
)
def test_indexes_as_text(indexes: tuple[int, ...], text: str) -> None:
    assert written(indexes) == text
    assert parsed(text, 100) == frozenset(indexes)


def test_indexes_beyond_the_last_are_left_out() -> None:
    assert parsed("0-5,9,x", 3) == frozenset({0, 1, 2})
