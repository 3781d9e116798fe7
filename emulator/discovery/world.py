"""Pure: all containers of a cluster together -> its nodes, its pods, and what does not fit."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from podwire.emulator.discovery.facts import Attachment, Container, Network
from podwire.emulator.discovery.labels import (
    NODE,
    POD,
    POD_CIDR,
    PREFIX,
    MemberLabels,
    Mistake,
    NodeLabels,
    PodLabels,
    Port,
    in_words,
    meaning,
    service_of,
)
from podwire.kube.names import Key

KUBE_PROXY = "kube-proxy"


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node and its container; *address* is None until it has had one."""

    name: str
    container: Container
    pod_cidr: IPv4Network
    labels: Mapping[str, str]
    address: IPv4Address | None
    pods_network_id: str


@dataclass(frozen=True, slots=True)
class Member:
    """A container of a pod; *cut_off*: the network that it shared has been replaced."""

    name: str
    container: Container
    ports: tuple[Port, ...] = ()
    cut_off: bool = False


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod; *sandbox* is the container that holds its network, and may be one of *members*."""

    key: Key
    labels: Mapping[str, str]
    sandbox: Container
    members: tuple[Member, ...]
    node: str
    node_up: bool
    host_address: IPv4Address | None
    address: IPv4Address | None
    host_network: bool = False
    # Of its eth0; empty if it has none of its own.
    mac: str = ""
    subdomain: str = ""


@dataclass(frozen=True, slots=True)
class World:
    """What a cluster's containers amount to."""

    nodes: Mapping[str, NodeView] = field(default_factory=dict[str, NodeView])
    pods: Mapping[Key, PodView] = field(default_factory=dict[Key, PodView])
    mistakes: tuple[Mistake, ...] = ()


def arrange(containers: Iterable[Container], networks: Mapping[str, Network]) -> World:
    """Return what *containers*, all of one cluster, amount to; *networks* by id."""
    ordered = sorted(containers, key=lambda one: (one.created, one.id))
    meant = [(one, meaning(one)) for one in ordered]
    wires = _Wires(networks)
    mistakes = [found for _one, found in meant if isinstance(found, Mistake)]
    nodes = _nodes([(c, f) for c, f in meant if isinstance(f, NodeLabels)], wires, mistakes)
    joined = [(c, f) for c, f in meant if isinstance(f, MemberLabels)]
    mistakes += [_orphan(c) for c, f in joined if _is_orphan(c, f, ordered)]
    pods: dict[Key, PodView] = {_proxy_key(node): _proxy(node) for node in nodes.values()}
    for container, found in meant:
        if not isinstance(found, PodLabels):
            continue
        guests = [(c, f) for c, f in joined if _is(f.of, container)]
        members = _members(container, found, guests, mistakes)
        node = _node_of(container, found, nodes, wires)
        if isinstance(node, Mistake):
            # Its node may be about to be made; once it runs, that is no excuse any more.
            mistakes += [node] if container.up else []
        elif found.key in pods:
            mistakes += _duplicate(container, found.key, pods[found.key])
        elif members:
            pods[found.key] = _pod(container, found, node, members, wires)
    return World(nodes, pods, tuple(mistakes))


class _Wires:
    """Which networks containers are on."""

    def __init__(self, networks: Mapping[str, Network]) -> None:
        self._by_id = networks
        self._by_name = {network.name: network for network in networks.values()}

    def network(self, attachment: Attachment) -> Network | None:
        """Return the network; before a container's first start only its name is known."""
        found = self._by_id.get(attachment.network_id) if attachment.network_id else None
        return found or self._by_name.get(attachment.network)

    def within(self, container: Container, pod_cidr: IPv4Network) -> Attachment | None:
        """Return how *container* is on a network of *pod_cidr*, None if it is on none."""
        for attachment in container.networks:
            address = attachment.address or attachment.fixed
            network = self.network(attachment)
            if (address is not None and address in pod_cidr) or (
                network is not None and any(s.subnet_of(pod_cidr) for s in network.subnets)
            ):
                return attachment
        return None

    def id_of(self, attachment: Attachment) -> str:
        """Return the id of the network."""
        network = self.network(attachment)
        return network.id if network else attachment.network_id

    def shown(self, container: Container) -> str:
        """Return the networks of *container* for a sentence."""
        return in_words(
            f"{one.network} ({', '.join(map(str, network.subnets))})" if network else one.network
            for one in container.networks
            for network in (self.network(one),)
        )


def _nodes(
    found: Sequence[tuple[Container, NodeLabels]], wires: _Wires, mistakes: list[Mistake]
) -> dict[str, NodeView]:
    nodes: dict[str, NodeView] = {}
    for container, said in found:
        if said.name in nodes:
            if container.up:
                text = (
                    f"container {container.name}: label {PREFIX}{NODE}: node {said.name} is"
                    f" container {nodes[said.name].container.name}, which is older;"
                    " give one of them another name"
                )
                mistakes.append(Mistake(container.id, "DuplicateNodeName", text))
            continue
        by_name = (nodes[name] for name in sorted(nodes))
        overlap = next((n for n in by_name if n.pod_cidr.overlaps(said.pod_cidr)), None)
        wire = wires.within(container, said.pod_cidr)
        if overlap is not None:
            text = f"{said.pod_cidr} overlaps {overlap.pod_cidr}, the range of {overlap.name}"
            mistakes.append(_wrong(container, POD_CIDR, "InvalidLabel", text))
            continue
        if wire is None:
            if container.up:
                text = (
                    f"{said.pod_cidr} is the range of none of its networks:"
                    f" {wires.shown(container)}"
                )
                mistakes.append(_wrong(container, POD_CIDR, "InvalidLabel", text))
            continue
        address = next(
            (a.address or a.fixed for a in container.networks if a.network != wire.network), None
        )
        nodes[said.name] = NodeView(
            said.name, container, said.pod_cidr, said.labels, address, wires.id_of(wire)
        )
    return nodes


