"""Pure: what a pod asks for and does not get here, for a Warning event: nothing goes silently."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from podwire.emulator.runtimes.capabilities import never
from podwire.kube.objects import Container, Pod

# Values that mean what happens anyway: containers run as root of the sandbox, on a read-only root.
_HONOURED: Mapping[str, tuple[Any, ...]] = {
    "runAsUser": (0,),
    "runAsGroup": (0,),
    "runAsNonRoot": (False,),
    "privileged": (False,),
    "allowPrivilegeEscalation": (True,),
    "readOnlyRootFilesystem": (True,),
    "procMount": ("Default",),
    "seccompProfile": ({"type": "Unconfined"},),
    "appArmorProfile": ({"type": "Unconfined"},),
}


def unsupported(pod: Pod, honoured: Collection[str] = ()) -> tuple[str, ...]:
    """Return a message for each sort of thing that *pod* asks for in vain.

    *honoured* are fields of a securityContext that the runtime does as they say.
    """
    fields = [
        f"spec.securityContext.{name}"
        for name in _ignored(pod.spec.security_context)
        if name not in honoured
    ]
    probes: list[str] = []
    for container, path in _containers(pod):
        fields += [
            f"{path}.securityContext.{name}"
            for name in _ignored(container.security_context)
            if name not in honoured
        ]
        probes += [f"{path}.{name}" for name in _grpc_probes(container)]
    messages: list[str] = []
    if fields:
        messages.append(
            f"not supported: {', '.join(fields)}"
            + ("" if honoured else "; containers run as the root user of the sandbox")
        )
    if probes:
        messages.append(
            f"gRPC health checks are not supported: {', '.join(probes)}; "
            "the probe succeeds if the port accepts a connection"
        )
    return tuple(messages)


def _containers(pod: Pod) -> Iterator[tuple[Container, str]]:
    for kind, containers in (
        ("initContainers", pod.spec.init_containers),
        ("containers", pod.spec.containers),
    ):
        for container in containers:
            yield container, f"spec.{kind}{{{container.name}}}"


def _ignored(context: Mapping[str, Any]) -> Iterator[str]:
    for name, value in context.items():
        if name == "capabilities":
            yield from (f"capabilities.add: {lost}" for lost in never(value.get("add") or ()))
        elif value not in (None, {}, []) and value not in _HONOURED.get(name, ()):
            yield name


def _grpc_probes(container: Container) -> Iterator[str]:
    for name, probe in (
        ("startupProbe", container.startup_probe),
        ("readinessProbe", container.readiness_probe),
        ("livenessProbe", container.liveness_probe),
    ):
        if probe is not None and probe.grpc is not None:
            yield name
