"""Pure: a DaemonSet, the nodes and its pods -> pods to make and to delete, and what to report."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from podwire.emulator.controllers.counts import scaled_up
from podwire.emulator.controllers.placement import (
    UNSCHEDULABLE,
    matches_node,
    target_node,
    tolerates,
    untolerated,
)
from podwire.emulator.controllers.pod_templates import CONTROLLER_REVISION_HASH, Template
from podwire.emulator.controllers.podstate import (
    is_available,
    is_finished,
    is_ready,
    is_terminating,
)
from podwire.kube.objects import (
    DaemonSet,
    DaemonSetStatus,
    Node,
    Pod,
    PodSpec,
    Toleration,
)

_ANYWHERE = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_ON_HOST_NETWORK = (("node.kubernetes.io/network-unavailable", "NoSchedule"),)

PodsByNode = Mapping[str, Sequence[Pod]]


@dataclass(frozen=True)
class DaemonPlan:
    """The names of nodes that need a pod, and the pods to delete; *failed* ones are among them."""

    create_on: tuple[str, ...]
    delete: tuple[Pod, ...]
    failed: tuple[Pod, ...] = ()


def tolerations_of(spec: PodSpec) -> tuple[Toleration, ...]:
    """Return what a daemon's pod bears besides its own tolerations (daemon/util)."""
    borne = _ANYWHERE + (_ON_HOST_NETWORK if spec.host_network else ())
    return tuple(Toleration(key=key, operator="Exists", effect=effect) for key, effect in borne)


def own_spec_of(template: Template) -> PodSpec:
    """Return the typed view of a template's pod."""
    return msgspec.convert(template.get("spec") or {}, PodSpec)


def spec_of(template: Template) -> PodSpec:
    """Return the typed view of a template's pod, with a daemon's tolerations."""
    spec = own_spec_of(template)
    return msgspec.structs.replace(spec, tolerations=spec.tolerations + tolerations_of(spec))


def should_run(spec: PodSpec, node: Node) -> bool:
    """Tell whether a daemon's pod should be started on *node*."""
    return should_stay(spec, node) and untolerated(spec, node, ("NoSchedule",)) is None


def should_stay(spec: PodSpec, node: Node) -> bool:
    """Tell whether a daemon's pod that runs on *node* may stay there."""
    if spec.node_name and spec.node_name != node.metadata.name:
        return False
    if node.spec.unschedulable and not tolerates(spec.tolerations, UNSCHEDULABLE):
        return False
    return matches_node(spec, node) and untolerated(spec, node, ("NoExecute",)) is None


def by_node(pods: Iterable[Pod]) -> dict[str, list[Pod]]:
    """Return the pods under the node they are bound to or made for, the oldest first."""
    found: dict[str, list[Pod]] = {}
    for pod in sorted(pods, key=lambda p: (p.metadata.creation_timestamp or "", p.metadata.name)):
        found.setdefault(target_node(pod), []).append(pod)
    return found


def plan_daemons(
    daemon_set: DaemonSet,
    nodes: Sequence[Node],
    pods: Sequence[Pod],
    *,
    revision: str,
    now: float,
) -> DaemonPlan:
    """Return the next step of *daemon_set*, which owns *pods*.

    *revision* is the hash by which pods of the present template are known.
    """
    spec = spec_of(daemon_set.spec.template)
    present = by_node(pods)
    create: list[str] = []
    delete: list[Pod] = []
    failed: list[Pod] = []
    surge = _surge(daemon_set, len([n for n in nodes if should_run(spec, n)]))
    for node in nodes:
        here = present.get(node.metadata.name, [])
        if not should_stay(spec, node):
            delete += [pod for pod in here if not is_terminating(pod)]
        elif not here:
            if should_run(spec, node):
                create.append(node.metadata.name)
        else:
            ended = [pod for pod in here if is_finished(pod) and not is_terminating(pod)]
            failed += ended
            delete += ended
            if not surge:
                alive = [p for p in here if not is_finished(p) and not is_terminating(p)]
                delete += alive[1:]
    names = {node.metadata.name for node in nodes}
    for name, here in present.items():
        if name not in names:
            delete += [p for p in here if not p.spec.node_name and not is_terminating(p)]
    if not create and not delete and daemon_set.spec.update_strategy.type == "RollingUpdate":
        wanted = [node.metadata.name for node in nodes if should_run(spec, node)]
        return _rolling(daemon_set, wanted, present, revision, surge, now)
    return DaemonPlan(tuple(create), tuple(delete), tuple(failed))


