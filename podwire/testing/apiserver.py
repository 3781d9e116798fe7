"""An API server without HTTP, asked in the words of HTTP: for tests of its rules."""

import random
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from podwire.emulator.apiserver import handlers, paths
from podwire.emulator.apiserver.access import access
from podwire.emulator.apiserver.negotiate import PLAIN, Form
from podwire.emulator.apiserver.render import render
from podwire.emulator.apiserver.request import Api, Body, Request, User
from podwire.emulator.apiserver.statuses import Refused
from podwire.emulator.apiserver.store import Store
from podwire.emulator.apiserver.watch import Watch
from podwire.testing.clock import FakeClock

Json = dict[str, Any]

ADMIN = User("kubernetes-admin", ("system:masters", "system:authenticated"))

PATCHES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


def _api() -> Api:
    return Api(Store(), random.Random(1), token_key=b"the key of the tests")


@dataclass
class SilentServer:
    """`ask("GET /api/v1/pods")` -> (code, document); `warnings` of the last answer."""

    api: Api = field(default_factory=_api)
    clock: FakeClock = field(default_factory=FakeClock)
    user: User = ADMIN
    warnings: tuple[str, ...] = ()

    def ask(
        self,
        line: str,
        body: Any = None,
        *,
        patch: str = "",
        form: Form = PLAIN,
        raw: bytes = b"",
        content_type: str = "",
    ) -> tuple[int, Json]:
        """Ask `VERB PATH?QUERY` and return code and document.

        *body* is sent as JSON, *raw* as it is, as *patch* or *content_type* say.
        """
        try:
            request = self.request(line, body, patch)
            if raw or content_type:
                kind = content_type or request.body.content_type
                request = replace(request, body=Body(kind, raw))
            access.check(self.api, request)
            answer = handlers.answer(self.api, request)
        except Refused as refusal:
            return refusal.code, refusal.status
        self.warnings = answer.warnings
        document = msgspec.json.decode(render(answer, form, now=self.clock.now()))
        return answer.code, document

    def get(self, line: str) -> Json:
        """Return the document of a GET that must succeed."""
        code, document = self.ask(f"GET {line}")
        assert code == 200, document
        return document

    def must(self, line: str, body: Any = None, *, patch: str = "") -> Json:
        """Return the document of a request that must succeed."""
        code, document = self.ask(line, body, patch=patch)
        assert code < 300, document
        return document

    def says(self, line: str, body: Any = None, *, patch: str = "") -> str:
        """Return `CODE REASON: message` of a request that must fail."""
        code, document = self.ask(line, body, patch=patch)
        assert document.get("kind") == "Status", document
        assert document["code"] == code >= 400, document
        return f"{code} {document.get('reason', '')}: {document['message']}"

    def request(self, line: str, body: Any = None, patch: str = "") -> Request:
        """Return what *line* asks; raises Refused."""
        verb, _, url = line.partition(" ")
        parts = urlsplit(url)
        query = parse_qs(parts.query, keep_blank_values=True)
        watch = query.get("watch", [""])[0] in ("1", "true")
        target = paths.parse(self.api.kinds, verb, parts.path, watch=watch)
        assert target is not None, line
        content = b"" if body is None else msgspec.json.encode(body)
        return Request(
            target.verb,
            target.resource,
            self.user,
            self.clock.now(),
            target.namespace,
            target.name,
            target.subresource,
            query,
            Body(PATCHES.get(patch, "application/json"), content),
        )

    def watch(self, url: str, form: Form = PLAIN) -> "Watching":
        """Begin to watch."""
        return Watching(self, self.request(f"GET {url}"), form)


class Watching:
    """A watch whose lines a test looks at."""

    def __init__(self, server: SilentServer, request: Request, form: Form) -> None:
        store = server.api.store
        self.watch = Watch(store, request, form, now=server.clock.now)
        self._lines = list(self.watch.opening())
        self.stop = store.subscribe(
            request.resource.collection, lambda change: self._lines.append(self.watch.line(change))
        )

    def events(self) -> list[Json]:
        """Return the events since the last call."""
        events = [msgspec.json.decode(line) for line in self._lines if line]
        self._lines.clear()
        return events

    def seen(self) -> list[str]:
        """Return `TYPE NAME@REVISION` for each event since the last call."""
        shown: list[str] = []
        for event in self.events():
            meta = event["object"].get("metadata", {})
            if event["type"] == "ERROR":
                shown.append(f"ERROR {event['object']['message']}")
            else:
                shown.append(f"{event['type']} {meta.get('name', '')}@{meta['resourceVersion']}")
        return shown
