"""Pure: what containers use, summed up for their pods and nodes."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from podwire.emulator.apiserver.agent import ContainerUsage, NodeUsage, PodUsage, Usages
from podwire.emulator.kubelet.usage import REST, Figures
from podwire.kube.names import Key


@dataclass(frozen=True, slots=True)
class Where:
    """A container that runs: on which node, in which pod (None: a node's own), and its id."""

    node: str
    pod: Key | None
    container: str
    id: str


def report(
    at: float, figures: Mapping[Hashable, Figures], running: Iterable[Where], nodes: Sequence[str]
) -> Usages:
    """Return what pods and *nodes* use at a time; *running* are the keys of *figures*.

    A pod with a container whose figures are not known yet is left out. What belongs to no container
    is shared by all nodes alike.
    """
    everywhere = tuple(running)
    pods: dict[tuple[str, Key], list[Where]] = {}
    for one in everywhere:
        if one.pod is not None:
            pods.setdefault((one.node, one.pod), []).append(one)
    return Usages(
        tuple(
            _pod(at, pod, [(one, figures[one]) for one in members])
            for (_node, pod), members in sorted(pods.items(), key=lambda item: item[0][1])
            if all(one in figures for one in members)
        ),
        tuple(_node(at, name, figures, everywhere, len(nodes)) for name in sorted(nodes)),
    )


def _pod(at: float, pod: Key, members: Iterable[tuple[Where, Figures]]) -> PodUsage:
    found = list(members)
    return PodUsage(
        pod.namespace,
        pod.name,
        at,
        max(figures.window for _one, figures in found),
        tuple(
            ContainerUsage(one.container, _nano(figures.cpu), figures.memory)
            for one, figures in found
        ),
    )


def _node(
    at: float,
    name: str,
    figures: Mapping[Hashable, Figures],
    running: Iterable[Where],
    nodes: int,
) -> NodeUsage:
    # By id: a node's own container may be shown as a pod's, too.
    own = {one.id: figures[one] for one in running if one.node == name and one in figures}
    rest = figures.get(REST)
    return NodeUsage(
        name,
        at,
        max((one.window for one in own.values()), default=rest.window if rest else 0.0),
        _nano(sum(one.cpu for one in own.values()) + (rest.cpu / nodes if rest else 0.0)),
        sum(one.memory for one in own.values()) + (rest.memory // nodes if rest else 0),
    )


def _nano(cpu: float) -> int:
    return round(cpu * 1e9)