def _node_of(
    container: Container, said: PodLabels, nodes: Mapping[str, NodeView], wires: _Wires
) -> NodeView | Mistake:
    if said.node and said.node not in nodes:
        text = f'"{said.node}" is no node; nodes are: {in_words(nodes)}'
        return _wrong(container, NODE, "UnknownNode", text, said.key)
    on = [node for node in nodes.values() if wires.within(container, node.pod_cidr)]
    if not on:
        ranges = in_words(f"{node.pod_cidr} of {node.name}" for node in nodes.values())
        text = (
            f"the container is on no network for pods, but on: {wires.shown(container)};"
            f" put it on a network with one of the ranges: {ranges}"
        )
        return _wrong(container, POD, "NoPodNetwork", text, said.key)
    if said.node:
        chosen = next((node for node in on if node.name == said.node), None)
        if chosen is None:
            text = (
                f'"{said.node}" has the range {nodes[said.node].pod_cidr}, and the container is'
                f" on the network of {on[0].name} ({on[0].pod_cidr}): change one of the two"
            )
            return _wrong(container, NODE, "WrongNode", text, said.key)
        return chosen
    if len(on) > 1:
        text = (
            f"the container is on the networks of {in_words(node.name for node in on)}, and a pod"
            f" is on one node: leave the others, or say which with {PREFIX}{NODE}"
        )
        return _wrong(container, POD, "ManyNodes", text, said.key)
    return on[0]


def _members(
    container: Container,
    said: PodLabels,
    guests: Sequence[tuple[Container, MemberLabels]],
    mistakes: list[Mistake],
) -> tuple[Member, ...]:
    first = () if said.pause else (Member(said.container, container, said.ports),)
    members = {member.name: member for member in first}
    for guest, its in guests:
        if its.container in members:
            if guest.up:
                text = (
                    f"container {guest.name}: pod {said.key} has a container {its.container}"
                    f" already; give this one another name: {PREFIX}container"
                )
                mistakes.append(Mistake(guest.id, "DuplicateContainerName", text, said.key))
            continue
        cut_off = guest.has_processes and (
            not container.has_processes or container.started > guest.started
        )
        # Ports that the pause container tells of are those of the container that it is there for.
        ports = its.ports if members or not said.pause else (*said.ports, *its.ports)
        members[its.container] = Member(its.container, guest, ports, cut_off)
    return tuple(members.values())


def _pod(
    container: Container,
    said: PodLabels,
    node: NodeView,
    members: tuple[Member, ...],
    wires: _Wires,
) -> PodView:
    wire = wires.within(container, node.pod_cidr)
    running = wire is not None and container.has_processes
    return PodView(
        said.key,
        said.labels,
        container,
        members,
        node.name,
        # By its processes alone: a node's health check may ask for endpoints, which wait for pods.
        node_up=node.container.up,
        host_address=node.address,
        address=wire.address if wire is not None and running else None,
        mac=wire.mac if wire is not None and running else "",
        subdomain=said.subdomain,
    )


def _proxy_key(node: NodeView) -> Key:
    return Key("kube-system", f"{KUBE_PROXY}-{node.name}")


def _proxy(node: NodeView) -> PodView:
    return PodView(
        _proxy_key(node),
        {"k8s-app": KUBE_PROXY},
        node.container,
        (Member(KUBE_PROXY, node.container),),
        node.name,
        node_up=node.container.up,
        host_address=node.address,
        address=node.address if node.container.has_processes else None,
        host_network=True,
    )


def _duplicate(container: Container, key: Key, holder: PodView) -> list[Mistake]:
    if not container.up:
        return []  # Compose makes the successor of a container while that is still there.
    service = service_of(container)
    star = f"; {PREFIX}{POD}: {service or container.name}-* would give each a name of its own"
    text = (
        f"container {container.name}: label {PREFIX}{POD}: pod {key} is container"
        f" {holder.sandbox.name}, which is older and keeps the name{star}"
    )
    return [Mistake(container.id, "DuplicatePodName", text, key)]


def _is_orphan(guest: Container, said: MemberLabels, there: Sequence[Container]) -> bool:
    # Without a label of ours it need not be meant for a pod.
    ours = any(label.startswith(PREFIX) for label in guest.labels)
    return ours and guest.up and not any(_is(said.of, one) for one in there)


def _orphan(guest: Container) -> Mistake:
    # Compose replaces the first container of a pod, if asked for that one, and leaves the others.
    service = service_of(guest)
    way = f": docker compose up -d --force-recreate {service}" if service else ""
    text = (
        f"container {guest.name}: the container whose network it shares is gone,"
        f" or of another cluster{way}"
    )
    return Mistake(guest.id, "NetworkLost", text)


def _wrong(
    container: Container, label: str, reason: str, text: str, pod: Key | None = None
) -> Mistake:
    return Mistake(
        container.id, reason, f"container {container.name}: label {PREFIX}{label}: {text}", pod
    )


def _is(reference: str, container: Container) -> bool:
    return reference in (container.id, container.name) or (
        len(reference) >= 12 and container.id.startswith(reference)
    )
