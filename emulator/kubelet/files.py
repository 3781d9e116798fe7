"""A pod's files on its node: volumes, and resolv.conf, hosts and hostname."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podwire.emulator.kubelet.access import PLACE, NotYetError, PodTokens
from podwire.emulator.kubelet.context import NodeContext
from podwire.emulator.kubelet.resolver import Complaint, Resolver, resolver_of
from podwire.emulator.kubelet.swapped_files import write
from podwire.emulator.kubelet.volume_files import Sources, VolumeError, files_of
from podwire.emulator.runtimes.mounts import Bind
from podwire.kube.objects import Pod, Volume


@dataclass(frozen=True, slots=True)
class PodFiles:
    """Where a pod's files are: what every container gets, volumes, and files of images."""

    common: Sequence[Bind]
    volumes: Path
    images: Path
    messages: Path
    # What containers get that do not mount something of their own in its place.
    access: Bind | None = None


def make_files(node: NodeContext, pod: Pod, tokens: PodTokens, address: str) -> PodFiles:
    """Write the files of *pod*, which has *address*; raises VolumeError or OSError."""
    write_volumes(node, pod, tokens)
    directory = node.directory_of(pod.metadata.uid)
    volumes = directory / "volumes"
    access = tokens.access()
    return PodFiles(
        _write_etc(node, pod, address),
        volumes,
        directory / "images",
        directory / "messages",
        None
        if access is None
        else Bind(PLACE, str(volumes / access.name), is_directory=True, read_only=True),
    )


def write_volumes(node: NodeContext, pod: Pod, tokens: PodTokens) -> None:
    """Write what the API server has for the volumes of *pod*.

    All that can be are written; then the first failure is raised: VolumeError or OSError.
    """
    namespace = pod.metadata.namespace
    sources = Sources(
        lambda name: node.config_map(namespace, name),
        lambda name: node.secret(namespace, name),
        tokens.held,
        node.allocatable,
    )
    failures: list[VolumeError | OSError] = []
    for volume in tokens.volumes():
        if volume.host_path is not None:
            continue
        try:
            _write_volume(node, pod, volume, sources)
        except (VolumeError, OSError) as error:
            failures.append(error)
    if failures:
        raise failures[0]


def _write_volume(node: NodeContext, pod: Pod, volume: Volume, sources: Sources) -> None:
    try:
        files = files_of(volume, pod, sources)
    except VolumeError as error:
        kind = VolumeError if volume in pod.spec.volumes else NotYetError
        raise kind(f'for volume "{volume.name}" : {error}') from error
    place = node.directory_of(pod.metadata.uid) / "volumes" / volume.name
    if files is not None:
        write(place, files, node.clock.now())
    else:
        place.mkdir(parents=True, exist_ok=True)
        # As the kubelet's emptyDir: images run as all sorts of users.
        place.chmod(0o777)


def _write_etc(node: NodeContext, pod: Pod, address: str) -> list[Bind]:
    contents = {
        "resolv.conf": _resolver(node, pod).text(),
        "hostname": node.hostname(pod) + "\n",
        "hosts": node.hosts_file(pod, address),
    }
    etc = node.directory_of(pod.metadata.uid) / "etc"
    etc.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        (etc / name).write_text(text)
    return [Bind(f"/etc/{name}", str(etc / name), is_directory=False) for name in sorted(contents)]


def _resolver(node: NodeContext, pod: Pod) -> Resolver:
    resolver, complaints = resolver_of(
        pod.spec,
        pod.metadata.namespace,
        node=node.resolver,
        cluster_dns=(node.cluster_dns,) if node.cluster_dns else (),
        domain=node.domain,
    )
    for complaint in complaints:
        _complain(node, pod, complaint)
    return resolver


def _complain(node: NodeContext, pod: Pod, complaint: Complaint) -> None:
    message = complaint.message
    if complaint.reason == "MissingClusterDNS":
        node.node_event("Warning", complaint.reason, message)
        meta = pod.metadata
        message = f'pod: "{meta.name}_{meta.namespace}({meta.uid})". {message}'
    node.event(pod, "Warning", complaint.reason, message)
