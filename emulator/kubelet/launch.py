"""What pods and containers are started with: ports; command, environment, mounts, image files."""

from collections.abc import Sequence
from pathlib import Path

from podwire.emulator.images.catalogue import PATH, Image
from podwire.emulator.kubelet.access import has_own
from podwire.emulator.kubelet.context import NodeContext
from podwire.emulator.kubelet.environment import MissingSourceError, command_line, environment
from podwire.emulator.kubelet.files import PodFiles
from podwire.emulator.kubelet.last_words import message_file
from podwire.emulator.kubelet.volumes import binds_of
from podwire.emulator.runtimes.capabilities import asked, kept
from podwire.emulator.runtimes.mounts import Bind
from podwire.emulator.runtimes.runtime import (
    ContainerRequest,
    PodPort,
    PodRequest,
    PodSandbox,
    RunningProcess,
)
from podwire.kube.objects import Container, Pod, PodSpec
from podwire.kube.podstatus import with_addresses


def sandbox_of(node: NodeContext, pod: Pod) -> PodRequest:
    """Return what the pod's containers share. Raises HostNameError."""
    meta, spec = pod.metadata, pod.spec
    return PodRequest(
        meta.namespace,
        meta.name,
        meta.uid,
        node.hostname(pod),
        spec.host_network,
        spec.share_process_namespace,
        ports_of(spec),
    )


def ports_of(spec: PodSpec) -> tuple[PodPort, ...]:
    """Return the ports of the node that lead to the pod; its own are none on the host's network."""
    if spec.host_network:
        return ()
    ports = (
        PodPort(port.protocol, port.host_port, port.container_port, port.host_ip)
        for container in spec.side_by_side
        for port in container.ports
        if port.host_port
    )
    return tuple(dict.fromkeys(ports))


def request_of(
    node: NodeContext,
    pod: Pod,
    container: Container,
    *,
    image: Image,
    sandbox: PodSandbox,
    files: PodFiles,
    beside: RunningProcess | None = None,
    joins: bool = False,
) -> ContainerRequest:
    """Return what to start, with the image's files written; or *joins* what runs already.

    *beside* is the process whose processes it sees.
    Raises MissingSourceError, VolumeError, or OSError when a file cannot be written.
    """
    # The downward API tells the addresses at once, not when the status has been written.
    pod = with_addresses(pod, str(sandbox.address), str(node.address))
    base = {"PATH": PATH, "HOSTNAME": node.hostname(pod)}
    base |= {"HOME": image.home} if image.home else {}
    base |= {"TERM": "xterm"} if container.tty else {}
    namespace = pod.metadata.namespace
    environ = environment(
        pod,
        container,
        base={**base, **image.environ, **node.service_variables(pod)},
        config_map=lambda name: node.config_map(namespace, name),
        secret=lambda name: node.secret_values(namespace, name),
        allocatable=node.allocatable,
    )
    argv = command_line(container, image.entrypoint, image.command, environ)
    if not argv:
        raise MissingSourceError("no command specified")
    named: dict[str, list[str]] = container.security_context.get("capabilities") or {}
    pinned = node.runtime.pins_paths
    own = [
        *files.common,
        *binds_of(container, pod, files.volumes, environ, pins_paths=pinned),
    ]
    if files.access is not None and not has_own(container):
        own.append(files.access)
    message = message_file(container, files.messages, fresh=not joins)
    if message is not None:
        own.append(message)
    directory = container.working_dir or image.directory
    return ContainerRequest(
        container.name,
        argv,
        environ,
        directory=directory,
        binds=(*own, *_image_files(image, files.images / container.name, own)),
        # Container runtimes make a working directory that is not there.
        directories=(*image.directories, *([directory] if directory != "/" else [])),
        tty=container.tty,
        capabilities=kept(named.get("add") or (), named.get("drop") or ()),
        asked=asked(named.get("add") or ()),
        image=image.name,
        user=user_of(pod, container, image),
        read_only=bool(container.security_context.get("readOnlyRootFilesystem")),
        beside=beside,
    )


def user_of(pod: Pod, container: Container, image: Image) -> str:
    """Return UID[:GID] as the container, else the pod, else the image has it; empty is root."""
    context = {**pod.spec.security_context, **container.security_context}
    user, group = context.get("runAsUser"), context.get("runAsGroup")
    if user is None and group is None:
        return image.user
    if user is None:
        user = image.user.partition(":")[0] or 0
    return f"{user}" if group is None else f"{user}:{group}"


def _image_files(image: Image, place: Path, own: Sequence[Bind]) -> list[Bind]:
    """Write the image's files, but not those that a volume hides, and return their binds."""
    hidden = {bind.path for bind in own}
    binds: list[Bind] = []
    for path, text in image.files.items():
        if path in hidden or any(path.startswith(f"{mount}/") for mount in hidden):
            continue
        source = place / path.lstrip("/")
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(text)
        binds.append(Bind(path, str(source), is_directory=False))
    return binds
