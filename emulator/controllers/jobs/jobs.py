"""Jobs -> pods that are to end; carries out what job_plan decides."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import msgspec

from podwire.emulator.controllers.batches import together
from podwire.emulator.controllers.context import ControllerContext
from podwire.emulator.controllers.jobs.job_backoff import Backoff
from podwire.emulator.controllers.jobs.job_facts import TRACKING, JobFacts, has_finalizer
from podwire.emulator.controllers.jobs.job_outcome import Outcome, expires_in, finished
from podwire.emulator.controllers.jobs.job_plan import JobPlan, plan_job
from podwire.emulator.controllers.jobs.job_pods import base_name, job_pod
from podwire.emulator.controllers.jobs.job_status import ended, freed
from podwire.emulator.controllers.own_writes import newer
from podwire.emulator.controllers.owned_pods import OwnedPods
from podwire.emulator.controllers.ownership import controller_of
from podwire.emulator.controllers.patches import status_patch
from podwire.emulator.controllers.pod_templates import generated_name
from podwire.emulator.controllers.status_writer import write_status
from podwire.errors import ApiError, Conflict, NotFound
from podwire.kube.codec import key_of
from podwire.kube.names import Key
from podwire.kube.objects import Job, JobStatus, Pod
from podwire.kube.reconcile import Reconciler
from podwire.kube.selectors import from_selector

_OWN_CONTROLLER = ("", "kubernetes.io/job-controller")


class Jobs:
    """Keeps the pods of every Job, counts those that ended, and deletes Jobs that are out of time.

    Two loops: one for Jobs, one for pods that have our finalizer and no Job that would ever take
    it away.
    """

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._client = context.client
        self._jobs = context.informers.of(Job)
        self._pods = context.informers.of(Pod)
        self._events = context.recorder("job-controller")
        self._loop = Reconciler(self.reconcile, name="job", concurrency=8)
        self._orphans = Reconciler(self._let_go, name="job-orphans")
        self._owned = OwnedPods(
            context,
            Job,
            self._events,
            wake=self._loop.add,
            accepts=lambda job, pod: from_selector(job.spec.selector).matches(pod.metadata.labels),
        )
        # What we wrote and the informers have not shown: counting from an old copy counts twice.
        self._written: dict[Key, Job] = {}
        self._freed: dict[Key, set[str]] = {}
        self._backoffs: dict[Key, Backoff] = {}
        self._jobs.subscribe(self._job_changed)
        self._pods.subscribe(self._pod_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.serve(self._loop.run, self._orphans.run, self._events.run)

    async def reconcile(self, key: Key) -> float | None:
        """Take the next step of one Job; return when to look again, seconds."""
        seen = self._jobs.get(key)
        if seen is None:
            for known in (self._written, self._freed, self._backoffs):
                known.pop(key, None)
            return None
        job = newer(seen, self._written.get(key))
        if job.spec.managed_by not in _OWN_CONTROLLER:
            return None
        if finished(job) is not None:
            self._backoffs.pop(key, None)
            return await self._expire(job)
        pods = await self._owned.claimed(job, job.spec.selector, finalizer=TRACKING)
        now = self._context.clock.now()
        waiting = self._owned.missing(key)
        step = plan_job(
            job,
            pods,
            gone=self._freed.get(key, ()),
            settled=waiting is None,
            ending=not self._context.accepts_objects(key.namespace),
            backoff=self._backoffs.get(key, Backoff()),
            now=now,
        )
        errors = await self._carry_out(job, pods, step)
        if errors:
            raise errors[0]
        return min((s for s in (waiting, step.again) if s is not None), default=None)

    async def _carry_out(
        self, job: Job, pods: Iterable[Pod], step: JobPlan
    ) -> tuple[ApiError, ...]:
        key = key_of(job)
        free_first = partial(self._free, key) if step.uncounted else None
        errors = await self._owned.delete(job, step.delete, free_first)
        delayed = JobFacts(job, tuple(pods), ()).delayed
        made, failed = await self._owned.create(
            job,
            step.create,
            lambda index: job_pod(
                job,
                generated_name(base_name(job, index), self._context.rng),
                index,
                delayed.get(-1 if index is None else index),
            ),
        )
        status = step.status
        if failed:
            active = status.active - len(step.create) + made
            status = msgspec.structs.replace(status, active=active)
        job = await self._write(job, status)
        self._backoffs[key] = step.backoff
        if step.event:
            what = f"Job {step.event.lower()}"
            self._events.event(job, "Normal", step.event, what)
        errors += await together(step.free, lambda pod: self._free(key, pod))
        tracked = {
            pod.metadata.uid
            for pod in pods
            if has_finalizer(pod) and pod.metadata.uid not in self._freed.get(key, ())
        }
        status = freed(job.status, tracked)
        last = ended(status, step.outcome, now=self._context.clock.now())
        await self._write(job, last or status)
        if last is not None and step.outcome is not None:
            self._say_how(job, step.outcome)
        return (*errors, *failed)

    def _say_how(self, job: Job, outcome: Outcome) -> None:
        if outcome.type == "Complete":
            self._events.event(job, "Normal", "Completed", "Job completed")
        else:
            self._events.event(job, "Warning", outcome.reason, outcome.message)

    async def _expire(self, job: Job) -> float | None:
        wait = expires_in(job, now=self._context.clock.now())
        if wait is None or wait > 0 or job.metadata.deletion_timestamp is not None:
            return wait or None
        try:
            await self._client.delete(
                Job, key_of(job), uid=job.metadata.uid, propagation="Foreground"
            )
        except NotFound:
            return None
        return None

    def _job_changed(self, old: Job | None, new: Job | None) -> None:
        for job in (old, new):
            if job is not None:
                self._loop.add(key_of(job))
        if new is None and old is not None:
            for pod in self._owned.of(old):
                self._orphans.add(key_of(pod))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        for pod in (old, new):
            owner = controller_of(pod) if pod else None
            if pod is None or owner is None or owner.kind != "Job":
                continue
            key = Key(pod.metadata.namespace, owner.name)
            if (pod is not new and new is None) or (pod is new and not has_finalizer(pod)):
                self._forget(key, pod.metadata.uid)
        if new is not None and has_finalizer(new):
            self._orphans.add(key_of(new))

    def _forget(self, key: Key, uid: str) -> None:
        known = self._freed.get(key)
        if known is not None:
            known.discard(uid)
            if not known:
                del self._freed[key]

    async def _free(self, key: Key, pod: Pod) -> None:
        """Take our finalizer from *pod*, and remember it till the pod's copy shows it."""
        self._freed.setdefault(key, set()).add(pod.metadata.uid)
        try:
            await self._drop_finalizer(pod)
        except BaseException:
            self._forget(key, pod.metadata.uid)
            raise
        seen = self._pods.get(key_of(pod))
        if seen is None or seen.metadata.uid != pod.metadata.uid or not has_finalizer(seen):
            # Its event was faster than our answer: nobody would forget it otherwise.
            self._forget(key, pod.metadata.uid)

    async def _drop_finalizer(self, pod: Pod) -> None:
        while True:
            metadata: dict[str, Any] = {
                "uid": pod.metadata.uid,
                # The list is replaced as a whole: it must not undo what somebody else added.
                "resourceVersion": pod.metadata.resource_version,
                "finalizers": [f for f in pod.metadata.finalizers if f != TRACKING] or None,
            }
            try:
                await self._client.patch(Pod, key_of(pod), {"metadata": metadata})
                return
            except NotFound:
                return
            except Conflict:
                try:
                    fresh = await self._client.get(Pod, key_of(pod))
                except NotFound:
                    return
            if fresh.metadata.uid != pod.metadata.uid or not has_finalizer(fresh):
                return
            pod = fresh

    async def _let_go(self, key: Key) -> float | None:
        """Free one pod that no unfinished Job counts."""
        pod = self._pods.get(key)
        if pod is None or not has_finalizer(pod):
            return None
        owner = controller_of(pod)
        if owner is not None:
            if owner.kind != "Job":
                return None
            job = self._jobs.get(Key(key.namespace, owner.name))
            if job is None or job.metadata.uid != owner.uid:
                try:
                    # Our copy of the Jobs may be behind that of the pods.
                    job = await self._client.get(Job, Key(key.namespace, owner.name))
                except NotFound:
                    job = None
            if job is not None and job.metadata.uid == owner.uid and finished(job) is None:
                return None
        await self._drop_finalizer(pod)
        return None

    async def _write(self, job: Job, status: JobStatus) -> Job:
        """Write *status*; return the Job as it is then. Raises Conflict if *job* is old."""
        if status == job.status:
            return job
        patch = status_patch(status)
        # Counts are sums: two writers from one copy would lose one of them.
        patch["metadata"] = {"resourceVersion": job.metadata.resource_version}
        uncounted: dict[str, Any] = patch["status"]["uncountedTerminatedPods"] or {}
        patch["status"]["uncountedTerminatedPods"] = {
            name: uncounted.get(name) for name in ("succeeded", "failed")
        }
        after = await write_status(self._client, job, patch)
        if after is None:
            return job
        self._written[key_of(job)] = after
        return after
