"""Events: what happened to an object, counted when it happens again."""

import asyncio
import logging
from dataclasses import dataclass

from msgspec.structs import replace

from podwire.errors import ApiError, NotFound, UnreachableError
from podwire.kube.client import Client
from podwire.kube.clock import Clock, rfc3339
from podwire.kube.codec import reference_to
from podwire.kube.names import Key
from podwire.kube.objects import Event, EventSource, Object, ObjectMeta, ObjectReference

log = logging.getLogger(__name__)

_MOST_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class _Happening:
    about: ObjectReference
    type: str
    reason: str
    message: str

    @property
    def identity(self) -> tuple[str, ...]:
        about = self.about
        return (
            about.kind,
            about.namespace,
            about.name,
            about.uid,
            about.field_path,
            self.type,
            self.reason,
            self.message,
        )


class EventRecorder:
    """Writes events in the background, in order; the same event again raises its count.

    An event that cannot be written is logged and dropped: events inform, nothing depends on them.
    """

    def __init__(self, client: Client, clock: Clock, component: str, host: str = "") -> None:
        self._client = client
        self._clock = clock
        self._source = EventSource(component=component, host=host)
        self._queue: asyncio.Queue[_Happening] = asyncio.Queue()
        self._written: dict[tuple[str, ...], tuple[Key, int]] = {}
        self._serial = 0

    def event(
        self, obj: Object, type_: str, reason: str, message: str, *, field_path: str = ""
    ) -> None:
        """Note that *reason* happened to *obj*; *type_* is Normal or Warning."""
        about = reference_to(obj)
        if field_path:
            about = replace(about, field_path=field_path)
        self.note(about, type_, reason, message)

    def note(self, about: ObjectReference, type_: str, reason: str, message: str) -> None:
        """Note that *reason* happened to what is no object of the API."""
        self._queue.put_nowait(_Happening(about, type_, reason, message))

    async def run(self) -> None:
        """Write events until cancelled."""
        while True:
            happening = await self._queue.get()
            try:
                await self._write(happening)
            except (ApiError, UnreachableError) as error:
                log.debug("event %s not written: %s", happening.reason, error)

    async def _write(self, happening: _Happening) -> None:
        moment = rfc3339(self._clock.now())
        known = self._written.get(happening.identity)
        if known is not None:
            key, count = known
            try:
                await self._client.patch(Event, key, {"count": count + 1, "lastTimestamp": moment})
                self._written[happening.identity] = (key, count + 1)
                return
            except NotFound:
                del self._written[happening.identity]
        key = await self._create(happening, moment)
        if len(self._written) > _MOST_REMEMBERED:
            self._written.clear()
        self._written[happening.identity] = (key, 1)

    async def _create(self, happening: _Happening, moment: str) -> Key:
        self._serial += 1
        # client-go names events after the object and the time in nanoseconds, in hex. Clocks are
        # coarser than that, hence the serial number.
        stamp = int(self._clock.now() * 1e9) + self._serial
        key = Key(happening.about.namespace or "default", f"{happening.about.name}.{stamp:x}")
        await self._client.create(
            Event(
                metadata=ObjectMeta(name=key.name, namespace=key.namespace),
                involved_object=happening.about,
                reason=happening.reason,
                message=happening.message,
                type=happening.type,
                source=self._source,
                first_timestamp=moment,
                last_timestamp=moment,
                count=1,
                reporting_component=self._source.component,
                reporting_instance=self._source.host,
            )
        )
        return key
