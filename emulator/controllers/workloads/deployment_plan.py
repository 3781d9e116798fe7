"""Pure: a Deployment and its ReplicaSets -> the next step: create, size, delete, report."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from podwire.emulator.controllers.pod_templates import (
    POD_TEMPLATE_HASH,
    labels_of,
    same_template,
    template_hash,
    with_label,
)
from podwire.emulator.controllers.workloads import deployment_status as reports
from podwire.emulator.controllers.workloads import rollout
from podwire.kube.codec import owned_by
from podwire.kube.objects import (
    Condition,
    Deployment,
    DeploymentStatus,
    LabelSelectorSpec,
    ObjectMeta,
    ReplicaSet,
    ReplicaSetSpec,
)

REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"

# What describes the Deployment itself is not handed down to its ReplicaSets (deployment/util).
_OWN_ANNOTATIONS = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "deprecated.deployment.rollback.to",
        REVISION,
        HISTORY,
        rollout.DESIRED,
        rollout.MAX,
    }
)


@dataclass(frozen=True)
class Plan:
    """The next step. *updates* are (present, wanted) pairs; *revision* is for the Deployment."""

    status: DeploymentStatus
    revision: str | None = None
    create: ReplicaSet | None = None
    updates: tuple[tuple[ReplicaSet, ReplicaSet], ...] = ()
    delete: tuple[ReplicaSet, ...] = ()


@dataclass
class _Draft:
    """The ReplicaSets as they shall be; *new* is the one with the wanted template."""

    deployment: Deployment
    new: ReplicaSet | None
    old: list[ReplicaSet]
    conditions: tuple[Condition, ...]
    now: float
    created: bool = False
    delete: list[ReplicaSet] = field(default_factory=list[ReplicaSet])

    @property
    def everything(self) -> list[ReplicaSet]:
        return [*self.old, *([self.new] if self.new else [])]


def plan(
    deployment: Deployment,
    replica_sets: Sequence[ReplicaSet],
    *,
    occupied: Collection[str],
    now: float,
) -> Plan:
    """Return the next step of *deployment*, which owns *replica_sets*.

    *occupied* are the uids of ReplicaSets that have pods left, terminating ones too.
    """
    new, old = split(deployment, replica_sets)
    conditions = reports.pause_noted(deployment, now=now)
    draft = _Draft(deployment, new, old, conditions, now)
    if deployment.spec.paused or rollout.is_scaling(deployment, replica_sets):
        _keep_new(draft)
        _resize(draft, rollout.scaled_sizes(deployment, draft.new, draft.old))
        if deployment.spec.paused:
            _clean_up(draft)
        return _result(draft, replica_sets, new, rolling=False)
    if deployment.spec.strategy.type == "Recreate":
        _recreate(draft, occupied)
    else:
        _roll(draft)
    if reports.is_complete(deployment, deployment.status):
        _clean_up(draft)
    return _result(draft, replica_sets, new, rolling=True)


def split(
    deployment: Deployment, replica_sets: Iterable[ReplicaSet]
) -> tuple[ReplicaSet | None, list[ReplicaSet]]:
    """Return the ReplicaSet with the Deployment's template (the oldest such), and all others."""
    by_age = sorted(replica_sets, key=_created)
    new = next(
        (rs for rs in by_age if same_template(rs.spec.template, deployment.spec.template)), None
    )
    return new, [rs for rs in by_age if rs is not new]


def new_replica_set(deployment: Deployment, revision: str, replicas: int) -> ReplicaSet:
    """Return the ReplicaSet to create for the Deployment's template."""
    template = deployment.spec.template
    suffix = template_hash(template, deployment.status.collision_count or 0)
    selector = deployment.spec.selector
    return ReplicaSet(
        metadata=ObjectMeta(
            name=f"{deployment.metadata.name}-{suffix}",
            namespace=deployment.metadata.namespace,
            labels={**labels_of(template), POD_TEMPLATE_HASH: suffix},
            annotations={
                **_handed_down(deployment),
                REVISION: revision,
                **_sizing(deployment),
            },
            owner_references=(owned_by(deployment),),
        ),
        spec=ReplicaSetSpec(
            replicas=replicas,
            min_ready_seconds=deployment.spec.min_ready_seconds,
            selector=LabelSelectorSpec(
                match_labels={**selector.match_labels, POD_TEMPLATE_HASH: suffix},
                match_expressions=selector.match_expressions,
            ),
            template=with_label(template, POD_TEMPLATE_HASH, suffix),
        ),
    )


def revision_of(replica_set: ReplicaSet) -> int:
    """Return the ReplicaSet's revision, 0 if it has none."""
    try:
        return int(replica_set.metadata.annotations.get(REVISION, "0"))
    except ValueError:
        return 0


def _roll(draft: _Draft) -> None:
    present = draft.new
    _keep_new(draft)
    if draft.new is None:
        _create(draft)
    new = draft.new
    if new is None:
        return
    size = rollout.new_size(draft.deployment, new.spec.replicas, _total(draft.everything))
    if present is not None and size != present.spec.replicas:
        # One step at a time: the old ones follow when the status of the new one is known.
        _resize(draft, {new.metadata.name: size})
        return
    _resize(draft, rollout.old_sizes(draft.deployment, new, draft.old))


