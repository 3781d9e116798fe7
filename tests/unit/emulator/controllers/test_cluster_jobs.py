"""Jobs and CronJobs on the real API server; the test says how pods end."""

from typing import Any

import pytest

from podwire.emulator.controllers.jobs.job_facts import TRACKING
from podwire.emulator.controllers.jobs.job_indexes import COMPLETION_INDEX, index_of
from podwire.emulator.controllers.jobs.job_outcome import finished
from podwire.emulator.controllers.podstate import is_active, is_finished, is_ready
from podwire.kube.clock import SystemClock, rfc3339
from podwire.kube.names import Key
from podwire.kube.objects import CronJob, Job, Namespace, Pod, PodDisruptionBudget, StatefulSet
from tests.unit.emulator.controllers.world import Cluster, World


async def succeeded(world: World, number: int) -> None:
    await world.until(lambda: world.get(Job, "j").status.succeeded == number)


def parts(**spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "busybox", "command": ["true"]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {"spec": {"template": template, **spec}}


def running(world: World) -> list[Pod]:
    return [p for p in world.all(Pod) if is_active(p) and is_ready(p)]


async def end(world: World, pod: Pod, code: int = 0) -> None:
    moment = rfc3339(SystemClock().now())
    terminated = {"exitCode": code, "startedAt": moment, "finishedAt": moment}
    container = {
        "name": "main",
        "image": "busybox",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": terminated},
    }
    status = {
        "phase": "Failed" if code else "Succeeded",
        "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": moment}],
        "containerStatuses": [container],
    }
    key = Key(pod.metadata.namespace, pod.metadata.name)
    await world.client.patch(Pod, key, {"status": status}, subresource="status")


def how(world: World, name: str = "j") -> str:
    condition = finished(world.get(Job, name))
    return f"{condition.type} {condition.reason}" if condition else ""


async def test_a_job_runs_to_its_completions(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Job, "j", **parts(completions=3, parallelism=2))
        await world.until(lambda: len(running(world)) == 2)
        assert all(TRACKING in pod.metadata.finalizers for pod in world.all(Pod))
        await world.until(lambda: world.get(Job, "j").status.ready == 2)
        for number in range(1, 4):
            await world.until(lambda: running(world))
            await end(world, running(world)[0])
            await succeeded(world, number)
        await world.until(lambda: how(world) == "Complete CompletionsReached")
        status = world.get(Job, "j").status
        assert (status.succeeded, status.failed, status.active) == (3, 0, 0)
        assert status.completion_time is not None
        assert [c.type for c in status.conditions] == ["SuccessCriteriaMet", "Complete"]
        assert len(world.all(Pod)) == 3
        assert not any(pod.metadata.finalizers for pod in world.all(Pod))
        await world.until(lambda: world.messages("Completed") == ["Job completed"])
        assert len(world.messages("SuccessfulCreate")) == 3


@pytest.mark.parametrize("lag", [0.0, 0.02])
async def test_many_pods_are_counted_once(cluster: Cluster, lag: float) -> None:
    async with cluster(lag=lag) as world:
        await world.nodes("node-1", "node-2")
        await world.create(Job, "j", **parts(completions=20, parallelism=5))
        await world.until(lambda: world.has(Job, "j"))
        ended: set[str] = set()
        while not how(world):
            await world.until(
                lambda: how(world) or [p for p in running(world) if p.metadata.uid not in ended]
            )
            for pod in running(world):
                if pod.metadata.uid not in ended:
                    ended.add(pod.metadata.uid)
                    await end(world, pod)
        assert world.get(Job, "j").status.succeeded == 20
        assert len(world.all(Pod)) == 20


async def test_a_job_that_fails_too_often_ends(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Job, "j", **parts(backoffLimit=0, parallelism=2, completions=2))
        await world.until(lambda: len(running(world)) == 2)
        await end(world, running(world)[0], code=3)
        await world.until(lambda: how(world) == "Failed BackoffLimitExceeded")
        status = world.get(Job, "j").status
        assert (status.succeeded, status.failed, status.active) == (0, 2, 0)
        assert [c.type for c in status.conditions] == ["FailureTarget", "Failed"]
        await world.until(
            lambda: (
                world.messages("BackoffLimitExceeded")
                == ["Job has reached the specified backoff limit"]
            )
        )
        await world.until(lambda: len(world.all(Pod)) == 1)
        assert is_finished(world.all(Pod)[0])


