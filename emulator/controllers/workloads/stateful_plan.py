"""Pure: a StatefulSet and its pods -> pods to make and to delete, and what to report.

The rules are those of Kubernetes' stateful_set_control.go: OrderedReady takes one step at a time
and waits till every pod before is available; Parallel waits for nobody; an update goes from the
last pod to the partition, one pod at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from podwire.emulator.controllers.podstate import (
    is_available,
    is_finished,
    is_ready,
    is_terminating,
)
from podwire.emulator.controllers.workloads.stateful_pods import (
    belongs,
    identity,
    ordinal_of,
    revision_label,
)
from podwire.kube.objects import Pod, StatefulSet, StatefulSetStatus


@dataclass(frozen=True, slots=True)
class Creation:
    """A pod to make: its number, and the name of the revision to make it from."""

    ordinal: int
    revision: str


@dataclass(frozen=True)
class StatefulPlan:
    """The next step. *relabel*: pods that lost the labels of their identity."""

    create: tuple[Creation, ...] = ()
    delete: tuple[Pod, ...] = ()
    relabel: tuple[Pod, ...] = ()


@dataclass
class _Step:
    """What the step is so far; *over*: something has to be waited for first."""

    create: list[Creation] = field(default_factory=list[Creation])
    delete: list[Pod] = field(default_factory=list[Pod])
    relabel: list[Pod] = field(default_factory=list[Pod])
    over: bool = False

    def done(self) -> StatefulPlan:
        return StatefulPlan(tuple(self.create), tuple(self.delete), tuple(self.relabel))


def plan_stateful(
    stateful_set: StatefulSet, pods: Sequence[Pod], *, current: str, update: str, now: float
) -> StatefulPlan:
    """Return the next step; *current* and *update* are the names of revisions."""
    ordered = stateful_set.spec.pod_management_policy != "Parallel"
    seconds = stateful_set.spec.min_ready_seconds
    by_ordinal = {ordinal_of(pod): pod for pod in pods if belongs(pod, stateful_set)}
    wanted = _ordinals(stateful_set)
    condemned = [by_ordinal[n] for n in sorted(by_ordinal, reverse=True) if n not in wanted]
    step = _Step()
    for ordinal in wanted:
        revision = current if _stays_old(stateful_set, ordinal) else update
        _keep(stateful_set, step, by_ordinal.get(ordinal), Creation(ordinal, revision), now)
        if ordered and step.over:
            return step.done()
    replicas = [by_ordinal[n] for n in wanted if n in by_ordinal]
    unwell = [p for p in (*replicas, *reversed(condemned)) if not _is_well(p, seconds, now)]
    for pod in condemned:
        waits = ordered and not _is_well(pod, seconds, now) and pod is not unwell[0]
        if not is_terminating(pod) and not waits:
            step.delete.append(pod)
        if ordered:
            return step.done()
    # Parallel: what is being made or taken away does not hold up the update of others, in
    # Kubernetes neither; a pod that is not there yet counts as unavailable there.
    if stateful_set.spec.update_strategy.type == "RollingUpdate":
        _roll(stateful_set, step, by_ordinal, update, now)
    return step.done()


def stateful_status(
    stateful_set: StatefulSet,
    pods: Sequence[Pod],
    *,
    current: str,
    update: str,
    collisions: int,
    now: float,
) -> StatefulSetStatus:
    """Return the counts; an update that is complete makes *update* the current revision."""
    seconds = stateful_set.spec.min_ready_seconds
    staying = [pod for pod in pods if not is_terminating(pod)]
    status = StatefulSetStatus(
        observed_generation=stateful_set.metadata.generation,
        replicas=len(pods),
        ready_replicas=sum(1 for pod in pods if _runs(pod)),
        available_replicas=sum(
            1 for pod in pods if _runs(pod) and is_available(pod, seconds, now=now)
        ),
        current_replicas=sum(1 for pod in staying if revision_label(pod) == current),
        updated_replicas=sum(1 for pod in staying if revision_label(pod) == update),
        current_revision=current,
        update_revision=update,
        collision_count=collisions,
        conditions=stateful_set.status.conditions,
    )
    complete = (
        stateful_set.spec.update_strategy.type == "RollingUpdate"
        and status.updated_replicas == stateful_set.spec.replicas
        and status.ready_replicas == stateful_set.spec.replicas
        and status.replicas == stateful_set.spec.replicas
    )
    if not complete:
        return status
    return msgspec.structs.replace(
        status, current_replicas=status.updated_replicas, current_revision=update
    )


def _keep(
    stateful_set: StatefulSet, step: _Step, pod: Pod | None, creation: Creation, now: float
) -> None:
    """Have one of the wanted pods there, and running."""
    if pod is None:
        step.create.append(creation)
        step.over = True
        return
    if is_finished(pod):
        # Whatever it ended with: a pod of this name has to run.
        if not is_terminating(pod):
            step.delete.append(pod)
        step.over = True
        return
    if not _is_well(pod, stateful_set.spec.min_ready_seconds, now):
        step.over = True
        if stateful_set.spec.pod_management_policy != "Parallel":
            return
    if not identity(stateful_set, creation.ordinal).items() <= pod.metadata.labels.items():
        step.relabel.append(pod)


def _roll(
    stateful_set: StatefulSet, step: _Step, by_ordinal: dict[int, Pod], update: str, now: float
) -> None:
    deleted = {pod.metadata.uid for pod in step.delete}
    for ordinal in reversed(_ordinals(stateful_set)):
        pod = by_ordinal.get(ordinal)
        if ordinal - stateful_set.spec.ordinals.start < _partition(stateful_set):
            return
        if pod is None or pod.metadata.uid in deleted:
            return
        if revision_label(pod) != update and not is_terminating(pod):
            step.delete.append(pod)
            return
        if not _is_well(pod, stateful_set.spec.min_ready_seconds, now):
            return


def _ordinals(stateful_set: StatefulSet) -> range:
    start = stateful_set.spec.ordinals.start
    return range(start, start + stateful_set.spec.replicas)


def _partition(stateful_set: StatefulSet) -> int:
    rolling = stateful_set.spec.update_strategy.rolling_update
    return rolling.partition if rolling else 0


def _stays_old(stateful_set: StatefulSet, ordinal: int) -> bool:
    """Tell whether a missing pod is made from the current revision and not from the new one."""
    return (
        stateful_set.spec.update_strategy.type == "RollingUpdate"
        and ordinal - stateful_set.spec.ordinals.start < _partition(stateful_set)
    )


def _runs(pod: Pod) -> bool:
    return pod.status.phase == "Running" and is_ready(pod)


def _is_well(pod: Pod, seconds: int, now: float) -> bool:
    return _runs(pod) and not is_terminating(pod) and is_available(pod, seconds, now=now)
