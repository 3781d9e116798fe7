"""The real server on a Unix socket, asked by a real client."""

import asyncio
import io
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from podwire.emulator.apiserver.server import ApiServer
from podwire.emulator.apiserver.store import Store
from podwire.testing.agent import FakeAgent
from podwire.testing.clock import FakeClock

Json = dict[str, Any]
MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
AS_TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
SECONDS = 10
ADMIN = {"X-Remote-User": "system:admin"}


@pytest.fixture
def agent() -> FakeAgent:
    return FakeAgent()


@pytest.fixture
async def http(tmp_path: Path, agent: FakeAgent) -> AsyncIterator[aiohttp.ClientSession]:
    """Return a client of a running server."""
    server = ApiServer(Store(), agent, FakeClock(), random.Random(1))
    server.fill(6443)
    path = tmp_path / "api.sock"
    async with server.serve(unix_path=path):
        connector = aiohttp.UnixConnector(str(path))
        async with aiohttp.ClientSession(
            "http://api", connector=connector, headers=ADMIN
        ) as client:
            yield client


async def pod(http: aiohttp.ClientSession, name: str = "p", *more: str) -> None:
    """Create a pod that seems to run."""
    containers = [{"name": n, "image": "nginx"} for n in ("app", *more)]
    body: Json = {
        "metadata": {"name": name},
        "spec": {"containers": containers, "nodeName": "node-1"},
    }
    async with http.post(PODS, json=body) as answer:
        assert answer.status == 201, await answer.text()
    running = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    statuses = [
        {
            "name": c["name"],
            "image": "x",
            "imageID": "x",
            "ready": True,
            "restartCount": 0,
            "state": running,
        }
        for c in containers
    ]
    patch = {"status": {"phase": "Running", "containerStatuses": statuses}}
    headers = {"Content-Type": "application/merge-patch+json"}
    async with http.patch(
        f"{PODS}/{name}/status", data=json.dumps(patch), headers=headers
    ) as answer:
        assert answer.status == 200, await answer.text()


async def test_every_answer_forbids_caching(http: aiohttp.ClientSession) -> None:
    for path in (
        "/version",
        "/version/",
        "/healthz",
        "/api",
        "/openapi/v2",
        "/openapi/v3",
        MAPS,
        f"{MAPS}/none",
        "/nowhere",
    ):
        async with http.get(path) as answer:
            assert answer.headers["Cache-Control"] == "no-cache, private", path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("GET /version", (200, "application/json", '"minor":"32"')),
        ("GET /healthz", (200, "text/plain", "ok")),
        ("GET /readyz", (200, "text/plain", "ok")),
        ("GET /nowhere", (404, "text/plain", "404 page not found\n")),
        ("GET /apis/storage.k8s.io", (404, "text/plain", "404 page not found\n")),
        (
            "GET /apis/apps/v7",
            (404, "application/json", "the server could not find the requested resource"),
        ),
        (
            "GET /api/v1/gadgets",
            (404, "application/json", "the server could not find the requested resource"),
        ),
        ("POST /api/v1/pods", (405, "application/json", "the server does not allow this method")),
        ("PUT /version", (405, "application/json", "the server does not allow this method")),
        ("GET /apis/apps/v1", (200, "application/json", '"deployments/scale"')),
        ("GET /openapi/v3/apis/apps/v1", (200, "application/json", '"fieldValidation"')),
        ("GET /openapi/v3/apis/storage.k8s.io/v1", (404, "text/plain", "404 page not found\n")),
        ("GET /openapi/v2", (200, "application/json", '"swagger":"2.0"')),
        ("GET /", (200, "application/json", '"/apis/apps/v1"')),
    ],
)
async def test_documents(
    http: aiohttp.ClientSession, line: str, expected: tuple[int, str, str]
) -> None:
    method, _, path = line.partition(" ")
    async with http.request(method, path) as answer:
        text = await answer.text()
        assert (answer.status, answer.content_type) == expected[:2]
        assert expected[2] in text


