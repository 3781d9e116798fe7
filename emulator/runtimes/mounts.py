"""Pure: the root file system of a container, as an ordered list of mounts.

A container sees the host's files read-only, with /tmp, /var, /run and /dev of its own, and its
volumes. The new root is a tmpfs that holds a bind mount of each top-level directory of the host, so
a mount path like /data needs no directory on the host; deeper missing mount points are made in an
overlay.
"""

import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from podwire.emulator.sandbox import paths
from podwire.emulator.sandbox.messages import Mount

ROOT = str(paths.ROOT)
# Where overlays keep what is written: on a tmpfs inside the container's own mount namespace.
_SCRATCH = str(paths.BASE / "scratch")
_FRESH = ("tmp", "var", "run", "dev")
# File systems of the kernel, mounted anew: they show the container's own processes and interfaces.
_KERNEL = ("proc", "sys")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "net/tun")
_STREAMS = {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}
_VAR = ("cache", "lib", "lock", "log", "spool", "tmp", "www")


@dataclass(frozen=True, slots=True)
class HostRoot:
    """The host's top-level directory: directories, and symbolic links with their targets."""

    directories: tuple[str, ...]
    links: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or directory *source* shown at *path* of the container."""

    path: str
    source: str
    is_directory: bool
    read_only: bool = False


def root_file_system(
    host: HostRoot,
    binds: Sequence[Bind],
    directories: Iterable[str],
    kept: Mapping[str, str],
    exists: Callable[[str], bool],
    *,
    network_settings: bool = False,
) -> tuple[Mount, ...]:
    """Return the mounts that make a container's root.

    *kept* maps paths below the fresh directories to where the host's content is still reachable;
    *exists* tells whether the host has a path. With *network_settings* /proc/sys/net is writable,
    to those whom the kernel lets write there.
    """
    wanted = [*binds, *(Bind(path, "", is_directory=True) for path in directories)]
    points = [_led(point, host.links) for point in wanted]
    # Files in the root itself: they are made before it is sealed.
    single = {p.path for p in points if not p.is_directory and p.path == f"/{_top(p.path)}"}
    tops = {_top(point.path) for point in points if point.path not in single}
    new_tops = tops - set(host.directories) - set(host.links) - {*_FRESH, *_KERNEL, ""}
    steps = [
        Mount("private", "/"),
        Mount("tmpfs", ROOT, "mode=755"),
        *_top_level(host),
        *(Mount("directory", f"{ROOT}/{top}") for top in sorted(new_tops)),
        *(Mount("file", ROOT + path) for path in sorted(single)),
        Mount("read-only", ROOT),
        *(Mount("tmpfs", f"{ROOT}/{top}", "mode=755") for top in sorted(new_tops)),
        *_fresh(),
        *_devices(exists),
        Mount("proc", f"{ROOT}/proc", "sys/net" if network_settings else ""),
        Mount("sysfs", f"{ROOT}/sys"),
        *(Mount("directory", ROOT + path) for path in sorted(kept)),
        *(Mount("bind", ROOT + path, source) for path, source in sorted(kept.items())),
    ]
    missing = [
        point
        for point in points
        if point.path not in single and _is_missing(point, points, host, exists)
    ]
    steps += _overlays(missing, host, exists)
    # A mount point is made just before it is used: it may lie in a volume mounted before.
    for point in sorted(points, key=_depth):
        if point in missing:
            kind = "directory" if point.is_directory else "file"
            steps.append(Mount(kind, ROOT + point.path))
        if point.source:
            steps.append(Mount("bind", ROOT + point.path, point.source))
        if point.read_only:
            steps.append(Mount("read-only", ROOT + point.path))
    steps.append(Mount("pivot", ROOT))
    return tuple(steps)


def _top(path: str) -> str:
    return path.strip("/").partition("/")[0]


def _top_level(host: HostRoot) -> list[Mount]:
    steps: list[Mount] = []
    for name in host.directories:
        steps.append(Mount("directory", f"{ROOT}/{name}"))
        if name not in (*_FRESH, *_KERNEL):
            steps.append(Mount("bind", f"{ROOT}/{name}", f"/{name}"))
    for name in (*_KERNEL, *_FRESH):
        if name not in host.directories:
            steps.append(Mount("directory", f"{ROOT}/{name}"))
    steps += [
        Mount("link", f"{ROOT}/{name}", target)
        for name, target in host.links.items()
        if name not in _FRESH
    ]
    return steps


def _fresh() -> list[Mount]:
    return [
        Mount("tmpfs", f"{ROOT}/tmp", "mode=1777"),
        Mount("tmpfs", f"{ROOT}/var", "mode=755"),
        Mount("tmpfs", f"{ROOT}/run", "mode=755"),
        *(Mount("directory", f"{ROOT}/var/{name}") for name in _VAR),
        # Relative: while the root is put together, an absolute link leads to another one.
        Mount("link", f"{ROOT}/var/run", "../run"),
    ]


def _devices(exists: Callable[[str], bool]) -> list[Mount]:
    """Return the mounts of a /dev with what every program expects, and no disk or memory."""
    steps = [Mount("tmpfs", f"{ROOT}/dev", "mode=755")]
    for name in _DEVICES:
        if exists(f"/dev/{name}"):
            steps += [
                Mount("file", f"{ROOT}/dev/{name}"),
                Mount("bind", f"{ROOT}/dev/{name}", f"/dev/{name}"),
            ]
    if exists("/dev/pts"):
        steps += [
            Mount("directory", f"{ROOT}/dev/pts"),
            Mount("bind", f"{ROOT}/dev/pts", "/dev/pts"),
        ]
    steps += [
        Mount("link", f"{ROOT}/dev/{name}", f"/proc/self/fd{number}")
        for name, number in _STREAMS.items()
    ]
    return [
        *steps,
        Mount("directory", f"{ROOT}/dev/shm"),
        Mount("tmpfs", f"{ROOT}/dev/shm", "mode=1777"),
    ]


def _is_missing(
    point: Bind, points: Sequence[Bind], host: HostRoot, exists: Callable[[str], bool]
) -> bool:
    """Tell whether a mount point has to be made, in the host's directories or in a volume."""
    if any(other.source and _is_below(point.path, other.path) for other in points):
        return True
    return not _is_hosts(point, host) or not exists(point.path)


