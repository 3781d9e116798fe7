"""A pod's files on its node: volumes, and resolv.conf, hosts and hostname."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podwire.emulator.kubelet.access import PLACE, NotYetError, PodTokens
from podwire.emulator.kubelet.context import NodeContext
from podwire.emulator.kubelet.resolver import hosts, resolver_of
from podwire.emulator.kubelet.volume_files import Sources, VolumeError, files_of
from podwire.emulator.kubelet.volumes import write
from podwire.emulator.runtimes.mounts import Bind
from podwire.kube.objects import Pod


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
    """Write what the API server has for the volumes of *pod*; raises VolumeError or OSError."""
    namespace = pod.metadata.namespace
    sources = Sources(
        lambda name: node.config_map(namespace, name),
        lambda name: node.secret(namespace, name),
        tokens.held,
        node.allocatable,
    )
    for volume in tokens.volumes():
        if volume.host_path is not None:
            continue
        try:
            files = files_of(volume, pod, sources)
        except VolumeError as error:
            kind = VolumeError if volume in pod.spec.volumes else NotYetError
            raise kind(f'for volume "{volume.name}" : {error}') from error
        place = node.directory_of(pod.metadata.uid) / "volumes" / volume.name
        if files is not None:
            write(place, files)
        else:
            place.mkdir(parents=True, exist_ok=True)
            # As the kubelet's emptyDir: images run as all sorts of users.
            place.chmod(0o777)


def _write_etc(node: NodeContext, pod: Pod, address: str) -> list[Bind]:
    namespace = pod.metadata.namespace
    resolver, omitted = resolver_of(
        pod.spec,
        namespace,
        node=node.resolver,
        cluster_dns=node.cluster_dns,
        domain=node.domain,
    )
    for text in omitted:
        node.event(pod, "Warning", "DNSConfigForming", text)
    hostname = node.hostname(pod)
    contents = {
        "resolv.conf": resolver.text(),
        "hostname": hostname + "\n",
        "hosts": hosts(
            pod.spec, address=address, hostname=hostname, domain=node.domain, namespace=namespace
        ),
    }
    etc = node.directory_of(pod.metadata.uid) / "etc"
    etc.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        (etc / name).write_text(text)
    return [Bind(f"/etc/{name}", str(etc / name), is_directory=False) for name in sorted(contents)]
