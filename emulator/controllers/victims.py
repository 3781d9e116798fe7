"""Pure: which pods a ReplicaSet gives up first, as Kubernetes ranks them (ActivePodsWithRanks)."""

import math
from collections import Counter
from collections.abc import Iterable
from functools import cmp_to_key

from podwire.emulator.controllers.podstate import is_active, is_ready, ready_since, restarts
from podwire.kube.objects import Pod
from podwire.kube.times import parse_rfc3339

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

_PHASES = {"Pending": 0, "": 0, "Unknown": 1, "Running": 2}


def victims(
    pods: Iterable[Pod], count: int, *, related: Iterable[Pod] = (), now: float
) -> tuple[Pod, ...]:
    """Return the *count* pods to delete.

    Unassigned pods go first, then pending, not ready, cheap by annotation, sharing their node
    with many *related* pods (those of the same Deployment), lately ready, often restarted, lately
    created.
    """
    candidates = tuple(pods)
    if count >= len(candidates):
        return candidates
    crowd = Counter(pod.spec.node_name for pod in related if is_active(pod))

    def order(a: Pod, b: Pod) -> int:
        return _compare(a, b, crowd, now)

    ranked = sorted(candidates, key=cmp_to_key(order))
    return tuple(ranked[:count])


def deletion_cost(pod: Pod) -> int:
    """Return the pod's cost by annotation; what cannot be read counts as 0."""
    try:
        return int(pod.metadata.annotations.get(DELETION_COST, "0"))
    except ValueError:
        return 0


def _compare(a: Pod, b: Pod, crowd: Counter[str], now: float) -> int:
    rank_a, rank_b = _rank(a, crowd), _rank(b, crowd)
    if rank_a != rank_b:
        return -1 if rank_a < rank_b else 1
    if is_ready(a):
        order = _by_age(ready_since(a), ready_since(b), (a, b), now)
        if order:
            return order
    if restarts(a) != restarts(b):
        return -1 if restarts(a) > restarts(b) else 1
    return _by_age(_created(a), _created(b), (a, b), now)


def _rank(pod: Pod, crowd: Counter[str]) -> tuple[int, ...]:
    return (
        1 if pod.spec.node_name else 0,
        _PHASES.get(pod.status.phase, 0),
        1 if is_ready(pod) else 0,
        deletion_cost(pod),
        -crowd[pod.spec.node_name],
    )


def _by_age(a: float | None, b: float | None, pods: tuple[Pod, Pod], now: float) -> int:
    if a == b:
        return 0
    if a is None or b is None:
        return -1 if a is None else 1
    # KEP-2185: ages are compared by their order of magnitude and then by uid, that is by chance, so
    # that a scale-down after a scale-up does not always hit the same failure domain.
    bucket_a, bucket_b = _bucket(now - a), _bucket(now - b)
    if bucket_a != bucket_b:
        return -1 if bucket_a < bucket_b else 1
    return -1 if pods[0].metadata.uid < pods[1].metadata.uid else 1


def _bucket(age: float) -> int:
    return -1 if age <= 0 else int(math.log2(max(1.0, age * 1e9)))


def _created(pod: Pod) -> float | None:
    stamp = pod.metadata.creation_timestamp
    return parse_rfc3339(stamp) if stamp else None
