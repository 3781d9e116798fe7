"""HTTP: the only importer of aiohttp here. Connections, headers, bodies in, answers out."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from podwire.emulator.apiserver import (
    authn,
    fixed,
    handlers,
    negotiate,
    paths,
    render,
    reviews,
    sessions,
    statuses,
    streams,
)
from podwire.emulator.apiserver.agent import AgentError, NodeAgent
from podwire.emulator.apiserver.feed import Feed
from podwire.emulator.apiserver.kinds import Kinds
from podwire.emulator.apiserver.negotiate import Form
from podwire.emulator.apiserver.request import Api, Body, Request, User
from podwire.emulator.apiserver.resources import Resource
from podwire.emulator.apiserver.statuses import Refused
from podwire.emulator.apiserver.warning import warning_headers
from podwire.emulator.apiserver.watch import Watch
from podwire.kube.clock import Clock

Json = dict[str, Any]
Authenticate = Callable[[web.BaseRequest], User | None]
Listener = tuple[socket.socket, ssl.SSLContext | None]

_log = logging.getLogger(__name__)

_NO_CACHE = {"Cache-Control": "no-cache, private"}
_OWN = "/apis/podwire.dev/v1/"
_OWN_KIND = Resource("podwire.dev", "v1", "hosts", "host", "Host", namespaced=False)
_LARGEST_BODY = 3 * 1024 * 1024
_LARGEST_MESSAGE = 16 * 1024 * 1024
_WATCH_SECONDS = (1800, 3600)
_FIRST_LINES_SECONDS = 0.2
"""How long a followed log may keep its first lines, or its error, before the headers are sent."""


def by_connection(request: web.BaseRequest) -> User | None:
    """Return who asks: by certificate over TLS, by header on the Unix socket."""
    transport = request.transport
    if transport is None:
        return None
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None and connection.family == socket.AF_UNIX:
        return authn.of_header(request.headers)
    certificate: Mapping[str, Any] | None = transport.get_extra_info("peercert")
    return authn.of_certificate(certificate)


def as_dns_server(_: web.BaseRequest) -> User:
    """Return who asks on the socket that only the DNS server has, whatever it says."""
    return authn.DNS_SERVER


class Front:
    """Answers HTTP requests from *api* and *agent*; *who* tells the user of a connection."""

    def __init__(
        self, api: Api, agent: NodeAgent, clock: Clock, *, who: Authenticate = by_connection
    ) -> None:
        self._api = api
        self._agent = agent
        self._clock = clock
        self._who = who
        self._feeds: set[Feed] = set()

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; every error becomes a Status."""
        try:
            # Before any answer: a client that still sends its body does not read.
            content = await http.read() if http.can_read_body else b""
            return await self._answer(http, content)
        except Refused as refusal:
            return _refusal(refusal)
        except AgentError as error:
            return _refusal(sessions.refused(error))
        except web.HTTPRequestEntityTooLarge:
            message = f"the body is too large: limit is {_LARGEST_BODY} bytes"
            return _refusal(statuses.refused(413, "RequestEntityTooLarge", message))
        except Exception as error:  # one broken request is no broken server
            _log.exception("%s %s", http.method, http.path)
            if http.writer.output_size > 0:
                raise  # half of an answer is out: the connection must end
            return _refusal(statuses.internal(f"{type(error).__name__}: {error}"))

    def stop(self) -> None:
        """End all watches in good order; what else runs is cancelled with the server."""
        for feed in tuple(self._feeds):
            feed.close()

    async def _answer(self, http: web.BaseRequest, content: bytes) -> web.StreamResponse:
        path = http.rel_url.raw_path
        user = self._who(http)
        if user is None:
            if not path.startswith(fixed.OPEN_TO_ALL):
                raise statuses.unauthorized()
            user = authn.NOBODY
        query = {name: http.query.getall(name) for name in http.query} if http.query_string else {}
        now = self._clock.now()
        if path.startswith(_OWN):
            return await self._own(http, Request("get", _OWN_KIND, user, now, query=query))
        target = paths.parse(self._api.kinds, http.method, path, watch=_is_watch(http))
        if target is None:
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
        )
        if request.subresource in ("exec", "attach"):
            start = partial(sessions.exec_, self._api, self._agent, request)
            return await _upgraded(http, start)
        if request.subresource == "log":
            return await self._logs(http, request)
        form = negotiate.form_of(http.headers.get("Accept", ""), request.option("includeObject"))
        if request.verb == "watch":
            return await self._watch(http, request, form)
        return self._object(request, form)

    def _object(self, request: Request, form: Form) -> web.Response:
        answer = handlers.answer(self._api, request)
        response = web.Response(
            body=render.render(answer, form, now=request.now),
            status=answer.code,
            headers={"Content-Type": form.content_type, **_NO_CACHE},
        )
        for value in warning_headers(answer.warnings):
            response.headers.add("Warning", value)
        return response

    async def _watch(
        self, http: web.BaseRequest, request: Request, form: Form
    ) -> web.StreamResponse:
        reviews.check(request)
        store = self._api.store
        watch = Watch(store, request, form, now=self._clock.now)
        seconds = watch.timeout or self._api.dice.randrange(*_WATCH_SECONDS)
        feed = Feed(store, request.resource.collection, watch)
        self._feeds.add(feed)
        try:
            # prepare() inside: a client that has left by now must not leave a subscription.
            response = await _streaming(http, form.content_type)
            with suppress(ConnectionError):
                async for piece in feed.pieces(seconds):
                    await response.write(piece)
                await response.write_eof()
        finally:
            feed.close()
            self._feeds.discard(feed)
        return response

    async def _logs(self, http: web.BaseRequest, request: Request) -> web.StreamResponse:
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

    async def _own(self, http: web.BaseRequest, request: Request) -> web.StreamResponse:
        reviews.check(request)
        match http.rel_url.raw_path.removeprefix(_OWN).strip("/").split("/"):
            case ["hosts"]:
                return _json(sessions.hosts(self._agent))
            case ["hosts", name, "exec"]:
                request = replace(request, name=name)
                return await _upgraded(http, partial(sessions.exec_host, self._agent, request))
            case ["capturepoints"]:
                return _json(sessions.capture_points(self._agent))
            case ["capture"]:
                return await _upgraded(http, partial(sessions.capture, self._agent, request))
            case _:
                raise statuses.no_such_path()


