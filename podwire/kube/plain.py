"""A blocking connection to the API server, in plain JSON: what one-shot commands use.

Starts five times faster than the asyncio client (podwire.kube.client), which components use. One
connection is kept alive for all requests; streams get one of their own.
"""

import http.client
import json
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import urlencode, urlsplit

from podwire.errors import ApiError, NotRunning
from podwire.kube.config import Access
from podwire.kube.websocket import Message, Parser, close_frame, frame, upgrade_headers

Json = dict[str, Any]
Query = Mapping[str, str] | Sequence[tuple[str, str]]


class Connection:
    """Requests to one API server, one after another; use it as a context manager.

    Every method raises ApiError (or the subclass that fits) for what the server refuses and
    NotRunning when nothing answers at its address.
    """

    def __init__(self, access: Access, *, limit: float = 30.0) -> None:
        self.access = access
        self._limit = limit  # seconds for a connect or an answer
        self._tls = access.tls()
        self._http: http.client.HTTPConnection | None = None
        # What the server warned of so far (RFC 9111 5.5 as Kubernetes uses it), once each.
        self.warnings = dict[str, None]()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the next request opens another."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def get(self, path: str, query: Query = ()) -> Json:
        """Return the object or list at *path*."""
        return self._json("GET", path, query=query)

    def find(self, path: str, query: Query = ()) -> Json | None:
        """Return the object at *path*, or None if there is none."""
        try:
            return self.get(path, query)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def create(self, path: str, obj: Mapping[str, Any], query: Query = ()) -> Json:
        """Create *obj* in the collection *path* and return it as stored."""
        return self._json("POST", path, obj, query=query)

    def patch(
        self,
        path: str,
        patch: Mapping[str, Any],
        *,
        kind: str = "application/merge-patch+json",
        query: Query = (),
    ) -> Json:
        """Patch the object at *path* and return it as stored."""
        return self._json("PATCH", path, patch, query=query, content_type=kind)

    def delete(self, path: str, options: Mapping[str, Any] | None = None) -> Json:
        """Delete what is at *path*."""
        return self._json("DELETE", path, options or {})

    def text(self, path: str, query: Query = ()) -> bytes:
        """Return the bytes at *path*."""
        return self._call("GET", path, None, query, "application/json")

    def stream(
        self, path: str, query: Query = (), *, left: Callable[[], float] | None = None
    ) -> Iterator[bytes]:
        """Yield the bytes of an endless answer as they come; closing the iterator ends it.

        Raises TimeoutError when *left*, in seconds, is over.
        """
        opened = self._open(path, query, {})
        try:
            while True:
                if left is not None:
                    opened.socket.settimeout(max(0.001, left()))
                chunk = opened.response.read1(1 << 16)
                if not chunk:
                    return
                yield chunk
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            opened.close()

    def lines(
        self, path: str, query: Query = (), *, left: Callable[[], float] | None = None
    ) -> Iterator[Json]:
        """Yield the JSON lines of a watch; raises TimeoutError when *left*, in seconds, is over."""
        rest = b""
        for chunk in self.stream(path, query, left=left):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (json.loads(line) for line in whole if line.strip())

    def websocket(self, path: str, query: Query = (), *, protocols: Sequence[str]) -> "WebSocket":
        """Return an open WebSocket at *path* on a connection of its own."""
        opened = self._open(path, query, upgrade_headers(protocols), expected=101)
        return WebSocket(opened)

    def _open(
        self, path: str, query: Query, headers: Mapping[str, str], *, expected: int = 200
    ) -> "_Opened":
        connection = self._connection()
        try:
            connection.request("GET", _with(path, query), headers=self._headers() | dict(headers))
            held = cast("socket.socket", connection.sock)
            response = connection.getresponse()
            if response.status != expected:
                raise _error(response.status, response.read())
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreachable(error) from error
        except BaseException:
            connection.close()
            raise
        held.settimeout(None)
        return _Opened(connection, response, held)

    def _json(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Query = (),
        content_type: str = "application/json",
    ) -> Json:
        data = None if body is None else json.dumps(body).encode()
        return cast("Json", json.loads(self._call(method, path, data, query, content_type)))

    def _call(
        self, method: str, path: str, data: bytes | None, query: Query, content_type: str
    ) -> bytes:
        headers = self._headers()
        if data is not None:
            headers["Content-Type"] = content_type
        try:
            status, answer = self._exchange(method, _with(path, query), data, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unreachable(error) from error
        except BaseException:  # Ctrl-C: half an answer must not meet the next request
            self.close()
            raise
        if status >= 400:
            raise _error(status, answer)
        return answer

    def _exchange(
        self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        kept_alive = self._http is not None
        self._http = self._http or self._connection()
        try:
            self._http.request(method, path, body=data, headers=dict(headers))
            response = self._http.getresponse()
        except (ConnectionError, http.client.RemoteDisconnected):
            if not kept_alive:
                raise
            # The server may end an idle connection at any time; that request was never read.
            self.close()
            return self._exchange(method, path, data, headers)
        for header in response.headers.get_all("Warning") or ():
            self.warnings[_warned(header)] = None
        return response.status, response.read()

    def _connection(self) -> http.client.HTTPConnection:
        url = urlsplit(self.access.server)
        host = url.hostname or ""
        connection: http.client.HTTPConnection
        if self._tls is not None:
            connection = http.client.HTTPSConnection(
                host, url.port, timeout=self._limit, context=self._tls
            )
        else:
            connection = http.client.HTTPConnection(host, url.port, timeout=self._limit)
        return connection

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "podwire"}
        if self.access.token:
            headers["Authorization"] = f"Bearer {self.access.token}"
        return headers

    def _unreachable(self, error: Exception) -> Exception:
        server = self.access.server
        if isinstance(error, ssl.SSLCertVerificationError):
            return NotRunning(
                f"{server} shows a certificate of another cluster\n"
                "  the context is out of date: podwire down, then podwire up"
            )
        if isinstance(error, TimeoutError):
            return ApiError(504, "Timeout", f"{server} did not answer within {self._limit:g} s")
        return NotRunning(
            f"nothing answers at {server} ({error})\n  see what runs: podwire ls; start: podwire up"
        )


def _warned(header: str) -> str:
    """Return the text of `299 - "text"`."""
    text = header.partition('"')[2].removesuffix('"')
    return text.replace('\\"', '"').replace("\\\\", "\\") or header


@dataclass(frozen=True, slots=True)
class _Opened:
    """An answer that goes on, and what must be closed after it."""

    connection: http.client.HTTPConnection
    response: http.client.HTTPResponse
    socket: socket.socket

    def read_ahead(self) -> bytes:
        """Return the bytes that the reader of the headers took in beyond them."""
        self.socket.settimeout(0)
        try:
            return self.response.fp.peek()
        except ssl.SSLWantReadError:
            return b""
        finally:
            self.socket.settimeout(None)

    def close(self) -> None:
        """Let go; never waits."""
        self.response.close()
        self.connection.close()
        self.socket.close()


class WebSocket:
    """An open WebSocket; `fileno` lets select wait for it."""

    def __init__(self, opened: _Opened) -> None:
        self._opened = opened
        self._socket = opened.socket
        self._parser = Parser()
        self._waiting = self._parser.feed(opened.read_ahead())
        self.protocol = opened.response.headers.get("Sec-WebSocket-Protocol") or ""

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._socket.fileno()

    def pending(self) -> bool:
        """Return whether messages can be had without waiting, which select would not see."""
        tls = isinstance(self._socket, ssl.SSLSocket)
        buffered = tls and cast("ssl.SSLSocket", self._socket).pending() > 0
        return bool(self._waiting) or buffered

    def receive(self) -> list[Message]:
        """Return the next messages, waiting for bytes; an empty list means "not a whole one yet".

        The end of the conversation is a message "close".
        """
        if self._waiting:
            messages, self._waiting = self._waiting, []
            return messages
        data = self._socket.recv(1 << 16)
        if not data:
            return [Message("close", b"")]
        messages = self._parser.feed(data)
        if self._parser.replies:
            replies = bytes(self._parser.replies)
            self._parser.replies.clear()
            self._socket.sendall(replies)
        return messages

    def send(self, data: bytes) -> None:
        """Send a binary message."""
        self._socket.sendall(frame(data))

    def send_text(self, text: str) -> None:
        """Send a text message."""
        self._socket.sendall(frame(text.encode(), text=True))

    def abandon(self) -> None:
        """End the conversation from another thread: a `receive` that waits sees the end."""
        # Not SSLSocket's shutdown: that would take the TLS layer away under the waiting thread.
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Say goodbye and let go; never waits."""
        with suppress(OSError):  # the other side may be first
            self._socket.sendall(close_frame())
        self._opened.close()


def _with(path: str, query: Query) -> str:
    pairs = list(query.items()) if isinstance(query, Mapping) else list(query)
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _error(code: int, body: bytes) -> ApiError:
    try:
        status = cast("Json", json.loads(body))
        return ApiError.of(
            int(status.get("code") or code),
            str(status.get("reason") or ""),
            str(status.get("message") or f"HTTP {code}"),
        )
    except (ValueError, AttributeError):
        return ApiError.of(code, "", body.decode(errors="replace").strip() or f"HTTP {code}")
