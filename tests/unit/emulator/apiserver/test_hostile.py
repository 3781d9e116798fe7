"""Clients that mean no good, or know no better: proper answers, no crash, nothing left behind."""

import asyncio
import base64
import gc
import gzip
import io
import json
import logging
import random
import tracemalloc
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from podwire.emulator.apiserver import bootstrap
from podwire.emulator.apiserver.server import ApiServer
from podwire.emulator.apiserver.store import Store
from podwire.testing.agent import FakeAgent
from podwire.testing.apiserver import SilentServer
from podwire.testing.clock import FakeClock
from tests.unit.emulator.apiserver.custom_kinds import CRDS, WIDGETS, definition, version, widget
from tests.unit.emulator.apiserver.random_objects import Random

Json = dict[str, Any]
MAPS = "/api/v1/namespaces/default/configmaps"
SECONDS = 30
ADMIN = {"X-Remote-User": "system:admin"}


class Victim:
    """A server on a Unix socket."""

    def __init__(self, server: ApiServer, path: Path, client: aiohttp.ClientSession) -> None:
        self.server = server
        self.path = path
        self.client = client

    async def says(self, content: bytes, *, half: bool = False, end: bool = False) -> bytes:
        """Send *content* as it is and return all that comes back.

        *half*: hang up at once. *end*: say that nothing more will come; then no answer is due.
        """
        reader, writer = await asyncio.open_unix_connection(self.path)
        writer.write(content)
        await writer.drain()
        if half:
            writer.close()
            return b""
        if end:
            writer.write_eof()
        async with asyncio.timeout(SECONDS):
            answer = await reader.read()
        writer.close()
        return answer

    async def is_well(self) -> None:
        """Assert that others are served as ever."""
        async with self.client.get("/api/v1/namespaces/default") as answer:
            assert answer.status == 200


@pytest.fixture
async def victim(tmp_path: Path) -> AsyncIterator[Victim]:
    server = ApiServer(Store(), FakeAgent(), FakeClock(), random.Random(1))
    server.fill(6443)
    path = tmp_path / "api.sock"
    async with (
        server.serve(unix_path=path),
        aiohttp.ClientSession(
            "http://api", connector=aiohttp.UnixConnector(str(path), limit=0), headers=ADMIN
        ) as client,
    ):
        yield Victim(server, path, client)


def asked(path: str, *more: str, verb: str = "GET") -> bytes:
    """Return a request of an administrator as it goes over the wire."""
    head = (f"{verb} {path} HTTP/1.1", "Host: api", "X-Remote-User: system:admin", *more)
    return "\r\n".join((*head, "Connection: close", "", "")).encode()


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/%00", 404),
        ("//", 200),
        ("/api/v1/%00", 404),
        ("/api//v1/pods", 404),
        ("/api/v1/namespaces/%00/pods", 200),
        ("/api/v1/namespaces/default/pods/..%2f..%2fsecrets", 404),
        ("/api/v1/namespaces/default/pods/%2e%2e", 404),
        ("/api/v1/namespaces/default/../../nodes", 404),
        ("/api/v1/namespaces/" + "x" * 4000 + "/pods/" + "y" * 3000, 404),
        ("/api/v1/namespaces/%ff%fe/pods/%c3%28", 404),
        ("/api/v1/pods?labelSelector=%00", 400),
        ("/api/v1/pods?labelSelector=" + "a,b," * 1000, 400),
        ("/api/v1/pods?labelSelector=%ff", 400),
        ("/api/v1/pods?fieldSelector=%5c%5c,,==", 400),
        ("/api/v1/pods?limit=-5", 200),
        ("/api/v1/pods?limit=99999999999999999999999999", 200),
        ("/api/v1/pods?limit=" + "9" * 5000, 400),
        ("/api/v1/pods?continue=%00", 400),
        ("/api/v1/pods?continue=" + base64.b64encode(b'{"v":"meta.k8s.io/v1"}').decode(), 400),
        ("/api/v1/pods?continue=" + base64.b64encode(b"[1]").decode(), 400),
        ("/api/v1/pods?resourceVersion=-1", 400),
        ("/api/v1/pods?resourceVersion=%D9%A1", 400),
        ("/api/v1/pods?watch=1&resourceVersion=x", 400),
        ("/api/v1/pods?watch=1&timeoutSeconds=x", 400),
        ("/api/v1/pods?watch=1&timeoutSeconds=-1&x=%zz", 200),
        ("/openapi/v3/apis/../../etc/passwd", 404),
        ("/apis/%2e%2e/%2e%2e/%2e%2e", 404),
    ],
)
async def test_paths(victim: Victim, path: str, code: int) -> None:
    answer = await victim.says(asked(path))
    assert answer.split(b" ")[1] == str(code).encode(), answer[:500]
    await victim.is_well()


