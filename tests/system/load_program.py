"""Runs in a pod: constant load on one address, until a file appears; says what failed, as JSON.

Self-contained: its text is given to the pod's Python, where podwire is not importable.
    python load_program.py HOST PORT KIND WORKERS FOLDER      KIND: new | kept
`new` opens a connection per request; `kept` keeps it until the server says that it closes it.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

PAUSE = 0.004  # seconds between two requests of a worker: constant load, not as much as possible
PATIENCE = 5.0  # seconds for a connect, and for an answer


class Lost(Exception):
    """A connection or a request that came to nothing."""


class Load:
    def __init__(self, host: str, port: int, folder: Path) -> None:
        self.host = host
        self.port = port
        self.folder = folder
        self.answered: dict[str, int] = {}
        self.connections = 0
        self.failures: list[dict[str, object]] = []
        self.first = asyncio.Event()

    async def work(self, *, keep: bool, number: int) -> None:
        link: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not (self.folder / "stop").exists():
            asked = 0
            stage = "connect"
            try:
                async with asyncio.timeout(PATIENCE):
                    if link is None:
                        link = await asyncio.open_connection(self.host, self.port)
                        self.connections += 1
                    stage = "request"
                    asked += 1
                    closes, name = await self.ask(*link, keep=keep)
                self.answered[name] = self.answered.get(name, 0) + 1
                self.first.set()
            except (OSError, EOFError, TimeoutError, Lost) as error:
                closes = True
                self.failures.append(
                    {
                        "time": time.time(),
                        "worker": number,
                        "stage": stage,
                        "what": f"{type(error).__name__}: {error}",
                    }
                )
                self.first.set()
            if closes and link is not None:
                link[1].close()
                link = None
            await asyncio.sleep(PAUSE)
        if link is not None:
            link[1].close()

    async def ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, keep: bool
    ) -> tuple[bool, str]:
        """Make one request; return whether the connection is at its end, and who answered."""
        connection = "keep-alive" if keep else "close"
        writer.write(
            f"GET /?load HTTP/1.1\r\nHost: {self.host}\r\nConnection: {connection}\r\n\r\n".encode()
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.split("\r\n")
        fields = {key.lower(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
        body = (await reader.readexactly(int(fields["content-length"]))).decode()
        if not status.startswith("HTTP/1.1 200"):
            raise Lost(status)
        named = [x.removeprefix("Hostname: ") for x in body.split("\n") if x.startswith("Hostname")]
        closes = not keep or fields.get("connection", "").lower() == "close"
        return closes, named[0] if named else "?"

    async def run(self, *, keep: bool, workers: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(workers):
                tasks.create_task(self.work(keep=keep, number=number))
            await self.first.wait()
            (self.folder / "running").touch()
        report = {
            "answered": self.answered,
            "connections": self.connections,
            "failures": self.failures,
        }
        sys.stdout.write(json.dumps(report))


def main() -> None:
    host, port, kind, workers, folder = sys.argv[1:]
    place = Path(folder)
    place.mkdir()
    load = Load(host, int(port), place)
    asyncio.run(load.run(keep=kind == "kept", workers=int(workers)))


main()
