"""Pure: how many pods each ReplicaSet of a Deployment gets next.

The rules are those of Kubernetes' deployment controller (deployment/util, deployment/rolling.go).
"""

from collections.abc import Iterable, Sequence

from podwire.emulator.controllers.counts import scaled_down, scaled_up
from podwire.kube.objects import Deployment, ReplicaSet

DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX = "deployment.kubernetes.io/max-replicas"

Sizes = dict[str, int]
"""Replicas by the name of the ReplicaSet."""


def fence(deployment: Deployment) -> tuple[int, int]:
    """Return (max surge, max unavailable) as counts."""
    spec = deployment.spec
    if spec.strategy.type != "RollingUpdate":
        return 0, 0
    rolling = spec.strategy.rolling_update
    surge_value = rolling.max_surge if rolling else None
    unavailable_value = rolling.max_unavailable if rolling else None
    surge = scaled_up("25%" if surge_value is None else surge_value, spec.replicas)
    unavailable = scaled_down(
        "25%" if unavailable_value is None else unavailable_value, spec.replicas
    )
    # Percentages can make both 0 by rounding; an update could then never move.
    return (surge, unavailable) if surge or unavailable else (0, 1)


def max_unavailable(deployment: Deployment) -> int:
    """Return how many of the wanted pods may be missing during an update."""
    if deployment.spec.strategy.type != "RollingUpdate" or deployment.spec.replicas == 0:
        return 0
    return min(fence(deployment)[1], deployment.spec.replicas)


def new_size(deployment: Deployment, new: int, everything: int) -> int:
    """Return the size of the new ReplicaSet, which is *new* of *everything* that is specified."""
    wanted = deployment.spec.replicas
    if deployment.spec.strategy.type != "RollingUpdate" or new > wanted:
        return wanted
    room = wanted + fence(deployment)[0] - everything
    return new if room <= 0 else new + min(room, wanted - new)


def old_sizes(deployment: Deployment, new: ReplicaSet, old: Sequence[ReplicaSet]) -> Sizes:
    """Return the sizes of the old ReplicaSets for the next step of a rolling update.

    Pods that are not available go first: they can be replaced without loss. Only as many go that
    replicas - maxUnavailable stay available.
    """
    sizes = {rs.metadata.name: rs.spec.replicas for rs in old}
    everything = sum(sizes.values()) + new.spec.replicas
    must_stay = deployment.spec.replicas - max_unavailable(deployment)
    new_missing = new.spec.replicas - new.status.available_replicas
    spare = everything - must_stay - new_missing
    if spare <= 0:
        return sizes
    by_age = sorted(old, key=_created)
    for rs in by_age:
        name = rs.metadata.name
        broken = min(spare, max(0, rs.spec.replicas - rs.status.available_replicas))
        sizes[name] -= broken
        spare -= broken
    available = sum(rs.status.available_replicas for rs in (*old, new))
    spare = available - must_stay
    for rs in by_age:
        gone = max(0, min(spare, sizes[rs.metadata.name]))
        sizes[rs.metadata.name] -= gone
        spare -= gone
    return sizes


def is_scaling(deployment: Deployment, replica_sets: Iterable[ReplicaSet]) -> bool:
    """Tell whether `replicas` changed since the active ReplicaSets were last sized."""
    return any(
        desired is not None and desired != deployment.spec.replicas
        for rs in replica_sets
        if rs.spec.replicas > 0
        for desired in [_number(rs, DESIRED)]
    )


def scaled_sizes(
    deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet]
) -> Sizes:
    """Return the sizes after a change of `replicas`: proportional while several are active."""
    everything = [*old, *([new] if new else [])]
    sizes = {rs.metadata.name: rs.spec.replicas for rs in everything}
    wanted = deployment.spec.replicas
    single = _active_or_latest(new, old)
    if single is not None:
        return {**sizes, single.metadata.name: wanted}
    if new is not None and _is_saturated(deployment, new):
        return {**sizes, **{rs.metadata.name: 0 for rs in old}}
    if deployment.spec.strategy.type != "RollingUpdate":
        return sizes
    active = [rs for rs in everything if rs.spec.replicas > 0]
    allowed = wanted + fence(deployment)[0] if wanted > 0 else 0
    to_add = allowed - sum(rs.spec.replicas for rs in active)
    # The largest first; among equals a scale-up favours newer pods, a scale-down takes older ones.
    active.sort(key=_created, reverse=to_add > 0)
    active.sort(key=lambda rs: -rs.spec.replicas)
    added = 0
    for rs in active:
        share = _proportion(rs, deployment, to_add, added)
        sizes[rs.metadata.name] = rs.spec.replicas + share
        added += share
    if active and to_add != added:
        first = active[0].metadata.name
        sizes[first] = max(0, sizes[first] + to_add - added)
    return sizes


def _active_or_latest(new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> ReplicaSet | None:
    """Return the only ReplicaSet that matters; None where several are active."""
    active = [rs for rs in (*old, *([new] if new else [])) if rs.spec.replicas > 0]
    if len(active) == 1:
        return active[0]
    if active:
        return None
    return new or max(old, key=_created, default=None)


def _is_saturated(deployment: Deployment, rs: ReplicaSet) -> bool:
    wanted = deployment.spec.replicas
    return (
        rs.spec.replicas == wanted
        and _number(rs, DESIRED) == wanted
        and rs.status.available_replicas == wanted
    )


def _proportion(rs: ReplicaSet, deployment: Deployment, to_add: int, added: int) -> int:
    if to_add in (0, added):
        return 0
    share = _fraction(rs, deployment)
    allowed = to_add - added
    return min(share, allowed) if to_add > 0 else max(share, allowed)


def _fraction(rs: ReplicaSet, deployment: Deployment) -> int:
    if deployment.spec.replicas == 0:
        return -rs.spec.replicas
    before = _number(rs, MAX) or deployment.status.replicas
    if not before:
        return 0
    after = deployment.spec.replicas + fence(deployment)[0]
    # Rounds halves up as Go does; Python's round() would go to the even neighbour.
    return int(rs.spec.replicas * after / before + 0.5) - rs.spec.replicas


def _number(rs: ReplicaSet, annotation: str) -> int | None:
    try:
        return int(rs.metadata.annotations[annotation])
    except (KeyError, ValueError):
        return None


def _created(rs: ReplicaSet) -> tuple[str, str]:
    return rs.metadata.creation_timestamp or "", rs.metadata.name
