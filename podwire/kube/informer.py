"""List + watch -> a local copy that is always whole, and a call for every change."""

import asyncio
import logging
from collections.abc import Callable
from typing import Generic

from podwire.errors import ApiError, Expired, UnreachableError
from podwire.kube.client import Client
from podwire.kube.codec import key_of
from podwire.kube.names import Key
from podwire.kube.objects import T
from podwire.kube.outage import Outage

log = logging.getLogger(__name__)

FIRST_RETRY = 0.02
LAST_RETRY = 5.0
SERVER_AWAY = 0.5


class Informer(Generic[T]):
    """A copy of all objects of one kind that fit the selectors.

    Subscribers are called in the order of events, in the loop, and must not block; they see the old
    and the new object (None: it was not there, it is gone). After a gap in the watch the copy is
    compared with a fresh list, so that nothing is missed and nothing is kept that is gone.
    """

    def __init__(
        self,
        client: Client,
        kind: type[T],
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
    ) -> None:
        self.kind = kind
        self._client = client
        self._namespace = namespace
        self._labels = labels
        self._fields = fields
        self._objects: dict[Key, T] = {}
        self._subscribers: list[Callable[[T | None, T | None], None]] = []
        # As the API calls them: a kind may have several classes.
        self._what = kind.RESOURCE.plural
        self.synced = asyncio.Event()
        self.resource_version = ""

    def get(self, key: Key) -> T | None:
        """Return the object, or None."""
        return self._objects.get(key)

    def all(self) -> tuple[T, ...]:
        """Return every object."""
        return tuple(self._objects.values())

    def subscribe(self, changed: Callable[[T | None, T | None], None]) -> None:
        """Call *changed(old, new)* for each change from now on, and now for each known object."""
        self._subscribers.append(changed)
        for obj in self.all():
            changed(None, obj)

    async def run(self) -> None:
        """Keep the copy true until cancelled."""
        clock = asyncio.get_running_loop().time
        delay = FIRST_RETRY
        outage = Outage()
        while True:
            began = clock()
            try:
                await self._list()
                if said := outage.worked(clock()):
                    log.info("watch of %s %s", self._what, said)
                while True:
                    await self._watch()
            except Expired:
                continue
            except (ApiError, UnreachableError) as error:
                # A refusal will not go away by itself: it must be seen.
                level = logging.WARNING if isinstance(error, ApiError) else logging.INFO
                if clock() - began > LAST_RETRY:
                    delay = FIRST_RETRY
                # One cause, however each try meets it: a watch breaks, then nobody answers.
                reason = str(error) if isinstance(error, ApiError) else "away"
                if said := outage.failed(reason, str(error), clock()):
                    log.log(level, "watch of %s: %s; it is tried again", self._what, said)
                await asyncio.sleep(delay)
                # A server that starts is worth asking often: a connect that fails costs next to
                # nothing, and everything else waits for this.
                longest = SERVER_AWAY if isinstance(error, UnreachableError) else LAST_RETRY
                delay = min(delay * 2, longest)

    async def _list(self) -> None:
        listing = await self._client.list(
            self.kind, namespace=self._namespace, labels=self._labels, fields=self._fields
        )
        fresh = {key_of(obj): obj for obj in listing.items}
        for key in [key for key in self._objects if key not in fresh]:
            self._change(key, None)
        for key, obj in fresh.items():
            self._change(key, obj)
        self.resource_version = listing.resource_version
        self.synced.set()

    async def _watch(self) -> None:
        async for event in self._client.watch(
            self.kind,
            since=self.resource_version,
            namespace=self._namespace,
            labels=self._labels,
            fields=self._fields,
        ):
            if event.type == "DELETED":
                self._change(key_of(event.object), None)
            elif event.type != "BOOKMARK":
                self._change(key_of(event.object), event.object)
            self.resource_version = event.object.metadata.resource_version

    def _change(self, key: Key, new: T | None) -> None:
        old = self._objects.get(key)
        if new is None:
            self._objects.pop(key, None)
        else:
            self._objects[key] = new
        # Not by revision alone: a server that has lost its store counts from the beginning again.
        if old == new:
            return
        for changed in self._subscribers:
            try:
                changed(old, new)
            except Exception:
                # A fault of one subscriber must not take the copy, and with it all others.
                log.exception("a subscriber to %s failed on %s", self._what, key)
