"""Typed views of Namespace, Node, ConfigMap, Secret, ServiceAccount, Event (v1) and Lease."""

import msgspec

from podwire.kube.meta import Condition, Object, ObjectReference, Resource, View


class NamespaceSpec(View, frozen=True):
    """Finalizers hold a namespace until its contents are gone."""

    finalizers: tuple[str, ...] = ()


class NamespaceStatus(View, frozen=True):
    """Active or Terminating, and what holds the end up."""

    phase: str = ""
    conditions: tuple[Condition, ...] = ()


class Namespace(Object, frozen=True):
    """v1 Namespace."""

    RESOURCE = Resource(
        group="", version="v1", plural="namespaces", kind="Namespace", namespaced=False
    )

    spec: NamespaceSpec = NamespaceSpec()
    status: NamespaceStatus = NamespaceStatus()


class Taint(View, frozen=True):
    """What keeps pods away from a node."""

    key: str
    effect: str
    value: str = ""


class NodeSpec(View, frozen=True):
    """The pod range of a node, and whether pods may come."""

    pod_cidr: str = msgspec.field(default="", name="podCIDR")
    pod_cidrs: tuple[str, ...] = msgspec.field(default=(), name="podCIDRs")
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()


class NodeAddress(View, frozen=True):
    """*type* is InternalIP, ExternalIP or Hostname."""

    type: str
    address: str


class NodeStatus(View, frozen=True):
    """What a kubelet says of its node."""

    conditions: tuple[Condition, ...] = ()
    addresses: tuple[NodeAddress, ...] = ()
    capacity: dict[str, str] = {}
    allocatable: dict[str, str] = {}
    node_info: dict[str, str] = {}


class Node(Object, frozen=True):
    """v1 Node."""

    RESOURCE = Resource(group="", version="v1", plural="nodes", kind="Node", namespaced=False)

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class ConfigMap(Object, frozen=True):
    """v1 ConfigMap."""

    RESOURCE = Resource(group="", version="v1", plural="configmaps", kind="ConfigMap")

    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}
    immutable: bool | None = None


class Secret(Object, frozen=True):
    """v1 Secret; values are base64."""

    RESOURCE = Resource(group="", version="v1", plural="secrets", kind="Secret")

    type: str = ""
    data: dict[str, str] = {}


class ServiceAccount(Object, frozen=True):
    """v1 ServiceAccount."""

    RESOURCE = Resource(group="", version="v1", plural="serviceaccounts", kind="ServiceAccount")

    automount_service_account_token: bool | None = None


class BoundToken(View, frozen=True):
    """A token of a ServiceAccount (the status of a TokenRequest), and when it ends: RFC 3339."""

    token: str
    expiration_timestamp: str


class EventSource(View, frozen=True):
    """Who saw it."""

    component: str = ""
    host: str = ""


class Event(Object, frozen=True):
    """v1 Event."""

    RESOURCE = Resource(group="", version="v1", plural="events", kind="Event")

    involved_object: ObjectReference = ObjectReference()
    reason: str = ""
    message: str = ""
    source: EventSource = EventSource()
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    count: int = 0
    type: str = ""
    reporting_component: str = ""
    reporting_instance: str = ""


class LeaseSpec(View, frozen=True):
    """Who holds it, and since when. *renew_time* is a MicroTime."""

    holder_identity: str = ""
    lease_duration_seconds: int = 0
    renew_time: str | None = None


class Lease(Object, frozen=True):
    """coordination.k8s.io/v1 Lease: a node's heartbeat."""

    RESOURCE = Resource(group="coordination.k8s.io", version="v1", plural="leases", kind="Lease")

    spec: LeaseSpec = LeaseSpec()
