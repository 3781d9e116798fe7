"""Pure: changes of the store to the lines of one watch.

The lines of a common form are rendered once and shared by all watches through `Change.rendered`.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec

from podwire.emulator.apiserver import read, render, statuses, versions
from podwire.emulator.apiserver.admission.admit import FieldError
from podwire.emulator.apiserver.columns import tables
from podwire.emulator.apiserver.negotiate import Form
from podwire.emulator.apiserver.request import Request
from podwire.emulator.apiserver.resources import Resource
from podwire.emulator.apiserver.statuses import Refused
from podwire.emulator.apiserver.store import Change, Store, Stored, TooOld

Json = dict[str, Any]
EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]

_LIST_OPTIONS = Resource("meta.k8s.io", "v1", "listoptions", "listoptions", "ListOptions")
_encode = msgspec.json.Encoder().encode


class Watch:
    """One client's view of the changes of one kind. Raises Refused for options that are wrong."""

    def __init__(
        self, store: Store, request: Request, form: Form, *, now: Callable[[], float]
    ) -> None:
        self._store = store
        self._resource = request.resource
        self._form = form
        self._now = now
        self._selection = read.selected(request)
        self._first_row = True
        self.bookmarks = request.flag("allowWatchBookmarks")
        self.timeout = request.number("timeoutSeconds")
        self._send_initial = _send_initial(request)
        self._since = _since(request.option("resourceVersion"))
        if self._send_initial and self._since and self._since > store.revision:
            raise statuses.too_large_version(self._since, store.revision)
        self.over = False
        """Whether the client has been told that it must list again."""

    def opening(self) -> Iterator[bytes]:
        """Yield the lines for what is or happened before now."""
        if self._send_initial or (self._send_initial is None and not self._since):
            for stored in self._store.all(self._resource.collection, self._selection.namespace):
                if self._selection.includes(stored):
                    yield self._line("ADDED", stored)
            if self._send_initial and self.bookmarks:
                yield self.bookmark(initial_end=True)
            return
        if not self._since:
            return
        try:
            missed = self._store.since(self._resource.collection, self._since)
        except TooOld as error:
            self.over = True
            yield self._too_old(error.oldest)
            return
        for change in missed:
            yield self.line(change)

    def line(self, change: Change) -> bytes:
        """Return the line for *change*, empty if this watch does not see it."""
        selection = self._selection
        if not selection.selective:
            if selection.namespace and change.now.key.namespace != selection.namespace:
                return b""
            return self._shared(change)
        seen = change.before is not None and selection.includes(change.before)
        if change.type == "DELETED":
            return self._shared(change) if seen else b""
        sees = selection.includes(change.now)
        if sees and seen:
            return self._shared(change)
        if sees:
            return self._line("ADDED", change.now)
        if seen and change.before is not None:
            # What the client knew, with the revision at which it stopped to match.
            last = change.before.copy()
            last["metadata"]["resourceVersion"] = str(change.revision)
            return self._line("DELETED", Stored(change.now.key, last, change.revision))
        return b""

    def bookmark(self, *, initial_end: bool = False) -> bytes:
        """Return a line that only says how far this watch has come."""
        meta: Json = {"resourceVersion": str(self._store.revision), "creationTimestamp": None}
        if initial_end:
            meta["annotations"] = {"k8s.io/initial-events-end": "true"}
        resource = self._resource
        obj = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta}
        if self._form.shape == "metadata":
            obj = render.partial(obj)
        if self._form.shape == "table":
            obj = self._row(obj)
        return _line("BOOKMARK", _encode(obj))

    def _shared(self, change: Change) -> bytes:
        if self._form.shape == "table" and self._first_row:
            return self._line(change.type, change.now)
        form = (self._form, self._resource.api_version)
        known = change.rendered.get(form)
        if known is None:
            known = self._line(change.type, change.now)
            if change.revision == self._store.revision:  # it happens now, others want it too
                change.rendered[form] = known
        return known

    def _line(self, type_: EventType, stored: Stored) -> bytes:
        if self._form.shape == "object":
            return _line(type_, versions.encoded(stored, self._resource))
        obj = versions.from_stored(stored.object, self._resource)
        shown = self._row(obj) if self._form.shape == "table" else render.partial(obj)
        return _line(type_, _encode(shown))

    def _row(self, obj: Json) -> Json:
        # Columns come with the first event only; kubectl remembers them.
        table = tables.table(
            self._resource,
            [obj],
            now=self._now(),
            include_object=self._form.include,
            first=self._first_row,
        )
        self._first_row = False
        version = str(obj["metadata"].get("resourceVersion", ""))
        return {**table, "metadata": {"resourceVersion": version}}

    def _too_old(self, oldest: int) -> bytes:
        message = f"too old resource version: {self._since} ({oldest})"
        return _line("ERROR", _encode(statuses.expired(message).status))


def _line(type_: EventType, obj: bytes) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (type_.encode(), obj)


def _since(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal()):
        message = f'strconv.ParseUint: parsing "{text}": invalid syntax'
        # The real server answers 500, as if that were its own fault.
        raise statuses.bad_request(message)
    return int(text)


def _send_initial(request: Request) -> bool | None:
    """Return what sendInitialEvents says, None if nothing; raises Refused as KEP-3157 wants."""
    match = request.option("resourceVersionMatch")
    if not request.option("sendInitialEvents"):
        if match:
            raise _forbidden(
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            )
        return None
    if match != "NotOlderThan":
        raise _forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    return request.flag("sendInitialEvents")


def _forbidden(why: str) -> Refused:
    problem = FieldError("resourceVersionMatch", "FieldValueForbidden", f"Forbidden: {why}")
    return statuses.invalid(_LIST_OPTIONS, "", [problem])
