"""The proxy as a program: one process per node, in the node's network namespace."""

import argparse
import asyncio
import logging
import random
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import NoReturn

import uvloop

from podwire.errors import MachineError, PodwireError, UsageError
from podwire.kube.client import Client
from podwire.kube.clock import SystemClock
from podwire.kube.httpd import Page, Pages, serving
from podwire.proxy.endpoints import Place
from podwire.proxy.node import NodeView
from podwire.proxy.pages import Health, Metric, exposition, healthz, livez, summary
from podwire.proxy.proxier import Proxier
from podwire.proxy.userspace.mode import Userspace

log = logging.getLogger("podwire.proxy")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says. *api* is a URL, or the path of a Unix socket."""

    node: str
    node_address: IPv4Address
    api: str
    health_port: int
    metrics_port: int


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run until SIGTERM or SIGINT; return the exit status. *argv* is without the program's name."""
    logging.basicConfig(
        level=environ.get("PODWIRE_LOG", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    try:
        options = parse(argv)
        uvloop.run(run(options))
    except PodwireError as error:
        log.error("%s", error)
        return error.exit_status
    return 0


def parse(argv: Sequence[str]) -> Options:
    """Return the options in *argv*; raises UsageError."""
    parser = _Parser(prog="podwire.proxy", description="Serve Services on one node.")
    parser.add_argument("--node", required=True, help="name of the Node object")
    parser.add_argument("--node-address", required=True, help="IPv4 address for NodePorts")
    parser.add_argument("--api", required=True, help="Unix socket's path, or http(s) URL")
    parser.add_argument("--health-port", type=int, default=10256)
    parser.add_argument("--metrics-port", type=int, default=10249)
    found = parser.parse_args(list(argv))
    try:
        address = IPv4Address(found.node_address)
    except AddressValueError as error:
        raise UsageError(f"--node-address: {error}") from error
    return Options(found.node, address, found.api, found.health_port, found.metrics_port)


async def run(options: Options) -> None:
    """Serve until a signal says stop."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    mode = Userspace.with_relay(loop, chance=random.random)
    view = NodeView(Place(options.node), options.node_address)
    proxier = Proxier(mode, view, clock=SystemClock(), loop=loop)
    try:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(_client(options))
            for port, pages in (
                (options.health_port, health_pages(proxier)),
                (options.metrics_port, metrics_pages(proxier)),
            ):
                try:
                    await stack.enter_async_context(serving(pages, str(options.node_address), port))
                except OSError as error:
                    raise MachineError(
                        f"cannot serve on {options.node_address}:{port}: {error}"
                    ) from error
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            following = tasks.create_task(proxier.run(client))
            log.info("kube-proxy of %s, %s mode", options.node, mode.name)
            await stop.wait()
            following.cancel()
    finally:
        await mode.close(cleanup=False)


def health_pages(proxier: Proxier) -> Pages:
    """Return what the health port answers."""

    def health() -> Health:
        return Health(
            updated=proxier.syncs.last,
            now=SystemClock().now(),
            overdue=proxier.overdue(),
            eligible=proxier.sources.eligible,
        )

    def page(answer: tuple[int, str]) -> Page:
        return Page(answer[1], status=answer[0], content_type="application/json")

    return {
        "/healthz": lambda: page(healthz(health())),
        "/livez": lambda: page(livez(health())),
    }


def metrics_pages(proxier: Proxier) -> Pages:
    """Return what the metrics port answers."""

    def metrics() -> Page:
        syncs, sources = proxier.syncs, proxier.sources
        family = '{ip_family="IPv4"}'
        text = exposition(
            (
                Metric(
                    "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
                    "gauge",
                    "Unix time of the last sync.",
                    syncs.last,
                    family,
                ),
                Metric(
                    "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
                    "gauge",
                    "Unix time at which a sync was last asked for.",
                    syncs.last_queued,
                    family,
                ),
                Metric(
                    "kubeproxy_sync_proxy_rules_service_changes_total",
                    "counter",
                    "Changes of Services heard of.",
                    sources.service_changes,
                ),
                Metric(
                    "kubeproxy_sync_proxy_rules_endpoint_changes_total",
                    "counter",
                    "Changes of EndpointSlices heard of.",
                    sources.slice_changes,
                ),
                Metric(
                    "podwire_proxy_services_failed",
                    "gauge",
                    "Services that cannot be served.",
                    len(proxier.failed),
                ),
                *proxier.mode.metrics(),
            )
        )
        text += summary(
            "kubeproxy_sync_proxy_rules_duration_seconds",
            "Duration of syncs.",
            count=syncs.count,
            seconds=syncs.seconds,
        )
        text += summary(
            "kubeproxy_network_programming_duration_seconds",
            "From a change of endpoints to its sync.",
            count=syncs.programming_count,
            seconds=syncs.programming_seconds,
        )
        return Page(text)

    return {
        "/metrics": metrics,
        "/proxyMode": lambda: Page(proxier.mode.name),
        "/healthz": lambda: Page("ok"),
    }


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\n{self.format_usage().strip()}")


def _client(options: Options) -> Client:
    if "://" in options.api:
        return Client.tcp(options.api, headers={"X-Remote-User": "system:kube-proxy"})
    return Client.unix(options.api, user="system:kube-proxy")