async def test_aggregated_discovery_is_not_sent_twice(http: aiohttp.ClientSession) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    async with http.get("/apis", headers={"Accept": accept}) as answer:
        assert answer.headers["Content-Type"] == accept
        groups = [
            item["metadata"]["name"] for item in (await answer.json(content_type=None))["items"]
        ]
        tag = answer.headers["ETag"]
    assert groups[0] == "apps"
    async with http.get("/apis", headers={"Accept": accept, "If-None-Match": tag}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")


async def test_openapi_addresses_change_with_their_content(http: aiohttp.ClientSession) -> None:
    async with http.get("/openapi/v3") as answer:
        url = (await answer.json())["paths"]["api/v1"]["serverRelativeURL"]
    async with http.get(url) as answer:
        assert answer.headers["Cache-Control"] == "public, immutable"
        document = await answer.json()
    schema = document["components"]["schemas"]["io.k8s.api.core.v1.Service"]
    assert schema["x-kubernetes-group-version-kind"] == [
        {"group": "", "version": "v1", "kind": "Service"}
    ]
    operation = document["paths"]["/api/v1/namespaces/{namespace}/services/{name}"]["patch"]
    assert "fieldValidation" in [p["name"] for p in operation["parameters"]]


async def test_who_says_nothing_is_nobody(http: aiohttp.ClientSession) -> None:
    for path, code in (("/version", 200), ("/livez", 200), (MAPS, 403), ("/api", 403)):
        async with http.get(path, headers={"X-Remote-User": ""}) as answer:
            assert answer.status == code, path


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"metadata":{"name":"cfg"},"data":{"a":"1"}}'),
        ("application/json; charset=utf-8", b'{"metadata":{"name":"cfg"},"data":{"a":"1"}}'),
        ("application/yaml", b"metadata: {name: cfg}\ndata: {a: '1'}\n"),
        (
            "application/vnd.kubernetes.protobuf",
            b"k8s\x00\n\x0f\n\x02v1\x12\tConfigMap\x12\x0f\n\x05\n\x03cfg\x12\x06\n\x01a\x12\x011",
        ),
    ],
)
async def test_bodies(http: aiohttp.ClientSession, content_type: str, body: bytes) -> None:
    async with http.post(MAPS, data=body, headers={"Content-Type": content_type}) as answer:
        document = await answer.json()
    assert (answer.status, document["data"]) == (201, {"a": "1"}), document


@pytest.mark.parametrize(
    ("content_type", "body", "code"),
    [
        ("application/json", b"{", 400),
        ("application/yaml", b"a: [", 400),
        ("application/yaml", b"a: 1\n---\nb: 2\n", 400),
        ("application/vnd.kubernetes.protobuf", b"rubbish", 400),
        ("text/html", b"<p>", 415),
        ("application/json", b'"' + b"x" * 4_000_000 + b'"', 413),
    ],
)
async def test_bodies_that_cannot_be_read(
    http: aiohttp.ClientSession, content_type: str, body: bytes, code: int
) -> None:
    async with http.post(
        MAPS, data=io.BytesIO(body), headers={"Content-Type": content_type}
    ) as answer:
        assert (answer.status, (await answer.json())["kind"]) == (code, "Status")


async def test_each_warning_has_a_header(http: aiohttp.ClientSession) -> None:
    body = {"metadata": {"name": "cfg"}, "one": 1, "two": 2}
    async with http.post(MAPS, json=body) as answer:
        warnings = answer.headers.getall("Warning")
    assert warnings == ['299 - "unknown field \\"one\\""', '299 - "unknown field \\"two\\""']