def _recreate(draft: _Draft, occupied: Collection[str]) -> None:
    _keep_new(draft)
    if _total(draft.old) > 0:
        _resize(draft, {rs.metadata.name: 0 for rs in draft.old})
        return
    if any(rs.metadata.uid in occupied for rs in draft.old):
        return
    if draft.new is None:
        _create(draft)
    elif draft.new.spec.replicas != draft.deployment.spec.replicas:
        _resize(draft, {draft.new.metadata.name: draft.deployment.spec.replicas})


def _create(draft: _Draft) -> None:
    size = rollout.new_size(draft.deployment, 0, _total(draft.old))
    draft.new = new_replica_set(draft.deployment, _next_revision(draft), size)
    draft.created = True
    draft.conditions = reports.with_condition(
        draft.conditions, reports.created_new(draft.new.metadata.name), now=draft.now
    )


def _keep_new(draft: _Draft) -> None:
    """Bring annotations, revision and minReadySeconds of an existing new ReplicaSet up to date."""
    new = draft.new
    if new is None:
        return
    annotations = {**new.metadata.annotations, **_handed_down(draft.deployment)}
    revision = _next_revision(draft)
    if revision_of(new) < int(revision):
        if revision_of(new):
            history = annotations.get(HISTORY, "")
            annotations[HISTORY] = ",".join(filter(None, (history, str(revision_of(new)))))
        annotations[REVISION] = revision
    draft.new = msgspec.structs.replace(
        new,
        metadata=msgspec.structs.replace(new.metadata, annotations=annotations),
        spec=msgspec.structs.replace(
            new.spec, min_ready_seconds=draft.deployment.spec.min_ready_seconds
        ),
    )
    noted = reports.find(draft.conditions, reports.PROGRESSING)
    if noted is None:
        draft.conditions = reports.with_condition(
            draft.conditions, reports.found_new(new.metadata.name), now=draft.now
        )
    elif HISTORY not in annotations and reports.speaks_of_another(noted, new.metadata.name):
        # It was made for this rollout, and the note of it was lost to a conflict: without one the
        # rollout could never be late.
        draft.conditions = reports.with_condition(
            draft.conditions, reports.created_new(new.metadata.name), now=draft.now
        )


def _resize(draft: _Draft, sizes: rollout.Sizes) -> None:
    def resized(rs: ReplicaSet) -> ReplicaSet:
        size = sizes.get(rs.metadata.name, rs.spec.replicas)
        if size == rs.spec.replicas and size == 0:
            return rs
        return msgspec.structs.replace(
            rs,
            metadata=msgspec.structs.replace(
                rs.metadata,
                annotations={**rs.metadata.annotations, **_sizing(draft.deployment)},
            ),
            spec=msgspec.structs.replace(rs.spec, replicas=size),
        )

    draft.old = [resized(rs) for rs in draft.old]
    draft.new = resized(draft.new) if draft.new else None


def _clean_up(draft: _Draft) -> None:
    idle = [rs for rs in draft.old if rs.metadata.deletion_timestamp is None]
    surplus = len(idle) - draft.deployment.spec.revision_history_limit
    for rs in sorted(idle, key=lambda rs: (revision_of(rs), _created(rs)))[: max(0, surplus)]:
        busy = rs.spec.replicas or rs.status.replicas
        if not busy and rs.status.observed_generation >= rs.metadata.generation:
            draft.delete.append(rs)


def _result(
    draft: _Draft, before: Sequence[ReplicaSet], new: ReplicaSet | None, *, rolling: bool
) -> Plan:
    deployment = msgspec.structs.replace(
        draft.deployment,
        status=msgspec.structs.replace(draft.deployment.status, conditions=draft.conditions),
    )
    everything = draft.everything
    status = reports.counted(deployment, everything, draft.new, now=draft.now)
    if rolling:
        status = reports.with_progress(deployment, status, everything, draft.new, now=draft.now)
    present = {rs.metadata.name: rs for rs in before}
    gone = {rs.metadata.name for rs in draft.delete}
    updates = tuple(
        (present[rs.metadata.name], rs)
        for rs in everything
        if rs.metadata.name in present
        and rs.metadata.name not in gone
        and rs != present[rs.metadata.name]
    )
    revision = draft.new.metadata.annotations.get(REVISION) if draft.new else None
    return Plan(
        status=status,
        revision=revision,
        create=draft.new if draft.created else None,
        updates=updates,
        delete=tuple(draft.delete),
    )


def _next_revision(draft: _Draft) -> str:
    return str(max((revision_of(rs) for rs in draft.old), default=0) + 1)


def _handed_down(deployment: Deployment) -> dict[str, str]:
    return {k: v for k, v in deployment.metadata.annotations.items() if k not in _OWN_ANNOTATIONS}


def _sizing(deployment: Deployment) -> dict[str, str]:
    surge = rollout.fence(deployment)[0]
    return {
        rollout.DESIRED: str(deployment.spec.replicas),
        rollout.MAX: str(deployment.spec.replicas + surge),
    }


def _total(replica_sets: Iterable[ReplicaSet]) -> int:
    return sum(rs.spec.replicas for rs in replica_sets)


def _created(rs: ReplicaSet) -> tuple[str, str]:
    return rs.metadata.creation_timestamp or "", rs.metadata.name
