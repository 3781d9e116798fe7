"""A pod's files on its node: volumes, and resolv.conf, hosts and hostname."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podwire.emulator.kubelet.context import NodeContext
from podwire.emulator.kubelet.resolver import hosts, resolver_of
from podwire.emulator.kubelet.volumes import files_of, write
from podwire.emulator.runtimes.mounts import Bind
from podwire.kube.objects import Pod


@dataclass(frozen=True, slots=True)
class PodFiles:
    """Where a pod's files are: what every container gets, volumes, and files of images."""

    common: Sequence[Bind]
    volumes: Path
    images: Path


def make_files(node: NodeContext, pod: Pod, address: str) -> PodFiles:
    """Write the files of *pod*, which has *address*; raises VolumeError or OSError."""
    write_volumes(node, pod)
    directory = node.directory_of(pod.metadata.uid)
    return PodFiles(_write_etc(node, pod, address), directory / "volumes", directory / "images")


def write_volumes(node: NodeContext, pod: Pod) -> None:
    """Write what the API server has for the volumes of *pod*; raises VolumeError or OSError."""
    namespace = pod.metadata.namespace
    for volume in pod.spec.volumes:
        if volume.host_path is not None:
            continue
        files = files_of(
            volume,
            pod,
            lambda name: node.config_map(namespace, name),
            lambda name: node.secret(namespace, name),
        )
        place = node.directory_of(pod.metadata.uid) / "volumes" / volume.name
        place.mkdir(parents=True, exist_ok=True)
        if files is not None:
            write(place, files)
        else:
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
