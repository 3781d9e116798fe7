"""List, get, watch and write over HTTP: the only caller of the API server."""

import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from podwire.errors import UnreachableError
from podwire.kube.answers import Event, Listing, error_of, event, lines, listing
from podwire.kube.cluster_objects import BoundToken
from podwire.kube.codec import decode, encode
from podwire.kube.meta import View
from podwire.kube.names import Key
from podwire.kube.objects import Pod, Resource, ServiceAccount, T

_JSON = {"Content-Type": "application/json"}

Answered = Callable[[str, str, str, float], None]
"""Takes method, host and status of a request (``<error>``: no reply) and its seconds till then."""


class Client:
    """One user's connection pool to one API server; use it as an async context manager.

    Every method raises `podwire.errors.ApiError` (or the subclass that fits) for what the server
    refuses, and UnreachableError when it cannot be reached.
    """

    def __init__(
        self,
        url: str,
        *,
        unix: Path | None = None,
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._unix = unix
        self.tls = tls
        self._headers = dict(headers or {})
        self._session: aiohttp.ClientSession | None = None
        self.answered: Answered | None = None
        """Called for each request from the beginning of `async with`, if it is set before."""

    @classmethod
    def unix(cls, path: Path | str, *, user: str) -> Self:
        """Return a client over a Unix socket that speaks as *user* (a component's name)."""
        return cls("http://podwire", unix=Path(path), headers={"X-Remote-User": user})

    @classmethod
    def tcp(
        cls,
        url: str,
        *,
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        """Return a client over TCP; *tls* carries the CA and the client's certificate."""
        return cls(url, tls=tls, headers=headers)

    async def __aenter__(self) -> Self:
        connector: aiohttp.BaseConnector
        if self._unix:
            connector = aiohttp.UnixConnector(str(self._unix), limit=0)
        else:
            connector = aiohttp.TCPConnector(ssl=self.tls if self.tls else True, limit=0)
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            read_bufsize=1 << 18,
            skip_auto_headers=("Accept-Encoding",),
            trace_configs=[_tracing(self.answered)] if self.answered else None,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """Return the open session, for streams (exec, capture) that are not objects."""
        if self._session is None:
            raise RuntimeError("the client is used outside its `async with`")
        return self._session

    async def list(
        self, kind: type[T], *, namespace: str = "", labels: str = "", fields: str = ""
    ) -> Listing[T]:
        """Return all objects of *kind*; in one namespace if it is given."""
        query = _query(labelSelector=labels, fieldSelector=fields)
        return listing(
            kind, await self._call("GET", collection(kind.RESOURCE, namespace), query=query)
        )

    async def watch(
        self,
        kind: type[T],
        *,
        since: str,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
    ) -> AsyncIterator[Event[T]]:
        """Yield what happens after revision *since* until the server ends the stream.

        Raises Expired when *since* is older than the server remembers.
        """
        query = _query(
            watch="true",
            resourceVersion=since,
            allowWatchBookmarks="true",
            labelSelector=labels,
            fieldSelector=fields,
        )
        url = self.url + collection(kind.RESOURCE, namespace)
        async with _reached(), self.session.get(url, params=query) as response:
            if response.status != 200:
                raise error_of(response.status, await response.read())
            async for line in lines(response.content.iter_any()):
                yield event(kind, line)

    async def get(self, kind: type[T], key: Key) -> T:
        """Return one object; raises NotFound."""
        return decode(kind, await self._call("GET", path_of(kind.RESOURCE, key)))

    async def create(self, obj: T, *, dry_run: bool = False) -> T:
        """Create *obj*; raises AlreadyExists, Invalid, Forbidden."""
        body = await self._call(
            "POST",
            collection(obj.RESOURCE, obj.metadata.namespace),
            encode(obj),
            query={"dryRun": "All"} if dry_run else {},
        )
        return decode(type(obj), body)

    async def create_raw(self, kind: type[T], namespace: str, obj: Mapping[str, Any]) -> T:
        """Create an object given as plain JSON values, for fields that the views do not hold."""
        body = msgspec.json.encode(obj)
        return decode(kind, await self._call("POST", collection(kind.RESOURCE, namespace), body))

    async def replace(self, obj: T, *, subresource: str = "") -> T:
        """Write the whole of *obj*, or of a subresource of it.

        Raises Conflict when its resourceVersion is stale.
        """
        path = path_of(obj.RESOURCE, Key(obj.metadata.namespace, obj.metadata.name))
        path += f"/{subresource}" if subresource else ""
        return decode(type(obj), await self._call("PUT", path, encode(obj)))

    async def patch(
        self, kind: type[T], key: Key, merge_patch: Mapping[str, Any], *, subresource: str = ""
    ) -> T:
        """Apply a JSON merge patch (RFC 7386) to an object or to a subresource of it."""
        body = await self._call(
            "PATCH",
            path_of(kind.RESOURCE, key) + (f"/{subresource}" if subresource else ""),
            msgspec.json.encode(merge_patch),
            headers={"Content-Type": "application/merge-patch+json"},
        )
        return decode(kind, body)

    async def delete(
        self,
        kind: type[T],
        key: Key,
        *,
        grace: int | None = None,
        uid: str = "",
        propagation: str = "Background",
    ) -> None:
        """Delete an object; *grace* in seconds, *uid* as a precondition."""
        options: dict[str, Any] = {"propagationPolicy": propagation}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if uid:
            options["preconditions"] = {"uid": uid}
        await self._call("DELETE", path_of(kind.RESOURCE, key), msgspec.json.encode(options))

    async def delete_all(self, resource: Resource, namespace: str) -> None:
        """Delete all objects of a kind in *namespace*; those with a grace period go later."""
        body = msgspec.json.encode({"propagationPolicy": "Background"})
        await self._call("DELETE", collection(resource, namespace), body)

    async def bind(self, pod: Key, node: str, *, uid: str) -> None:
        """Give *pod* to *node*, as a scheduler does, if it is the one with *uid*."""
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        body = msgspec.json.encode(binding)
        await self._call("POST", path_of(Pod.RESOURCE, pod) + "/binding", body)

    async def request_token(
        self, account: Key, *, pod: tuple[str, str], audience: str = "", seconds: int
    ) -> BoundToken:
        """Ask for a token of a ServiceAccount that ends with *pod* (name and uid).

        Without an *audience* it is for the API server. It lives for *seconds*, or what the server
        makes of them.
        """
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": seconds,
                "boundObjectRef": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": pod[0],
                    "uid": pod[1],
                },
            },
        }
        path = path_of(ServiceAccount.RESOURCE, account) + "/token"
        answer = await self._call("POST", path, msgspec.json.encode(request))
        return msgspec.json.decode(answer, type=_TokenRequest).status

    async def get_path(self, path: str) -> bytes:
        """GET a path that is not an object, such as /healthz."""
        return await self._call("GET", path)

    async def _call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] = _JSON,
    ) -> bytes:
        async with (
            _reached(),
            self.session.request(
                method, self.url + path, params=query, data=body, headers=headers if body else None
            ) as response,
        ):
            answer = await response.read()
            if response.status >= 400:
                raise error_of(response.status, answer)
            return answer