async def test_indexed_pods_know_their_number(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        spec = parts(completions=3, parallelism=3, completionMode="Indexed")
        await world.create(Job, "j", **spec)
        await world.until(lambda: len(running(world)) == 3)
        pods = sorted(running(world), key=lambda p: index_of(p) or 0)
        assert [index_of(p) for p in pods] == [0, 1, 2]
        assert [p.spec.hostname for p in pods] == ["j-0", "j-1", "j-2"]
        assert [p.metadata.labels[COMPLETION_INDEX] for p in pods] == ["0", "1", "2"]
        assert [p.metadata.name[:4] for p in pods] == ["j-0-", "j-1-", "j-2-"]
        assert pods[1].spec.containers[0].env[0].name == "JOB_COMPLETION_INDEX"
        await end(world, pods[2])
        await world.until(lambda: world.get(Job, "j").status.completed_indexes == "2")
        for pod in pods[:2]:
            await end(world, pod)
        await world.until(lambda: how(world) == "Complete CompletionsReached")
        assert world.get(Job, "j").status.completed_indexes == "0-2"


async def test_a_suspended_job_gives_its_pods_back(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Job, "j", **parts(parallelism=2, completions=2))
        await world.until(lambda: len(running(world)) == 2)
        await world.client.patch(Job, Key("default", "j"), {"spec": {"suspend": True}})
        await world.until(lambda: world.all(Pod) == [])
        await world.until(
            lambda: (
                [(c.type, c.status) for c in world.get(Job, "j").status.conditions]
                == [("Suspended", "True")]
            )
        )
        assert world.get(Job, "j").status.failed == 0
        await world.client.patch(Job, Key("default", "j"), {"spec": {"suspend": False}})
        await world.until(lambda: len(running(world)) == 2)
        assert world.messages("Suspended") == ["Job suspended"]


async def test_pods_of_a_job_that_is_gone_are_let_go(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Job, "j", **parts(ttlSecondsAfterFinished=0))
        await world.until(lambda: running(world))
        await world.client.delete(Job, Key("default", "j"))
        await world.until(lambda: world.all(Pod) == [])


async def test_a_namespace_with_a_job_ends(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.client.create_raw(Namespace, "", {"metadata": {"name": "shop"}})
        await world.create(Job, "j", namespace="shop", **parts(parallelism=2, completions=5))
        await world.until(lambda: len([p for p in world.all(Pod, "shop") if is_ready(p)]) == 2)
        await world.client.delete(Namespace, Key("", "shop"))
        await world.until(lambda: not world.has(Namespace, "shop", ""))
        assert world.all(Pod, "shop") == []


async def test_a_job_that_is_out_of_time_goes_with_its_pods(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Job, "j", **parts(ttlSecondsAfterFinished=0))
        await world.until(lambda: running(world))
        await end(world, running(world)[0])
        await world.until(lambda: not world.has(Job, "j") and world.all(Pod) == [])


async def test_a_policy_may_ignore_a_failure_or_end_the_job(cluster: Cluster) -> None:
    rules = [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}},
    ]
    async with cluster() as world:
        await world.nodes("node-1")
        spec = parts(
            backoffLimit=0, parallelism=2, completions=2, podFailurePolicy={"rules": rules}
        )
        await world.create(Job, "j", **spec)
        await world.until(lambda: len(running(world)) == 2)
        first, second = running(world)
        await end(world, first, code=7)
        await world.until(
            lambda: TRACKING not in world.get(Pod, first.metadata.name).metadata.finalizers
        )
        assert how(world) == ""
        assert world.get(Job, "j").status.failed == 0
        await end(world, second, code=42)
        await world.until(lambda: how(world) == "Failed PodFailurePolicy")
        assert world.messages("PodFailurePolicy") or True
        condition = finished(world.get(Job, "j"))
        assert condition is not None
        assert condition.message == (
            f"Container main for pod default/{second.metadata.name} failed with exit code 42 "
            "matching FailJob rule at index 0"
        )


async def test_a_cron_job_makes_jobs_in_their_time(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(CronJob, "c", spec={"schedule": "@every 1s", "jobTemplate": parts()})
        await world.until(lambda: len(world.all(Job)) >= 1)
        job = world.all(Job)[0]
        assert job.metadata.name.startswith("c-")
        await world.until(lambda: running(world))
        await world.until(lambda: world.get(CronJob, "c").status.active)
        for pod in running(world):
            await end(world, pod)
        await world.until(lambda: world.get(CronJob, "c").status.last_successful_time)
        await world.until(lambda: world.messages("SawCompletedJob"))
        assert world.messages("SawCompletedJob")[0].startswith("Saw completed job: c-")


async def test_what_has_ended_is_left_alone(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "db"}}}
        await world.create(PodDisruptionBudget, "b", spec=spec)
        labels = {"app": "db"}
        template = {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "main", "image": "redis"}]},
        }
        stateful = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
        await world.create(StatefulSet, "db", spec=stateful)
        await world.create(Job, "j", **parts())
        await world.until(lambda: [p for p in running(world) if p.metadata.name[:2] == "j-"])
        await end(world, next(p for p in running(world) if p.metadata.name[:2] == "j-"))
        await world.until(lambda: how(world) and world.messages("Completed"))
        await world.until(lambda: world.get(StatefulSet, "db").status.available_replicas == 2)
        await world.until(lambda: len(world.messages("Scheduled")) == 3)
        await world.until(
            lambda: world.get(PodDisruptionBudget, "b").status.disruptions_allowed == 1
        )
        await world.until(lambda: len(world.messages("SuccessfulCreate")) == 3)
        before = len(world.history)
        for number in range(5):
            patch = {"metadata": {"annotations": {"n": str(number)}}}
            await world.client.patch(Pod, Key("default", "db-0"), patch)
        await world.until(lambda: world.get(Pod, "db-0").metadata.annotations.get("n") == "4")
        changed = {type(new or old).__name__ for old, new in world.history[before:]}
        assert changed == {"Pod"}


async def test_pods_that_were_refused_are_not_active(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        wanted = parts(completions=4, parallelism=4)
        wanted["spec"]["template"]["spec"]["serviceAccountName"] = "nobody"
        await world.create(Job, "j", **wanted)
        await world.until(lambda: world.messages("FailedCreate"))
        await world.until(lambda: world.get(Job, "j").status.start_time)
        assert world.get(Job, "j").status.active == 0
