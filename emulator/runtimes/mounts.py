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
) -> tuple[Mount, ...]:
    """Return the mounts that make a container's root.

    *kept* maps paths below the fresh directories to where the host's content is still reachable;
    *exists* tells whether the host has a path.
    """
    # Shallow before deep, or a parent would hide its child.
    binds = sorted((_led(bind, host.links) for bind in binds), key=_depth)
    points = [*binds, *(_led(Bind(path, "", True), host.links) for path in directories)]
    tops = {_top(point.path) for point in points}
    new_tops = tops - set(host.directories) - set(host.links) - {*_FRESH, *_KERNEL, ""}
    steps = [
        Mount("private", "/"),
        Mount("tmpfs", ROOT, "mode=755"),
        *_top_level(host),
        *(Mount("directory", f"{ROOT}/{top}") for top in sorted(new_tops)),
        Mount("read-only", ROOT),
        *(Mount("tmpfs", f"{ROOT}/{top}", "mode=755") for top in sorted(new_tops)),
        *_fresh(),
        *_devices(exists),
        Mount("proc", f"{ROOT}/proc"),
        Mount("sysfs", f"{ROOT}/sys"),
        *(Mount("directory", ROOT + path) for path in sorted(kept)),
        *(Mount("bind", ROOT + path, source) for path, source in sorted(kept.items())),
    ]
    steps += _mount_points(sorted(points, key=_depth), host, exists)
    for bind in binds:
        steps.append(Mount("bind", ROOT + bind.path, bind.source))
        if bind.read_only:
            steps.append(Mount("read-only", ROOT + bind.path))
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


def _mount_points(
    points: Sequence[Bind], host: HostRoot, exists: Callable[[str], bool]
) -> list[Mount]:
    """Return what makes every mount point exist; *points* are in order of depth."""
    steps: list[Mount] = []
    hosts = [p for p in points if _top(p.path) in host.directories and _top(p.path) not in _FRESH]
    missing = [point for point in hosts if not exists(point.path)]
    ancestors = sorted({_ancestor(point.path, exists) for point in missing})
    # One below another is a part of it; made after it, it would hide what is there.
    overlaid: list[str] = []
    for ancestor in ancestors:
        if not any(_inside(ancestor, known) for known in overlaid):
            steps += _overlay(ancestor, len(overlaid))
            overlaid.append(ancestor)
    for point in points:
        if point not in hosts or point in missing:
            kind = "directory" if point.is_directory else "file"
            steps.append(Mount(kind, ROOT + point.path))
    return steps


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


def _inside(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory + "/")


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
