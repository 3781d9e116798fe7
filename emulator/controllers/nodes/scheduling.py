"""Pure: which node an unbound pod goes to, or why there is none."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from podwire.emulator.controllers.nodes.groups import Groups, Membership, group_of
from podwire.emulator.controllers.nodes.neighbours import (
    GO_WITH_OTHERS,
    NO_NEIGHBOURS,
    NamespaceLabels,
    Neighbours,
    around,
    asks,
)
from podwire.emulator.controllers.nodes.requests import TOO_MANY_PODS, Amounts, asked, lacking
from podwire.emulator.controllers.ownership import controller_uid
from podwire.emulator.controllers.placement import (
    NO_FREE_PORTS,
    HostPort,
    clash,
    host_ports,
    liking,
    obstacle,
    soft_taints,
)
from podwire.emulator.controllers.podstate import is_finished
from podwire.kube.objects import Node, Pod, PodSpec

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
    asks: Amounts
    member: Membership


class Placements:
    """Which pods are on which node, those too whose binding was only just sent."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}
        self._in_all: Counter[str] = Counter()
        self._of_owner: Counter[tuple[str, str]] = Counter()
        self._ports: dict[str, Counter[HostPort]] = {}
        self._asked: dict[str, Counter[str]] = {}
        self._groups = Groups()

    def put(self, pod: Pod, node: str) -> None:
        """Note that *pod* is on *node*; the same again changes nothing."""
        uid, owner = pod.metadata.uid, controller_uid(pod)
        present = self._places.get(uid)
        if present is not None and (present.node, present.owner, present.member.group) == (
            node,
            owner,
            group_of(pod),
        ):
            return
        self.remove(uid)
        place = _Place(
            node, owner, host_ports(pod.spec), asked(pod.spec), self._groups.join(pod, node)
        )
        self._places[uid] = place
        self._in_all[node] += 1
        self._of_owner[place.owner, node] += 1
        self._ports.setdefault(node, Counter()).update(place.ports)
        self._asked.setdefault(node, Counter()).update(place.asks)

    def remove(self, uid: str) -> bool:
        """Note that the pod with *uid* holds no place; tell whether it held one."""
        place = self._places.pop(uid, None)
        if place is None:
            return False
        self._groups.leave(place.member)
        self._in_all[place.node] -= 1
        self._of_owner[place.owner, place.node] -= 1
        if not self._of_owner[place.owner, place.node]:
            del self._of_owner[place.owner, place.node]
        self._ports[place.node] -= Counter(place.ports)
        self._asked[place.node].subtract(place.asks)
        return True

    def holds(self, uid: str) -> bool:
        """Tell whether the pod with *uid* has a place."""
        return uid in self._places

    def load(self, node: str, owner: str) -> tuple[int, int]:
        """Return how many pods of *owner* and how many in all are on *node*."""
        return (self._of_owner[owner, node] if owner else 0), self._in_all[node]

    def ports(self, node: str) -> Collection[HostPort]:
        """Return the host ports that are taken on *node*."""
        return self._ports.get(node, {})

    def asked(self, node: str) -> Amounts:
        """Return what the pods on *node* ask for together."""
        return self._asked.get(node, {})

    def around(self, pod: Pod, nodes: Sequence[Node], labels_of: NamespaceLabels) -> Neighbours:
        """Return what the pods on *nodes* mean for one that is to be placed."""
        wishes, curious = self._groups.wishes(), asks(pod.spec)
        if not curious and not wishes:
            return NO_NEIGHBOURS
        return around(pod, nodes, self._groups.groups() if curious else (), wishes, labels_of)


def wants_scheduling(pod: Pod) -> bool:
    """Tell whether the pod waits for this scheduler: unbound, alive, not gated, not another's."""
    return (
        not pod.spec.node_name
        and pod.metadata.deletion_timestamp is None
        and not is_finished(pod)
        and not pod.spec.scheduling_gates
        and pod.spec.scheduler_name in ("", SCHEDULER)
    )


def choose(
    pod: Pod,
    nodes: Sequence[Node],
    placements: Placements,
    labels_of: NamespaceLabels = lambda _namespace: {},
) -> str | Unschedulable:
    """Return the name of the node for *pod*, or why none fits.

    Of the nodes that fit, the one wins that the pod likes best: by soft taints, preferred affinity,
    and constraints that it may break. Then the one with the fewest pods of the same owner, then
    the one with the fewest pods in all, then the first by name. *labels_of* returns the labels of a
    namespace.
    """
    if not nodes:
        return Unschedulable("no nodes available to schedule pods")
    spec, owner = pod.spec, controller_uid(pod)
    wanted, ports = asked(spec), host_ports(spec)
    neighbours = placements.around(pod, nodes, labels_of)
    reasons: Counter[str] = Counter()
    fitting: list[Node] = []
    in_vain = 0
    for node in nodes:
        found = _obstacles(spec, node, wanted, ports, placements, neighbours)
        if found:
            reasons.update(found)
            in_vain += not _goes_with_others(found[0])
        else:
            fitting.append(node)
    if fitting:

        def rank(node: Node) -> tuple[int, int, int, int, int, str]:
            name = node.metadata.name
            return (
                soft_taints(spec, node),
                -liking(spec, node) - neighbours.liking(node),
                neighbours.crowd(node),
                *placements.load(name, owner),
                name,
            )

        return min(fitting, key=rank).metadata.name
    # No pod gives way to another here; Kubernetes says why that would not help (preemption.go).
    preemption = {
        "Preemption is not helpful for scheduling": in_vain,
        "No preemption victims found for incoming pod": len(nodes) - in_vain,
    }
    return Unschedulable(f"{_counted(nodes, reasons)} preemption: {_counted(nodes, preemption)}")


def _obstacles(
    spec: PodSpec,
    node: Node,
    wanted: Amounts,
    ports: Collection[HostPort],
    placements: Placements,
    neighbours: Neighbours,
) -> tuple[str, ...]:
    """Return what the first filter has against *node* that has something against it."""
    name = node.metadata.name
    reason = obstacle(spec, node)
    if reason is not None:
        return (reason,)
    if ports and clash(ports, placements.ports(name)):
        return (NO_FREE_PORTS,)
    _, pods = placements.load(name, "")
    reasons = lacking(wanted, node, placements.asked(name), pods)
    if reasons:
        return reasons
    reason = neighbours.obstacle(node)
    return (reason,) if reason is not None else ()


def _goes_with_others(reason: str) -> bool:
    return reason in _GO_WITH_OTHERS or reason.startswith("Insufficient ")


_GO_WITH_OTHERS = (NO_FREE_PORTS, TOO_MANY_PODS, *GO_WITH_OTHERS)


def _counted(nodes: Sequence[Node], reasons: Mapping[str, int]) -> str:
    listed = sorted(f"{count} {reason}" for reason, count in reasons.items() if count)
    return f"0/{len(nodes)} nodes are available: {', '.join(listed)}."
