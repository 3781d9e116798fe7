"""CronJobs -> Jobs, when their time comes; carries out what cronjob_plan decides."""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from podwire.emulator.controllers.context import ControllerContext
from podwire.emulator.controllers.jobs.cronjob_plan import (
    CronPlan,
    plan_cron,
    scheduled_job,
    started,
    without,
)
from podwire.emulator.controllers.own_writes import newer
from podwire.emulator.controllers.ownership import controller_of, controller_uid
from podwire.emulator.controllers.patches import status_patch
from podwire.emulator.controllers.status_writer import write_status
from podwire.errors import AlreadyExists, ApiError, NotFound
from podwire.kube.codec import key_of, owned_by
from podwire.kube.index import Index
from podwire.kube.names import Key
from podwire.kube.objects import CronJob, CronJobStatus, Job
from podwire.kube.reconcile import Reconciler


class CronJobs:
    """Makes the Jobs of every CronJob, and deletes the old ones."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._client = context.client
        self._cron_jobs = context.informers.of(CronJob)
        self._events = context.recorder("cronjob-controller")
        self._loop = Reconciler(self.reconcile, name="cronjob")
        jobs = context.informers.of(Job)
        self._jobs = Index(jobs, lambda j: [(j.metadata.namespace, controller_uid(j))])
        self._written: dict[Key, CronJob] = {}
        self._cron_jobs.subscribe(self._loop.add_changed)
        jobs.subscribe(self._job_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.serve(self._loop.run, self._events.run)

    async def reconcile(self, key: Key) -> float | None:
        """Do what is due for one CronJob; return when the next time comes, seconds."""
        seen = self._cron_jobs.get(key)
        if seen is None:
            self._written.pop(key, None)
            return None
        cron_job = newer(seen, self._written.get(key))
        jobs = await self._with_unseen(cron_job)
        step = plan_cron(cron_job, jobs, zones=zone_of, now=self._context.clock.now())
        for note in step.notes:
            self._events.event(cron_job, note.type, note.reason, note.message)
        for job in step.surplus:
            await self._delete(cron_job, key_of(job), job.metadata.uid)
        if not self._context.accepts_objects(key.namespace):
            return None
        status = await self._start(cron_job, step) if step.due is not None else step.status
        await self._write(cron_job, status)
        return step.again

    async def _with_unseen(self, cron_job: CronJob) -> tuple[Job, ...]:
        """Return the CronJob's Jobs; those it has just made and the copy does not show, too."""
        jobs = self._jobs.get((cron_job.metadata.namespace, cron_job.metadata.uid))
        present = {job.metadata.uid for job in jobs}
        for reference in cron_job.status.active:
            if reference.uid not in present:
                try:
                    job = await self._client.get(Job, Key(reference.namespace, reference.name))
                except NotFound:
                    continue
                jobs += (job,) if job.metadata.uid == reference.uid else ()
        return jobs

    async def _start(self, cron_job: CronJob, step: CronPlan) -> CronJobStatus:
        status = step.status
        if step.due is None:
            return status
        for reference in step.replaced:
            key = Key(reference.namespace, reference.name)
            await self._delete(cron_job, key, reference.uid)
            status = without(status, [reference.uid])
        wanted = scheduled_job(cron_job, step.due, msgspec.to_builtins(owned_by(cron_job)))
        name = Key(cron_job.metadata.namespace, wanted["metadata"]["name"])
        try:
            job = await self._client.create_raw(Job, name.namespace, wanted)
        except AlreadyExists:
            job = await self._client.get(Job, name)
            if controller_uid(job) != cron_job.metadata.uid:
                return status
        except ApiError as error:
            message = f"Error creating job: {error.message}"
            self._events.event(cron_job, "Warning", "FailedCreate", message)
            raise
        else:
            message = f"Created job {name.name}"
            self._events.event(cron_job, "Normal", "SuccessfulCreate", message)
        return started(without(status, [job.metadata.uid]), job, step.due)

    async def _delete(self, cron_job: CronJob, key: Key, uid: str) -> None:
        try:
            await self._client.delete(Job, key, uid=uid)
        except NotFound:
            return
        except ApiError as error:
            message = f"Deleted job: {error.message}"
            self._events.event(cron_job, "Warning", "FailedDelete", message)
            raise
        self._events.event(cron_job, "Normal", "SuccessfulDelete", f"Deleted job {key.name}")

    async def _write(self, cron_job: CronJob, status: CronJobStatus) -> None:
        if status == cron_job.status:
            return
        patch = status_patch(status)
        patch["metadata"] = {"resourceVersion": cron_job.metadata.resource_version}
        after = await write_status(self._client, cron_job, patch)
        if after is not None:
            self._written[key_of(cron_job)] = after

    def _job_changed(self, old: Job | None, new: Job | None) -> None:
        for job in (old, new):
            owner = controller_of(job) if job else None
            if job and owner and owner.kind == "CronJob":
                self._loop.add(Key(job.metadata.namespace, owner.name))


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone by its name; raises ValueError where the machine does not know it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError) as error:
        raise ValueError(f"unknown time zone {name}") from error
