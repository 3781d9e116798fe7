"""The DNS pod's process: its Corefile served, read again when that is asked for, and its end."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Final

import uvloop

from podwire.dns.cluster.sources import Sources
from podwire.dns.servers import Servers
from podwire.dns.serving.log_lines import LogLines
from podwire.dns.serving.metrics import Counters, Metrics
from podwire.dns.serving.pages import PageServers
from podwire.dns.settings import Settings, parse
from podwire.dns.site import Life, Process
from podwire.errors import PodwireError, cause
from podwire.kube.clock import Clock, SystemClock

FAILED_RELOADS: Final = Counters(
    "coredns_reload_failed_total", "Counter of the number of failed reload attempts."
)

log = logging.getLogger("podwire.dns")


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM; return the exit status."""
    logging.addLevelName(logging.CRITICAL, "FATAL")
    lines = LogLines(sys.stdout)
    logging.basicConfig(
        handlers=[lines],
        format="[%(levelname)s] %(message)s",
        level=logging.INFO,
        force=True,
    )
    try:
        settings = parse(argv, environ)
        return uvloop.run(run(settings, SystemClock()))
    except PodwireError as error:
        log.error("%s", error)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    finally:
        # A container's process ends without the interpreter's own goodbye.
        lines.flush()


async def run(settings: Settings, clock: Clock) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status. A second one ends the lame duck.

    Raises CorefileError for a Corefile that makes no sense, MachineError when a port cannot be had.
    """
    life = Life()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, life.end)
    loop.add_signal_handler(signal.SIGUSR1, life.reload)
    # As CoreDNS: a terminal that goes away means nothing.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _allow_many_files()
    metrics = Metrics()
    process = Process(
        corefile=settings.corefile or Path("Corefile"),
        life=life,
        pages=PageServers(),
        sources=Sources(api=settings.api, user=settings.user, clock=clock, metrics=metrics),
        metrics=metrics,
        clock=clock,
        dice=Random(),
    )
    servers = Servers(settings, process)
    failed = process.metrics.counter(FAILED_RELOADS)
    try:
        await servers.load()
        # Asked to end before it served: nobody waits for an answer.
        if not life.ending.is_set():
            while await life.next() == "reload":
                failed.value += not await _reloaded(servers)
            if not life.failure:
                log.info("shutting down after a lame duck of %g s", servers.lameduck)
                await life.hurried(servers.lameduck)
    finally:
        await servers.close()
    if life.failure:
        log.critical("%s", life.failure)
        return 1
    return 0


async def _reloaded(servers: Servers) -> bool:
    """Serve what the Corefile says now; tell whether that worked. If not, all stays as it was."""
    log.info("Reloading")
    try:
        await servers.load()
    except Exception as error:
        # Whatever it is: what serves must not end of it.
        told = cause(error)
        text = "Restart failed: %s; what was served before is served on"
        if isinstance(told, PodwireError):
            log.error(text, told)
        else:
            log.exception(text, told)
        return False
    log.info("Reloading complete")
    return True


def _allow_many_files() -> None:
    """Raise the limit of open files: each TCP client and each look-up upstream takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