class _Socket:
    """A WebSocket in the words of `streams`."""

    def __init__(self, socket_: web.WebSocketResponse) -> None:
        self._socket = socket_

    async def receive(self) -> bytes | str | None:
        message = await self._socket.receive()
        if message.type in (WSMsgType.BINARY, WSMsgType.TEXT):
            content: bytes | str = message.data
            return content
        return None

    async def send(self, message: bytes | str) -> None:
        # A client that left is noticed by `receive`; what is still sent to it is lost.
        with suppress(ConnectionError):
            if isinstance(message, str):
                await self._socket.send_str(message)
            else:
                await self._socket.send_bytes(message)

    async def close(self) -> None:
        await self._socket.close()


async def _upgraded(
    http: web.BaseRequest, run: Callable[[sessions.Accept], Awaitable[None]]
) -> web.StreamResponse:
    """Run what needs a WebSocket; its checks come before the upgrade and may refuse it."""
    opened: list[web.WebSocketResponse] = []

    async def accept() -> streams.Socket:
        if http.headers.get("Upgrade", "").lower() != "websocket":
            raise statuses.bad_request(
                "this server runs commands over WebSocket (v5.channel.k8s.io) and not over SPDY: "
                "use kubectl 1.30 or newer"
            )
        offered = http.headers.get("Sec-WebSocket-Protocol", "")
        if offered and not {p.strip() for p in offered.split(",")} & set(streams.PROTOCOLS):
            raise statuses.bad_request(
                f"unable to upgrade: {offered} is not among {', '.join(streams.PROTOCOLS)}"
            )
        upgraded = web.WebSocketResponse(
            protocols=streams.PROTOCOLS, compress=False, max_msg_size=_LARGEST_MESSAGE
        )
        await upgraded.prepare(http)
        opened.append(upgraded)
        return _Socket(upgraded)

    await run(accept)
    return opened[0]


async def _streaming(http: web.BaseRequest, content_type: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": content_type, **_NO_CACHE})
    response.enable_chunked_encoding()
    await response.prepare(http)
    return response


async def _next(pieces: sessions.LogPieces) -> bytes | AgentError | None:
    """Return the next piece of a log, None at its end, or why there is none."""
    try:
        return await anext(pieces, None)
    except AgentError as error:
        return error


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


@asynccontextmanager
async def listening(
    front: Front, sockets: Sequence[Listener], unix_path: Path | None
) -> AsyncGenerator[None]:
    """Serve on *sockets* (with TLS where there is a context) and on a Unix socket."""

    def request(*parts: Any) -> web.BaseRequest:
        message, payload, protocol, writer, task = parts
        loop = asyncio.get_running_loop()
        return web.BaseRequest(
            message, payload, protocol, writer, task, loop, client_max_size=_LARGEST_BODY
        )

    # handler_cancellation: a watch or a session of a client that has left must end.
    server = web.Server(
        front.handle, request_factory=request, handler_cancellation=True, keepalive_timeout=300
    )
    runner = web.ServerRunner(server, access_log=None)
    await runner.setup()
    try:
        for listener, context in sockets:
            await web.SockSite(runner, listener, ssl_context=context).start()
        if unix_path is not None:
            await web.UnixSite(runner, unix_path).start()
        yield
    finally:
        front.stop()
        await runner.cleanup()
