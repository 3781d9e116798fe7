"""Pure: the cluster's objects at one moment, and what they say of an address."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Literal, TypeVar

from podwire.emulator.trace.modes import NodeProxy
from podwire.emulator.trace.wiring import Wiring
from podwire.kube import codec
from podwire.kube.cluster_objects import Namespace
from podwire.kube.objects import EndpointSlice, Node, Object, Pod, Service

O = TypeVar("O", bound=Object)  # noqa: E741 - any kind of object

EXTERNAL = "external"
ROUTER = "router"
SERVICE_LABEL = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class Location:
    """Where an address lives, and the name under which captures show that place.

    A pod of the host's network is the node. *node* is empty for what is on no node.
    """

    kind: Literal["pod", "node", "outside"]
    where: str
    address: IPv4Address
    node: str = ""
    pod: str = ""


@dataclass(frozen=True)
class Snapshot:
    """Pods, Services, EndpointSlices, Nodes and Namespaces, all of one moment."""

    pods: tuple[Pod, ...] = ()
    services: tuple[Service, ...] = ()
    slices: tuple[EndpointSlice, ...] = ()
    nodes: tuple[Node, ...] = ()
    spaces: tuple[Namespace, ...] = ()

    @staticmethod
    def of(objects: Iterable[Object | Mapping[str, Any]]) -> "Snapshot":
        """Return the snapshot of typed objects or of JSON objects; other kinds are left out."""
        types: dict[str, type[Object]] = {
            "Pod": Pod, "Service": Service, "EndpointSlice": EndpointSlice, "Node": Node,
            "Namespace": Namespace,
        }  # fmt: skip
        kinds: dict[str, list[Object]] = {kind: [] for kind in types}
        for obj in objects:
            if isinstance(obj, Object):
                kinds.get(obj.RESOURCE.kind, []).append(obj)
            elif obj.get("kind") in types:
                kind = obj["kind"]
                kinds[kind].append(codec.convert(types[kind], dict(obj)))
        return Snapshot(
            pods=_only(Pod, kinds["Pod"]),
            services=_only(Service, kinds["Service"]),
            slices=_only(EndpointSlice, kinds["EndpointSlice"]),
            nodes=_only(Node, kinds["Node"]),
            spaces=_only(Namespace, kinds["Namespace"]),
        )

    @cached_property
    def namespaces(self) -> frozenset[str]:
        """Return the names of the namespaces; those of objects count, listed or not."""
        inside = (obj.metadata.namespace for obj in (*self.services, *self.pods))
        return frozenset({*inside, *(space.metadata.name for space in self.spaces)})

    def service(self, name: str) -> Service | None:
        """Return the Service "namespace/name"."""
        return self._services.get(name)

    def service_at(self, address: IPv4Address) -> Service | None:
        """Return the Service with that ClusterIP."""
        return self._by_cluster_ip.get(str(address))

    def pod(self, name: str) -> Pod | None:
        """Return the pod "namespace/name"."""
        return self._pods.get(name)

    def pod_at(self, address: IPv4Address) -> Pod | None:
        """Return the pod of its own network that has that address and has not ended."""
        return self._by_pod_ip.get(str(address))

    def node(self, name: str) -> Node | None:
        """Return the node."""
        return self._nodes.get(name)

    def slices_of(self, service: Service) -> tuple[EndpointSlice, ...]:
        """Return the IPv4 EndpointSlices of a Service."""
        return tuple(
            s
            for s in self.slices
            if s.metadata.namespace == service.metadata.namespace
            and s.metadata.labels.get(SERVICE_LABEL) == service.metadata.name
            and s.address_type == "IPv4"
        )

    def selected(self, service: Service) -> tuple[Pod, ...]:
        """Return the pods that a Service's selector matches; an empty one matches none."""
        wanted = service.spec.selector.items()
        if not wanted:
            return ()
        return tuple(
            pod
            for pod in self.pods
            if pod.metadata.namespace == service.metadata.namespace
            and wanted <= pod.metadata.labels.items()
        )

    def node_address(self, name: str) -> IPv4Address | None:
        """Return a node's InternalIP."""
        node = self.node(name)
        for entry in node.status.addresses if node else ():
            if entry.type == "InternalIP":
                return IPv4Address(entry.address)
        return None

    def node_pods(self, name: str) -> IPv4Network | None:
        """Return a node's range of pod addresses."""
        node = self.node(name)
        return IPv4Network(node.spec.pod_cidr) if node and node.spec.pod_cidr else None

    def proxy_of(self, name: str) -> NodeProxy:
        """Return the mode of a node's proxy, and how its pods are wired, as the Node says."""
        node = self.node(name)
        return NodeProxy.of(node.metadata.annotations if node else {})

    def own_addresses(self, name: str, wiring: Wiring) -> frozenset[IPv4Address]:
        """Return the addresses by which a node itself talks."""
        address = self.node_address(name)
        if address is None:
            return frozenset()
        pods = self.node_pods(name)
        return frozenset(
            wiring.own_address(which, address, pods) for which in ("bridge", "tunnel", "node")
        )

    def location(self, where: str, wiring: Wiring) -> Location | None:
        """Return the place named *where*: "namespace/pod", a node or "external"."""
        if where == EXTERNAL:
            there = wiring.external
            return Location("outside", EXTERNAL, there) if there is not None else None
        pod = self.pod(where)
        if pod is not None:
            return self._of_pod(pod)
        address = self.node_address(where)
        return Location("node", where, address, node=where) if address else None

    def location_of(self, address: IPv4Address, wiring: Wiring) -> Location:
        """Return where *address* lives; outside, under its own text, if no object has it."""
        pod = self.pod_at(address)
        located = self._of_pod(pod) if pod else None
        if located is not None:
            return located
        for node in self.nodes:
            name = node.metadata.name
            if address in self.own_addresses(name, wiring):
                return Location("node", name, address, node=name)
        for node in self.nodes:
            pods = self.node_pods(node.metadata.name)
            if pods is not None and address in pods:
                # No pod has it, or has it yet; packets to it go to that node all the same.
                return Location("pod", str(address), address, node=node.metadata.name)
        name = EXTERNAL if address == wiring.external else str(address)
        return Location("outside", name, address)

    def name_of(self, address: IPv4Address) -> str:
        """Return the pod, Service or node that has *address*, or the address."""
        service = self.service_at(address)
        if service is not None:
            return f"Service {key(service)}"
        pod = self.pod_at(address)
        if pod is not None:
            return f"pod {key(pod)}"
        for node in self.nodes:
            name = node.metadata.name
            pods = self.node_pods(name)
            # Its tunnel and its bridge have the first two addresses of its range.
            own = (pods.network_address, pods.network_address + 1) if pods is not None else ()
            if address in (self.node_address(name), *own):
                return f"node {name}"
        return str(address)

    def _of_pod(self, pod: Pod) -> Location | None:
        if not pod.status.pod_ip:
            return None
        address = IPv4Address(pod.status.pod_ip)
        node = pod.spec.node_name
        if pod.spec.host_network:
            return Location("node", node, address, node=node, pod=key(pod))
        return Location("pod", key(pod), address, node=node, pod=key(pod))

    @cached_property
    def _services(self) -> dict[str, Service]:
        return {key(service): service for service in self.services}

    @cached_property
    def _by_cluster_ip(self) -> dict[str, Service]:
        return {
            s.spec.cluster_ip: s for s in self.services if s.spec.cluster_ip not in {"", "None"}
        }

    @cached_property
    def _pods(self) -> dict[str, Pod]:
        return {key(pod): pod for pod in self.pods}

    @cached_property
    def _by_pod_ip(self) -> dict[str, Pod]:
        # An address is used again when its pod has ended.
        return {
            pod.status.pod_ip: pod
            for pod in self.pods
            if not pod.spec.host_network and pod.status.phase not in {"Succeeded", "Failed"}
        }

    @cached_property
    def _nodes(self) -> dict[str, Node]:
        return {node.metadata.name: node for node in self.nodes}


def key(obj: Object) -> str:
    """Return "namespace/name"."""
    return str(codec.key_of(obj))


def _only(kind: type[O], objects: Iterable[Object]) -> tuple[O, ...]:
    return tuple(obj for obj in objects if isinstance(obj, kind))
