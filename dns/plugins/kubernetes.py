"""kubernetes: answers from the Services, endpoints and pods that the API server has."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Final, cast, get_args

from podwire.dns.answer import Options, PodMode, answer, joined
from podwire.dns.chain import Link, Plugin, Request
from podwire.dns.corefile import Line
from podwire.dns.message import Question, Reply
from podwire.dns.records import Table
from podwire.dns.site import Lookup, Site
from podwire.dns.sources import Wanted
from podwire.dns.stanza import Stanza
from podwire.kube.selectors import SelectorError, parse_labels

STARTUP_TIMEOUT: Final = 5.0
LONGEST_TTL: Final = 3600
REVERSE: Final = ("in-addr.arpa.", "ip6.arpa.")

log = logging.getLogger("podwire.dns")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a stanza says: how to answer, which objects to follow, and how long to wait for them.

    *startup_timeout* in seconds. *api* is empty for the API server that the command line names.
    """

    options: Options
    labels: str = ""
    namespace_labels: str = ""
    startup_timeout: float = STARTUP_TIMEOUT
    api: str = ""
    kubeconfig: tuple[str, ...] = ()


def parse(stanza: Stanza) -> Settings:
    """Return what ``kubernetes [ZONES...] {...}`` says. Raises CorefileError."""
    zones = stanza.zones_or_block(stanza.arguments)
    if not any(not zone.endswith(REVERSE) for zone in zones):
        raise stanza.error("non-reverse zone name must be used")
    options = Options(zones=zones)
    settings = Settings(options=options)

    def set_options(**changes: object) -> None:
        nonlocal options
        options = replace(options, **changes)  # type: ignore[arg-type]

    def set_settings(**changes: object) -> None:
        nonlocal settings
        settings = replace(settings, **changes)  # type: ignore[arg-type]

    def pods(line: Line) -> None:
        (mode,) = stanza.arguments_of(line, least=1, most=1)
        if mode not in get_args(PodMode):
            raise stanza.error(
                f"wrong value for pods: {mode}, must be one of: {', '.join(get_args(PodMode))}",
                line,
            )
        set_options(pods=cast(PodMode, mode))

    def ttl(line: Line) -> None:
        (text,) = stanza.arguments_of(line, least=1, most=1)
        set_options(ttl=stanza.number(text, line, highest=LONGEST_TTL))

    def namespaces(line: Line) -> None:
        set_options(namespaces=frozenset(stanza.arguments_of(line, least=1)))

    def selector(line: Line) -> str:
        text = " ".join(stanza.arguments_of(line, least=1))
        try:
            parse_labels(text)
        except SelectorError as error:
            raise stanza.error(f"unable to parse label selector: '{text}': {error}", line) from None
        return text

    def fallthrough(line: Line) -> None:
        set_options(fallthrough=stanza.zones(stanza.arguments_of(line), line))

    def ignore(line: Line) -> None:
        what, *_ = stanza.arguments_of(line, least=1)
        if what != "empty_service":
            raise stanza.error("unable to parse ignore value: only 'empty_service'", line)
        set_options(ignore_empty_service=True)

    def noendpoints(line: Line) -> None:
        stanza.arguments_of(line, most=0)
        set_options(no_endpoints=True)

    def endpoint_pod_names(line: Line) -> None:
        stanza.arguments_of(line, most=0)
        set_options(endpoint_pod_names=True)

    def startup_timeout(line: Line) -> None:
        (text,) = stanza.arguments_of(line, least=1, most=1)
        set_settings(startup_timeout=stanza.duration(text, line))

    def endpoint(line: Line) -> None:
        # More than one is accepted and, as in CoreDNS, only the first is used.
        set_settings(api=stanza.arguments_of(line, least=1)[0])

    def kubeconfig(line: Line) -> None:
        set_settings(kubeconfig=stanza.arguments_of(line, least=1, most=2))

    stanza.options(
        {
            "endpoint_pod_names": endpoint_pod_names,
            "pods": pods,
            "namespaces": namespaces,
            "endpoint": endpoint,
            "labels": lambda line: set_settings(labels=selector(line)),
            "namespace_labels": lambda line: set_settings(namespace_labels=selector(line)),
            "fallthrough": fallthrough,
            "ttl": ttl,
            "noendpoints": noendpoints,
            "ignore": ignore,
            "kubeconfig": kubeconfig,
            "startup_timeout": startup_timeout,
        }
    )
    if options.namespaces and settings.namespace_labels:
        raise stanza.error("namespaces and namespace_labels cannot both be set")
    return replace(settings, options=options)


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the plugin: ``kubernetes [ZONES...] {...}``."""
    settings = parse(stanza)
    wanted = Wanted(
        api=settings.api or site.process.sources.api,
        labels=settings.labels,
        namespace_labels=settings.namespace_labels,
        with_pods=settings.options.pods == "verified",
        with_endpoints=not settings.options.no_endpoints,
    )
    return Kubernetes(
        site.process.sources.table(wanted),
        replace(settings.options, own_addresses=site.own_addresses),
        site.lookup,
        lambda: _following(site, wanted, settings.startup_timeout),
    )


class Kubernetes(Plugin):
    """Answers from a table; names of other zones, and those that fall through, go on.

    *following* keeps the table true.
    """

    name = "kubernetes"

    def __init__(
        self,
        table: Table,
        options: Options,
        lookup: Lookup,
        following: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> None:
        self.table = table
        self.options = options
        self._lookup = lookup
        self._following = following

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Follow the API server; serve when all is known, or when the wait is over."""
        async with self._following():
            yield

    def is_ready(self) -> bool:
        """Return whether the first whole copy has arrived."""
        return self.table.is_synced

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Answer from the table, following an alias that leads out of it."""
        question = request.query.question
        reply = answer(question, self.table, self.options)
        if reply is None:
            return await rest(request)
        if reply.follow:
            target = await self._lookup(Question(reply.follow, question.kind), request)
            reply = joined(reply, target)
        return replace(reply, by=self.name)


@asynccontextmanager
async def _following(site: Site, wanted: Wanted, patience: float) -> AsyncGenerator[None]:
    """Keep the table of *wanted* true inside the block, which begins when all is known.

    It begins without when that takes more than *patience* seconds. Until then requests wait in the
    sockets: better a late answer than a wrong one.
    """
    ending = site.process.life.ending
    async with site.process.sources.following(wanted) as followed:
        async with asyncio.TaskGroup() as tasks:
            waits = [tasks.create_task(event.wait()) for event in (followed.synced, ending)]
            await asyncio.wait(waits, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        if not followed.synced.is_set() and not ending.is_set():
            log.warning("plugin/kubernetes: starting server with unsynced Kubernetes API")
        yield
