"""A Docker Engine that pretends, on a Unix socket.

It speaks as much of the API as the project uses, as engine 26 was seen to answer.
"""

import asyncio
import json
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.unit.emulator.engine.fake_containers import (
    NEVER,
    PROGRAMS,
    UNKNOWN,
    Container,
    Json,
    Process,
    Program,
    Writer,
    now,
)


class Refusal(Exception):
    """The engine says no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class FakeEngine:
    """What there is in the engine; tests look at it and change it."""

    def __init__(self, tasks: asyncio.TaskGroup, *, addresses: int = 100) -> None:
        self._tasks = tasks
        self._pool = [
            str(address) for address in list(IPv4Network("10.244.1.128/25").hosts())[:addresses]
        ]
        self.version: Json = {
            "Version": "26.1.5", "ApiVersion": "1.45", "MinAPIVersion": "1.24",
        }  # fmt: skip
        self.containers: dict[str, Container] = {}
        self.commands: dict[str, Process] = {}
        # By name: those that are there, and those that a registry has.
        self.images: dict[str, Json] = {}
        self.registry: dict[str, Json] = {}
        self.programs: dict[str, Program] = dict(PROGRAMS)
        # What containers use, by id.
        self.statistics: dict[str, Json] = {}
        # METHOD and path of every request, without version and query.
        self.requests: list[str] = []
        # The next requests that contain these words are refused.
        self.refusals: dict[str, Refusal] = {}
        self._numbers = 0
        self._watchers: list[tuple[list[str], asyncio.Queue[Json]]] = []
        self._connections: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def serving(self, path: Path) -> AsyncGenerator[Path]:
        """Answer on a Unix socket inside the block."""
        server = await asyncio.start_unix_server(self._connected, str(path))
        try:
            yield path
        finally:
            server.close()
            for writer in self._connections:
                writer.close()
            for process in self._processes():
                process.end(137)

    def _processes(self) -> list[Process]:
        first = [each.process for each in self.containers.values() if each.process is not None]
        return [*first, *self.commands.values()]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hijacked = False
        self._connections.add(writer)
        try:
            while not hijacked:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, target, _ = head.split(" ", 2)
                lengths = [
                    int(line.partition(":")[2])
                    for line in head.lower().splitlines()
                    if line.startswith("content-length:")
                ]
                text = await reader.readexactly(sum(lengths))
                body = json.loads(text) if text else None
                hijacked = await self._answer(method, target, body, reader, writer)
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass
        finally:
            if not hijacked:
                writer.close()

    async def _answer(
        self,
        method: str,
        target: str,
        body: Any,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Answer one request; tells whether the connection is a stream from now on."""
        split = urlsplit(target)
        path = unquote(split.path)
        if path.startswith("/v1."):
            path = "/" + path.split("/", 2)[2]
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        self.requests.append(f"{method} {path}")
        try:
            for words in [words for words in self.refusals if words in f"{method} {path}"]:
                raise self.refusals.pop(words)
            if method == "GET" and (path == "/events" or path.endswith("/logs")):
                writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
                await self._follow(path, query, writer)
                return False
            process = self._stream(method, path)
            if process is not None:
                writer.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\n\r\n")
                await self._attach(process, path, query, reader, writer)
                return True
            status, said = 200, await self._do(method, path.strip("/").split("/"), query, body)
        except Refusal as refusal:
            status, said = refusal.status, {"message": str(refusal)}
        content = b"" if said is None else json.dumps(said).encode()
        if path == "/images/create" and status == 200:
            steps: Any = said
            content = b"".join(json.dumps(step).encode() + b"\r\n" for step in steps)
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n\r\n".encode())
        writer.write(content)
        await writer.drain()
        return False

    async def _follow(self, path: str, query: dict[str, str], writer: Writer) -> None:
        if path == "/events":
            wanted: list[str] = json.loads(query["filters"])["container"]
            told: asyncio.Queue[Json] = asyncio.Queue()
            self._watchers.append((wanted, told))
            while True:
                writer.write(json.dumps(await told.get()).encode() + b"\n")
        process = self.container(path.split("/")[2]).process
        assert process is not None
        written = 0
        while True:
            news = process.news
            for number in range(written, len(process.pieces)):
                writer.write(process.logged(number, stamped=query["timestamps"] == "true"))
            written = len(process.pieces)
            if process.status is not None:
                break
            await news.wait()
        await writer.drain()
        writer.close()

    def pause(self, name: str, *, paused: bool = True) -> None:
        """Do what `docker pause` and `docker unpause` do."""
        found = self.container(name)
        assert found.process is not None
        found.process.paused = paused
        for wanted, told in self._watchers:
            if found.id in wanted:
                told.put_nowait({"Type": "container", "Action": "pause" if paused else "unpause"})

    def _stream(self, method: str, path: str) -> Process | None:
        words = path.strip("/").split("/")
        if method == "POST" and words[0] == "containers" and words[-1] == "attach":
            container = self.container(words[1])
            if container.process is None:
                container.process = self._process(container.body)
            return container.process
        if method == "POST" and words[0] == "exec" and words[-1] == "start":
            return self.commands[words[1]]
        return None

    async def _attach(
        self,
        process: Process,
        path: str,
        query: dict[str, str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        if query.get("logs") == "true":
            writer.write(process.log)
        process.readers.append(writer)
        if path.startswith("/exec/"):
            if process.argv[0] in self.programs:
                self._run(process)
            else:
                process.print(UNKNOWN.format(process.argv[0]))
                process.end(127)
        if process.status is not None:
            writer.close()
        if path.startswith("/exec/") or query.get("stdin") == "true":
            with suppress(OSError):
                while chunk := await reader.read(4096):
                    process.stdin.feed_data(chunk)
            process.stdin.feed_eof()

    async def _do(self, method: str, words: list[str], query: dict[str, str], body: Any) -> Any:
        match method, *words:
            case "GET", "version":
                return self.version
            case "GET", "containers", "json":
                wanted: list[str] = json.loads(query.get("filters", "{}")).get("label", [])
                return [
                    each.listed()
                    for each in self.containers.values()
                    if all(_has(each.labels, label) for label in wanted)
                    and (query.get("all") == "true" or each.running)
                ]
            case "POST", "containers", "create":
                return self._create(query.get("name", ""), body)
            case "POST", "containers", name, "start":
                self._start(self.container(name))
            case "POST", "containers", name, "kill":
                self._kill(self.container(name), int(query.get("signal", 9)))
            case "POST", "containers", name, ("pause" | "unpause") as word:
                self.pause(name, paused=word == "pause")
            case "POST", "containers", name, "wait":
                process = self.container(name).process
                if process is not None:
                    await process.ended.wait()
                return {"StatusCode": process.status if process else 0}
            case "POST", "containers", name, "exec":
                container = self.container(name)
                if not container.running:
                    raise Refusal(409, f"container {container.id} is not running")
                identity = self._identity()
                self.commands[identity] = self._process({**body, "Entrypoint": []})
                container.commands.append(self.commands[identity])
                return {"Id": identity}
            case "POST", ("containers" | "exec") as kind, name, "resize":
                process = self.commands[name] if kind == "exec" else self.container(name).process
                if process is not None:
                    process.size = int(query["w"]), int(query["h"])
            case "GET", "exec", name, "json":
                process = self.commands[name]
                started = process.task is not None
                running = started and process.status is None
                return {"Running": running, "ExitCode": process.status, "Pid": int(started)}
            case "GET", "containers", name, "json":
                return self.container(name).inspected()
            case "GET", "containers", name, "stats":
                return self.statistics[self.container(name).id]
            case "DELETE", "containers", name:
                container = self.container(name)
                self._kill(container, signal.SIGKILL)
                self.containers.pop(container.id, None)
            case "POST", "images", "create":
                return self._pull(query["fromImage"])
            case "GET", "images", *name, "json":
                image = self.images.get("/".join(name))
                if image is None:
                    raise Refusal(404, f"No such image: {'/'.join(name)}")
                return image
            case _:
                raise Refusal(404, "page not found")
        return None

    def container(self, name: str) -> Container:
        """Return a container by id or name."""
        for each in self.containers.values():
            if name in (each.id, each.name):
                return each
        raise Refusal(404, f"No such container: {name}")

    def _identity(self) -> str:
        self._numbers += 1
        return f"{self._numbers:064x}"

    def _create(self, name: str, body: Json) -> Json:
        if any(each.name == name for each in self.containers.values()):
            raise Refusal(409, f'Conflict. The container name "/{name}" is already in use')
        identity = self._identity()
        self.containers[identity] = Container(identity, name or identity[:12], body)
        return {"Id": identity, "Warnings": []}

    def _process(self, body: Json) -> Process:
        entrypoint: list[str] = body.get("Entrypoint") or []
        command: list[str] = body.get("Cmd") or []
        argv = [*entrypoint, *command]
        variables: list[str] = body.get("Env") or []
        environ = dict(entry.split("=", 1) for entry in variables)
        process = Process(argv, environ, body.get("WorkingDir") or "/", bool(body.get("Tty")))
        if not body.get("OpenStdin") and not body.get("AttachStdin"):
            process.stdin.feed_eof()
        return process

    def _start(self, container: Container) -> None:
        if container.running and container.process and container.process.task is not None:
            return
        process = container.process
        if process is None or process.status is not None:
            before = process.finished if process is not None else NEVER
            process = container.process = self._process(container.body)
            # As the engine does: one that runs tells when it ended the time before.
            process.finished = before
        if process.argv[0] not in self.programs:
            process.end(127)
            raise Refusal(400, UNKNOWN.format(process.argv[0]))
        if not container.network.startswith("container:"):
            taken = {each.address for each in self.containers.values() if each.running}
            free = [address for address in self._pool if address not in taken]
            if not free:
                process.end(128)
                raise Refusal(500, "no available IPv4 addresses on this network's address pools")
            container.address = str(IPv4Address(free[0]))
        elif not self.container(container.network.partition(":")[2]).running:
            process.end(128)
            raise Refusal(409, "cannot join network of a non running container")
        self._run(process)

    def _run(self, process: Process) -> None:
        process.started = now()

        async def live() -> None:
            process.end(await self.programs[process.argv[0]](process))

        process.task = self._tasks.create_task(live(), name=process.argv[0])

    def _kill(self, container: Container, number: int) -> None:
        process = container.process
        if process is None or process.status is not None:
            if number != signal.SIGKILL:
                raise Refusal(409, f"container {container.id} is not running")
            return
        if number == signal.SIGKILL:
            process.end(137)
            for command in container.commands:
                command.end(137)
            for other in tuple(self.containers.values()):
                # Those that live in its namespace of processes end with it.
                if other.beside == container.id:
                    self._kill(other, signal.SIGKILL)
        elif number == signal.SIGTERM:
            process.terminated.set()
            if container.beside and process.argv[0] != "builtin:pause":
                # No first process: what it does not handle ends it.
                process.end(128 + number)

    def _pull(self, name: str) -> list[Json]:
        if name not in self.registry:
            return [{"status": "Pulling"}, {"error": f"manifest for {name} not found"}]
        self.images[name.removesuffix(":latest")] = self.images[name] = self.registry[name]
        return [{"status": "Pulling"}, {"status": "Downloaded"}]


def _has(labels: dict[str, str], wanted: str) -> bool:
    name, equals, value = wanted.partition("=")
    return name in labels and (not equals or labels[name] == value)
