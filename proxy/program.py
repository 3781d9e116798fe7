"""The proxy as a program: one process per node, in the node's network namespace."""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from pathlib import Path
from typing import NoReturn, cast

import uvloop

from podwire.errors import ConfigError, PodwireError, UsageError, cause
from podwire.kube.client import Client
from podwire.proxy import configuration as configurations
from podwire.proxy import modes, surroundings, sysctls
from podwire.proxy.configuration import MODES, Configuration, ModeName
from podwire.proxy.endpoints import Place
from podwire.proxy.node import NodeView
from podwire.proxy.serving import serve
from podwire.proxy.whole import Proxy

log = logging.getLogger("podwire.proxy")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says. *api* is a URL, or the path of a Unix socket."""

    node: str
    node_address: IPv4Address
    api: str
    config: Path | None = None
    mode: ModeName | None = None
    service_cidr: IPv4Network | None = None
    cleanup: bool = False


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run until SIGTERM or SIGINT; return the exit status. *argv* is without the program's name."""
    logging.basicConfig(
        level=environ.get("PODWIRE_LOG", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    try:
        options = parse(argv)
        uvloop.run(run(options, load(options)))
    except PodwireError as error:
        log.error("%s", error)
        return error.exit_status
    except ExceptionGroup as errors:
        # Of a task: a mode finds out at its first sync that the machine lacks what it needs.
        found = cause(errors)
        if not isinstance(found, PodwireError):
            raise
        log.error("%s", found)
        return found.exit_status
    return 0


def parse(argv: Sequence[str]) -> Options:
    """Return the options in *argv*; raises UsageError."""
    parser = _Parser(prog="podwire.proxy", description="Serve Services on one node.")
    parser.add_argument(
        "--hostname-override", required=True, metavar="NODE", help="name of the Node object"
    )
    parser.add_argument("--node-address", required=True, help="IPv4 address for NodePorts")
    parser.add_argument("--api", required=True, help="Unix socket's path, or http(s) URL")
    parser.add_argument("--config", metavar="FILE", help="a KubeProxyConfiguration")
    parser.add_argument("--proxy-mode", choices=MODES, help="wins over the file")
    parser.add_argument("--service-cidr", help="range of all ClusterIPs")
    parser.add_argument(
        "--cleanup", action="store_true", help="remove what any mode has programmed, and exit"
    )
    found = parser.parse_args(list(argv))
    try:
        address = IPv4Address(found.node_address)
        services = IPv4Network(found.service_cidr) if found.service_cidr else None
    except (AddressValueError, ValueError) as error:
        raise UsageError(f"--node-address, --service-cidr: {error}") from error
    return Options(
        node=found.hostname_override,
        node_address=address,
        api=found.api,
        config=Path(found.config) if found.config else None,
        mode=cast("ModeName | None", found.proxy_mode),
        service_cidr=services,
        cleanup=found.cleanup,
    )


def load(options: Options) -> Configuration:
    """Return what file and command line say together; raises ConfigError."""
    found = Configuration()
    if options.config is not None:
        try:
            text = options.config.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {options.config}: {error}") from error
        found = configurations.parse(text, str(options.config))
    settings = replace(found.settings, service_cidr=options.service_cidr)
    return replace(found, settings=settings, mode=options.mode or found.mode)


async def run(options: Options, configuration: Configuration) -> None:
    """Serve until a signal says stop."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.cleanup:
        await modes.clean_up(loop)
        return
    mode = modes.build(configuration, loop)
    sysctls.write_conntrack(configuration.conntrack)
    around = surroundings.look(options.node_address)
    view = NodeView(
        Place(configuration.hostname_override or options.node),
        options.node_address,
        addresses=around.addresses,
        same_pod_network=around.same_pod_network,
        bridges=around.bridges,
        settings=configuration.settings,
    )
    try:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(_client(options))
            proxy = Proxy(mode, view, client, loop, configuration.sync_period)
            for address, pages in (
                (configuration.healthz, proxy.pages.health()),
                (configuration.metrics, proxy.pages.metrics()),
            ):
                await serve(stack, pages, address, options.node_address)
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            serving_all = tasks.create_task(proxy.run(client))
            log.info("kube-proxy of %s, %s mode", view.place.node, mode.name)
            await stop.wait()
            serving_all.cancel()
    finally:
        await mode.close(cleanup=False)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\n{self.format_usage().strip()}")


def _client(options: Options) -> Client:
    if "://" in options.api:
        return Client.tcp(options.api, headers={"X-Remote-User": "system:kube-proxy"})
    return Client.unix(options.api, user="system:kube-proxy")