async def test_warnings_are_cut_when_they_are_too_many(http: aiohttp.ClientSession) -> None:
    """As Kubernetes does it; and a text that no header can carry is left out."""
    body: Json = {"metadata": {"name": "cfg"}}
    body |= {f"{number:03}" + "x" * 400: 1 for number in range(40)} | {"a\nb": 1}
    async with http.post(MAPS, json=body) as answer:
        assert answer.status == 201, await answer.text()
        warnings = answer.headers.getall("Warning")
    texts = [warning.removeprefix('299 - "')[:-1].replace('\\"', '"') for warning in warnings]
    assert {len(text) for text in texts} == {256}
    assert len(texts) == 16


async def test_yaml_and_table_answers(http: aiohttp.ClientSession) -> None:
    async with http.get(
        "/api/v1/namespaces/default", headers={"Accept": "application/yaml"}
    ) as answer:
        assert "kind: Namespace" in await answer.text()
    async with http.get("/api/v1/namespaces", headers=AS_TABLE) as answer:
        assert (await answer.json())["kind"] == "Table"
    async with http.get("/api/v1/namespaces", headers={"Accept": "text/html"}) as answer:
        assert answer.status == 406


async def lines(answer: aiohttp.ClientResponse, count: int) -> list[Json]:
    async with asyncio.timeout(SECONDS):
        return [msgspec.json.decode(await answer.content.readline()) for _ in range(count)]


async def test_a_watch_sends_its_headers_before_any_event(http: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(SECONDS), http.get(f"{MAPS}?watch=1") as answer:
        assert answer.headers["Transfer-Encoding"] == "chunked"
        async with http.post(MAPS, json={"metadata": {"name": "cfg"}}):
            pass
        (event,) = await lines(answer, 1)
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "cfg")


async def test_a_watch_ends_after_its_time(http: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(SECONDS), http.get(f"{MAPS}?watch=1&timeoutSeconds=1") as answer:
        assert await answer.read() == b""


async def test_a_client_that_leaves_ends_its_watch(http: aiohttp.ClientSession) -> None:
    for _ in range(3):
        async with http.get(f"{MAPS}?watch=1"):
            pass
    async with http.post(MAPS, json={"metadata": {"name": "cfg"}}) as answer:
        assert answer.status == 201


async def test_list_then_watch_misses_nothing(http: aiohttp.ClientSession) -> None:
    async with http.get(MAPS) as answer:
        since = (await answer.json())["metadata"]["resourceVersion"]
    for n in range(20):
        async with http.post(MAPS, json={"metadata": {"name": f"c{n:02}"}}):
            pass
    async with http.get(f"{MAPS}?watch=1&resourceVersion={since}") as answer:
        names = [event["object"]["metadata"]["name"] for event in await lines(answer, 20)]
    assert names == [f"c{n:02}" for n in range(20)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("container=app", (200, "one\ntwo\n")),
        ("container=app&limitBytes=5", (200, "one\nt")),
        ("container=app&follow=true&tailLines=1&timestamps=true", (200, "one\ntwo\n")),
        ("", (400, "a container name must be specified for pod p, choose one of: [app broken]")),
        ("container=nope", (400, "container nope is not valid for pod p")),
        (
            "container=app&previous=true",
            (400, 'previous terminated container "app" in pod "p" not found'),
        ),
        (
            "container=app&tailLines=-1",
            (
                422,
                'PodLogOptions "p" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0',
            ),
        ),
        ("container=broken", (500, "Internal error occurred: the log is broken")),
    ],
)
async def test_logs(http: aiohttp.ClientSession, query: str, expected: tuple[int, str]) -> None:
    await pod(http, "p", "broken")
    async with http.get(f"{PODS}/p/log?{query}") as answer:
        text = await answer.text()
        said = text if answer.status == 200 else json.loads(text)["message"]
    assert (answer.status, said) == expected


async def test_a_log_that_cannot_exist_yet(http: aiohttp.ClientSession) -> None:
    for name, node in (("early", ""), ("starting", "node-1")):
        spec = {"containers": [{"name": "app", "image": "x"}], "nodeName": node}
        async with http.post(PODS, json={"metadata": {"name": name}, "spec": spec}):
            pass
    async with http.get(f"{PODS}/early/log") as answer:
        assert (answer.status, await answer.text()) == (200, "")
    async with http.get(f"{PODS}/starting/log") as answer:
        assert (await answer.json())[
            "message"
        ] == 'container "app" in pod "starting" is not available'