@pytest.mark.parametrize(
    "content",
    [
        b"\x00" * 1000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: api\r\nX: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz",
        b"POST / HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=range(11),
)
async def test_what_is_no_http(victim: Victim, content: bytes) -> None:
    answer = await victim.says(content, end=True)
    assert answer == b"" or answer.split(b" ")[1].startswith(b"4"), answer[:300]
    await victim.is_well()


async def test_connections_that_end_in_the_middle(victim: Victim) -> None:
    body = asked(MAPS, "Content-Type: application/json", "Content-Length: 1000", verb="POST")
    for content in (b"", b"GET", asked(MAPS)[:-2], body, body + b'{"metadata":'):
        for _ in range(20):
            await victim.says(content, half=True)
        await victim.is_well()


def yaml_bomb() -> bytes:
    """Return a small document that is large when it is written out."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    return "\n".join(["apiVersion: v1", "kind: ConfigMap", "metadata: {name: x}", *lines]).encode()


DEEP = 100_000


@pytest.mark.parametrize(
    ("content_type", "body", "code"),
    [
        ("application/json", b"", 400),
        ("application/json", b"\xff\xfe", 400),
        ("application/json", b"null", 400),
        ("application/json", b"NaN", 400),
        ("application/json", b'{"metadata": {"name": "\\ud800"}}', 400),
        ("application/json", b"[" * DEEP, 400),
        ("application/json", b'{"data":' * DEEP, 400),
        ("application/json", b'{"data": {"a": ' + b"9" * 5000 + b"}}", 400),
        ("application/json", b'{"metadata": 5}', 400),
        ("application/json", b'{"metadata": {"name": ["x"]}}', 400),
        ("application/json", b'{"kind": 7, "apiVersion": {}}', 400),
        ("application/json", b'{"kind": ["x"], "apiVersion": "v1"}', 400),
        ("application/json", b'"' + b"x" * 4_000_000 + b'"', 413),
        ("application/yaml", b"a: [", 400),
        ("application/yaml", b"!!python/object/apply:os.system [id]", 400),
        ("application/yaml", b"[" * 20_000, 400),
        ("application/yaml", yaml_bomb(), 400),
        ("application/yaml", b"? {a: 1}\n: b", 400),
        ("application/vnd.kubernetes.protobuf", b"k8s\x00", 400),
        ("application/vnd.kubernetes.protobuf", b"k8s\x00" + b"\xff" * 100, 400),
        ("application/vnd.kubernetes.protobuf", b"k8s\x00\x0a\xff\xff\xff\xff\x0f", 400),
        ("text/html", b"<p>", 415),
        ("; charset", b"{}", 422),
        ("multipart/form-data", b"--x", 415),
    ],
)
async def test_bodies(victim: Victim, content_type: str, body: bytes, code: int) -> None:
    headers = {"Content-Type": content_type}
    async with victim.client.post(MAPS, data=io.BytesIO(body), headers=headers) as answer:
        document = await answer.json()
    assert (answer.status, document["kind"]) == (code, "Status"), document["message"][:300]
    await victim.is_well()


async def test_a_body_that_is_not_what_its_encoding_says(victim: Victim) -> None:
    for encoding in ("gzip", "deflate"):
        head = ("Content-Type: application/json", f"Content-Encoding: {encoding}",
                "Content-Length: 9")  # fmt: skip
        answer = await victim.says(asked(MAPS, *head, verb="POST") + b"no gzip!!")
        assert answer.split(b" ")[1] == b"400", answer[:300]
    await victim.is_well()


async def test_a_small_body_that_grows(victim: Victim) -> None:
    packed = gzip.compress(b'{"x": "' + b"a" * 50_000_000 + b'"}')
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with victim.client.post(MAPS, data=packed, headers=headers) as answer:
        assert answer.status == 413
    await victim.is_well()


async def test_a_patch_that_grows(victim: Victim) -> None:
    async with victim.client.post(
        MAPS, json={"metadata": {"name": "m"}, "data": {"a": "x" * 1000}}
    ) as answer:
        assert answer.status == 201
    copies = [{"op": "copy", "from": "/data", "path": f"/data/x{n}"} for n in range(40)]
    headers = {"Content-Type": "application/json-patch+json"}
    async with victim.client.patch(f"{MAPS}/m", data=json.dumps(copies), headers=headers) as answer:
        assert 400 <= answer.status < 500, await answer.text()
    await victim.is_well()


async def test_watches_that_are_opened_and_dropped(
    victim: Victim, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)  # pytest keeps what is logged: that is not the server's
    store = victim.server.api.store

    async def open_and_drop() -> None:
        reader, writer = await asyncio.open_unix_connection(victim.path)
        writer.write(asked(f"{MAPS}?watch=1&timeoutSeconds=600"))
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async def gone() -> None:
        while store.subscriptions("configmaps"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # the server hears of a hang-up when the loop gets to it

    async def round_() -> None:
        for _ in range(10):
            await asyncio.gather(*(open_and_drop() for _ in range(100)))
        async with asyncio.timeout(SECONDS):
            await gone()

    await round_()  # the first time buffers and caches grow
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        await round_()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 2_000_000
    await victim.is_well()


def grow(dice: Random, server: SilentServer) -> tuple[str, Any, str]:
    """Return a request, its body, and the kind of patch that it is."""
    choose = dice.dice
    kind = choose.choice(server.api.kinds.all())
    group = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    scope = "/namespaces/default" if kind.namespaced else ""
    base, name = f"{group}{scope}/{kind.plural}", choose.choice(("a", "b"))
    query = choose.choice(
        (
            "",
            "",
            "?fieldValidation=Strict",
            "?dryRun=All",
            "?fieldManager=m&force=true",
            "?limit=-1",
        )
    )
    below = [s.name for s in kind.subresources if s.name not in STREAMS]
    if kind.custom:
        body: Any = {**widget(name), "spec": dice.json(), "status": dice.json()}
    elif kind.group == "metrics.k8s.io" or choose.random() < 0.1:
        body = dice.json()
    else:
        body = dice.object(kind.api_version, kind.kind, name)
    match choose.randrange(6):
        case 0 | 1:
            return f"POST {base}{query}", body, ""
        case 2:
            return f"PUT {base}/{name}{query}", body, ""
        case 3 | 4:
            patch = choose.choice(("merge", "json", "strategic", "apply"))
            where = f"/{choose.choice(below)}" if below and choose.random() < 0.4 else ""
            changes: Any = body
            if patch == "json":
                paths = ("/spec", "/metadata", "", "/x/y", "/spec/-", "/data/0", 5)
                changes = [
                    {
                        "op": choose.choice(("add", "replace", "remove", "test", "move", "copy")),
                        "path": choose.choice(paths),
                        "from": choose.choice(paths),
                        "value": dice.json(),
                    }
                    for _ in range(2)
                ]
            return f"PATCH {base}/{name}{where}?fieldManager=m", changes, patch
        case _:
            verb = choose.choice(("GET", "POST", "PUT", "DELETE"))
            where = f"/{choose.choice(below)}" if below else ""
            return f"{verb} {base}/{name}{where}{query}", body if verb != "GET" else None, ""


STREAMS = ("attach", "exec", "log", "portforward", "proxy")


@pytest.mark.parametrize("seed", range(30))
def test_objects_that_make_no_sense(seed: int) -> None:
    """Whatever is sent and stored: the answer is no 5xx, and the list can still be shown."""
    server = SilentServer()
    bootstrap.fill(server.api, now=server.clock.now(), port=6443)
    server.must(f"POST {CRDS}", definition(version(subresources={"status": {}})))
    assert server.get(WIDGETS)["items"] == []
    dice = Random(seed, rubbish=(0.0, 0.01, 0.05)[seed % 3])
    for _ in range(60):
        line, body, patch = grow(dice, server)
        said: Callable[[], str] = lambda: f"{line} {patch}: {json.dumps(body)[:2000]}"  # noqa: E731, B023
        try:
            code, document = server.ask(line, body, patch=patch)
        except Exception as error:
            raise AssertionError(said()) from error
        assert code < 500, f"{document} after {said()}"
