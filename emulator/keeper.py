"""Enters new namespaces and forks their first process, the supervisor; ends when that ends.

The kernel removes every interface, mount and process of the sandbox when its first process ends,
however it ends.
"""

import os
import signal
import socket
from typing import NoReturn

from podwire import linux
from podwire.emulator.config import ClusterConfig
from podwire.emulator.doors import Doors
from podwire.emulator.sandbox.progress import Progress
from podwire.emulator.trial import enter_namespaces


def keep(config: ClusterConfig, doors: Doors, link: socket.socket, *, anchor: int) -> NoReturn:
    """Start the supervisor in new namespaces and wait for its end.

    *anchor* is our parent's pid. SIGTERM is blocked when this is called.
    """
    status = 70
    try:
        linux.set_process_name("podwire-keeper")
        try:
            enter_namespaces()
        except OSError as error:
            Progress(link).failed(
                f"this machine does not let us make namespaces: {error}\n"
                "  see what is missing and the command that helps: podwire doctor",
                69,
            )
            os._exit(69)
        linux.die_with_parent()
        if os.getppid() != anchor:
            os._exit(70)
        ourselves = os.pidfd_open(os.getpid())
        supervisor = os.fork()
        if supervisor == 0:
            from podwire.emulator.supervisor import supervise  # noqa: PLC0415

            supervise(config, doors, link, ourselves)
        doors.close()
        link.close()
        signal.signal(signal.SIGTERM, lambda _n, _f: os.kill(supervisor, signal.SIGKILL))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        _pid, wait_status = os.waitpid(supervisor, 0)
        status = os.waitstatus_to_exitcode(wait_status) & 0x7F
    finally:
        os._exit(status)