class _TokenRequest(View, frozen=True):
    status: BoundToken


def collection(resource: Resource, namespace: str) -> str:
    """Return the URL path of all objects of a kind, in *namespace* if it is given."""
    inside = f"/namespaces/{namespace}" if namespace and resource.namespaced else ""
    return f"{resource.prefix}{inside}/{resource.plural}"


def path_of(resource: Resource, key: Key) -> str:
    """Return the URL path of one object."""
    return f"{collection(resource, key.namespace)}/{key.name}"


@asynccontextmanager
async def _reached() -> AsyncGenerator[None]:
    try:
        yield
    except aiohttp.ClientPayloadError as error:
        raise UnreachableError("the API server went away in the middle of an answer") from error
    except (aiohttp.ClientError, OSError) as error:
        raise UnreachableError(f"the API server cannot be reached: {error}") from error


def _tracing(answered: Answered) -> aiohttp.TraceConfig:
    """Return what has aiohttp call *answered* for each request."""

    async def begin(_: aiohttp.ClientSession, context: Any, __: Any) -> None:
        context.began = time.monotonic()

    async def end(
        _: aiohttp.ClientSession, context: Any, seen: aiohttp.TraceRequestEndParams
    ) -> None:
        took = time.monotonic() - context.began
        answered(seen.method, seen.url.host or "", str(seen.response.status), took)

    async def fail(
        _: aiohttp.ClientSession, context: Any, seen: aiohttp.TraceRequestExceptionParams
    ) -> None:
        took = time.monotonic() - context.began
        answered(seen.method, seen.url.host or "", "<error>", took)

    tracing = aiohttp.TraceConfig()
    tracing.on_request_start.append(begin)
    tracing.on_request_end.append(end)
    tracing.on_request_exception.append(fail)
    return tracing


def _query(**terms: str) -> dict[str, str]:
    return {name: value for name, value in terms.items() if value}
