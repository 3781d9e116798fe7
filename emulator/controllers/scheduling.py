"""Pure: which node an unbound pod goes to, or why there is none."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from podwire.emulator.controllers.ownership import controller_uid
from podwire.emulator.controllers.placement import NO_FREE_PORTS, HostPort, host_ports, obstacle
from podwire.emulator.controllers.podstate import is_finished
from podwire.kube.objects import Node, Pod

SCHEDULER = "default-scheduler"


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """No node fits; *message* is what Kubernetes' scheduler would say."""

    message: str


@dataclass(frozen=True, slots=True)
class _Place:
    node: str
    owner: str
    ports: frozenset[HostPort]


class Placements:
    """Which pods are on which node, those too whose binding was only just sent."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}
        self._in_all: Counter[str] = Counter()
        self._of_owner: Counter[tuple[str, str]] = Counter()
        self._ports: dict[str, Counter[HostPort]] = {}

    def put(self, pod: Pod, node: str) -> None:
        """Note that *pod* is on *node*; the same again changes nothing."""
        present = self._places.get(pod.metadata.uid)
        owner = controller_uid(pod)
        if present is not None and (present.node, present.owner) == (node, owner):
            return
        self.remove(pod.metadata.uid)
        place = _Place(node, owner, host_ports(pod.spec))
        self._places[pod.metadata.uid] = place
        self._in_all[node] += 1
        self._of_owner[place.owner, node] += 1
        self._ports.setdefault(node, Counter()).update(place.ports)

    def remove(self, uid: str) -> bool:
        """Note that the pod with *uid* holds no place; tell whether it held one."""
        place = self._places.pop(uid, None)
        if place is None:
            return False
        self._in_all[place.node] -= 1
        self._of_owner[place.owner, place.node] -= 1
        if not self._of_owner[place.owner, place.node]:
            del self._of_owner[place.owner, place.node]
        self._ports[place.node].subtract(place.ports)
        return True

    def holds(self, uid: str) -> bool:
        """Tell whether the pod with *uid* has a place."""
        return uid in self._places

    def load(self, node: str, owner: str) -> tuple[int, int]:
        """Return how many pods of *owner* and how many in all are on *node*."""
        return (self._of_owner[owner, node] if owner else 0), self._in_all[node]

    def ports(self, node: str) -> frozenset[HostPort]:
        """Return the host ports that are taken on *node*."""
        counts = self._ports.get(node, Counter[HostPort]())
        return frozenset(port for port, count in counts.items() if count > 0)


def wants_scheduling(pod: Pod) -> bool:
    """Tell whether the pod waits for this scheduler: unbound, alive, not gated, not another's."""
    return (
        not pod.spec.node_name
        and pod.metadata.deletion_timestamp is None
        and not is_finished(pod)
        and not pod.spec.scheduling_gates
        and pod.spec.scheduler_name in ("", SCHEDULER)
    )


def choose(pod: Pod, nodes: Sequence[Node], placements: Placements) -> str | Unschedulable:
    """Return the name of the node for *pod*, or why none fits.

    Of the nodes that fit, the one with the fewest pods of the same owner wins, then the one with
    the fewest pods in all, then the first by name.
    """
    if not nodes:
        return Unschedulable("no nodes available to schedule pods")
    owner = controller_uid(pod)
    reasons: Counter[str] = Counter()
    fitting: list[str] = []
    for node in nodes:
        name = node.metadata.name
        reason = obstacle(pod.spec, node, placements.ports(name))
        if reason is None:
            fitting.append(name)
        else:
            reasons[reason] += 1
    if fitting:
        return min(fitting, key=lambda name: (placements.load(name, owner), name))
    # No pod gives way to another here; Kubernetes says why that would not help (preemption.go).
    ports = reasons[NO_FREE_PORTS]
    in_vain = {
        "Preemption is not helpful for scheduling": len(nodes) - ports,
        "No preemption victims found for incoming pod": ports,
    }
    return Unschedulable(f"{_counted(nodes, reasons)} preemption: {_counted(nodes, in_vain)}")


def _counted(nodes: Sequence[Node], reasons: Mapping[str, int]) -> str:
    listed = sorted(f"{count} {reason}" for reason, count in reasons.items() if count)
    return f"0/{len(nodes)} nodes are available: {', '.join(listed)}."