def _overlays(
    missing: Sequence[Bind], host: HostRoot, exists: Callable[[str], bool]
) -> list[Mount]:
    """Return the overlays in which mount points below the host's directories can be made."""
    hosts = [point for point in missing if _is_hosts(point, host)]
    # All overlays first, shallow before deep: nothing that is made later is hidden. Each directory
    # needs its own, for without root only an overlay's top directory is ours to write in.
    steps: list[Mount] = []
    for number, ancestor in enumerate(sorted({_ancestor(p.path, exists) for p in hosts})):
        steps += _overlay(ancestor, number)
    return steps


def _is_hosts(point: Bind, host: HostRoot) -> bool:
    return _top(point.path) in host.directories and _top(point.path) not in _FRESH


def _is_below(path: str, directory: str) -> bool:
    return path.startswith(directory.rstrip("/") + "/")


def _ancestor(path: str, exists: Callable[[str], bool]) -> str:
    """Return the nearest directory above *path* that the host has."""
    ancestor = posixpath.dirname(path)
    while not exists(ancestor):
        ancestor = posixpath.dirname(ancestor)
    return ancestor


def _led(bind: Bind, links: Mapping[str, str]) -> Bind:
    """Return *bind* where the host's top-level link leads: /lib/x is /usr/lib/x on most."""
    top = _top(bind.path)
    if top not in links or top in _FRESH:
        return bind
    rest = bind.path.strip("/").removeprefix(top)
    return replace(bind, path=f"/{links[top].strip('/')}{rest}")


def _depth(bind: Bind) -> int:
    return bind.path.count("/")


def _overlay(directory: str, number: int) -> list[Mount]:
    scratch = f"{_SCRATCH}/{number}"
    options = f"lowerdir={directory},upperdir={scratch}/upper,workdir={scratch}/work,userxattr"
    made = (
        [Mount("directory", _SCRATCH), Mount("tmpfs", _SCRATCH, "mode=700")] if not number else []
    )
    return [
        *made,
        Mount("directory", f"{scratch}/upper"),
        Mount("directory", f"{scratch}/work"),
        Mount("overlay", ROOT + directory, options),
    ]
