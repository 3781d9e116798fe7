"""Pure: what taints mean for a node and for the pods that run on it."""

import math
from collections.abc import Iterable

from podwire.emulator.controllers.placement import UNSCHEDULABLE, tolerates
from podwire.kube.objects import Node, Taint, Toleration


def wanted_taints(node: Node) -> tuple[Taint, ...]:
    """Return the taints that *node* should have: a cordoned one has one more.

    As pkg/controller/nodelifecycle (doNoScheduleTaintingPass).
    """
    others = tuple(t for t in node.spec.taints if not _is_cordon(t))
    if not node.spec.unschedulable:
        return others
    return node.spec.taints if len(others) < len(node.spec.taints) else (*others, UNSCHEDULABLE)


def leaves_in(taints: Iterable[Taint], tolerations: Iterable[Toleration]) -> float | None:
    """Return in how many seconds a pod must leave a node with *taints*: 0 at once, None never.

    As pkg/controller/tainteviction (processPodOnNode): one taint that is not borne is enough; of
    those that are borne for a while the shortest counts.
    """
    borne = tuple(tolerations)
    stay = math.inf
    for taint in taints:
        if taint.effect != "NoExecute":
            continue
        bearing = next((t for t in borne if tolerates((t,), taint)), None)
        if bearing is None:
            return 0.0
        if bearing.toleration_seconds is not None:
            stay = min(stay, max(0.0, bearing.toleration_seconds))
    return None if stay == math.inf else stay


def _is_cordon(taint: Taint) -> bool:
    return (taint.key, taint.effect) == (UNSCHEDULABLE.key, UNSCHEDULABLE.effect)
