"""An API server of lists and watches that a test fills, changes, holds back or takes away.

    api = FakeApi({"services": [...], "namespaces": [...]}, held={"serviceimports"})
    async with api.serving(path):           # a Unix socket: it is reached from every namespace
        api.put("services", {...}); api.delete("services", "default", "web")

It knows nothing of Kubernetes but metadata, selectors and revisions, and checks nothing.
"""

import asyncio
import socket
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
from aiohttp import web

from podwire.kube.selectors import FieldRequirement, LabelSelector, parse_fields, parse_labels

Json = dict[str, Any]

REMEMBERED = 200_000
"""Changes that a watch may ask for; one that asks for older ones is told 410 Gone."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which objects a client asked for."""

    namespace: str
    labels: LabelSelector
    fields: tuple[FieldRequirement, ...]

    def matches(self, obj: Json | None) -> bool:
        """Return whether *obj* is there and was asked for."""
        if obj is None:
            return False
        metadata = obj["metadata"]
        if self.namespace and metadata.get("namespace") != self.namespace:
            return False
        return self.labels.matches(metadata.get("labels") or {}) and all(
            (_at(obj, f.field) == f.value) == f.equal for f in self.fields
        )


@dataclass(frozen=True, slots=True)
class Change:
    """One revision of one kind: what was there and what is."""

    revision: int
    old: Json | None
    new: Json | None
    line: dict[str, bytes]

    def seen_by(self, wanted: Filter) -> bytes:
        """Return the line of the watch, empty if it is not for it."""
        was, is_ = wanted.matches(self.old), wanted.matches(self.new)
        if not was and not is_:
            return b""
        return self.told("MODIFIED" if was and is_ else "ADDED" if is_ else "DELETED")

    def told(self, type_: str) -> bytes:
        """Return the line as *type_*; made once for all watches."""
        if type_ not in self.line:
            shown = self.new
            if shown is None:
                assert self.old is not None
                metadata = {**self.old["metadata"], "resourceVersion": str(self.revision)}
                shown = {**self.old, "metadata": metadata}
            self.line[type_] = msgspec.json.encode({"type": type_, "object": shown}) + b"\n"
        return self.line[type_]


@dataclass
class _Kind:
    objects: dict[tuple[str, str], Json] = field(default_factory=dict[tuple[str, str], Json])
    changes: list[Change] = field(default_factory=list[Change])
    forgotten: int = 0
    watches: set["asyncio.Queue[Change]"] = field(default_factory=set["asyncio.Queue[Change]"])
    watched: asyncio.Event = field(default_factory=asyncio.Event)


class FakeApi:
    """Objects by their kind's plural name. *held* kinds do not finish their list until released."""

    def __init__(
        self, objects: Mapping[str, Iterable[Json]] | None = None, *, held: Iterable[str] = ()
    ) -> None:
        self.revision = 1
        self._kinds: defaultdict[str, _Kind] = defaultdict(_Kind)
        self._held = {plural: asyncio.Event() for plural in held}
        for plural, items in (objects or {}).items():
            self._kinds[plural].objects.update((_key(obj), _versioned(obj, 1)) for obj in items)

    # What a test does

    def get(self, plural: str, namespace: str, name: str) -> Json | None:
        """Return an object as it is, or None."""
        return self._kinds[plural].objects.get((namespace, name))

    def put(self, plural: str, obj: Json) -> int:
        """Create or replace an object; returns the revision."""
        self.revision += 1
        new = _versioned(obj, self.revision)
        kind = self._kinds[plural]
        self._tell(kind, kind.objects.get(_key(obj)), new)
        kind.objects[_key(obj)] = new
        return self.revision

    def delete(self, plural: str, namespace: str, name: str) -> int:
        """Take an object away; returns the revision."""
        self.revision += 1
        kind = self._kinds[plural]
        self._tell(kind, kind.objects.pop((namespace, name)), None)
        return self.revision

    def release(self, *plurals: str) -> None:
        """Let the held lists of *plurals* (all, if none is named) be answered."""
        for plural in plurals or tuple(self._held):
            self._held[plural].set()

    async def watched(self, *plurals: str) -> None:
        """Return when each of *plurals* has been listed and is watched."""
        for plural in plurals:
            await self._kinds[plural].watched.wait()

    # How it is served

    @asynccontextmanager
    async def serving(self, path: Path) -> AsyncGenerator[None]:
        """Serve on a Unix socket inside the block."""
        async with self._running() as runner:
            await web.UnixSite(runner, str(path)).start()
            yield

    @asynccontextmanager
    async def serving_on(self, listening: socket.socket) -> AsyncGenerator[None]:
        """Serve HTTP on a bound TCP socket, of any namespace, inside the block."""
        async with self._running() as runner:
            await web.SockSite(runner, listening).start()
            yield

    @asynccontextmanager
    async def _running(self) -> AsyncGenerator[web.AppRunner]:
        app = web.Application()
        app.router.add_get("/{tail:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        try:
            yield runner
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        words = request.path.strip("/").split("/")
        plural = words[-1]
        wanted = Filter(
            words[-2] if len(words) > 2 and words[-3] == "namespaces" else "",
            parse_labels(request.query.get("labelSelector", "")),
            parse_fields(request.query.get("fieldSelector", "")),
        )
        if request.query.get("watch") in ("1", "true"):
            return await self._watch(request, plural, wanted)
        if plural in self._held:
            await self._held[plural].wait()
        items = [obj for obj in self._kinds[plural].objects.values() if wanted.matches(obj)]
        listing = {"metadata": {"resourceVersion": str(self.revision)}, "items": items}
        return web.Response(body=msgspec.json.encode(listing), content_type="application/json")

    async def _watch(self, request: web.Request, plural: str, wanted: Filter) -> web.StreamResponse:
        kind = self._kinds[plural]
        since = int(request.query.get("resourceVersion") or 0)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if since < kind.forgotten:
            gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}
            await response.write(msgspec.json.encode(gone) + b"\n")
            return response
        queue = asyncio.Queue[Change]()
        for change in kind.changes:
            if change.revision > since:
                queue.put_nowait(change)
        kind.watches.add(queue)
        kind.watched.set()
        try:
            while True:
                lines = [(await queue.get()).seen_by(wanted)]
                while not queue.empty():
                    lines.append(queue.get_nowait().seen_by(wanted))
                if told := b"".join(lines):
                    await response.write(told)
        except ConnectionError:
            return response
        finally:
            kind.watches.discard(queue)

    def _tell(self, kind: _Kind, old: Json | None, new: Json | None) -> None:
        change = Change(self.revision, old, new, {})
        kind.changes.append(change)
        if len(kind.changes) > 2 * REMEMBERED:
            kind.forgotten = kind.changes[REMEMBERED - 1].revision
            del kind.changes[:REMEMBERED]
        for queue in kind.watches:
            queue.put_nowait(change)


def _key(obj: Json) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _versioned(obj: Json, revision: int) -> Json:
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(revision)}}


def _at(obj: Json, path: str) -> str:
    value: Any = obj
    for word in path.split("."):
        value = cast(Json, value).get(word) if isinstance(value, dict) else None
    return "" if value is None else str(value)
