"""Pure: the labels of a container -> what it is: a pod, a further container of one, a node."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Network, NetmaskValueError
from typing import Literal

from podwire.emulator.discovery.facts import Container
from podwire.kube import syntax
from podwire.kube.names import Key

PREFIX = "podwire.dev/"
POD, NAMESPACE, LABELS, PORTS = "pod", "namespace", "labels", "ports"
NODE, POD_CIDR, CONTAINER, PAUSE, CLUSTER = "node", "pod-cidr", "container", "pause", "cluster"
SUBDOMAIN = "subdomain"
KNOWN = (POD, NAMESPACE, LABELS, PORTS, SUBDOMAIN, NODE, POD_CIDR, CONTAINER, PAUSE, CLUSTER)
MADE_BY = "made-by"
_PROJECT, _SERVICE = "com.docker.compose.project", "com.docker.compose.service"
_NUMBER, _ONE_OFF = "com.docker.compose.container-number", "com.docker.compose.oneoff"
_PORT = re.compile(r"(?:(?P<name>[^=/]+)=)?(?P<number>[0-9]+)(?:/(?P<protocol>[A-Za-z]+))?")
_PORT_FORM = (
    "must be ports separated by commas, each NUMBER or NAME=NUMBER, with /udp or /sctp if it is"
    " not TCP (e.g. 'http=80,dns=53/udp,9100')"
)
_LABELS_FORM = "must be KEY=VALUE pairs separated by commas (e.g. 'app=web,tier=front')"

Protocol = Literal["TCP", "UDP", "SCTP"]
_PROTOCOLS: Mapping[str, Protocol] = {"TCP": "TCP", "UDP": "UDP", "SCTP": "SCTP"}


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a container says it serves."""

    number: int
    name: str = ""
    protocol: Protocol = "TCP"


@dataclass(frozen=True, slots=True)
class PodLabels:
    """The container is a pod, or holds the network of one (*pause*: and does nothing else)."""

    key: Key
    labels: Mapping[str, str]
    ports: tuple[Port, ...]
    # The name of its container in the pod.
    container: str
    # Empty: the node whose network it is on.
    node: str = ""
    pause: bool = False
    # Of the headless Service in which the pod's name is a name of its own; empty: it is in none.
    subdomain: str = ""


@dataclass(frozen=True, slots=True)
class MemberLabels:
    """The container shares the network of another one, and so belongs to its pod."""

    of: str
    ports: tuple[Port, ...]
    container: str


@dataclass(frozen=True, slots=True)
class NodeLabels:
    """The container is a node."""

    name: str
    pod_cidr: IPv4Network
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Mistake:
    """Why a container is not what its labels ask for; *reason* is one of Kubernetes' CamelCase."""

    container_id: str
    reason: str
    text: str
    # The pod that it would be, if that much is clear.
    pod: Key | None = None


Meaning = PodLabels | MemberLabels | NodeLabels | Mistake | None


def belongs(labels: Mapping[str, str], cluster: str) -> bool:
    """Tell whether a container is of *cluster*, and described by labels: not made by us."""
    if PREFIX + MADE_BY in labels:
        return False
    said = labels.get(PREFIX + CLUSTER, "")
    return said == cluster if said else labels.get(_PROJECT) == cluster


def meaning(container: Container) -> Meaning:
    """Return what a container of our cluster is; None for one that takes no part."""
    said = {
        key.removeprefix(PREFIX): value.strip()
        for key, value in container.labels.items()
        if key.startswith(PREFIX) and value.strip()
    }
    reader = _Reader(said)
    found: PodLabels | MemberLabels | NodeLabels | None = None
    if POD in said:
        found = _pod(container, reader)
    elif container.joined:
        found = _member(container, reader)
    elif NODE in said:
        found = _node(reader)
    elif set(said) & {NAMESPACE, LABELS, PORTS, SUBDOMAIN, PAUSE, CONTAINER}:
        first = next(name for name in KNOWN if name in said)
        reader.wrong(first, f"has no effect without {PREFIX}{POD}, the name of the pod")
    elif POD_CIDR in said:
        reader.wrong(POD_CIDR, f"has no effect without {PREFIX}{NODE}, the name of the node")
    reader.unknown()
    if found is None and not reader.problems:
        return None
    if reader.problems or found is None:
        pod = found.key if isinstance(found, PodLabels) and reader.named else None
        text = f"container {container.name}: {'; '.join(reader.problems)}"
        return Mistake(container.id, "InvalidLabel", text, pod)
    return found


