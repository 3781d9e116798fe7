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

import uvloop

from podwire.dns.metrics import Metrics
from podwire.dns.pages import PageServers
from podwire.dns.servers import Servers
from podwire.dns.settings import Settings, parse
from podwire.dns.site import Life, Process
from podwire.dns.sources import Sources
from podwire.errors import PodwireError
from podwire.kube.clock import Clock, SystemClock

log = logging.getLogger("podwire.dns")


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM; return the exit status."""
    logging.basicConfig(
        stream=sys.stdout, format="[%(levelname)s] %(message)s", level=logging.INFO, force=True
    )
    try:
        settings = parse(argv, environ)
        return uvloop.run(run(settings, SystemClock()))
    except PodwireError as error:
        log.error("%s", error)
        return error.exit_status
    except KeyboardInterrupt:
        return 130


async def run(settings: Settings, clock: Clock) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status.

    Raises CorefileError for a Corefile that makes no sense, MachineError when a port cannot be had.
    """
    life = Life()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, life.end)
    loop.add_signal_handler(signal.SIGUSR1, life.reload)
    _allow_many_files()
    process = Process(
        corefile=settings.corefile or Path("Corefile"),
        life=life,
        pages=PageServers(),
        sources=Sources(api=settings.api, user=settings.user, clock=clock),
        metrics=Metrics(),
        clock=clock,
        dice=Random(),
    )
    servers = Servers(settings, process)
    try:
        await servers.load()
        while await life.next() == "reload":
            await _reload(servers)
        if not life.failure:
            log.info("shutting down after a lame duck of %g s", servers.lameduck)
            await asyncio.sleep(servers.lameduck)
    finally:
        await servers.close()
    if life.failure:
        log.critical("%s", life.failure)
        return 1
    return 0


async def _reload(servers: Servers) -> None:
    log.info("Reloading")
    try:
        await servers.load()
    except PodwireError as error:
        log.error("Restart failed: %s; what was served before is served on", error)
    else:
        log.info("Reloading complete")


def _allow_many_files() -> None:
    """Raise the limit of open files: each TCP client and each look-up upstream takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
