"""One-line objects for tests: pods, nodes, services, workloads, uids follow from names."""

from collections.abc import Mapping, Sequence
from typing import Any

from podwire.kube.clock import rfc3339
from podwire.kube.codec import owned_by
from podwire.kube.objects import (
    Condition,
    Container,
    ContainerPort,
    ContainerStatus,
    Deployment,
    DeploymentSpec,
    LabelSelectorSpec,
    Node,
    NodeSpec,
    Object,
    ObjectMeta,
    Pod,
    PodIP,
    PodSpec,
    PodStatus,
    ReplicaSet,
    ReplicaSetSpec,
    ReplicaSetStatus,
    Service,
    ServicePort,
    ServiceSpec,
    Taint,
)

MOMENT = 1_700_000_000.0
"""The time at which things in tests were made, unless they say otherwise: seconds since 1970."""


def meta(
    name: str,
    *,
    namespace: str = "default",
    uid: str = "",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    owner: Object | None = None,
    created: float = MOMENT,
    deleted: bool = False,
    finalizers: Sequence[str] = (),
    generation: int = 1,
) -> ObjectMeta:
    """Return metadata as the API server would have filled it in."""
    return ObjectMeta(
        name=name,
        namespace=namespace,
        uid=uid or f"uid-of-{name}",
        resource_version="1",
        generation=generation,
        labels=dict(labels or {}),
        annotations=dict(annotations or {}),
        owner_references=(owned_by(owner),) if owner else (),
        finalizers=tuple(finalizers),
        creation_timestamp=rfc3339(created),
        deletion_timestamp=rfc3339(MOMENT) if deleted else None,
    )


def pod(
    name: str,
    *,
    node: str = "",
    ip: str = "",
    phase: str = "Running",
    ready: bool = False,
    since: float = MOMENT,
    restarts: int = 0,
    ports: Mapping[str, int] | None = None,
    spec: PodSpec | None = None,
    **metadata: Any,
) -> Pod:
    """Return a pod; *ports* are name -> number of its only container, *since* when it got ready."""
    named = tuple(ContainerPort(name=n, container_port=p) for n, p in (ports or {}).items())
    condition = Condition(
        type="Ready", status="True" if ready else "False", last_transition_time=rfc3339(since)
    )
    return Pod(
        metadata=meta(name, **metadata),
        spec=spec or PodSpec(node_name=node, containers=(Container(name="main", ports=named),)),
        status=PodStatus(
            phase=phase,
            pod_ip=ip,
            pod_ips=(PodIP(ip=ip),) if ip else (),
            conditions=(condition,),
            container_statuses=(ContainerStatus(name="main", ready=ready, restart_count=restarts),),
        ),
    )


def node(
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    taints: Sequence[Taint] = (),
    unschedulable: bool = False,
) -> Node:
    """Return a node, with its hostname label."""
    return Node(
        metadata=meta(
            name, namespace="", labels={"kubernetes.io/hostname": name, **(labels or {})}
        ),
        spec=NodeSpec(taints=tuple(taints), unschedulable=unschedulable),
    )


def service(
    name: str,
    *,
    selector: Mapping[str, str] | None = None,
    ports: Sequence[ServicePort] = (ServicePort(port=80, target_port=8080),),
    cluster_ip: str = "10.96.0.50",
    spec: ServiceSpec | None = None,
    **metadata: Any,
) -> Service:
    """Return a Service; without *selector* it selects `app: NAME`."""
    return Service(
        metadata=meta(name, **metadata),
        spec=spec
        or ServiceSpec(
            cluster_ip=cluster_ip,
            ports=tuple(ports),
            selector={"app": name} if selector is None else dict(selector),
            ip_families=("IPv4",),
        ),
    )


def template(labels: Mapping[str, str], image: str = "nginx") -> dict[str, Any]:
    """Return a pod template of one container."""
    return {
        "metadata": {"labels": dict(labels)},
        "spec": {"containers": [{"name": "main", "image": image}]},
    }


def deployment(
    name: str,
    *,
    replicas: int = 3,
    image: str = "nginx",
    spec: Mapping[str, Any] | None = None,
    **metadata: Any,
) -> Deployment:
    """Return a Deployment of pods `app: NAME`; *spec* are more fields of its specification."""
    labels = {"app": name}
    return Deployment(
        metadata=meta(name, **metadata),
        spec=DeploymentSpec(
            replicas=replicas,
            selector=LabelSelectorSpec(match_labels=labels),
            template=template(labels, image),
            **(spec or {}),
        ),
    )


def replica_set(
    name: str,
    *,
    replicas: int = 3,
    available: int | None = None,
    image: str = "nginx",
    app: str = "web",
    min_ready_seconds: int = 0,
    **metadata: Any,
) -> ReplicaSet:
    """Return a ReplicaSet of pods `app: APP`, of which *available* (all of them) are."""
    labels = {"app": app}
    up = replicas if available is None else available
    return ReplicaSet(
        metadata=meta(name, labels=labels, **metadata),
        spec=ReplicaSetSpec(
            replicas=replicas,
            min_ready_seconds=min_ready_seconds,
            selector=LabelSelectorSpec(match_labels=labels),
            template=template(labels, image),
        ),
        status=ReplicaSetStatus(
            replicas=replicas, ready_replicas=up, available_replicas=up, observed_generation=1
        ),
    )
