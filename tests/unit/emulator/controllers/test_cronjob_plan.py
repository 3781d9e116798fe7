"""What a CronJob does at a moment, given the Jobs that it made before."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from podwire.emulator.controllers.jobs.cronjob_plan import (
    CronPlan,
    job_name,
    plan_cron,
    scheduled_job,
    started,
)
from podwire.kube.objects import CronJob, Job, ObjectReference
from podwire.kube.times import rfc3339
from podwire.testing import build


def at(clock: str) -> float:
    """Return `14:30` or `14:30:05` of the day of the tests, seconds since 1970."""
    return datetime.fromisoformat(f"2024-05-06T{clock}").replace(tzinfo=UTC).timestamp()


def cron_job(
    schedule: str = "0 * * * *",
    *,
    last: str = "",
    active: str = "",
    created: str = "10:30",
    **spec: Any,
) -> CronJob:
    made = msgspec.convert({"spec": {"schedule": schedule, **spec}}, CronJob)
    status = msgspec.structs.replace(
        made.status,
        last_schedule_time=rfc3339(at(last)) if last else None,
        active=tuple(
            ObjectReference(kind="Job", namespace="default", name=name, uid=f"uid-of-{name}")
            for name in active.split()
        ),
    )
    return msgspec.structs.replace(
        made, metadata=build.meta("c", created=at(created)), status=status
    )


def jobs(text: str) -> list[Job]:
    """Read `a b:Complete@12:01 c:Failed`: Jobs, how and when they ended."""
    found: list[Job] = []
    for item in text.split():
        name, _, words = item.partition(":")
        end, _, moment = words.partition("@")
        status: dict[str, Any] = {"startTime": rfc3339(at("09:00") + len(found))}
        if end:
            status["conditions"] = [{"type": end, "status": "True"}]
            if end == "Complete":
                status["completionTime"] = rfc3339(at(moment or "11:30"))
        made = msgspec.convert({"status": status}, Job)
        found.append(msgspec.structs.replace(made, metadata=build.meta(name, uid=f"uid-of-{name}")))
    return found


def zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def step(of: CronJob, moment: str, present: str = "") -> CronPlan:
    return plan_cron(of, jobs(present), zones=zone, now=at(moment))


@pytest.mark.parametrize(
    ("of", "present", "moment", "due"),
    [
        (cron_job(), "", "10:59", ""),
        (cron_job(), "", "11:00", "11:00"),
        (cron_job(), "", "11:59", "11:00"),
        (cron_job(last="11:00"), "", "11:59", ""),
        (cron_job(last="11:00"), "", "12:00:05", "12:00"),
        # Times that were missed are not made up for, but for the last of them.
        (cron_job(last="11:00"), "", "17:20", "17:00"),
        (cron_job("* * * * *", last="11:00"), "", "17:20", "17:20"),
        (cron_job(last="11:00", startingDeadlineSeconds=60), "", "12:00:59", "12:00"),
        (cron_job(last="11:00", startingDeadlineSeconds=60), "", "12:01:01", ""),
        (cron_job(last="11:00", suspend=True), "", "12:00", ""),
        (cron_job(last="11:00", active="a"), "a", "12:00", "12:00"),
        (cron_job(last="11:00", active="a", concurrencyPolicy="Forbid"), "a", "12:00", ""),
        (cron_job(last="11:00", active="a", concurrencyPolicy="Forbid"), "a:Complete", "12:00", "12:00"),
        (cron_job(last="11:00", active="a", concurrencyPolicy="Replace"), "a", "12:00", "12:00"),
        (cron_job("0 9 * * *", timeZone="America/New_York"), "", "13:00", "13:00"),
        (cron_job("0 9 * * *", timeZone="Nowhere/Else"), "", "13:00", ""),
        (cron_job("0 9 * *"), "", "13:00", ""),
        (cron_job("0 0 30 2 *"), "", "13:00", ""),
    ],
)  # fmt: skip
def test_what_is_due(of: CronJob, present: str, moment: str, due: str) -> None:
    found = step(of, moment, present).due
    assert ("" if found is None else f"{found.astimezone(UTC):%H:%M}") == due


@pytest.mark.parametrize(
    ("of", "present", "moment", "notes"),
    [
        (cron_job(active="a"), "a:Complete", "10:40", ["SawCompletedJob"]),
        (cron_job(active="a"), "", "10:40", ["MissingJob"]),
        (cron_job(), "a", "10:40", ["UnexpectedJob"]),
        (cron_job("x * * * *"), "", "10:40", ["UnparseableSchedule"]),
        (cron_job(timeZone="Nowhere/Else"), "", "10:40", ["UnknownTimeZone"]),
        (cron_job(last="11:00", active="a", concurrencyPolicy="Forbid"), "a", "12:00", ["JobAlreadyActive"]),
        (cron_job("* * * * *", last="11:00"), "", "17:20", ["TooManyMissedTimes"]),
    ],
)  # fmt: skip
def test_what_is_said(of: CronJob, present: str, moment: str, notes: list[str]) -> None:
    assert [note.reason for note in step(of, moment, present).notes] == notes


def test_a_running_job_gives_way() -> None:
    of = cron_job(last="11:00", active="a", concurrencyPolicy="Replace")
    assert [r.name for r in step(of, "12:00", "a").replaced] == ["a"]


@pytest.mark.parametrize(
    ("limits", "gone"),
    [
        ({}, "a b"),
        ({"successfulJobsHistoryLimit": 0, "failedJobsHistoryLimit": 0}, "a c d e b f"),
        ({"successfulJobsHistoryLimit": 9, "failedJobsHistoryLimit": 9}, ""),
    ],
)
def test_old_jobs_go(limits: dict[str, Any], gone: str) -> None:
    present = "a:Complete b:Failed c:Complete d:Complete e:Complete f:Failed g"
    found = step(cron_job(**limits), "10:40", present).surplus
    assert " ".join(job.metadata.name for job in found) == gone


def test_the_last_success_is_kept() -> None:
    plan = step(cron_job(), "10:40", "a:Complete@10:35 b:Complete@10:33 c:Failed")
    assert plan.status.last_successful_time == "2024-05-06T10:35:00Z"


def test_when_to_look_again() -> None:
    assert step(cron_job(), "10:59:30").again == pytest.approx(30.1)


def test_the_job_is_named_after_its_minute() -> None:
    of = cron_job(jobTemplate={"metadata": {"labels": {"a": "b"}}, "spec": {"parallelism": 2}})
    due = step(of, "11:00").due
    assert due is not None
    job = scheduled_job(of, due, {"uid": "u"})
    assert job["metadata"] == {
        "name": f"c-{int(at('11:00')) // 60}",
        "namespace": "default",
        "labels": {"a": "b"},
        "annotations": {"batch.kubernetes.io/cronjob-scheduled-timestamp": "2024-05-06T11:00:00Z"},
        "ownerReferences": [{"uid": "u"}],
    }
    assert job["spec"] == {"parallelism": 2}
    [made] = jobs(job_name(of, due))
    after = started(of.status, made, due)
    assert [r.name for r in after.active] == [job_name(of, due)]
    again = msgspec.structs.replace(of, status=after)
    assert plan_cron(again, [made], zones=zone, now=at("11:00:01")).due is None
