"""HTTP, of aiohttp: headers, bodies in, answers out (upgrades.py: what is no HTTP).

What only nodes can answer is loaded with the first such request, or by `load_streams`: the first
answers of a cluster that starts do not wait for it.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from podwire.emulator.apiserver import handlers, negotiate, paths, render, statuses
from podwire.emulator.apiserver.access import access, authn, impersonation
from podwire.emulator.apiserver.backlogs import Backlogs
from podwire.emulator.apiserver.documents import fixed
from podwire.emulator.apiserver.feed import Feed
from podwire.emulator.apiserver.kinds import Kinds
from podwire.emulator.apiserver.negotiate import Form
from podwire.emulator.apiserver.request import Answer, Api, Body, Query, Request, User
from podwire.emulator.apiserver.resources import Resource
from podwire.emulator.apiserver.statuses import Refused
from podwire.emulator.apiserver.warning import warning_headers
from podwire.emulator.apiserver.watch import Watch
from podwire.kube.clock import Clock

if TYPE_CHECKING:
    from podwire.emulator.apiserver.agent import AgentError, NodeAgent
    from podwire.emulator.apiserver.streams.heads import Asked
    from podwire.emulator.apiserver.streams.sessions import LogPieces

Json = dict[str, Any]
Authenticate = Callable[[web.BaseRequest], User | None]

_log = logging.getLogger(__name__)

_NO_CACHE = {"Cache-Control": "no-cache, private"}
_BY_NODES = frozenset({"exec", "attach", "portforward", "proxy", "log"})
_USAGE = "metrics.k8s.io"
_OWN = "/apis/podwire.dev/v1/"
_OWN_KIND = Resource("podwire.dev", "v1", "hosts", "host", "Host", namespaced=False)
LARGEST_BODY = 3 * 1024 * 1024
_PIECE = 256 * 1024
_SMALL_ANSWER = 64 * 1024
"""Bytes that may wait in a connection's buffer whether the client reads or not."""
_WATCH_SECONDS = (1800, 3600)
_DIAL_SECONDS = 30.0  # as long as Go's default dialer
_FIRST_LINES_SECONDS = 0.2
"""How long a followed log may keep its first lines, or its error, before the headers are sent."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How many seconds a client has, with kube-apiserver's numbers."""

    request: float = 32.0
    """From the connection to the end of the first request's headers (ReadHeaderTimeout)."""
    body: float = 60.0
    """To send a body (--request-timeout)."""
    answer: float = 60.0
    """To read an answer that is no stream."""


def load_streams() -> None:
    """Load what requests to nodes need: 15 ms, for which the first would wait."""
    for module in ("metrics", "streams.sessions", "streams.passing", "streams.upgrades"):
        importlib.import_module(f"podwire.emulator.apiserver.{module}")


def by_connection(request: web.BaseRequest) -> User | None:
    """Return who asks: by certificate over TLS, by header on the Unix socket; None: not said so."""
    transport = request.transport
    if transport is None:
        return None
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None and connection.family == socket.AF_UNIX:
        return authn.of_header(request.headers)
    certificate: Mapping[str, Any] | None = transport.get_extra_info("peercert")
    if not certificate:
        return None
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    encoded = None if tls is None else tls.getpeercert(binary_form=True)
    return authn.of_certificate(certificate, encoded or b"")


def as_dns_server(_: web.BaseRequest) -> User:
    """Return who asks on the socket that only the DNS server has, whatever it says."""
    return authn.DNS_SERVER


