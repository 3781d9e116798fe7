"""Typed views of Service, Endpoints (v1) and EndpointSlice (discovery.k8s.io/v1)."""

import msgspec

from podwire.kube.meta import IntOrString, Object, ObjectReference, Resource, View


class ServicePort(View, frozen=True):
    """A port of a Service."""

    port: int
    name: str = ""
    protocol: str = "TCP"
    target_port: IntOrString = 0
    node_port: int = 0
    app_protocol: str | None = None


class ClientIPConfig(View, frozen=True):
    """How long a client sticks to an endpoint, seconds."""

    timeout_seconds: int = 10800


class SessionAffinityConfig(View, frozen=True):
    """Settings of sessionAffinity."""

    client_ip: ClientIPConfig | None = msgspec.field(default=None, name="clientIP")


class ServiceSpec(View, frozen=True):
    """What a Service is."""

    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] = msgspec.field(default=(), name="clusterIPs")
    ports: tuple[ServicePort, ...] = ()
    selector: dict[str, str] = {}
    external_name: str = ""
    external_ips: tuple[str, ...] = msgspec.field(default=(), name="externalIPs")
    session_affinity: str = "None"
    session_affinity_config: SessionAffinityConfig | None = None
    internal_traffic_policy: str = "Cluster"
    external_traffic_policy: str = "Cluster"
    publish_not_ready_addresses: bool = False
    health_check_node_port: int = 0
    load_balancer_source_ranges: tuple[str, ...] = ()
    traffic_distribution: str = ""
    ip_families: tuple[str, ...] = ()
    ip_family_policy: str = ""


class LoadBalancerIngress(View, frozen=True):
    """An address that a load balancer gave."""

    ip: str = ""
    hostname: str = ""
    ip_mode: str | None = None


class LoadBalancerStatus(View, frozen=True):
    """Addresses that a load balancer gave."""

    ingress: tuple[LoadBalancerIngress, ...] = ()


class ServiceStatus(View, frozen=True):
    """Status of a Service."""

    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class Service(Object, frozen=True):
    """v1 Service."""

    RESOURCE = Resource(group="", version="v1", plural="services", kind="Service")

    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


class EndpointAddress(View, frozen=True):
    """An address in the old Endpoints API."""

    ip: str
    hostname: str = ""
    node_name: str | None = None
    target_ref: ObjectReference | None = None


class EndpointsPort(View, frozen=True):
    """A port in the old Endpoints API."""

    port: int
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str | None = None


class EndpointSubset(View, frozen=True):
    """Addresses that share ports."""

    addresses: tuple[EndpointAddress, ...] = ()
    not_ready_addresses: tuple[EndpointAddress, ...] = ()
    ports: tuple[EndpointsPort, ...] = ()


class Endpoints(Object, frozen=True):
    """v1 Endpoints."""

    RESOURCE = Resource(group="", version="v1", plural="endpoints", kind="Endpoints")

    subsets: tuple[EndpointSubset, ...] = ()


class EndpointConditions(View, frozen=True):
    """Absent means: ready and serving true, terminating false."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ForZone(View, frozen=True):
    """A zone that should use an endpoint."""

    name: str


class EndpointHints(View, frozen=True):
    """Who should use an endpoint."""

    for_zones: tuple[ForZone, ...] = ()
    for_nodes: tuple[ForZone, ...] = ()


class Endpoint(View, frozen=True):
    """One endpoint of an EndpointSlice."""

    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    hostname: str | None = None
    target_ref: ObjectReference | None = None
    node_name: str | None = None
    zone: str | None = None
    hints: EndpointHints | None = None


class EndpointPort(View, frozen=True):
    """A port of an EndpointSlice."""

    name: str | None = None
    port: int | None = None
    protocol: str = "TCP"
    app_protocol: str | None = None


class EndpointSlice(Object, frozen=True):
    """discovery.k8s.io/v1 EndpointSlice. `endpoints` and `ports` may be null on the wire."""

    RESOURCE = Resource(
        group="discovery.k8s.io", version="v1", plural="endpointslices", kind="EndpointSlice"
    )

    # The API demands it in writing; a default of this form is not left out by omit_defaults.
    address_type: str = msgspec.field(default_factory=lambda: "IPv4")
    endpoints: tuple[Endpoint, ...] | None = ()
    ports: tuple[EndpointPort, ...] | None = ()
