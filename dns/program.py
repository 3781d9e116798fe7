"""The DNS pod's process: the chain that kubeadm configures, its start and its end."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
import ssl
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from random import Random, SystemRandom
from typing import Final

import uvloop

from podwire.dns.answer import Options
from podwire.dns.cache import Cache, CacheOptions
from podwire.dns.chain import Block
from podwire.dns.forward import Forward, Upstream, parse_upstream, resolv_conf_upstreams
from podwire.dns.frontdoor import FrontDoor
from podwire.dns.handlers import Errors, Kubernetes, LoadBalance
from podwire.dns.message import Address
from podwire.dns.metrics import Metrics
from podwire.dns.records import Table
from podwire.dns.server import listen, serving
from podwire.dns.settings import SERVICE_ACCOUNT, Settings, parse
from podwire.errors import MachineError, PodwireError
from podwire.kube.client import Client
from podwire.kube.clock import Clock, SystemClock
from podwire.kube.httpd import Page
from podwire.kube.httpd import serving as serving_pages
from podwire.kube.informer import Informer
from podwire.kube.objects import EndpointSlice, Namespace, Pod, Service

STARTUP_TIMEOUT: Final = 5.0
TTL: Final = 30
LONGEST_CACHED: Final = 30
LIVING_PODS: Final = "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown"
REVERSE_ZONES: Final = ("in-addr.arpa.", "ip6.arpa.")

log = logging.getLogger("podwire.dns")


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM; return the exit status."""
    logging.basicConfig(
        stream=sys.stdout, format="[%(levelname)s] %(message)s", level=logging.INFO, force=True
    )
    try:
        settings = parse(argv, environ)
        uvloop.run(run(settings, SystemClock()))
    except PodwireError as error:
        log.error("%s", error)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    return 0


async def run(settings: Settings, clock: Clock) -> None:
    """Serve until SIGTERM or SIGINT. Raises MachineError when a port cannot be had."""
    stop, begin = asyncio.Event(), asyncio.Event()

    def end() -> None:
        stop.set()
        begin.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    _allow_many_files()
    table = Table()
    async with AsyncExitStack() as stack:
        listeners = [listen(address, port) for address, port in settings.listen]
        for listener in listeners:
            stack.callback(listener.close)
        port = listeners[0].port
        metrics = Metrics(f"dns://:{port}")
        door = FrontDoor(
            revision=lambda: table.revision,
            clock=clock,
            dice=Random(),
            metrics=metrics,
            is_logging=settings.is_logging,
        )
        cache = Cache(_cache_options(settings), clock)
        door.open([_block(settings, table, door, cache, metrics, clock, port)])
        await _open_pages(stack, settings, table, stop, metrics, cache)
        await stack.enter_async_context(_following(settings, table, clock, begin))
        try:
            # Until then requests wait in the sockets: better a late answer than a wrong one.
            async with asyncio.timeout(STARTUP_TIMEOUT):
                await begin.wait()
        except TimeoutError:
            log.warning("plugin/kubernetes: starting server with unsynced Kubernetes API")
        await stack.enter_async_context(serving(listeners, door))
        for (address, _), listener in zip(settings.listen, listeners, strict=True):
            log.info("dns on %s:%d, zone %s", address, listener.port, settings.zone)
        await stop.wait()
        log.info("shutting down after a lame duck of %g s", settings.lameduck)
        await asyncio.sleep(settings.lameduck)


def _block(
    settings: Settings,
    table: Table,
    door: FrontDoor,
    cache: Cache,
    metrics: Metrics,
    clock: Clock,
    port: int,
) -> Block:
    """Return kubeadm's server block."""
    own = _own_addresses(settings)
    options = Options(
        zones=(settings.zone, *REVERSE_ZONES),
        pods=settings.pods,
        ttl=TTL,
        fallthrough=REVERSE_ZONES,
        own_addresses=own,
    )
    upstreams = [one for one in _upstreams(settings) if not _is_ourselves(one, own, settings, port)]
    handlers = (
        Errors(),
        LoadBalance(),
        cache,
        Kubernetes(table, options, door.lookup),
        Forward(upstreams, clock=clock, dice=SystemRandom(), exchanges=metrics),
    )
    block = Block((".",), handlers)
    for handler in block.handlers:
        labels = {"server": metrics.server, "zone": ".", "view": "", "name": handler.name}
        metrics.counter("coredns_plugin_enabled", labels).value = 1
    return block


def _cache_options(settings: Settings) -> CacheOptions:
    return CacheOptions(
        longest_success=LONGEST_CACHED,
        longest_denial=LONGEST_CACHED,
        success_disabled=(settings.zone,),
        denial_disabled=(settings.zone,),
    )


