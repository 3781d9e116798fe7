"""PID 1 of the sandbox: makes its file system and network, starts the zygote, then forks.

Two fork servers: PID 1, which has loaded little and so forks fast, for programs of the host, CNI
plugins and namespaces; and the zygote, which has loaded everything, for the built-in programs and
the control plane. The network is built by a child while the zygote loads: two cores are there, and
the time from `podwire up` to the first answer is what users feel.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from podwire import linux
from podwire.cni import __main__ as cni
from podwire.emulator.config import ClusterConfig
from podwire.emulator.doors import Doors
from podwire.emulator.images import pause
from podwire.emulator.sandbox import forkserver, paths
from podwire.emulator.sandbox.container import BuiltIn
from podwire.emulator.sandbox.forkserver import ForkServer
from podwire.emulator.sandbox.progress import Progress
from podwire.errors import PodwireError

# The programs of messages.LIGHT.
_LIGHT: Mapping[str, BuiltIn] = {"cni": cni.main, "pause": pause.main}


def supervise(config: ClusterConfig, doors: Doors, link: socket.socket) -> NoReturn:
    """Be PID 1 until something that the cluster cannot live without ends."""
    progress = Progress(link)
    try:
        linux.die_with_parent()
        if os.getppid() != 0:
            # In a new PID namespace the parent is outside and shows as 0 while it lives.
            os._exit(70)
        linux.set_process_name("podwire-init")
        # What a terminal or a user sends to the whole group is for `podwire`, not for the cluster.
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        _make_file_system()
        network = _in_child(lambda: _build_network(config), "the network of the cluster")
        ours, theirs = forkserver.channel()
        networked, tell = os.pipe2(os.O_CLOEXEC)
        zygote = os.fork()
        if zygote == 0:
            ours.close()
            os.close(tell)
            _be_zygote(config, doors, theirs, networked, progress)
        for end in (theirs, doors):
            end.close()
        network()
        progress.step(f"network of {len(config.nodes)} nodes made")
        os.close(tell)
        link.close()
        ForkServer(ours, _LIGHT).run({zygote: "the zygote"}, _last_words)
    except PodwireError as error:
        progress.failed(str(error), error.exit_status)
    except OSError as error:
        progress.failed(f"{error}\n  see what this machine lacks: podwire doctor", 69)
    except BaseException:  # noqa: BLE001 - a forked child must not return into its parent
        sys.excepthook(*sys.exc_info())
        progress.failed("podwire failed while it started; this is its own fault")
    finally:
        os._exit(70)


def _be_zygote(
    config: ClusterConfig,
    doors: Doors,
    light: socket.socket,
    networked: int,
    progress: Progress,
) -> NoReturn:
    """Load everything once, start the control plane as a fork, then fork built-in programs."""
    try:
        linux.set_process_name("podwire-zygote")
        began = time.monotonic()
        from podwire.emulator.builtins import BUILTINS  # noqa: PLC0415
        from podwire.emulator.cluster import control_plane  # noqa: PLC0415

        progress.step(f"libraries loaded in {time.monotonic() - began:.2f} s")
        os.read(networked, 1)
        ours, theirs = forkserver.channel()
        control = os.fork()
        if control == 0:
            ours.close()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            control_plane(config, light, theirs, doors, progress)
            os._exit(0)
        for end in (theirs, light, doors):
            end.close()
        progress.close()
        ForkServer(ours, BUILTINS).run({control: "the control plane"}, _last_words)
    except BaseException:  # noqa: BLE001 - a forked child must not return into its parent
        sys.excepthook(*sys.exc_info())
        progress.failed("podwire failed while it started; this is its own fault")
    finally:
        os._exit(70)


def _last_words(what: str) -> None:
    print(f"{what} ended, and with it the cluster", file=sys.stderr)


def _make_file_system() -> None:
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    kept = paths.hidden_directories()
    held = [(directory, os.open(directory, os.O_PATH | os.O_CLOEXEC)) for directory in kept]
    linux.mount("tmpfs", "/run", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755")
    for directory in (
        paths.NETNS,
        paths.PODS,
        paths.KEEP,
        paths.CNI_CONFIG,
        paths.CNI_STATE,
        paths.ROOT,
    ):
        directory.mkdir(parents=True)
    # Programs that pods run may lie below what pods get fresh (/tmp, /var, /run): our own Python
    # in a virtual environment in /tmp, for one. Keep a way in.
    for number, (directory, fd) in enumerate(held):
        keep = paths.KEEP / str(number)
        keep.mkdir()
        linux.mount(f"/proc/self/fd/{fd}", keep, flags=linux.MS_BIND | linux.MS_REC)
        os.close(fd)
        if directory.is_relative_to("/run"):
            directory.mkdir(parents=True, exist_ok=True)
            linux.mount(str(keep), directory, flags=linux.MS_BIND | linux.MS_REC)


def _build_network(config: ClusterConfig) -> None:
    from podwire.emulator.network import build  # noqa: PLC0415 - in the child, beside the imports
    from podwire.emulator.topology import topology  # noqa: PLC0415

    build(topology(config), Path(paths.NETNS))


def _in_child(work: Callable[[], None], what: str) -> Callable[[], None]:
    """Run *work* in a forked child at once; the function returned waits for it."""
    said, say = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except (PodwireError, OSError) as error:
            os.write(say, str(error).encode())
        except BaseException:  # noqa: BLE001 - a forked child must not return into its parent
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    os.close(say)

    def finish() -> None:
        with os.fdopen(said, "rb") as file:
            problem = file.read().decode()
        _pid, status = os.waitpid(child, 0)
        if status:
            raise PodwireError(f"{what} could not be made: {problem or 'see the log'}")

    return finish
