"""What a forked child does before its program starts: namespaces, mounts, descriptors, identity."""

import gc
import os
import signal
import sys
import termios
import traceback
from collections.abc import Callable, Mapping, Sequence
from fcntl import ioctl
from pathlib import Path
from typing import NoReturn

from podwire import linux
from podwire.emulator.sandbox.messages import Fork, Mount

# A built-in program: arguments (without its own name) and environment in, exit status out.
BuiltIn = Callable[[Sequence[str], Mapping[str, str]], int]

# What shells answer for a program that is missing or cannot be run.
NOT_FOUND = 127
CANNOT_RUN = 126

_MOST_DESCRIPTORS = 1 << 20


def enter(request: Fork, fds: Sequence[int], builtins: Mapping[str, BuiltIn]) -> NoReturn:
    """Become the process that *request* describes. Never returns and never raises."""
    status = NOT_FOUND
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        report = os.dup(fds[request.fd_status])
        os.set_inheritable(report, False)
        try:
            _become(request, fds)
            # Nothing else of the fork server's may reach a container: its descriptors are doors.
            os.closerange(3, report)
            os.closerange(report + 1, _MOST_DESCRIPTORS)
            if request.builtin:
                status = _run_builtin(request, builtins, report)
            else:
                _execute(request)
        except OSError as error:
            name = f": {error.filename}" if error.filename else ""
            os.write(report, f"{error.strerror or error}{name}".encode())
            status = NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_RUN
    except BaseException:  # noqa: BLE001 - a forked child must not return into its parent's code
        traceback.print_exc()
        status = CANNOT_RUN
    finally:
        os._exit(status)


def _become(request: Fork, fds: Sequence[int]) -> None:
    os.setsid()
    if request.fd_join >= 0:
        linux.setns(
            fds[request.fd_join],
            linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC,
        )
    for place, flag in (
        (request.fd_net, linux.CLONE_NEWNET),
        (request.fd_uts, linux.CLONE_NEWUTS),
        (request.fd_ipc, linux.CLONE_NEWIPC),
    ):
        if place >= 0:
            linux.setns(fds[place], flag)
    if request.contain:
        linux.unshare(linux.CLONE_NEWNS)
        for wanted in request.mounts:
            make_mount(wanted)
    null = os.open("/dev/null", os.O_RDWR)
    for target, place in enumerate((request.fd_stdin, request.fd_stdout, request.fd_stderr)):
        os.dup2(fds[place] if place >= 0 else null, target)
    os.close(null)
    if request.tty:
        ioctl(0, termios.TIOCSCTTY, 0)
    os.chdir(request.directory)


def _execute(request: Fork) -> None:
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.execvpe(request.argv[0], request.argv, request.environ)


def _run_builtin(request: Fork, builtins: Mapping[str, BuiltIn], report: int) -> int:
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    linux.set_process_name(request.builtin)
    os.environ.clear()
    os.environ.update(request.environ)
    program = builtins[request.builtin]
    os.close(report)
    gc.enable()
    try:
        return program(request.argv[1:], request.environ)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def make_mount(wanted: Mount) -> None:
    """Make one mount, or one mount point, in this process's mount namespace."""
    match wanted.kind:
        case "private":
            # Ours alone from here on; nothing that is mounted shows up elsewhere.
            linux.mount("none", wanted.target, flags=linux.MS_REC | linux.MS_PRIVATE)
        case "directory":
            Path(wanted.target).mkdir(parents=True, exist_ok=True)
        case "file":
            path = Path(wanted.target)
            path.parent.mkdir(parents=True, exist_ok=True)
            # A link would lead out of the new root: /etc/resolv.conf often is one.
            if path.is_symlink():
                path.unlink()
            path.touch()
        case "link":
            Path(wanted.target).symlink_to(wanted.source)
        case "tmpfs":
            linux.mount("tmpfs", wanted.target, "tmpfs", 0, wanted.source)
        case "proc" | "sysfs":
            flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
            linux.mount(wanted.kind, wanted.target, wanted.kind, flags)
        case "overlay":
            linux.mount("overlay", wanted.target, "overlay", 0, wanted.source)
        case "bind":
            linux.mount(wanted.source, wanted.target, flags=linux.MS_BIND | linux.MS_REC)
        case "read-only":
            linux.make_read_only(wanted.target)
        case "pivot":
            linux.pivot_root(wanted.target)
        case _:
            raise OSError(f"unknown mount {wanted.kind!r}")
