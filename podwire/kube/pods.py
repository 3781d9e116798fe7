"""Typed views of Pod (v1)."""

from typing import Any

import msgspec

from podwire.kube.affinity import Affinity, Toleration, TopologySpreadConstraint
from podwire.kube.containers import (
    Container,
    EphemeralContainer,
    ObjectFieldSelector,
    ResourceFieldSelector,
)
from podwire.kube.meta import Condition, Object, Resource, View


class KeyToPath(View, frozen=True):
    """A key of a ConfigMap or Secret as a file."""

    key: str
    path: str
    mode: int | None = None


class ConfigMapVolumeSource(View, frozen=True):
    """A ConfigMap as files."""

    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int = 0o644
    optional: bool | None = None


class SecretVolumeSource(View, frozen=True):
    """A Secret as files."""

    secret_name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int = 0o644
    optional: bool | None = None


class DownwardAPIFile(View, frozen=True):
    """A field of the pod as a file."""

    path: str
    field_ref: ObjectFieldSelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    mode: int | None = None


class DownwardAPIVolumeSource(View, frozen=True):
    """Fields of the pod as files."""

    items: tuple[DownwardAPIFile, ...] = ()
    default_mode: int = 0o644


class SecretProjection(View, frozen=True):
    """A Secret among the sources of a projected volume."""

    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    optional: bool | None = None


class ServiceAccountTokenProjection(View, frozen=True):
    """A token of the pod's ServiceAccount; without an audience it is for the API server."""

    path: str = ""
    audience: str = ""
    expiration_seconds: int = 3600


class VolumeProjection(View, frozen=True):
    """One source of a projected volume; a ConfigMap's has no mode of its own."""

    config_map: ConfigMapVolumeSource | None = None
    secret: SecretProjection | None = None
    downward_api: DownwardAPIVolumeSource | None = msgspec.field(default=None, name="downwardAPI")
    service_account_token: ServiceAccountTokenProjection | None = None


class ProjectedVolumeSource(View, frozen=True):
    """Several sources in one directory."""

    sources: tuple[VolumeProjection, ...] = ()
    default_mode: int = 0o644


class HostPathVolumeSource(View, frozen=True):
    """A path of the node."""

    path: str
    type: str = ""


class Volume(View, frozen=True):
    """A volume of a pod; sources that are not known here stay None and the kubelet says so."""

    name: str
    empty_dir: dict[str, Any] | None = None
    config_map: ConfigMapVolumeSource | None = None
    secret: SecretVolumeSource | None = None
    downward_api: DownwardAPIVolumeSource | None = msgspec.field(default=None, name="downwardAPI")
    host_path: HostPathVolumeSource | None = None
    projected: ProjectedVolumeSource | None = None


class PodDNSConfigOption(View, frozen=True):
    """One `options` word of resolv.conf."""

    name: str
    value: str | None = None


class PodDNSConfig(View, frozen=True):
    """What is merged into the pod's resolv.conf."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[PodDNSConfigOption, ...] = ()


class HostAlias(View, frozen=True):
    """A line of the pod's /etc/hosts."""

    ip: str
    hostnames: tuple[str, ...] = ()


class PodReadinessGate(View, frozen=True):
    """A condition that must be True besides readiness."""

    condition_type: str


class PodSpec(View, frozen=True):
    """What a pod is to run, and where."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    ephemeral_containers: tuple[EphemeralContainer, ...] = ()
    volumes: tuple[Volume, ...] = ()
    node_name: str = ""
    node_selector: dict[str, str] = {}
    affinity: Affinity | None = None
    topology_spread_constraints: tuple[TopologySpreadConstraint, ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    overhead: dict[str, str] = {}
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30
    active_deadline_seconds: int | None = None
    share_process_namespace: bool = False
    host_network: bool = False
    hostname: str = ""
    subdomain: str = ""
    set_hostname_as_fqdn: bool = msgspec.field(default=False, name="setHostnameAsFQDN")
    dns_policy: str = "ClusterFirst"
    dns_config: PodDNSConfig | None = None
    host_aliases: tuple[HostAlias, ...] = ()
    service_account_name: str = ""
    automount_service_account_token: bool | None = None
    scheduler_name: str = "default-scheduler"
    readiness_gates: tuple[PodReadinessGate, ...] = ()
    scheduling_gates: tuple[dict[str, str], ...] = ()
    priority: int | None = None
    priority_class_name: str = ""
    enable_service_links: bool = True
    # Not honoured: see podwire.emulator.kubelet.unsupported.
    security_context: dict[str, Any] = {}

    @property
    def side_by_side(self) -> tuple[Container, ...]:
        """Return the containers that run together: with side-cars, which restart (KEP-753)."""
        beside = (one for one in self.init_containers if one.restart_policy == "Always")
        return (*self.containers, *beside)


class ContainerStateWaiting(View, frozen=True):
    """Why a container does not run yet."""

    reason: str = ""
    message: str = ""


class ContainerStateRunning(View, frozen=True):
    """Since when it runs."""

    started_at: str | None = None


class ContainerStateTerminated(View, frozen=True):
    """How it ended."""

    exit_code: int = msgspec.field(default=0)
    signal: int = 0
    reason: str = ""
    message: str = ""
    started_at: str | None = None
    finished_at: str | None = None
    container_id: str = msgspec.field(default="", name="containerID")


class ContainerState(View, frozen=True):
    """Exactly one is set."""

    waiting: ContainerStateWaiting | None = None
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None


class ContainerStatus(View, frozen=True):
    """What the kubelet says of a container."""

    name: str
    ready: bool = False
    started: bool | None = None
    restart_count: int = 0
    image: str = ""
    image_id: str = msgspec.field(default="", name="imageID")
    container_id: str = msgspec.field(default="", name="containerID")
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()


class PodIP(View, frozen=True):
    """One address of a pod."""

    ip: str


class PodStatus(View, frozen=True):
    """What the kubelet says of a pod."""

    phase: str = ""
    conditions: tuple[Condition, ...] = ()
    message: str = ""
    reason: str = ""
    host_ip: str = msgspec.field(default="", name="hostIP")
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: tuple[PodIP, ...] = msgspec.field(default=(), name="podIPs")
    start_time: str | None = None
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    ephemeral_container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(Object, frozen=True):
    """v1 Pod."""

    RESOURCE = Resource(group="", version="v1", plural="pods", kind="Pod")

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()
