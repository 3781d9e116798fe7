"""Pure: what a pod asks of a node's resources, and whether a node has that left.

Source: pkg/scheduler/framework/plugins/noderesources/fit.go of Kubernetes 1.32. Amounts are whole
billionths, as podwire.kube.quantity counts.
"""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

from podwire.kube import quantity
from podwire.kube.objects import Container, Node, PodSpec

Amounts = Mapping[str, int]

TOO_MANY_PODS = "Too many pods"
_POD = 10**9


def asked(spec: PodSpec) -> Amounts:
    """Return what a pod asks for by resource; limits count where the API server made them requests.

    Init containers run one by one, before the others; side-cars stay beside all that come after
    them (KEP-753). The overhead of its runtime comes on top.
    """
    beside: Counter[str] = Counter()
    most: dict[str, int] = {}
    for container in spec.init_containers:
        own = _requests(container)
        if container.restart_policy == "Always":
            beside.update(own)
            own = {}
        for name in (*beside, *own):
            most[name] = max(most.get(name, 0), beside[name] + own.get(name, 0))
    together = Counter(beside)
    for container in spec.containers:
        together.update(_requests(container))
    overhead = _amounts(spec.overhead)
    return {
        name: max(together[name], most.get(name, 0)) + overhead.get(name, 0)
        for name in sorted({*together, *most, *overhead})
    }


def available(node: Node) -> Amounts:
    """Return what a node has for pods, as far as it says so."""
    return _amounts(node.status.allocatable)


def lacking(wanted: Amounts, node: Node, taken: Amounts, pods: int) -> tuple[str, ...]:
    """Return why *wanted* and one pod more does not fit on *node*, in the scheduler's words.

    *taken* is what the *pods* pods ask for that are there. Of a resource that every machine has the
    node has enough as long as it does not say how much.
    """
    reasons: list[str] = []
    there = node.status.allocatable
    if "pods" in there and (pods + 1) * _POD > _amount(there["pods"]):
        reasons.append(TOO_MANY_PODS)
    for name, amount in wanted.items():
        if name not in there and "/" not in name:
            continue
        if amount and amount > _amount(there.get(name, "0")) - taken.get(name, 0):
            reasons.append(f"Insufficient {name}")
    return tuple(reasons)


def _requests(container: Container) -> dict[str, int]:
    return _amounts(container.resources.requests)


def _amounts(texts: Mapping[str, object]) -> dict[str, int]:
    return {name: _amount(str(text)) for name, text in texts.items()}


@lru_cache(maxsize=256)
def _amount(text: str) -> int:
    return quantity.parse(text).nano
