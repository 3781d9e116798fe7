"""The Linux calls that Python 3.11 lacks: namespaces, mounts, prctl. Every failure is an OSError.

The one module that uses ctypes for system calls. Flags and numbers are the kernel's; those that are
not the same on every machine are looked up by machine.
"""

import ctypes
import os
import resource
import signal
import socket
from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path

from podwire import lending

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_SYS_MOUNT_SETATTR = 442
# Machines that came after x86_64 share one table (asm-generic).
_SYS_PIVOT_ROOT = 155 if os.uname().machine == "x86_64" else 41
_MOUNT_ATTR_RDONLY = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{what}: {os.strerror(errno)}")


def unshare(flags: int) -> None:
    """Move the calling thread (for PID namespaces: its later children) into new namespaces."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd: int, flags: int) -> None:
    """Enter the namespace (or, with a pidfd, several namespaces) that *fd* stands for."""
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(flags)), "setns")


def mount(
    source: str, target: str | Path, kind: str = "", flags: int = 0, options: str = ""
) -> None:
    """Make *source* appear on *target*.

    Flags and options are those of mount(2).
    """
    _check(
        _libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            kind.encode() or None,
            ctypes.c_ulong(flags),
            options.encode() or None,
        ),
        f"mount {kind or source} on {target}",
    )


def unmount(path: str | Path) -> None:
    """Detach the mount at *path*; what still uses it keeps it (MNT_DETACH)."""
    _check(_libc.umount2(os.fsencode(path), 2), f"umount {path}")


def make_read_only(path: str | Path) -> None:
    """Make *path* and every mount below it read-only in this mount namespace (Linux 5.12)."""
    attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY, 0, 0, 0)
    _check(
        _libc.syscall(
            ctypes.c_long(_SYS_MOUNT_SETATTR),
            ctypes.c_int(_AT_FDCWD),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.c_uint(_AT_RECURSIVE),
            attributes,
            ctypes.c_size_t(ctypes.sizeof(attributes)),
        ),
        f"mount_setattr {path}",
    )


def pivot_root(path: str | Path) -> None:
    """Make the mount at *path* this mount namespace's root, and drop the old one."""
    os.chdir(path)
    here = ctypes.c_char_p(b".")
    # The same directory twice stacks the old root on the new one, where "." then detaches it
    # (pivot_root(2), NOTES): no directory for the old root is needed.
    _check(_libc.syscall(ctypes.c_long(_SYS_PIVOT_ROOT), here, here), f"pivot_root {path}")
    unmount(".")
    os.chdir("/")


def keep_capabilities(kept: Collection[int]) -> None:
    """Give up every capability but *kept*, for this process and all that it executes."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for number in range(last + 1):
        if number not in kept:
            _check(_libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), "prctl PR_CAPBSET_DROP")
    _check(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl PR_CAP_AMBIENT")
    mask = sum(1 << number for number in kept)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # Effective, permitted, inheritable; once for the low and once for the high 32.
    sets = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    _check(_libc.capset(header, sets), "capset")


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that forked it ends.

    Undone by a change of user or capabilities, so call it after those.
    """
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl PR_SET_PDEATHSIG")


def set_process_name(name: str) -> None:
    """Set what `ps -o comm` shows: 15 bytes at most."""
    _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def allow_many_descriptors() -> None:
    """Let this process have as many open descriptors as it may: soft limits are often 1024."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def network_namespace(path: str | Path) -> Generator[None]:
    """Be in the network namespace at *path* inside the block.

    There must be no await inside: the whole thread moves. A socket opened inside stays in that
    namespace for ever, so one event loop can serve in many.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(there, CLONE_NEWNET)
        finally:
            os.close(there)
        try:
            yield
        finally:
            setns(home, CLONE_NEWNET)
    finally:
        os.close(home)


def socket_in(path: str | Path, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """Return a socket of the network namespace at *path*: its file, or its lender's Unix socket."""
    if Path(path).is_socket():
        return lending.borrow(path, family, kind, protocol).socket
    with network_namespace(path):
        return socket.socket(family, kind, protocol)