def _upstreams(settings: Settings) -> list[Upstream]:
    found: list[Upstream] = []
    for text in settings.upstreams:
        try:
            found.append(parse_upstream(text))
        except ValueError:
            try:
                found.extend(resolv_conf_upstreams(Path(text).read_text()))
            except (OSError, ValueError) as error:
                log.warning("plugin/forward: %s", error)
    return found


def _is_ourselves(one: Upstream, own: tuple[Address, ...], settings: Settings, port: int) -> bool:
    """Return whether asking *one* would be asking ourselves, for ever."""
    place = ip_address(one.address)
    is_wild = any(ip_address(address).is_unspecified for address, _ in settings.listen)
    mine = place in own or (place.is_loopback and is_wild)
    if mine and one.port == port:
        log.error("plugin/forward: %s is this server itself: left out", one)
        return True
    return False


def _own_addresses(settings: Settings) -> tuple[Address, ...]:
    """Return the addresses we answer on, without loopback: for NS and the loop check."""
    found: dict[Address, None] = {}
    for text, _ in settings.listen:
        place = ip_address(text)
        if place.is_unspecified:
            # Connecting a datagram socket sends nothing, but the kernel chooses our address.
            family = socket.AF_INET if place.version == 4 else socket.AF_INET6
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                try:
                    sock.connect(("192.0.2.1" if place.version == 4 else "2001:db8::1", 53))
                except OSError:
                    continue
                place = ip_address(sock.getsockname()[0])
        if not place.is_loopback:
            found[place] = None
    return tuple(found)


async def _open_pages(
    stack: AsyncExitStack,
    settings: Settings,
    table: Table,
    stop: asyncio.Event,
    metrics: Metrics,
    cache: Cache,
) -> None:
    """Serve health, readiness and metrics over HTTP for as long as *stack* lives."""

    def ready() -> Page:
        if stop.is_set():
            return Page("Shutting down", status=503)
        return Page("OK") if table.is_synced else Page("kubernetes", status=503)

    def measured() -> Page:
        metrics.count_cache(cache.entries, cache.hits, cache.misses)
        return Page(metrics.text())

    pages = (
        ("health", "/health", settings.health, lambda: Page("OK")),
        ("ready", "/ready", settings.ready, ready),
        ("metrics", "/metrics", settings.metrics, measured),
    )
    for name, path, wanted, page in pages:
        for address, _ in settings.listen:
            try:
                port = await stack.enter_async_context(serving_pages({path: page}, address, wanted))
            except OSError as error:
                raise MachineError(f"cannot serve {name} on {address}: {error}") from error
            log.info("%s on %s:%d%s", name, address, port, path)


@asynccontextmanager
async def _following(
    settings: Settings, table: Table, clock: Clock, synced: asyncio.Event
) -> AsyncGenerator[None, None]:
    """Keep *table* true to the API server inside the block; sets *synced* once it is whole."""
    async with _client(settings) as client, asyncio.TaskGroup() as tasks:
        services = Informer(client, Service)
        slices = Informer(client, EndpointSlice)
        namespaces = Informer(client, Namespace)
        services.subscribe(lambda old, new: table.change_service(old, new, now=clock.now()))
        slices.subscribe(lambda old, new: table.change_slice(old, new, now=clock.now()))
        namespaces.subscribe(table.change_namespace)
        events = [services.synced, slices.synced, namespaces.synced]
        running = [
            tasks.create_task(services.run(), name="informer Service"),
            tasks.create_task(slices.run(), name="informer EndpointSlice"),
            tasks.create_task(namespaces.run(), name="informer Namespace"),
        ]
        if settings.pods == "verified":
            pods = Informer(client, Pod, fields=LIVING_PODS)
            pods.subscribe(lambda old, new: table.change_pod(old, new, now=clock.now()))
            events.append(pods.synced)
            running.append(tasks.create_task(pods.run(), name="informer Pod"))

        async def note_sync() -> None:
            for event in events:
                await event.wait()
            table.synced()
            synced.set()

        running.append(tasks.create_task(note_sync()))
        try:
            yield
        finally:
            for task in running:
                task.cancel()


def _client(settings: Settings) -> Client:
    if "://" not in settings.api:
        return Client.unix(settings.api.removeprefix("unix:"), user=settings.user)
    token = SERVICE_ACCOUNT / "token"
    authority = SERVICE_ACCOUNT / "ca.crt"
    tls = None
    if settings.api.startswith("https:") and authority.exists():
        tls = ssl.create_default_context(cafile=str(authority))
    headers = {"Authorization": f"Bearer {token.read_text().strip()}"} if token.exists() else {}
    return Client.tcp(settings.api, tls=tls, headers=headers)


def _allow_many_files() -> None:
    """Raise the limit of open files: each TCP client and each look-up upstream takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