def daemon_set_status(
    daemon_set: DaemonSet,
    nodes: Sequence[Node],
    pods: Sequence[Pod],
    *,
    revision: str,
    now: float,
) -> DaemonSetStatus:
    """Return the counts over all nodes; *revision* is the hash of the present template."""
    spec = spec_of(daemon_set.spec.template)
    present = by_node(pod for pod in pods)
    desired = scheduled = misscheduled = ready = available = updated = 0
    for node in nodes:
        here = present.get(node.metadata.name, [])
        if not should_run(spec, node):
            misscheduled += bool(here)
            continue
        desired += 1
        if not here:
            continue
        scheduled += 1
        pod = next((p for p in here if is_ready(p)), here[0])
        ready += is_ready(pod)
        available += is_available(pod, daemon_set.spec.min_ready_seconds, now=now)
        updated += any(_is_new(p, revision) for p in here)
    return DaemonSetStatus(
        current_number_scheduled=scheduled,
        number_misscheduled=misscheduled,
        desired_number_scheduled=desired,
        number_ready=ready,
        observed_generation=daemon_set.metadata.generation,
        updated_number_scheduled=updated,
        number_available=available,
        number_unavailable=desired - available,
        collision_count=daemon_set.status.collision_count,
    )


def _rolling(
    daemon_set: DaemonSet,
    nodes: Sequence[str],
    present: PodsByNode,
    revision: str,
    surge: int,
    now: float,
) -> DaemonPlan:
    seconds = daemon_set.spec.min_ready_seconds
    if surge:
        return _surging(nodes, present, revision, surge, seconds, now)
    limit = _unavailable(daemon_set, len(nodes))
    missing = 0
    broken: list[Pod] = []
    replaceable: list[Pod] = []
    for node in nodes:
        pod = next((p for p in present.get(node, ())), None)
        if pod is None or is_terminating(pod):
            missing += 1
        elif _is_new(pod, revision):
            missing += not is_available(pod, seconds, now=now)
        elif not is_available(pod, seconds, now=now):
            missing += 1
            broken.append(pod)  # nothing is lost by replacing it
        else:
            replaceable.append(pod)
    return DaemonPlan((), (*broken, *replaceable[: max(0, limit - missing)]))


def _surging(
    nodes: Sequence[str],
    present: PodsByNode,
    revision: str,
    surge: int,
    seconds: int,
    now: float,
) -> DaemonPlan:
    """Make the new pod beside the old one, and delete the old one when the new one is available."""
    running = 0
    at_once: list[str] = []
    candidates: list[str] = []
    delete: list[Pod] = []
    for node in nodes:
        here = [p for p in present.get(node, ()) if not is_finished(p)]
        new = next((p for p in here if _is_new(p, revision)), None)
        old = [p for p in here if not _is_new(p, revision)]
        if not old:
            continue
        if new is not None:
            if is_available(new, seconds, now=now):
                delete += [p for p in old if not is_terminating(p)]
            else:
                running += 1
        elif not any(is_available(p, seconds, now=now) and not is_terminating(p) for p in old):
            at_once.append(node)
        else:
            candidates.append(node)
    return DaemonPlan(
        (*at_once, *candidates[: max(0, surge - running - len(at_once))]), tuple(delete)
    )


def _is_new(pod: Pod, revision: str) -> bool:
    return pod.metadata.labels.get(CONTROLLER_REVISION_HASH) == revision


def _surge(daemon_set: DaemonSet, nodes: int) -> int:
    rolling = daemon_set.spec.update_strategy.rolling_update
    if daemon_set.spec.update_strategy.type != "RollingUpdate" or rolling is None:
        return 0
    return scaled_up(rolling.max_surge or 0, nodes)


def _unavailable(daemon_set: DaemonSet, nodes: int) -> int:
    rolling = daemon_set.spec.update_strategy.rolling_update
    value = 1 if rolling is None or rolling.max_unavailable is None else rolling.max_unavailable
    return scaled_up(value, nodes)
