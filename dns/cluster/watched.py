"""Typed views of what is followed: only what DNS reads, because all of it is kept in memory.

A cluster may have 100,000 endpoints and as many pods, whose full views take gigabytes. The garbage
collector need not walk through them either: nothing in them can be part of a cycle.
"""

from __future__ import annotations

from typing import Final

import msgspec

from podwire.kube.meta import Object, ObjectMeta, OwnerReference, Resource, View
from podwire.kube.objects import EndpointSlice, Pod, Service

IMPORTED_SERVICE_LABEL: Final = "multicluster.kubernetes.io/service-name"
"""On an EndpointSlice of a cluster set: the ServiceImport that it belongs to."""

SOURCE_CLUSTER_LABEL: Final = "multicluster.kubernetes.io/source-cluster"
"""On an EndpointSlice of a cluster set: the id of the cluster that it comes from."""

_UNREAD: Final = "-"


class WatchedMeta(ObjectMeta, frozen=True):
    """Metadata without what is long and unread: those fields go by a name that no object has."""

    uid: str = msgspec.field(default="", name=f"{_UNREAD}uid")
    annotations: dict[str, str] = msgspec.field(default={}, name=f"{_UNREAD}annotations")
    owner_references: tuple[OwnerReference, ...] = msgspec.field(
        default=(), name=f"{_UNREAD}ownerReferences"
    )


class WatchedSliceMeta(WatchedMeta, frozen=True):
    """Metadata of a slice: its only annotation, as a rule, says when it was changed."""

    annotations: dict[str, str] = msgspec.field(default={}, name="annotations")


class WatchedPort(View, frozen=True, gc=False):
    """A port of a Service, a ServiceImport or an EndpointSlice; the last may lack its number."""

    port: int | None = None
    name: str | None = None
    protocol: str = "TCP"


class WatchedServiceSpec(View, frozen=True, gc=False):
    """What a Service is."""

    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] = msgspec.field(default=(), name="clusterIPs")
    ports: tuple[WatchedPort, ...] = ()
    external_name: str = ""
    external_ips: tuple[str, ...] = msgspec.field(default=(), name="externalIPs")


class WatchedIngress(View, frozen=True, gc=False):
    """An address or host name that a load balancer gave."""

    ip: str = ""
    hostname: str = ""


class WatchedLoadBalancer(View, frozen=True, gc=False):
    """What a load balancer gave."""

    ingress: tuple[WatchedIngress, ...] = ()


class WatchedServiceStatus(View, frozen=True, gc=False):
    """Status of a Service."""

    load_balancer: WatchedLoadBalancer = WatchedLoadBalancer()


class WatchedService(Object, frozen=True):
    """v1 Service."""

    RESOURCE = Service.RESOURCE

    metadata: WatchedMeta = WatchedMeta()
    spec: WatchedServiceSpec = WatchedServiceSpec()
    status: WatchedServiceStatus = WatchedServiceStatus()


class WatchedConditions(View, frozen=True, gc=False):
    """Whether an endpoint is ready; absent means that nobody knows."""

    ready: bool | None = None


class WatchedTarget(View, frozen=True, gc=False):
    """Which pod an endpoint is."""

    name: str = ""


class WatchedEndpoint(View, frozen=True, gc=False):
    """One endpoint of an EndpointSlice."""

    addresses: tuple[str, ...] = ()
    conditions: WatchedConditions = WatchedConditions()
    hostname: str | None = None
    target_ref: WatchedTarget | None = None
    zone: str | None = None


class WatchedSlice(Object, frozen=True):
    """discovery.k8s.io/v1 EndpointSlice. `endpoints` and `ports` may be null on the wire."""

    RESOURCE = EndpointSlice.RESOURCE

    metadata: WatchedSliceMeta = WatchedSliceMeta()
    endpoints: tuple[WatchedEndpoint, ...] | None = ()
    ports: tuple[WatchedPort, ...] | None = ()


class WatchedPodStatus(View, frozen=True, gc=False):
    """Status of a Pod."""

    phase: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")


class WatchedPod(Object, frozen=True):
    """v1 Pod."""

    RESOURCE = Pod.RESOURCE

    metadata: WatchedMeta = WatchedMeta()
    status: WatchedPodStatus = WatchedPodStatus()


class ServiceImportSpec(View, frozen=True, gc=False):
    """What a ServiceImport is: *type* is ``ClusterSetIP`` or ``Headless``."""

    type: str = "ClusterSetIP"
    ips: tuple[str, ...] = ()
    ports: tuple[WatchedPort, ...] = ()


class ServiceImport(Object, frozen=True):
    """multicluster.x-k8s.io/v1alpha1 ServiceImport: a Service of a cluster set (KEP-1645)."""

    RESOURCE = Resource(
        group="multicluster.x-k8s.io",
        version="v1alpha1",
        plural="serviceimports",
        kind="ServiceImport",
    )

    metadata: WatchedMeta = WatchedMeta()
    spec: ServiceImportSpec = ServiceImportSpec()
