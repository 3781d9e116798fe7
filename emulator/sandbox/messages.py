"""What is said to the fork server, as pure data: one message per SOCK_SEQPACKET packet.

File descriptors travel beside a message (SCM_RIGHTS); a message names them by their place in that
list.
"""

import socket

import msgspec

# One packet holds one message: environment and arguments of a container fit well below this.
LARGEST = 1 << 20

# Built-in programs that need none of the big libraries: PID 1 forks them, the zygote the others.
LIGHT = frozenset({"cni", "pause"})


def channel() -> tuple[socket.socket, socket.socket]:
    """Return the two ends that a fork server and its client speak through."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
    return ends


class Mount(msgspec.Struct, frozen=True):
    """One step towards a container's root file system, done in order; see container.make_mount.

    *source* is a path for `bind` and `link`, and mount options for `tmpfs` and `overlay`; for
    `proc` it is what stays writable of what is read-only otherwise.
    """

    kind: str
    target: str
    source: str = ""


class Namespaces(msgspec.Struct, frozen=True, tag="namespaces"):
    """Make network, UTS and IPC namespaces; answered with descriptors in that order."""

    id: int
    hostname: str
    # Where the network namespace is bind-mounted, for CNI_NETNS. Empty: only UTS and IPC are made.
    path: str = ""


class Fork(msgspec.Struct, frozen=True, tag="fork"):
    """Start a process. Fields with `fd_` are places in the list of descriptors, -1 for none.

    *fd_status* is written by the child when it cannot start, and closed when it has started.
    """

    id: int
    argv: tuple[str, ...]
    environ: dict[str, str]
    fd_status: int
    builtin: str = ""
    directory: str = "/"
    fd_stdin: int = -1
    fd_stdout: int = -1
    fd_stderr: int = -1
    tty: bool = False
    fd_net: int = -1
    fd_uts: int = -1
    fd_ipc: int = -1
    # A container to enter (exec): a pidfd of its first process.
    fd_join: int = -1
    # A container of its own: new PID and mount namespaces with these mounts. With *fd_pids*, a
    # pidfd, its PID namespace is that process's.
    contain: bool = False
    fd_pids: int = -1
    mounts: tuple[Mount, ...] = ()
    # Numbers of the capabilities that it keeps; None: all that we have.
    capabilities: tuple[int, ...] | None = None


class Unmount(msgspec.Struct, frozen=True, tag="unmount"):
    """Remove the bind mount of a network namespace and its file."""

    id: int
    path: str


Request = Namespaces | Fork | Unmount


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """The outcome of request *id*; *error* is empty if it worked. A fork's pidfd is beside it."""

    id: int
    pid: int = 0
    error: str = ""


class Exited(msgspec.Struct, frozen=True, tag="exited"):
    """A process that was forked is gone: exit status, or 128 + the signal that ended it."""

    pid: int
    status: int


Reply = Answer | Exited
