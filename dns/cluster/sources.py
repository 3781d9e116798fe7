"""What the API server has, followed into tables; who asks for the same things shares one table.

A table outlives a reload of the Corefile that still wants it, so nothing is unknown in between.
"""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from podwire.dns.cluster.api_metrics import ApiMetrics
from podwire.dns.cluster.published import SERVICE_NAME_LABEL
from podwire.dns.cluster.records import Table
from podwire.dns.cluster.watched import (
    IMPORTED_SERVICE_LABEL,
    ServiceImport,
    WatchedPod,
    WatchedService,
    WatchedSlice,
)
from podwire.dns.serving.metrics import Metrics
from podwire.kube.client import Client
from podwire.kube.clock import Clock
from podwire.kube.config import Access
from podwire.kube.informer import Informer
from podwire.kube.names import Key
from podwire.kube.objects import Namespace

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
LIVING_PODS: Final = "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which objects a table is made of; selectors in the API server's syntax, empty for all.

    *api* is a path of a Unix socket or a URL; *access* says more of how to reach it.
    """

    api: str
    access: Access | None = None
    labels: str = ""
    namespace_labels: str = ""
    with_pods: bool = False
    with_endpoints: bool = True
    with_imports: bool = False


@dataclass(frozen=True, slots=True)
class Followed:
    """A table that is kept true; *synced* is set once it is whole."""

    table: Table
    synced: asyncio.Event


@dataclass(slots=True)
class _Shared:
    followed: Followed
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    users: int = 0


class Sources:
    """All tables of the process; *api* is the server that a stanza means when it names none."""

    def __init__(
        self, *, api: str, user: str, clock: Clock, metrics: Metrics | None = None
    ) -> None:
        self.api = api
        self._user = user
        self._clock = clock
        self._metrics = ApiMetrics(metrics or Metrics(), clock)
        self._shared: dict[Wanted, _Shared] = {}
        self._tables: list[Table] = []
        self._gone = 0

    def table(self, wanted: Wanted) -> Table:
        """Return the table of what is *wanted*; it is filled while somebody follows it."""
        return self._of(wanted).followed.table

    def revision(self) -> int:
        """Return a number that grows with each visible change to what answers are made of."""
        # Asked for with each request.
        revision = self._gone
        for table in self._tables:
            revision += table.revision
        return revision

    def forget_answers(self) -> None:
        """Raise the revision: something else that answers are made of has changed."""
        self._gone += 1

    @asynccontextmanager
    async def following(self, wanted: Wanted) -> AsyncGenerator[Followed]:
        """Keep the table of what is *wanted* true inside the block."""
        shared = self._of(wanted)
        shared.users += 1
        try:
            if shared.users == 1:
                await shared.stack.enter_async_context(self._follow(wanted, shared.followed))
            yield shared.followed
        finally:
            shared.users -= 1
            if not shared.users:
                self._shared.pop(wanted, None)
                self._tables = [one.followed.table for one in self._shared.values()]
                # Revisions must not come again.
                self._gone += shared.followed.table.revision + 1
                await shared.stack.aclose()

    def _of(self, wanted: Wanted) -> _Shared:
        if wanted not in self._shared:
            self._shared[wanted] = _Shared(Followed(Table(), asyncio.Event()))
            self._tables.append(self._shared[wanted].followed.table)
        return self._shared[wanted]

    @asynccontextmanager
    async def _follow(self, wanted: Wanted, followed: Followed) -> AsyncGenerator[None]:
        table, clock = followed.table, self._clock
        reaching = _client(wanted, self._user, is_own=wanted.api == self.api)
        reaching.answered = self._metrics.called
        async with reaching as client, asyncio.TaskGroup() as tasks:
            services = Informer(client, WatchedService, labels=wanted.labels)
            namespaces = Informer(client, Namespace, labels=wanted.namespace_labels)
            services.subscribe(lambda old, new: table.change_service(old, new, now=clock.now()))
            namespaces.subscribe(table.change_namespace)
            informers: list[Informer[Any]] = [services, namespaces]
            if wanted.with_endpoints or wanted.with_imports:
                slices = Informer(client, WatchedSlice, labels=_labels_of_slices(wanted))
                if wanted.with_endpoints:

                    def change_slice(old: WatchedSlice | None, new: WatchedSlice | None) -> None:
                        table.change_slice(old, new, now=clock.now())
                        if new is not None:
                            self._metrics.programmed(new, _owner(services, new))

                    slices.subscribe(change_slice)
                if wanted.with_imports:
                    slices.subscribe(
                        lambda old, new: table.change_imported_slice(old, new, now=clock.now())
                    )
                informers.append(slices)
            if wanted.with_imports:
                # CoreDNS too lets the selector of namespaces choose among imports.
                imports = Informer(client, ServiceImport, labels=wanted.namespace_labels)
                imports.subscribe(lambda old, new: table.change_import(old, new, now=clock.now()))
                informers.append(imports)
            if wanted.with_pods:
                pods = Informer(client, WatchedPod, labels=wanted.labels, fields=LIVING_PODS)
                pods.subscribe(lambda old, new: table.change_pod(old, new, now=clock.now()))
                informers.append(pods)

            async def note_sync() -> None:
                for informer in informers:
                    await informer.synced.wait()
                # What has come now stays. To look through 100,000 endpoints for garbage takes a
                # quarter of a second, in which nobody would be answered.
                gc.freeze()
                table.synced()
                followed.synced.set()

            running = [tasks.create_task(informer.run()) for informer in informers]
            running.append(tasks.create_task(note_sync()))
            try:
                yield
            finally:
                for task in running:
                    task.cancel()


def _owner(services: Informer[WatchedService], slice_: WatchedSlice) -> WatchedService | None:
    name = slice_.metadata.labels.get(SERVICE_NAME_LABEL, "")
    return services.get(Key(slice_.metadata.namespace, name))


def _labels_of_slices(wanted: Wanted) -> str:
    """Return the selector of the slices to follow: without endpoints only a cluster set's."""
    labels = [wanted.labels] if wanted.labels else []
    if not wanted.with_endpoints:
        labels.append(IMPORTED_SERVICE_LABEL)
    return ",".join(labels)


def _client(wanted: Wanted, user: str, *, is_own: bool) -> Client:
    """Return the way to an API server; *is_own* says that it is the one that we belong to."""
    access, api = wanted.access, wanted.api
    if access is not None:
        bearer = {"Authorization": f"Bearer {access.token}"} if access.token else {}
        return Client.tcp(access.server, tls=access.tls(), headers=bearer)
    if "://" not in api:
        return Client.unix(api.removeprefix("unix:"), user=user)
    if not is_own:
        # Our token is nobody else's business.
        return Client.tcp(api)
    token = SERVICE_ACCOUNT / "token"
    authority = SERVICE_ACCOUNT / "ca.crt"
    tls = None
    if api.startswith("https:") and authority.exists():
        tls = ssl.create_default_context(cafile=str(authority))
    headers = {"Authorization": f"Bearer {token.read_text().strip()}"} if token.exists() else {}
    return Client.tcp(api, tls=tls, headers=headers)
