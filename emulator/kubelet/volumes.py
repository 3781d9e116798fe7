"""Directories of a pod's volumes on its node, and where they appear in containers."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from podwire.emulator.kubelet.environment import expand_strictly
from podwire.emulator.kubelet.volume_files import VolumeError
from podwire.emulator.runtimes.mounts import Bind
from podwire.kube.objects import Container, Pod


def binds_of(
    container: Container,
    pod: Pod,
    volumes: Path,
    variables: Mapping[str, str],
    *,
    pins_paths: bool = True,
) -> list[Bind]:
    """Return what is to be mounted in *container*; *volumes* holds a directory per volume.

    *variables* are those of the container, for subPathExpr.
    Where the runtime does not pin paths, a container of the pod could lead another's subPath out of
    the volume, with a link that it makes after we looked: there an emptyDir has none. Raises
    VolumeError.
    """
    host_paths = {v.name: v.host_path.path for v in pod.spec.volumes if v.host_path is not None}
    empty = {v.name for v in pod.spec.volumes if v.empty_dir is not None}
    binds: list[Bind] = []
    for mount in container.volume_mounts:
        base = Path(host_paths[mount.name]) if mount.name in host_paths else volumes / mount.name
        sub_path = mount.sub_path or _expanded(mount.sub_path_expr, variables)
        source = base / sub_path if sub_path else base
        if sub_path and mount.name in empty and not pins_paths:
            raise VolumeError(
                f"subPath {sub_path!r} of the emptyDir volume {mount.name}: not supported "
                "where pods are containers of Docker Engine; mount the whole volume, or give the "
                "directory an emptyDir of its own"
            )
        # A link that a container made in the volume must not lead out of it (CVE-2017-1002101).
        if not source.resolve().is_relative_to(base.resolve()):
            raise VolumeError(f"subPath {sub_path!r} of {mount.name} leads out of the volume")
        if not source.exists():
            if mount.name in host_paths:
                raise VolumeError(f"hostPath {source} does not exist on this machine")
            source.mkdir(parents=True)
        path = "/" + mount.mount_path.strip("/")
        # What is the host's stays the host's, and what the API server holds stays what it is.
        read_only = mount.read_only or mount.name not in empty
        binds.append(Bind(path, str(source), source.is_dir(), read_only))
    return binds


def remove(directory: Path) -> None:
    """Remove a pod's directory; gone already is success."""
    shutil.rmtree(directory, ignore_errors=True)


def _expanded(path: str, variables: Mapping[str, str]) -> str:
    """Return a subPathExpr with the container's variables in it; raises VolumeError."""
    try:
        return expand_strictly(path, variables)
    except KeyError as error:
        raise VolumeError(f'missing value for "{error.args[0]}"') from error
