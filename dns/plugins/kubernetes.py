"""kubernetes: answers from the Services, endpoints and pods that the API server has."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace

from podwire.dns.chain import Link, Plugin, Request
from podwire.dns.cluster.answer import answer, joined
from podwire.dns.cluster.cluster_stanza import Settings, parse
from podwire.dns.cluster.options import Options
from podwire.dns.cluster.records import Table
from podwire.dns.cluster.search_path import autopath_search
from podwire.dns.cluster.sources import Wanted
from podwire.dns.cluster.zone_contents import zone_records
from podwire.dns.corefile.corefile import CorefileError
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages.message import Question, Record, Reply
from podwire.dns.site import Lookup, Site
from podwire.errors import PodwireError
from podwire.kube.config import Access, load

log = logging.getLogger("podwire.dns")


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the plugin: ``kubernetes [ZONES...] {...}``."""
    settings = parse(stanza)
    wanted = Wanted(
        api=settings.api or site.process.sources.api,
        access=_access(stanza, settings, site),
        labels=settings.labels,
        namespace_labels=settings.namespace_labels,
        with_pods=settings.options.pods == "verified",
        with_endpoints=not settings.options.no_endpoints,
        with_imports=bool(settings.options.multicluster),
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

    def search_list(self, name: str, client: str, own: Sequence[str]) -> tuple[str, ...]:
        """Return the search list of the pod at *client*, for autopath; *own* is the server's."""
        return autopath_search(name, client, self.table, self.options, own)

    def zone_records(self, name: str, have_serial: int) -> Iterable[Record] | None:
        """Return all records of the zone *name*, for transfer; None: it is not ours."""
        return zone_records(name, have_serial, self.table, self.options)

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Answer from the table, following an alias that leads out of it."""
        question = request.query.question
        reply = answer(question, self.table, self.options)
        if reply is None:
            return await rest(request)
        if reply.follow:
            target = await self._lookup(Question(reply.follow, question.kind), request)
            reply = joined(reply, target)
        return reply


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


def _access(stanza: Stanza, settings: Settings, site: Site) -> Access | None:
    """Return how to reach the API server, if the stanza says more of that than an address.

    Raises CorefileError for a file that cannot be used.
    """
    try:
        if settings.kubeconfig:
            file, *context = settings.kubeconfig
            path = site.folder / file
            if not path.exists():
                raise stanza.error(f"kubeconfig {file}: there is no such file")
            return load([path], *context)
        if settings.tls:
            certificate, key, authority = ((site.folder / f).read_bytes() for f in settings.tls)
            access = Access(
                server=settings.api, certificate=certificate, key=key, authority=authority
            )
            access.tls()
            return access
    except CorefileError:
        raise
    except (PodwireError, OSError) as error:
        raise stanza.error(f"the API server cannot be reached so: {error}") from error
    return None