async def exec_(http: aiohttp.ClientSession, url: str, *frames: bytes) -> tuple[bytes, Json]:
    """Run a command, send *frames*, and return its output and final status."""
    output = b""
    status: Json = {}
    protocols = ("v5.channel.k8s.io", "v4.channel.k8s.io")
    async with asyncio.timeout(SECONDS), http.ws_connect(url, protocols=protocols) as socket:
        assert socket.protocol == "v5.channel.k8s.io"
        for frame in frames:
            await socket.send_bytes(frame)
        async for message in socket:
            if message.data[0] == 3:
                status = json.loads(message.data[1:])
            else:
                output += message.data
    return output, status


@pytest.mark.parametrize(
    ("command", "streams", "frames", "output", "code"),
    [
        ("echo hello", "stdout=1", [], b"\x01hello\n", "0"),
        ("sh -c|echo oops >&2; exit 3", "stdout=1&stderr=1", [], b"\x02oops\n", "3"),
        ("cat", "stdin=1&stdout=1", [b"\x00abc", b"\xff\x00"], b"\x01abc", "0"),
        ("sh -c|kill -9 $$", "stdout=1", [], b"", "137"),
        ("stty size", "stdin=1&stdout=1&tty=1", [], b"\x010 0\r\n", "0"),
        (
            "sh -c|read x; stty size",
            "stdin=1&stdout=1&tty=1",
            [b'\x04{"Width":101,"Height":33}', b"\x00\n"],
            b"33 101\r\n",
            "0",
        ),
        ("true", "stdin=1", [b"\x00" + b"x" * 200_000], b"", "0"),
    ],
)
async def test_exec(
    http: aiohttp.ClientSession,
    command: str,
    streams: str,
    frames: list[bytes],
    output: bytes,
    code: str,
) -> None:
    await pod(http)
    words = [
        part
        for n, text in enumerate(command.split("|"))
        for part in (text.split() if n == 0 else [text])
    ]
    query = "&".join(f"command={word.replace('&', '%26').replace(';', '%3B')}" for word in words)
    found, status = await exec_(http, f"{PODS}/p/exec?{query}&{streams}", *frames)
    assert found.endswith(output) if b"\r\n" in output else found == output
    if code == "0":
        assert status == {"metadata": {}, "status": "Success"}
    else:
        assert status["reason"] == "NonZeroExitCode"
        assert status["details"]["causes"] == [{"reason": "ExitCode", "message": code}]


async def test_what_is_typed_may_come_in_frames_of_text(http: aiohttp.ClientSession) -> None:
    """As the official Python client sends it."""
    await pod(http)
    url = f"{PODS}/p/exec?command=head&command=-n1&stdin=1&stdout=1"
    async with asyncio.timeout(SECONDS), http.ws_connect(url) as socket:
        await socket.send_str("\x00grüße\n")
        seen = [message.data async for message in socket]
    assert seen[0] == "\x01grüße\n".encode()


async def test_a_large_output_arrives_whole(http: aiohttp.ClientSession) -> None:
    await pod(http)
    found, _ = await exec_(
        http, f"{PODS}/p/exec?command=head&command=-c&command=3000000&command=/dev/zero&stdout=1"
    )
    assert found.count(b"\0") == 3_000_000


async def test_a_command_that_cannot_start(http: aiohttp.ClientSession) -> None:
    await pod(http)
    _, status = await exec_(http, f"{PODS}/p/exec?command=no-such-command&stdout=1")
    words = 'exec: "no-such-command": executable file not found in $PATH'
    assert status["message"] == f"Internal error occurred: {words}"


