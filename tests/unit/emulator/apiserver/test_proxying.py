"""Requests to pods, services and nodes through the API server: where they go, and how."""

import asyncio
import gzip
import io
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from podwire.emulator.apiserver import paths
from podwire.emulator.apiserver.kinds import Kinds
from podwire.emulator.apiserver.streams import heads
from podwire.emulator.apiserver.streams.heads import Asked
from podwire.testing.agent import FakeAgent
from tests.unit.emulator.apiserver.streaming import PODS, SECONDS, Api, serving

SERVICES = "/api/v1/namespaces/default/services"
NODES = "/api/v1/nodes"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path, FakeAgent()) as api:
        await api.pod()
        yield api


async def mirror(request: web.Request) -> web.StreamResponse:
    """Answer with what was asked."""
    match request.path:
        case "/redirect":
            raise web.HTTPFound(request.query["to"])
        case "/gzip":
            headers = {"Content-Encoding": "gzip", "Content-Type": "text/html"}
            return web.Response(body=gzip.compress(b"<p>"), headers=headers)
        case "/cookies":
            answer = web.Response(status=418, reason="Short and stout")
            answer.headers.add("Set-Cookie", "a=1")
            answer.headers.add("Set-Cookie", "b=2")
            answer.headers["Cache-Control"] = "max-age=60"
            return answer
        case "/socket":
            socket = web.WebSocketResponse(protocols=("chat",))
            await socket.prepare(request)
            async for message in socket:
                await socket.send_str(f"you said {message.data}")
            return socket
        case _:
            body = b"".join([piece async for piece in request.content.iter_any()])
            return web.json_response(
                {
                    "method": request.method,
                    "path": request.raw_path,
                    "headers": {name.lower(): value for name, value in request.headers.items()},
                    "length": len(body),
                    "body": body[:20].decode(),
                }
            )


@pytest.fixture
async def port() -> AsyncIterator[int]:
    runner = web.ServerRunner(web.Server(_unwrapped))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def _unwrapped(request: web.BaseRequest) -> web.StreamResponse:
    assert isinstance(request, web.BaseRequest)
    try:
        return await mirror(request)  # type: ignore[arg-type]
    except web.HTTPException as answer:
        return web.Response(status=answer.status, headers=answer.headers)