class _Reader:
    """Reads one container's labels and collects what is wrong with them."""

    def __init__(self, said: Mapping[str, str]) -> None:
        self.said = said
        self.problems: list[str] = []
        self.named = True

    def wrong(self, label: str, *texts: str) -> None:
        """Note what is wrong with *label*."""
        value = self.said.get(label, "")
        self.problems += [f'label {PREFIX}{label}: Invalid value: "{value}": {t}' for t in texts]

    def name(self, label: str, value: str, check: Callable[[str], list[str]]) -> str:
        """Return *value*, which *label* led to, after a check."""
        problems = check(value)
        if problems:
            self.named = False
            self.problems += [
                f'label {PREFIX}{label}: Invalid value: "{value}": {problem}'
                for problem in problems
            ]
        return value

    def pairs(self) -> Mapping[str, str]:
        """Return the labels that the object gets."""
        pairs: dict[str, str] = {}
        for item in self._items(LABELS):
            key, sign, value = (part.strip() for part in item.partition("="))
            if not sign:
                self.wrong(LABELS, _LABELS_FORM)
                break
            self.wrong(LABELS, *syntax.qualified_name(key), *syntax.label_value(value))
            pairs[key] = value
        return pairs

    def ports(self) -> tuple[Port, ...]:
        """Return the ports that the container says it serves."""
        ports: list[Port] = []
        for item in self._items(PORTS):
            match = _PORT.fullmatch(item)
            protocol = _PROTOCOLS.get(((match and match["protocol"]) or "TCP").upper())
            if match is None or protocol is None:
                self.wrong(PORTS, _PORT_FORM)
                break
            port = Port(int(match["number"]), match["name"] or "", protocol)
            problems = syntax.port_number(port.number)
            problems += syntax.port_name(port.name) if port.name else []
            if port.name and port.name in {one.name for one in ports}:
                problems.append(f"Duplicate value: {port.name!r}")
            self.wrong(PORTS, *problems)
            ports.append(port)
        return tuple(ports)

    def unknown(self) -> None:
        """Refuse what looks like a label of ours and is none: it is a slip of the pen."""
        for name in sorted(set(self.said) - set(KNOWN)):
            known = ", ".join(PREFIX + one for one in KNOWN)
            self.problems.append(f"label {PREFIX}{name} is unknown; there are {known}")

    def _items(self, label: str) -> Iterator[str]:
        for item in self.said.get(label, "").split(","):
            if item.strip():
                yield item.strip()


def _pod(container: Container, reader: _Reader) -> PodLabels:
    said = reader.said
    if container.joined:
        reader.wrong(
            POD,
            f"the container shares the network of {container.joined[:12]}, and a pod has one"
            f" network: leave the label to that container, and say {PREFIX}{CONTAINER} here",
        )
    name = reader.name(POD, _pod_name(container, said[POD]), syntax.subdomain)
    namespace = reader.name(NAMESPACE, said.get(NAMESPACE, "default"), syntax.label)
    if said.get(PAUSE, "true") not in ("true", "false"):
        reader.wrong(PAUSE, 'must be "true" or "false"')
    # A one-off container (docker compose run) is somebody's shell, no replica: it gets no traffic.
    labels = dict[str, str]() if _one_off(container) else reader.pairs()
    return PodLabels(
        Key(namespace, name),
        labels,
        reader.ports(),
        _container_name(container, reader),
        reader.name(NODE, said[NODE], syntax.label) if NODE in said else "",
        said.get(PAUSE) == "true",
        _subdomain(name, reader) if SUBDOMAIN in said else "",
    )


def _subdomain(pod: str, reader: _Reader) -> str:
    if syntax.label(pod):
        reader.wrong(SUBDOMAIN, f"has no effect: the pod's name {pod} is no single DNS label")
    return reader.name(SUBDOMAIN, reader.said[SUBDOMAIN], syntax.label)


def _member(container: Container, reader: _Reader) -> MemberLabels:
    for label in (NAMESPACE, LABELS, SUBDOMAIN, NODE, POD_CIDR, PAUSE):
        if label in reader.said:
            reader.wrong(label, "belongs on the container whose network this one shares")
    return MemberLabels(container.joined, reader.ports(), _container_name(container, reader))


def _node(reader: _Reader) -> NodeLabels | None:
    said = reader.said
    # Kubernetes allows dots. Here it is the container's PODWIRE_NODE as well, and a host name.
    name = reader.name(NODE, said[NODE], syntax.label)
    text = said.get(POD_CIDR, "")
    if not text:
        reader.problems.append(
            f"label {PREFIX}{POD_CIDR}: Required value: the range of the node's pods"
            " (e.g. 10.244.1.0/24)"
        )
        return None
    try:
        pod_cidr = IPv4Network(text)
    except (AddressValueError, NetmaskValueError, ValueError):
        reader.wrong(POD_CIDR, "must be a valid IPv4 CIDR value, (e.g. 10.244.1.0/24)")
        return None
    return NodeLabels(name, pod_cidr, reader.pairs())


def _pod_name(container: Container, said: str) -> str:
    if _one_off(container):
        return f"{said.removesuffix('*').rstrip('-')}-run-{container.id[:5]}"
    number = container.labels.get(_NUMBER) or container.id[:5]
    return said.removesuffix("*") + number if said.endswith("*") else said


def _container_name(container: Container, reader: _Reader) -> str:
    if CONTAINER in reader.said:
        return reader.name(CONTAINER, reader.said[CONTAINER], syntax.label)
    named = container.labels.get(_SERVICE) or container.name
    # What Docker allows in names and Kubernetes does not.
    return re.sub("[^a-z0-9]+", "-", named.lower())[:63].strip("-") or "main"


def _one_off(container: Container) -> bool:
    return container.labels.get(_ONE_OFF, "").lower() == "true"


def service_of(container: Container) -> str:
    """Return the Compose service that the container is of, or the empty text."""
    return container.labels.get(_SERVICE, "")


def in_words(names: Iterable[str]) -> str:
    """Return names for a sentence."""
    return ", ".join(sorted(names)) or "none"
