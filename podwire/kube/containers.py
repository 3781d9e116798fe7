"""Typed views of a Container and its parts (v1)."""

from typing import Any

import msgspec

from podwire.kube.meta import IntOrString, View


class ContainerPort(View, frozen=True):
    """A port that a container says it serves."""

    container_port: int
    name: str = ""
    protocol: str = "TCP"
    host_port: int = 0
    host_ip: str = msgspec.field(default="", name="hostIP")


class ObjectFieldSelector(View, frozen=True):
    """A field of the pod itself."""

    field_path: str
    api_version: str = ""


class KeySelector(View, frozen=True):
    """A key of a ConfigMap or Secret."""

    key: str
    name: str = ""
    optional: bool | None = None


class ResourceFieldSelector(View, frozen=True):
    """A resource of a container."""

    resource: str
    container_name: str = ""
    divisor: IntOrString = ""


class EnvVarSource(View, frozen=True):
    """Where an environment variable's value comes from; exactly one is set."""

    field_ref: ObjectFieldSelector | None = None
    config_map_key_ref: KeySelector | None = None
    secret_key_ref: KeySelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None


class EnvVar(View, frozen=True):
    """An environment variable of a container."""

    name: str
    value: str = ""
    value_from: EnvVarSource | None = None


class LocalReference(View, frozen=True):
    """The name of an object in the same namespace."""

    name: str = ""
    optional: bool | None = None


class EnvFromSource(View, frozen=True):
    """All keys of a ConfigMap or Secret as variables."""

    prefix: str = ""
    config_map_ref: LocalReference | None = None
    secret_ref: LocalReference | None = None


class VolumeMount(View, frozen=True):
    """Where a volume appears in a container."""

    name: str
    mount_path: str
    sub_path: str = ""
    sub_path_expr: str = ""
    read_only: bool = False


class HTTPHeader(View, frozen=True):
    """A header that a probe sends."""

    name: str
    value: str = ""


class HTTPGetAction(View, frozen=True):
    """GET it: 200 to 399 is success."""

    port: IntOrString
    path: str = "/"
    host: str = ""
    scheme: str = "HTTP"
    http_headers: tuple[HTTPHeader, ...] = ()


class TCPSocketAction(View, frozen=True):
    """Connect to it."""

    port: IntOrString
    host: str = ""


class ExecAction(View, frozen=True):
    """Run it in the container: status 0 is success."""

    command: tuple[str, ...] = ()


class Probe(View, frozen=True):
    """How to ask a container how it is. Seconds, as in Kubernetes."""

    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    exec: ExecAction | None = None
    grpc: dict[str, Any] | None = None
    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    # None: the pod's own.
    termination_grace_period_seconds: int | None = None


class LifecycleHandler(View, frozen=True):
    """What to do at a container's start or before its stop."""

    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    sleep: dict[str, int] | None = None


class Lifecycle(View, frozen=True):
    """Hooks of a container."""

    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None


class ResourceRequirements(View, frozen=True):
    """Quantities as text."""

    requests: dict[str, IntOrString] = {}
    limits: dict[str, IntOrString] = {}


class Container(View, frozen=True):
    """A container of a pod."""

    name: str
    image: str = ""
    image_pull_policy: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFromSource, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    volume_mounts: tuple[VolumeMount, ...] = ()
    resources: ResourceRequirements = ResourceRequirements()
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    restart_policy: str = ""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    termination_message_path: str = ""
    termination_message_policy: str = "File"
    # Not honoured: see podwire.emulator.kubelet.unsupported.
    security_context: dict[str, Any] = {}


class EphemeralContainer(Container, frozen=True):
    """A container that was added to a running pod, to look at it."""

    target_container_name: str = ""
