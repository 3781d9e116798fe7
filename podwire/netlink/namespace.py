"""Network namespaces: open one by path, be in it for a moment, write its sysctls.

A socket, and every file under /proc/sys/net, belongs to the namespace that its opener was in. So
"work in a pod's namespace" is mostly: enter, open a socket, leave, and go on from where one was.
"""

import errno
import fcntl
import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from podwire.linux import CLONE_NEWNET, setns

_NS_GET_NSTYPE = 0xB703
# Not /proc/self: that is the process's first thread, and a namespace is a property of each thread.
OWN = "/proc/thread-self/ns/net"


class NotANamespaceError(OSError):
    """The path is there, but it is no network namespace."""


@contextmanager
def opened(path: str) -> Generator[int]:
    """Give the namespace at *path* as an open file.

    Raises FileNotFoundError or another OSError when it cannot be opened, and NotANamespaceError
    when it is something else.
    """
    # Without O_NONBLOCK a path that is a pipe would be waited on for ever.
    namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not is_network_namespace(namespace):
            raise NotANamespaceError(errno.EINVAL, "not a network namespace", path)
        yield namespace
    finally:
        os.close(namespace)


def is_network_namespace(file: int) -> bool:
    """Return whether the open *file* is a network namespace."""
    try:
        return fcntl.ioctl(file, _NS_GET_NSTYPE) == CLONE_NEWNET
    except OSError:  # ENOTTY: not a namespace at all
        return False


def is_own(namespace: int) -> bool:
    """Return whether the calling thread is in *namespace*."""
    theirs, ours = os.fstat(namespace), os.stat(OWN)  # noqa: PTH116 (pathlib adds nothing here)
    return (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)


@contextmanager
def entered(namespace: int) -> Generator[None]:
    """Be in *namespace* inside the block: this thread only, and never across an await."""
    home = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(namespace, CLONE_NEWNET)
        try:
            yield
        finally:
            setns(home, CLONE_NEWNET)
    finally:
        os.close(home)


def write_sysctls(settings: Iterable[tuple[str, str]]) -> None:
    """Write each (name, value) of this thread's namespace, the name as a path below /proc/sys.

    A setting that has its value already is left alone, so that a read-only /proc/sys is no error
    where nothing had to change. Raises OSError naming the file.
    """
    for name, value in settings:
        file = Path("/proc/sys", name)
        try:
            file.write_text(value)
        except OSError:
            if read_sysctl(name) != value:
                raise


def read_sysctl(name: str) -> str | None:
    """Return a sysctl of this thread's namespace, or None if this kernel has no such setting."""
    try:
        return Path("/proc/sys", name).read_text().strip()
    except FileNotFoundError:
        return None
