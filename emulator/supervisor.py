"""PID 1 of the sandbox: makes its file system and network, starts the zygote, then forks.

Two fork servers: PID 1, which has loaded little and so forks fast, for programs of the host, CNI
plugins and namespaces; and the zygote, for the built-in programs. The control plane is a fork of
the zygote from when that has loaded what both need. PID 1 loads its own libraries beside that, and
children build the network and the certificates: the time from `podwire up` to the first answer is
what users feel, most of it goes into loading libraries, and there are two cores.
"""

import gc
import importlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from podwire import linux
from podwire.emulator.config import ClusterConfig
from podwire.emulator.doors import Doors
from podwire.emulator.loading import no_authorities
from podwire.emulator.sandbox import messages, paths
from podwire.emulator.sandbox.filesystem import make_file_system
from podwire.emulator.sandbox.forkserver import ForkServer
from podwire.emulator.sandbox.progress import Progress
from podwire.errors import PodwireError

# What PID 1 and the zygote both need: loaded before they part, so that it is in memory once.
_SHARED = ("hashlib", "shutil", "subprocess")

# What the control plane and the built-in programs have in common: HTTP on both ends, and objects.
_COMMON = ("podwire.emulator.images.web", "podwire.kube.informers")


def supervise(config: ClusterConfig, doors: Doors, link: socket.socket, keeper: int) -> NoReturn:
    """Be PID 1 until something that the cluster cannot live without ends.

    *keeper* is a pidfd of our parent. SIGTERM is blocked when this is called.
    """
    progress = Progress(link)
    try:
        linux.die_with_parent()
        # The keeper may have ended before that; our parent's pid is 0 either way, for it is
        # outside of our PID namespace.
        if select.select([keeper], [], [], 0)[0]:
            os._exit(70)
        os.close(keeper)
        linux.set_process_name("podwire-init")
        # What a terminal or a user sends to the whole group is for `podwire`, not for the cluster.
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        make_file_system()
        made = _in_child(lambda: _make_certificates(config), "the certificates of the cluster")
        for module in _SHARED:
            importlib.import_module(module)
        ours, theirs = messages.channel()
        prepared, tell = os.pipe2(os.O_CLOEXEC)
        zygote = os.fork()
        if zygote == 0:
            ours.close()
            os.close(tell)
            _be_zygote(config, doors, theirs, prepared, progress)
        for end in (theirs, doors):
            end.close()
        # Not before: the zygote loads beside it.
        from podwire.emulator import network  # noqa: PLC0415
        from podwire.emulator.topology import topology  # noqa: PLC0415

        built = _in_child(
            lambda: network.build(topology(config), Path(paths.NETNS)), "the network of the cluster"
        )
        from podwire.cni import __main__ as cni  # noqa: PLC0415
        from podwire.emulator.images import pause  # noqa: PLC0415

        built()
        progress.step(f"network of {len(config.nodes)} nodes made")
        made()
        os.close(tell)
        link.close()
        # The programs of messages.LIGHT.
        ForkServer(ours, {"cni": cni.main, "pause": pause.main}).run(
            {zygote: "the zygote"}, _last_words
        )
    except PodwireError as error:
        progress.failed(str(error), error.exit_status)
    except OSError as error:
        progress.failed(f"{error}\n  see what this machine lacks: podwire doctor", 69)
    except BaseException as error:  # noqa: BLE001 - a forked child must not return into its parent
        sys.excepthook(type(error), error, error.__traceback__)
        progress.failed("podwire failed while it started; this is its own fault")
    finally:
        os._exit(70)


def _be_zygote(
    config: ClusterConfig,
    doors: Doors,
    light: socket.socket,
    prepared: int,
    progress: Progress,
) -> NoReturn:
    """Load what all need, start the control plane as a fork, then fork built-in programs."""
    try:
        linux.set_process_name("podwire-zygote")
        began = time.monotonic()
        # Modules that load leave hardly any garbage: to look for it takes time, and would write to
        # pages of memory that are to be shared.
        gc.disable()
        with no_authorities():
            for module in _COMMON:
                importlib.import_module(module)
        ours, theirs = messages.channel()
        control = os.fork()
        if control == 0:
            ours.close()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            from podwire.emulator.cluster import control_plane  # noqa: PLC0415 - only here

            progress.step(f"libraries loaded in {time.monotonic() - began:.2f} s")
            os.read(prepared, 1)
            control_plane(config, light, theirs, doors, progress)
            os._exit(0)
        for end in (theirs, light, doors):
            end.close()
        progress.close()
        from podwire.emulator.builtins import BUILTINS  # noqa: PLC0415 - beside the control plane

        # Python loads it with the first address that a program connects to: here once for all.
        importlib.import_module("encodings.idna")
        ForkServer(ours, BUILTINS).run({control: "the control plane"}, _last_words)
    except BaseException as error:  # noqa: BLE001 - a forked child must not return into its parent
        sys.excepthook(type(error), error, error.__traceback__)
        progress.failed("podwire failed while it started; this is its own fault")
    finally:
        os._exit(70)


def _last_words(what: str) -> None:
    print(f"{what} ended, and with it the cluster", file=sys.stderr)


def _make_certificates(config: ClusterConfig) -> None:
    from podwire.emulator import certificates  # noqa: PLC0415 - only in this child: 25 ms
    from podwire.emulator.addressing import addresses  # noqa: PLC0415 - beside the others' imports
    from podwire.kube import credentials  # noqa: PLC0415

    known = addresses(config)
    made = certificates.for_cluster(
        config.name,
        dns_domain=config.dns_domain,
        addresses=(
            str(config.api_server_address),
            str(known.control_plane.ip),
            str(known.api_service),
        ),
    )
    paths.CREDENTIALS.touch(mode=0o600)
    paths.CREDENTIALS.write_bytes(credentials.encode(made))


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
        except BaseException as error:  # noqa: BLE001 - a forked child must not return into its parent
            sys.excepthook(type(error), error, error.__traceback__)
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