async def test_attach(http: aiohttp.ClientSession) -> None:
    await pod(http)
    output, _ = await exec_(http, f"{PODS}/p/attach?stdin=1&stdout=1", b"\x00abc", b"\xff\x00")
    assert output == b"\x01abc"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"{PODS}/none/exec?command=true&stdout=1", (404, 'pods "none" not found')),
        (
            f"{PODS}/p/exec?command=true&stdout=1&container=x",
            (400, "container x is not valid for pod p"),
        ),
        (f"{PODS}/p/exec?stdout=1", (400, "you must specify at least 1 command")),
        (
            f"{PODS}/p/exec?command=true",
            (400, "you must specify at least 1 of stdin, stdout, stderr"),
        ),
        (f"{PODS}/p/exec?command=true&stdout=1", (400, "Upgrade request required")),
        (
            "/apis/podwire.dev/v1/hosts/moon/exec?command=true&stdout=1",
            (404, 'hosts.podwire.dev "moon" not found'),
        ),
        (
            "/apis/podwire.dev/v1/capture",
            (400, "point is required; there are: node/node-1, pod/default/client"),
        ),
        (
            "/apis/podwire.dev/v1/capture?point=pod/default/x",
            (404, "capture point 'pod/default/x' not found"),
        ),
        ("/apis/podwire.dev/v1/moon", (404, "the server could not find the requested resource")),
    ],
)
async def test_what_is_refused_before_the_upgrade(
    http: aiohttp.ClientSession, url: str, expected: tuple[int, str]
) -> None:
    await pod(http)
    async with http.get(url) as answer:
        document = await answer.json()
    assert answer.status == expected[0]
    assert document["message"].startswith(expected[1])


async def test_hosts(http: aiohttp.ClientSession) -> None:
    async with http.get("/apis/podwire.dev/v1/hosts") as answer:
        items = (await answer.json())["items"]
    assert items == [{"name": "node-1", "kind": "node"}, {"name": "external", "kind": "external"}]
    output, _ = await exec_(
        http, "/apis/podwire.dev/v1/hosts/node-1/exec?command=echo&command=hi&stdout=1"
    )
    assert output == b"\x01hi\n"


async def test_capture(http: aiohttp.ClientSession, agent: FakeAgent) -> None:
    async with http.get("/apis/podwire.dev/v1/capturepoints") as answer:
        points = [item["where"] for item in (await answer.json())["items"]]
    query = "&".join(f"point={point}" for point in points)
    url = f"/apis/podwire.dev/v1/capture?{query}&snaplen=96"
    async with asyncio.timeout(SECONDS), http.ws_connect(url) as socket:
        await socket.send_str('{"filter": [[6, 0, 0, 262144]]}')
        assert await socket.receive_str() == "started"
        assert await socket.receive_bytes() == b"pcapng"
        await socket.send_str("stop")
        assert await socket.receive_bytes() == b"statistics"
        await socket.receive()
        assert socket.close_code == 1000
    assert agent.captured == [(tuple(points), 96, ((6, 0, 0, 262144),))]


class Interrupted(Exception):
    """What no agent should raise."""


@pytest.mark.parametrize(
    "agent", [FakeAgent(log_pieces=(b"one\n",), log_failure=Interrupted("bug"))]
)
async def test_half_an_answer_is_never_completed_by_another(http: aiohttp.ClientSession) -> None:
    await pod(http)
    async with asyncio.timeout(SECONDS), http.get(f"{PODS}/p/log") as answer:
        assert await answer.content.readline() == b"one\n"
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    async with http.get("/readyz") as answer:
        assert answer.status == 200


@pytest.mark.parametrize("agent", [FakeAgent(log_pieces=(), log_failure=Interrupted("bug"))])
async def test_a_broken_part_is_an_internal_error(http: aiohttp.ClientSession) -> None:
    await pod(http)
    async with http.get(f"{PODS}/p/log") as answer:
        document = await answer.json()
    assert (answer.status, document["reason"]) == (500, "InternalError")