class Front:
    """Answers HTTP requests from *api* and *agent*; *who* tells the user of a connection."""

    def __init__(
        self,
        api: Api,
        agent: NodeAgent,
        clock: Clock,
        *,
        who: Authenticate = by_connection,
        patience: Patience | None = None,
    ) -> None:
        self.patience = patience or Patience()
        self._api = api
        self._agent = agent
        self._clock = clock
        self._who = who
        self._feeds: set[Feed] = set()
        self._backlogs = Backlogs()

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; every error becomes a Status."""
        try:
            # Before any answer: a client that still sends its body does not read.
            passed_on = paths.is_proxied(http.rel_url.raw_path)
            content = await self._body(http) if http.can_read_body and not passed_on else b""
            return await self._taken(http, await self._answer(http, content))
        except Refused as refusal:
            return _refusal(refusal)
        except web.RequestPayloadError as error:  # it ended early, or is not as encoded as it says
            message = f"the body of the request cannot be read: {error}"
            return _refusal(statuses.bad_request(message))
        except web.HTTPRequestEntityTooLarge:
            return _refusal(statuses.too_large(f"limit is {LARGEST_BODY}"))
        except Exception as error:  # one broken request is no broken server
            _log.exception("%s %s", http.method, http.path)
            if http.writer.output_size > 0:
                raise  # half of an answer is out: the connection must end
            return _refusal(statuses.internal(f"{type(error).__name__}: {error}"))

    async def _body(self, http: web.BaseRequest) -> bytes:
        """Return the body; raises Refused (504) if it takes too long."""
        try:
            async with asyncio.timeout(self.patience.body):
                return await http.read()
        except TimeoutError as error:
            raise statuses.timeout() from error

    async def _taken(
        self, http: web.BaseRequest, response: web.StreamResponse
    ) -> web.StreamResponse:
        """Send a large answer and hang up if the client does not read it; aiohttp would wait.

        Raises Refused (429) while others have too much still to read.
        """
        body = response.body if isinstance(response, web.Response) else None
        transport = http.transport
        if not isinstance(body, bytes) or len(body) <= _SMALL_ANSWER or transport is None:
            return response
        if http.method == "HEAD":
            return response
        if not self._backlogs.have_room():
            raise statuses.too_many_requests()
        # Piece by piece: under TLS a write is passed on as a whole, and nobody sees what is unread.
        sent = web.StreamResponse(status=response.status, headers=response.headers)
        sent.content_length = len(body)
        self._backlogs.expect(transport, len(body))
        try:
            async with asyncio.timeout(self.patience.answer):
                await sent.prepare(http)
                for start in range(0, len(body), _PIECE):
                    await sent.write(body[start : start + _PIECE])
                await sent.write_eof()
        except TimeoutError:
            transport.abort()
        finally:
            self._backlogs.forget(transport)
        return sent

    def stop(self) -> None:
        """End all watches in good order; what else runs is cancelled with the server."""
        for feed in tuple(self._feeds):
            feed.close()

    async def _answer(self, http: web.BaseRequest, content: bytes) -> web.StreamResponse:
        path = http.rel_url.raw_path
        now = self._clock.now()
        user = self._user(http, now)
        query = {name: http.query.getall(name) for name in http.query} if http.query_string else {}
        if path.startswith(_OWN):
            request = _own_request(path, user, now, query)
            access.check(self._api, request)
            return await self._by_node(http, request, "")
        try:
            target = paths.parse(self._api.kinds, http.method, path, watch=_is_watch(http))
        except Refused:
            # What there is, and is not, is told to those only who may ask.
            access.check_path(self._api, user, http.method, path)
            raise
        if target is None:
            access.check_path(self._api, user, http.method, path)
            return _document(self._api.kinds, http)
        request = Request(
            target.verb,
            target.resource,
            user,
            now,
            target.namespace,
            target.name,
            target.subresource,
            query,
            Body(http.headers.get("Content-Type", ""), content),
            http.headers.get("User-Agent", ""),
        )
        # Here, before anything that answers: what follows asks nobody again.
        access.check(self._api, request)
        if request.subresource in _BY_NODES:
            return await self._by_node(http, request, target.tail)
        form = negotiate.form_of(http.headers.get("Accept", ""), request.option("includeObject"))
        if request.verb == "watch":
            return await self._watch(http, request, form)
        if request.resource.group == _USAGE:
            return self._rendered(await self._used(request), form, now)
        return self._rendered(handlers.answer(self._api, request), form, now)

    async def _used(self, request: Request) -> Answer:
        from podwire.emulator.apiserver import metrics  # noqa: PLC0415 - see the docstring
        from podwire.emulator.apiserver.agent import AgentError  # noqa: PLC0415
        from podwire.emulator.apiserver.streams import sessions  # noqa: PLC0415

        try:
            return await metrics.answer(self._api, self._agent, request)
        except AgentError as error:
            raise sessions.refused(error) from error

    async def _by_node(
        self, http: web.BaseRequest, request: Request, tail: str
    ) -> web.StreamResponse:
        from podwire.emulator.apiserver.agent import AgentError  # noqa: PLC0415 - see the docstring
        from podwire.emulator.apiserver.streams import sessions  # noqa: PLC0415
        from podwire.emulator.apiserver.streams.upgrades import Switch  # noqa: PLC0415

        try:
            if request.resource is _OWN_KIND:
                return await self._own(http, request)
            if request.subresource == "proxy":
                return await self._proxied(http, request, tail)
            if request.subresource == "log":
                return await self._logs(http, request)
            switch = Switch(http)
            if request.subresource == "portforward":
                await sessions.forward(self._api, self._agent, request, switch.forward)
            else:
                await sessions.exec_(self._api, self._agent, request, switch.process)
            return switch.response
        except AgentError as error:
            raise sessions.refused(error) from error

    def _user(self, http: web.BaseRequest, now: float) -> User:
        """Return who asks, and as whom; raises Refused (401, 403)."""
        header = http.headers.get("Authorization", "")
        # A certificate goes before a token, as in Kubernetes.
        user = self._who(http) or authn.of_authorization(header, self._api, now) or authn.NOBODY
        return impersonation.acting(self._api, user, http.headers.items())

    def _rendered(self, answer: Answer, form: Form, now: float) -> web.Response:
        response = web.Response(
            body=render.render(answer, form, now=now),
            status=answer.code,
            headers={"Content-Type": form.content_type, **_NO_CACHE},
        )
        for value in warning_headers(answer.warnings):
            response.headers.add("Warning", value)
        return response

    async def _watch(
        self, http: web.BaseRequest, request: Request, form: Form
    ) -> web.StreamResponse:
        store = self._api.store
        watch = Watch(store, request, form, now=self._clock.now)
        seconds = watch.timeout or self._api.dice.randrange(*_WATCH_SECONDS)
        if not self._backlogs.have_room():
            raise statuses.too_many_requests()
        # A client that has left by now is noticed here, before anything is subscribed.
        response = await _streaming(http, form.content_type)
        transport = http.transport
        if transport is None:
            return response
        feed = Feed(store, request.resource.collection, watch, transport, self._backlogs)
        self._feeds.add(feed)
        stop = self._api.kinds.on_change(partial(self._end_unserved, request.resource, feed))
        try:
            await feed.run(seconds)
            with suppress(ConnectionError):
                async with asyncio.timeout(self.patience.answer):
                    await response.write_eof()
        except TimeoutError:
            transport.abort()
        finally:
            stop()
            feed.close()
            self._feeds.discard(feed)
        return response

    def _end_unserved(self, resource: Resource, feed: Feed) -> None:
        """End the watch of a custom resource whose definition changed or went, as Kubernetes does.

        What it has to tell is written first.
        """
        if resource.custom and not self._api.kinds.serves(resource):
            asyncio.get_running_loop().call_soon(feed.close)

    async def _logs(self, http: web.BaseRequest, request: Request) -> web.StreamResponse:
        from podwire.emulator.apiserver.agent import AgentError  # noqa: PLC0415 - see the docstring
        from podwire.emulator.apiserver.streams import sessions  # noqa: PLC0415

        pieces = sessions.logs(self._api, self._agent, request)
        if pieces is None:
            return web.Response(text="", headers=_NO_CACHE)
        refused: AgentError | None = None
        response: web.StreamResponse = web.Response()
        async with asyncio.TaskGroup() as tasks:
            opening = tasks.create_task(_next(pieces))
            await asyncio.wait([opening], timeout=_FIRST_LINES_SECONDS)
            if opening.done() and isinstance(first := opening.result(), AgentError):
                refused = first
            else:
                response = await _streaming(http, "text/plain")
                with suppress(ConnectionError):
                    piece = await opening
                    while isinstance(piece, bytes):
                        await response.write(piece)
                        piece = await _next(pieces)
                    await response.write_eof()
            opening.cancel()
        if refused is not None:
            raise refused
        return response

    async def _proxied(
        self, http: web.BaseRequest, request: Request, tail: str
    ) -> web.StreamResponse:
        from podwire.emulator.apiserver.streams import passing, proxying  # noqa: PLC0415
        from podwire.emulator.apiserver.streams.upgrades import Answering  # noqa: PLC0415

        there = proxying.upstream(self._api, request)
        if there is None:
            code, kind, body = proxying.kubelet_page(
                self._api, request.name.partition(":")[0], tail
            )
            return web.Response(body=body, status=code, headers={"Content-Type": kind, **_NO_CACHE})
        asked = _asked(http, tail)
        if not tail and not asked.upgrade and http.method in ("GET", "HEAD"):
            to = http.rel_url.raw_path + asked.rest
            return web.Response(status=301, headers={"Location": to, **_NO_CACHE})
        try:
            async with asyncio.timeout(_DIAL_SECONDS):
                tcp = await self._agent.reach(there.node, there.address, there.port, tls=there.tls)
        except OSError as error:
            raise passing.unreachable(there, error) from error
        if http.headers.get("Expect", "").lower() == "100-continue" and http.transport is not None:
            http.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        answering = Answering(http)
        await passing.pass_on(asked, tcp, answering)
        return await answering.end()

    async def _own(self, http: web.BaseRequest, request: Request) -> web.StreamResponse:
        from podwire.emulator.apiserver.streams import sessions  # noqa: PLC0415
        from podwire.emulator.apiserver.streams.upgrades import Switch  # noqa: PLC0415

        match http.rel_url.raw_path.removeprefix(_OWN).strip("/").split("/"):
            case ["hosts"]:
                return _json(sessions.hosts(self._agent))
            case ["hosts", name, "exec"]:
                switch = Switch(http)
                named = replace(request, name=name)
                await sessions.exec_host(self._agent, named, switch.process)
                return switch.response
            case ["capturepoints"]:
                return _json(sessions.capture_points(self._agent))
            case ["capture"]:
                switch = Switch(http)
                await sessions.capture(self._agent, request, switch.capture)
                return switch.response
            case _:
                raise statuses.no_such_path()


def _own_request(path: str, user: User, now: float, query: Query) -> Request:
    """Return what a request to a path of ours asks, as rules see it."""
    what = path.rstrip("/").rpartition("/")[2]
    if what in ("exec", "capture"):
        # Who may read everything has no shell on a host by that, nor everybody's packets.
        return Request("create", _OWN_KIND, user, now, subresource=what, query=query)
    return Request("get", _OWN_KIND, user, now, query=query)


async def _streaming(http: web.BaseRequest, content_type: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": content_type, **_NO_CACHE})
    response.enable_chunked_encoding()
    await response.prepare(http)
    return response


async def _next(pieces: LogPieces) -> bytes | AgentError | None:
    """Return the next piece of a log, None at its end, or why there is none."""
    from podwire.emulator.apiserver.agent import AgentError  # noqa: PLC0415 - see the docstring

    try:
        return await anext(pieces, None)
    except AgentError as error:
        return error


def _asked(http: web.BaseRequest, tail: str) -> Asked:
    from podwire.emulator.apiserver.streams.heads import Asked, upstream_path  # noqa: PLC0415

    path, query = http.rel_url.raw_path, http.rel_url.raw_query_string
    return Asked(
        http.method,
        path.removesuffix(tail) if tail else path,
        upstream_path(tail) + (f"?{query}" if query else ""),
        list(http.headers.items()),
        http.remote or "",
        http.content.iter_any() if http.can_read_body else None,
        http.content_length,
    )


def _is_watch(http: web.BaseRequest) -> bool:
    return http.query.get("watch", "").lower() in ("true", "1")


def _document(kinds: Kinds, http: web.BaseRequest) -> web.Response:
    found = fixed.document(kinds, http.rel_url.raw_path, http.headers)
    if found is None:
        known = http.rel_url.raw_path.startswith(("/api/", "/apis/"))
        if known:
            raise statuses.no_such_path()
        found = fixed.not_here()
    elif http.method != "GET":
        raise statuses.wrong_method()
    return web.Response(
        body=found.body,
        status=found.code,
        headers={**_NO_CACHE, "Content-Type": found.content_type, **found.headers},
    )


def _refusal(refusal: Refused) -> web.Response:
    response = _json(refusal.status, refusal.code)
    seconds = refusal.status.get("details", {}).get("retryAfterSeconds")
    if seconds:
        response.headers["Retry-After"] = str(seconds)
    return response


def _json(document: Json, code: int = 200) -> web.Response:
    headers = {"Content-Type": "application/json", **_NO_CACHE}
    return web.Response(body=msgspec.json.encode(document), status=code, headers=headers)
