"""A node as a program, process 1 of its container: network, service proxy, ways to other nodes.

One event loop does all. A part that fails ends the program with its reason, and the container's
restart policy brings it back; what the kernel has meanwhile stays.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Mapping
from pathlib import Path

import uvloop

from podwire.emulator.node import arp
from podwire.emulator.node.kernel import NodeNetwork, set_up
from podwire.emulator.node.peers import Peers
from podwire.emulator.node.services import NodeServices
from podwire.emulator.node.settings import NodeSettings, parse
from podwire.errors import InternalError, MachineError, PodwireError, cause
from podwire.kube.client import Client
from podwire.lender import Lender

log = logging.getLogger("podwire.node")

PROBE = 1.0
"""Seconds in which somebody else who has the gateway's address must answer."""

_QUIET = 30.0


def main(environ: Mapping[str, str]) -> int:
    """Run until SIGTERM or SIGINT; return the exit status."""
    logging.basicConfig(
        level=environ.get("PODWIRE_LOG", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stdout,
    )
    logging.getLogger("podwire.kube.informer").addFilter(_Seldom())
    try:
        uvloop.run(run(parse(environ)))
    except BaseExceptionGroup as group:
        return _failed(cause(group))
    except PodwireError as error:
        return _failed(error)
    return 0


async def run(settings: NodeSettings) -> None:
    """Be the node until a signal says stop; raises what ended a part of it."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    network = set_up(settings)
    log.info(
        "%s: %s on %s, gateway %s of the pods on %s, %s to other nodes",
        *(settings.name, settings.address, network.found.underlay),
        *(settings.gateway, network.found.pods, network.backend),
    )
    lent = Path(settings.api).parent / "nodes" / f"{settings.name}.sock"
    async with (
        Client.unix(settings.api, user="system:kube-proxy") as for_proxy,
        Client.unix(settings.api, user=f"system:node:{settings.name}") as for_node,
        asyncio.TaskGroup() as tasks,
    ):
        peers = Peers(for_node, network)
        services = NodeServices(network, for_proxy, for_node, peers.joined, loop)
        parts = [
            tasks.create_task(_part(name, work))
            for name, work in (
                ("the service proxy", services.run()),
                ("the ways to other nodes", peers.run()),
                ("the lender of sockets", _lend(lent)),
            )
        ]
        probing = tasks.create_task(_look_for_rival(network))
        await stop.wait()
        for part in (*parts, probing):
            part.cancel()


async def _part(name: str, work: Awaitable[None]) -> None:
    await work
    raise InternalError(f"{name} has ended by itself")


async def _lend(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        await Lender().serve(path)
    except OSError as error:
        raise MachineError(
            f"cannot lend sockets at {path}: {error}\n"
            f"  mount the volume that has the API server's socket on {path.parent.parent}"
        ) from error


async def _look_for_rival(network: NodeNetwork) -> None:
    """Tell pods where their gateway is; warn if somebody else claims to be it."""
    settings, found = network.settings, network.found
    try:
        arp.announce(found.pods, settings.gateway)
        arp.announce(found.underlay, settings.address)
        rival = await arp.other_owner(found.pods, settings.gateway, within=PROBE)
    except PermissionError:
        log.warning(
            "%s can neither capture packets nor announce its addresses; write into the compose"
            " file, under %s: cap_add: [NET_RAW]",
            *(settings.name, settings.name),
        )
        return
    except OSError as error:
        log.warning("cannot announce the gateway %s: %s", settings.gateway, error)
        return
    if rival is not None:
        log.warning(
            "%s also belongs to %s, probably the engine's own bridge: pods may not reach Services."
            " Write into the compose file, under the network of %s:"
            ' driver_opts: {com.docker.network.bridge.inhibit_ipv4: "true"}',
            *(settings.gateway, rival, settings.pods),
        )


class _Seldom(logging.Filter):
    """Of the lines that say that the API server is away, let one through in half a minute."""

    _last = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno > logging.INFO:
            return True
        if record.created - self._last < _QUIET:
            return False
        self._last = record.created
        return True


def _failed(error: BaseException) -> int:
    if isinstance(error, PodwireError):
        log.error("%s", error)
        return error.exit_status
    log.error("a part of the node has failed", exc_info=error)
    return InternalError.exit_status
