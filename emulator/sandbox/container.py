"""What a forked child does before its program starts: namespaces, mounts, descriptors, identity."""

import errno
import gc
import os
import signal
import sys
import termios
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
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
_NO_DEVICES = linux.MS_NOSUID | linux.MS_NODEV
_PLAIN = _NO_DEVICES | linux.MS_NOEXEC
# Of /proc: what changes the machine. Root of the machine may write it without any capability.
_NOT_FOR_PODS = ("sys", "sysrq-trigger", "irq", "bus", "fs")


class CannotStartError(Exception):
    """The program cannot start; *status* is what a shell would answer."""

    def __init__(self, message: str, status: int = CANNOT_RUN) -> None:
        super().__init__(message)
        self.status = status


def enter(request: Fork, fds: Sequence[int], builtins: Mapping[str, BuiltIn]) -> NoReturn:
    """Become the process that *request* describes. Never returns and never raises.

    What keeps the program from starting is written to the request's fd_status; after that has been
    closed, all that goes wrong is the program's own.
    """
    status = CANNOT_RUN
    try:
        report = os.dup(fds[request.fd_status])
        try:
            _default_signals()
            _become(request, fds)
            # Nothing else of the fork server's may reach a container: its descriptors are doors.
            os.closerange(3, report)
            os.closerange(report + 1, _MOST_DESCRIPTORS)
            program = _prepared(request, builtins) if request.builtin else None
            if program is None:
                _execute(request)
        except CannotStartError as error:
            os.write(report, str(error).encode())
            os._exit(error.status)
        except OSError as error:
            name = f": {error.filename}" if error.filename else ""
            os.write(report, f"{error.strerror or error}{name}".encode())
            os._exit(CANNOT_RUN)
        except Exception as error:  # noqa: BLE001 - a null byte in an argument, for one
            os.write(report, f"{type(error).__name__}: {error}".encode())
            os._exit(CANNOT_RUN)
        os.close(report)
        status = _result(program, request)
    except BaseException:  # noqa: BLE001 - a forked child must not return into its parent's code
        traceback.print_exc()
    finally:
        os._exit(status & 0xFF)


def _default_signals() -> None:
    # The fork server ignores what a terminal sends to its group, and Python SIGPIPE. Ignored
    # signals stay ignored after exec, and a shell that starts so cannot even trap them.
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if signal.getsignal(number) not in (signal.SIG_DFL, None):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


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
    if request.capabilities is not None:
        # The last step: mounts and namespaces need what is given up here.
        linux.keep_capabilities(request.capabilities)


def _execute(request: Fork) -> NoReturn:
    name = request.argv[0]
    try:
        if not name:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        os.execvpe(name, request.argv, request.environ)
    except FileNotFoundError as error:
        # The words of container runtimes; clients know them.
        what = "no such file or directory" if "/" in name else "executable file not found in $PATH"
        raise CannotStartError(f'exec: "{name}": {what}', NOT_FOUND) from error
    except OSError as error:
        raise CannotStartError(f'exec: "{name}": {(error.strerror or "").lower()}') from error


def _prepared(request: Fork, builtins: Mapping[str, BuiltIn]) -> BuiltIn:
    program = builtins.get(request.builtin)
    if program is None:
        raise CannotStartError(
            f'no built-in program "{request.builtin}" (there are {", ".join(sorted(builtins))})',
            NOT_FOUND,
        )
    # As Python does for programs: a reader that is gone is an OSError, not the end.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    linux.allow_many_descriptors()
    linux.set_process_name(request.builtin)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(request.environ)
    gc.enable()
    return program


def _result(program: BuiltIn, request: Fork) -> int:
    """Return the exit status of a built-in program, as Python would end with it."""
    try:
        return program(request.argv[1:], request.environ)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)  # noqa: T201
        return 1
    except Exception:  # noqa: BLE001 - it becomes the exit status
        traceback.print_exc()
        return 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # nobody reads it any more
                stream.flush()


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
            if not path.exists():
                path.touch()
        case "link":
            Path(wanted.target).symlink_to(wanted.source)
        case "tmpfs":
            linux.mount("tmpfs", wanted.target, "tmpfs", _NO_DEVICES, wanted.source)
        case "proc":
            linux.mount("proc", wanted.target, "proc", _PLAIN)
            kept = os.open(Path(wanted.target, wanted.source), os.O_PATH | os.O_CLOEXEC)
            for name in _NOT_FOR_PODS:
                path = Path(wanted.target, name)
                if path.exists():
                    linux.mount(str(path), path, flags=linux.MS_BIND | linux.MS_REC)
                    linux.make_read_only(path)
            if wanted.source:
                path = Path(wanted.target, wanted.source)
                linux.mount(f"/proc/self/fd/{kept}", path, flags=linux.MS_BIND)
            os.close(kept)
        case "sysfs":
            try:
                linux.mount("sysfs", wanted.target, "sysfs", _PLAIN)
            except PermissionError:
                # Where parts of the host's are covered (in a container), there is only that one.
                linux.mount("/sys", wanted.target, flags=linux.MS_BIND | linux.MS_REC)
            linux.make_read_only(wanted.target)
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