@asynccontextmanager
async def listening(serve: Serve) -> AsyncGenerator[int]:
    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(closing, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def saying(text: bytes) -> Serve:
    """Answer every request with *text*."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text)

    return serve


# --- where -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name", "tail"),
    [
        (f"{PODS}/web/proxy", "web", ""),
        (f"{PODS}/web/proxy/", "web", "/"),
        (f"{PODS}/http:web:80/proxy/a//b/../c%2Fd/", "http:web:80", "/a//b/../c%2Fd/"),
        (f"{SERVICES}/web:http/proxy/proxy/proxy", "web:http", "/proxy/proxy"),
        (f"{NODES}/node-1:10249/proxy/metrics", "node-1:10249", "/metrics"),
    ],
)
def test_paths(path: str, name: str, tail: str) -> None:
    for method, verb in (("GET", "get"), ("HEAD", "get"), ("OPTIONS", "get"), ("POST", "create"),
                         ("PUT", "update"), ("PATCH", "patch"), ("DELETE", "delete")):  # fmt: skip
        target = paths.parse(Kinds(), method, path, watch=False)
        assert target is not None
        assert (target.verb, target.subresource) == (verb, "proxy")
        assert (target.name, target.tail) == (name, tail)


async def service(api: Api, name: str = "web", port_name: str = "", number: int = 80) -> None:
    port = {"port": 8080, "targetPort": number} | ({"name": port_name} if port_name else {})
    await api.ask("POST", SERVICES, {"metadata": {"name": name}, "spec": {"ports": [port]}})
    endpoint = {"port": number, "protocol": "TCP"} | ({"name": port_name} if port_name else {})
    subsets = [{"addresses": [{"ip": "10.244.1.2", "nodeName": "node-1"}], "ports": [endpoint]}]
    path = "/api/v1/namespaces/default/endpoints"
    await api.ask("POST", path, {"metadata": {"name": name}, "subsets": subsets})


async def node(api: Api) -> None:
    await api.ask("POST", NODES, {"metadata": {"name": "node-1"}})
    status = {"addresses": [{"type": "InternalIP", "address": "192.168.1.10"}]}
    await api.ask("PATCH", f"{NODES}/node-1/status", {"status": status})


async def test_pods_services_and_nodes_answer(api: Api, port: int) -> None:
    await service(api, "named", "http", port)
    await service(api, "plain", "", port)
    await node(api)
    for path in (
        f"{PODS}/p:{port}",
        f"{PODS}/http:p:{port}",
        f"{PODS}/:p:{port}",
        f"{SERVICES}/named:http",
        f"{SERVICES}/named:8080",
        f"{SERVICES}/plain",
        f"{SERVICES}/plain:8080",
        f"{SERVICES}/http:plain:",
        f"{NODES}/node-1:{port}",
    ):
        async with api.http.get(f"{path}/proxy/x?y=z") as answer:
            assert (await answer.json())["path"] == "/x?y=z", path


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        (f"{PODS}/none/proxy/", 404, 'pods "none" not found'),
        (f"{PODS}/ftp:p:1/proxy/", 400, 'invalid pod request "ftp:p:1"'),
        (f"{PODS}/a:b:c:d/proxy/", 400, 'invalid pod request "a:b:c:d"'),
        (f"{PODS}/:80/proxy/", 400, 'invalid pod request ":80"'),
        (f"{PODS}/early/proxy/", 400, "address not allowed"),
        (f"{PODS}/local/proxy/", 400, "address not allowed"),
        (f"{PODS}/p:1/proxy/", 503, "error trying to reach service: dial tcp 10.244.1.2:1: connect: connection refused"),
        (f"{PODS}/p:http/proxy/", 503, "error trying to reach service: dial tcp: lookup tcp/http: unknown port"),
        (f"{SERVICES}/none/proxy/", 404, 'endpoints "none" not found'),
        (f"{SERVICES}/none:80/proxy/", 404, 'services "none" not found'),
        (f"{SERVICES}/named:81/proxy/", 503, 'no service port 81 found for service "named"'),
        (f"{SERVICES}/named/proxy/", 503, 'no endpoints available for service "named"'),
        (f"{SERVICES}/named:other/proxy/", 503, 'no endpoints available for service "named"'),
        (f"{NODES}/none/proxy/", 404, 'nodes "none" not found'),
    ],
)  # fmt: skip
async def test_what_is_not_there(api: Api, path: str, code: int, words: str) -> None:
    await service(api, "named", "http")
    await api.pod("early")
    for name, address in (("early", ""), ("local", "127.0.0.1")):
        if name == "local":
            await api.pod("local")
        body = {"status": {"podIP": address, "podIPs": [{"ip": address}] if address else []}}
        await api.ask("PATCH", f"{PODS}/{name}/status", body)
    # Also for who sends a body that nobody reads.
    for asking in (api.http.get(path), api.http.post(path, data=bytes(100_000))):
        async with asking as answer:
            document = await answer.json()
        assert (answer.status, document["message"]) == (code, words)


async def test_a_nodes_kubelet_says_that_it_is_well_and_which_pods_it_has(api: Api) -> None:
    await node(api)
    async with api.http.get(f"{NODES}/node-1/proxy/healthz") as answer:
        assert (answer.status, await answer.text()) == (200, "ok")
    async with api.http.get(f"{NODES}/node-1:10250/proxy/pods") as answer:
        found = await answer.json()
    assert (found["kind"], [pod["metadata"]["name"] for pod in found["items"]]) == (
        "PodList",
        ["p"],
    )
    async with api.http.get(f"{NODES}/node-1/proxy/nowhere") as answer:
        assert (answer.status, await answer.text()) == (404, "404 page not found\n")


# --- how -------------------------------------------------------------------------------------------


async def test_what_arrives_is_what_was_sent(api: Api, port: int) -> None:
    url = f"{PODS}/p:{port}/proxy/a%2Fb//c?x=1&x=%26"
    headers = {"X-Mine": "yes"}
    async with api.http.put(url, data=b"content", headers=headers) as answer:
        seen = await answer.json()
    assert (seen["method"], seen["body"]) == ("PUT", "content")
    assert seen["path"] == "/a/b/c?x=1&x=%26"
    assert seen["headers"]["x-mine"] == "yes"
    assert seen["headers"]["x-forwarded-uri"] == f"{PODS}/p:{port}/proxy/a/b/c"
    assert "x-remote-user" not in seen["headers"]


def test_what_is_meant_for_the_api_server_stays_with_it() -> None:
    sent = {
        "Authorization": "Bearer secret",
        "Impersonate-User": "somebody",
        "Impersonate-Extra-Scopes": "all",
        "X-Remote-User": "system:admin",
        "Connection": "keep-alive, X-Hop",
        "X-Hop": "1",
        "Expect": "100-continue",
        "X-Mine": "yes",
        "X-Forwarded-For": "10.0.0.1",
    }
    head = heads.request_head(Asked("GET", "/p", "", list(sent.items()), "10.0.0.2"))
    assert head.decode().split("\r\n") == [
        "GET / HTTP/1.1",
        "X-Mine: yes",
        "X-Forwarded-Uri: /p",
        "X-Forwarded-For: 10.0.0.1, 10.0.0.2",
        "Connection: close",
        "",
        "",
    ]


@pytest.mark.parametrize(
    ("tail", "path"),
    [
        ("", "/"),
        ("/", "/"),
        ("/a", "/a"),
        ("/a/", "/a/"),
        ("/a%2Fb", "/a/b"),
        ("//a/./b/../../../c//", "/c/"),
        ("/%2e%2e/a%20b%3Fc%23d", "/a%20b%3Fc%23d"),
        ("/gr%C3%BC%C3%9Fe;v=1", "/gr%C3%BC%C3%9Fe;v=1"),
        ("/a%0D%0AX:%20y", "/a%0D%0AX:%20y"),
    ],
)
def test_paths_are_cleaned(tail: str, path: str) -> None:
    assert heads.upstream_path(tail) == path


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_methods(api: Api, port: int, method: str) -> None:
    async with api.http.request(method, f"{PODS}/p:{port}/proxy/") as answer:
        assert (await answer.json())["method"] == method


async def test_head_has_no_body(api: Api, port: int) -> None:
    async with api.http.head(f"{PODS}/p:{port}/proxy/x") as answer:
        assert answer.status == 200
        assert int(answer.headers["Content-Length"]) > 0
        assert await answer.read() == b""
    async with api.http.get("/readyz") as answer:
        assert await answer.text() == "ok"


async def test_large_bodies_with_and_without_a_length(api: Api, port: int) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield bytes(100_000)

    for data in (io.BytesIO(bytes(10_000_000)), pieces()):
        async with api.http.post(f"{PODS}/p:{port}/proxy/", data=data) as answer:
            assert (await answer.json())["length"] == 10_000_000


async def test_status_headers_and_encodings_come_back(api: Api, port: int) -> None:
    async with api.http.get(f"{PODS}/p:{port}/proxy/cookies") as answer:
        assert (answer.status, answer.reason) == (418, "Short and stout")
        assert answer.headers.getall("Set-Cookie") == ["a=1", "b=2"]
        assert answer.headers.getall("Cache-Control") == ["max-age=60"]
    async with api.http.get(f"{PODS}/p:{port}/proxy/gzip") as answer:
        assert (await answer.read(), answer.headers["Content-Encoding"]) == (b"<p>", "gzip")


async def test_a_path_without_a_slash_is_sent_to_one(api: Api, port: int) -> None:
    url = f"{PODS}/p:{port}/proxy"
    async with api.http.get(f"{url}?a=b", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (301, f"{url}/?a=b")
    async with api.http.get(url) as answer:
        assert (await answer.json())["path"] == "/"


@pytest.mark.parametrize(
    ("to", "location"),
    [
        ("/login", "{prefix}/login"),
        ("/login/?next=/", "{prefix}/login/?next=/"),
        ("login", "login"),
        ("http://api/login", "http://api{prefix}/login"),
        ("http://example.com/login", "http://example.com/login"),
        ("{prefix}/login", "{prefix}/login"),
        ("http://[bad", "http://[bad"),
    ],
)
def test_redirects_lead_back_through_the_proxy(to: str, location: str) -> None:
    prefix = f"{PODS}/p/proxy"
    asked = Asked("GET", prefix, "/", [("Host", "api")])
    assert heads.redirected(asked, to.format(prefix=prefix)) == location.format(prefix=prefix)


async def test_a_stream_is_passed_on_as_it_comes(api: Api) -> None:
    go_on = asyncio.Event()

    async def ticking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nfirst\r\n")
        await go_on.wait()
        writer.write(b"6\r\nsecond\r\n0\r\n\r\n")

    async with (
        listening(ticking) as port,
        asyncio.timeout(SECONDS),
        api.http.get(f"{PODS}/p:{port}/proxy/") as answer,
    ):
        assert await answer.content.readexactly(5) == b"first"
        go_on.set()
        assert await answer.read() == b"second"


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        (b"", 503, "error trying to reach service: EOF"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", 503, 'malformed HTTP response "SSH-2.0-OpenSSH_9.2"'),
        (b"HTTP/1.1 200 OK\r\nContent-Le", 503, 'malformed HTTP response "HTTP/1.1 200 OK"'),
        (b"HTTP/1.1 two OK\r\n\r\n", 503, "malformed HTTP response"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", 503, "headers too long"),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, "until the end"),
        (b"HTTP/1.1 200\r\nContent-Length: 4\r\n\r\nfour and more", 200, "four"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
    ],
)
async def test_odd_answers(api: Api, said: bytes, status: int, words: str) -> None:
    async with (
        listening(saying(said)) as port,
        asyncio.timeout(SECONDS),
        api.http.get(f"{PODS}/p:{port}/proxy/") as answer,
    ):
        text = await answer.text()
        found: Any = (await answer.json())["message"] if status == 503 else text
    assert answer.status == status
    assert words in found


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nwhat?\r\n",
    ],
)
async def test_half_an_answer_is_seen_as_half(api: Api, said: bytes) -> None:
    async with listening(saying(said)) as port, asyncio.timeout(SECONDS):
        with pytest.raises(aiohttp.ClientError):
            async with api.http.get(f"{PODS}/p:{port}/proxy/") as answer:
                await answer.read()
    async with api.http.get("/readyz") as answer:
        assert answer.status == 200


async def test_a_websocket_of_the_pod(api: Api, port: int) -> None:
    url = f"{PODS}/p:{port}/proxy/socket"
    async with asyncio.timeout(SECONDS), api.http.ws_connect(url, protocols=("chat",)) as socket:
        assert socket.protocol == "chat"
        for word in ("hello", "x" * 100_000):
            await socket.send_str(word)
            assert await socket.receive_str() == f"you said {word}"


async def test_a_client_that_leaves_ends_the_request(api: Api) -> None:
    over = asyncio.Event()

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(bytes(65536))
                await writer.drain()
        except ConnectionError:
            over.set()

    async with listening(endless) as port, asyncio.timeout(SECONDS):
        async with api.http.get(f"{PODS}/p:{port}/proxy/") as answer:
            await answer.content.readexactly(1 << 20)
        await over.wait()
