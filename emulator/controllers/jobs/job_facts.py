"""Pure: what a Job's pods amount to: which run, which ended and are counted, which are not yet.

A pod that ended is counted once and only once: its finalizer keeps it till its uid is written in
the Job's status, and the count grows when the finalizer is gone (KEP-2307).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from podwire.emulator.controllers.jobs.job_indexes import (
    INDEX_FAILURES,
    INDEX_IGNORED_FAILURES,
    failures_of,
    index_of,
    parsed,
)
from podwire.emulator.controllers.jobs.job_policy import ruling
from podwire.emulator.controllers.podstate import is_active, is_finished, is_ready, is_terminating
from podwire.kube.objects import Job, Pod, UncountedTerminatedPods

TRACKING = "batch.kubernetes.io/job-tracking"


@dataclass(frozen=True)
class JobFacts:
    """A Job, its pods, and the uids of pods whose finalizer is *gone* though the copy has it."""

    job: Job
    pods: Sequence[Pod]
    gone: Collection[str]

    @property
    def indexed(self) -> bool:
        """Tell whether each completion has a number."""
        return self.job.spec.completion_mode == "Indexed"

    @property
    def per_index(self) -> bool:
        """Tell whether failures are counted for each index."""
        return self.job.spec.backoff_limit_per_index is not None

    @cached_property
    def active(self) -> tuple[Pod, ...]:
        """Return the pods that count as running."""
        return tuple(pod for pod in self.pods if is_active(pod))

    @cached_property
    def ready(self) -> int:
        """Return how many pods are ready."""
        return sum(1 for pod in self.active if is_ready(pod))

    @cached_property
    def terminating(self) -> int:
        """Return how many pods are being deleted and have not ended."""
        return sum(1 for pod in self.pods if is_terminating(pod) and not is_finished(pod))

    @property
    def uncounted(self) -> UncountedTerminatedPods:
        """Return the uids that the status holds and no count."""
        return self.job.status.uncounted_terminated_pods or UncountedTerminatedPods()

    @cached_property
    def new_succeeded(self) -> tuple[Pod, ...]:
        """Return the pods that ended well and are in no status."""
        return self._new(self.uncounted.succeeded, lambda pod: pod.status.phase == "Succeeded")

    @cached_property
    def new_failed(self) -> tuple[Pod, ...]:
        """Return the pods that failed and are in no status."""
        return self._new(self.uncounted.failed, self.has_failed)

    @cached_property
    def succeeded(self) -> int:
        """Return how many completions there are."""
        if self.indexed:
            return len(self.succeeded_indexes)
        known = self.job.status.succeeded + len(self.uncounted.succeeded)
        return known + len(self.new_succeeded)

    @cached_property
    def failed(self) -> int:
        """Return how many failures count."""
        counting = [p for p in self.new_failed if self.counts(p)]
        return self.job.status.failed + len(self.uncounted.failed) + len(counting)

    @property
    def completions(self) -> int:
        """Return how many completions an Indexed Job wants."""
        return self.job.spec.completions or 0

    @cached_property
    def known_indexes(self) -> frozenset[int]:
        """Return the indexes that the status already calls completed."""
        return parsed(self.job.status.completed_indexes, self.completions)

    @cached_property
    def succeeded_indexes(self) -> frozenset[int]:
        """Return the completed indexes, by the status and by the pods."""
        ended = (pod for pod in self.pods if pod.status.phase == "Succeeded" and has_finalizer(pod))
        return self.known_indexes | {i for pod in ended for i in self._valid(pod)}

    @cached_property
    def failed_indexes(self) -> frozenset[int]:
        """Return the indexes that have failed for good; only where failures count per index."""
        if not self.per_index:
            return frozenset()
        ended = (pod for pod in self.pods if self.has_failed(pod) and has_finalizer(pod))
        known = parsed(self.job.status.failed_indexes or "", self.completions)
        return known | {i for pod in ended if self._ends_index(pod) for i in self._valid(pod)}

    @cached_property
    def delayed(self) -> dict[int, Pod]:
        """Return, by index, the last failed pod, which is kept till there is one in its place.

        The number of failures of the index is handed on from one to the other.
        """
        if not self.per_index:
            return {}
        busy = {index_of(pod) for pod in self.active}
        done = self.succeeded_indexes | self.failed_indexes
        found: dict[int, Pod] = {}
        for pod in self._new((), self.has_failed):
            index = index_of(pod)
            if index is None or index in busy or index in done:
                continue
            if index not in found or all_failures(found[index]) <= all_failures(pod):
                found[index] = pod
        return found

    def has_failed(self, pod: Pod) -> bool:
        """Tell whether the pod counts as failed: a deleted one does, unless it ended well."""
        if pod.status.phase == "Failed":
            return True
        if self.job.spec.pod_replacement_policy == "Failed":
            return False
        return is_terminating(pod) and pod.status.phase != "Succeeded"

    def is_tracked(self, pod: Pod) -> bool:
        """Tell whether the pod still has the finalizer, as far as we know."""
        return has_finalizer(pod) and pod.metadata.uid not in self.gone

    def counts(self, pod: Pod) -> bool:
        """Tell whether the pod's failure counts."""
        return ruling(self.job.spec.pod_failure_policy, pod).action in ("Count", "FailJob")

    def _ends_index(self, pod: Pod) -> bool:
        action = ruling(self.job.spec.pod_failure_policy, pod).action
        limit = self.job.spec.backoff_limit_per_index or 0
        return action == "FailIndex" or (
            action != "Ignore" and failures_of(pod, INDEX_FAILURES) >= limit
        )

    def _valid(self, pod: Pod) -> tuple[int, ...]:
        index = index_of(pod)
        return () if index is None or index >= self.completions else (index,)

    def _new(self, written: Collection[str], ended: Callable[[Pod], bool]) -> tuple[Pod, ...]:
        return tuple(
            pod
            for pod in self.pods
            if self.is_tracked(pod)
            and pod.metadata.uid not in written
            and (not self.indexed or self._valid(pod))
            and ended(pod)
        )


def has_finalizer(pod: Pod) -> bool:
    """Tell whether the pod has the finalizer."""
    return TRACKING in pod.metadata.finalizers


def all_failures(pod: Pod) -> int:
    """Return how often the pod's index had failed before it, ignored failures too."""
    return failures_of(pod, INDEX_FAILURES) + failures_of(pod, INDEX_IGNORED_FAILURES)
