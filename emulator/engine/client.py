"""Docker Engine's API over its Unix socket: JSON calls, streams of JSON, hijacked connections."""

import asyncio
import errno
import json
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp

from podwire.errors import EngineError, MachineError

__all__ = ["DEFAULT_SOCKET", "Engine", "EngineError"]

DEFAULT_SOCKET = Path("/var/run/docker.sock")
# Engine 25: the first that knows start_interval of health checks, which `docker compose up` waits
# by. The latest is what this was tried with.
_LEAST, _LATEST = (1, 44), (1, 45)
# Bytes of an error's text.
_LONGEST_BODY = 1 << 16


class Engine:
    """One Docker Engine. Every method raises EngineError for what it refuses.

    Also when it goes away in the middle: then the error's status is 0.
    """

    def __init__(self, socket: Path, session: aiohttp.ClientSession, version: str) -> None:
        self.socket = socket
        # Of the engine, as people know it: 26.1.5.
        self.release = ""
        self._session = session
        self._version = version

    @classmethod
    @asynccontextmanager
    async def connect(cls, socket: Path = DEFAULT_SOCKET) -> AsyncGenerator["Engine"]:
        """Have the engine behind *socket*; raises MachineError when there is none to talk to."""
        _check(socket)
        async with aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(socket), limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            skip_auto_headers=("Accept-Encoding",),
            # A line of `events` holds all labels of a container.
            read_bufsize=1 << 20,
        ) as session:
            engine = cls(socket, session, "")
            try:
                async with asyncio.timeout(10):
                    answer = await engine.get("/version")
                spoken = (_number(answer["ApiVersion"]), _number(answer["MinAPIVersion"]))
                release = str(answer["Version"])
            except (EngineError, ValueError, KeyError, TypeError, TimeoutError) as error:
                raise MachineError(
                    f"what answers at {socket} is not Docker Engine ({error or 'no answer'}); "
                    "say where the engine is: DOCKER_SOCK=/path/to/docker.sock docker compose up"
                ) from error
            if spoken[0] < _LEAST:
                raise MachineError(
                    f"Docker Engine {release} at {socket} is too old: it speaks API "
                    f"{_text(spoken[0])}, and {_text(_LEAST)} is needed; "
                    "install Docker Engine 25 or newer: https://docs.docker.com/engine/install/"
                )
            engine.release = release
            engine._version = f"/v{_text(max(min(spoken[0], _LATEST), spoken[1]))}"
            yield engine

    async def get(self, path: str, **query: object) -> Any:
        """Return the decoded JSON of *path*; dict and list values of *query* go as JSON."""
        return await self._call("GET", path, None, query)

    async def post(self, path: str, body: object = None, **query: object) -> Any:
        """Do what *path* says; returns the decoded answer, None if there is none."""
        return await self._call("POST", path, body, query)

    async def delete(self, path: str, **query: object) -> None:
        """Delete what *path* names."""
        await self._call("DELETE", path, None, query)

    async def lines(self, path: str, **query: object) -> AsyncIterator[Any]:
        """Yield the JSON values of an endless GET (events) until the engine ends it."""
        async for value in self._values("GET", path, query):
            yield value

    async def post_lines(self, path: str, **query: object) -> AsyncIterator[Any]:
        """Yield the JSON values with which a POST tells of its progress (pull of an image)."""
        async for value in self._values("POST", path, query):
            yield value

    async def chunks(self, path: str, **query: object) -> AsyncIterator[bytes]:
        """Yield the bytes of a GET (logs) as they come."""
        with _telling(self.socket):
            async with self._session.get(self._url(path, query)) as response:
                await _refused(response)
                async for chunk in response.content.iter_any():
                    yield chunk

    async def hijack(
        self, path: str, body: object = None, **query: object
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return the raw connection that a POST of *path* becomes, after the engine's head.

        The caller closes the writer. `write_eof` ends the process's standard input.
        """
        with _telling(self.socket):
            reader, writer = await asyncio.open_unix_connection(str(self.socket))
            try:
                writer.write(_upgrade(self._url(path, query), body))
                head = (await reader.readuntil(b"\r\n\r\n")).decode(errors="replace")
                status = int(head.split(None, 2)[1])
                if status not in (101, 200):
                    raise EngineError(status, _words(await _body(reader, head), head))
            except asyncio.IncompleteReadError as error:
                writer.close()
                raise EngineError(0, f"{self.socket} closed the connection") from error
            except BaseException:
                writer.close()
                raise
            return reader, writer

    async def _call(self, method: str, path: str, body: object, query: Mapping[str, object]) -> Any:
        with _telling(self.socket):
            async with self._session.request(method, self._url(path, query), json=body) as response:
                await _refused(response)
                content = await response.read()
        return json.loads(content) if content.strip() else None

    async def _values(
        self, method: str, path: str, query: Mapping[str, object]
    ) -> AsyncIterator[Any]:
        with _telling(self.socket):
            async with self._session.request(method, self._url(path, query)) as response:
                await _refused(response)
                rest = b""
                # Not by readline: it has a limit, and a container's labels have none.
                async for chunk in response.content.iter_any():
                    *whole, rest = (rest + chunk).split(b"\n")
                    for line in whole:
                        if line.strip():
                            yield json.loads(line)
                if rest.strip():
                    yield json.loads(rest)

    def _url(self, path: str, query: Mapping[str, object]) -> str:
        asked = urlencode({name: _value(value) for name, value in query.items()})
        return f"http://docker{self._version}{path}" + (f"?{asked}" if asked else "")


def _check(socket: Path) -> None:
    elsewhere = "DOCKER_SOCK=/path/to/docker.sock docker compose up"
    try:
        if not stat.S_ISSOCK(socket.stat().st_mode):
            raise MachineError(f"{socket} is not a socket; say where the engine is: {elsewhere}")
        if not os.access(socket, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except FileNotFoundError as error:
        raise MachineError(
            f"there is no {socket}: Docker Engine does not run, or listens elsewhere; start it "
            f"(systemctl start docker), or say where it is: {elsewhere}"
        ) from error
    except PermissionError as error:
        raise MachineError(
            f"no permission to use {socket}; add yourself to its group and log in again "
            f"(sudo usermod -aG docker $USER), or use an engine of your own: {elsewhere}"
        ) from error


@contextmanager
def _telling(socket: Path) -> Generator[None]:
    """Tell what happens to a connection as EngineError."""
    try:
        yield
    except (aiohttp.ClientError, OSError, asyncio.LimitOverrunError) as error:
        # aiohttp's own words name its internals, where the kernel has two or three.
        words = isinstance(error, OSError) and error.strerror
        text = words or str(error) or type(error).__name__
        raise EngineError(0, f"Docker Engine at {socket} does not answer: {text}") from error


async def _refused(response: aiohttp.ClientResponse) -> None:
    if response.status >= 400:
        raise EngineError(response.status, _words(await response.read(), response.reason or ""))


def _words(body: bytes, otherwise: str) -> str:
    """Return what the engine says in an error's body."""
    try:
        return str(json.loads(body)["message"]).strip()
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip() or otherwise.splitlines()[0]


def _upgrade(url: str, body: object) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    lines = [
        f"POST {url.removeprefix('http://docker')} HTTP/1.1",
        "Host: docker",
        "Connection: Upgrade",
        "Upgrade: tcp",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        "\r\n",
    ]
    return "\r\n".join(lines).encode() + content


async def _body(reader: asyncio.StreamReader, head: str) -> bytes:
    for line in head.lower().splitlines():
        name, _, value = line.partition(":")
        if name == "content-length":
            return await reader.readexactly(min(int(value), _LONGEST_BODY))
    # Without a length the engine closes the connection after its words.
    return await reader.read(_LONGEST_BODY)


def _value(value: object) -> str:
    if isinstance(value, dict | list | tuple):
        return json.dumps(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(version: str) -> tuple[int, int]:
    major, minor = version.split(".")
    return int(major), int(minor)


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
