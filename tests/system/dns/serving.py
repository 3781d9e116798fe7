"""Scenarios: the real program with Corefiles of many kinds, asked by dig."""

import asyncio
import signal
import tempfile
from pathlib import Path
from typing import Any

from tests.system.dns.world import PATIENCE, Place, Server

Json = dict[str, Any]

OTHER = "10.0.0.7"
"""A second address of the server's machine."""


async def serve(asked: Json) -> list[str]:
    """Return what dig prints for each of the *questions* to a server with a *corefile*."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in asked.get("files", {}).items():
            (folder / file).write_text(text)
        place = Place([OTHER])
        with Server(place, asked["corefile"], folder) as server:
            await server.serves(asked.get("address", "127.0.0.1"))
            return [await dig(place, folder, question) for question in asked["questions"]]


async def reload(steps: list[Json]) -> list[Json]:
    """Return what is answered and logged after each of the *steps*: a Corefile and a signal."""
    seen: list[Json] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        place = Place()
        with Server(place, steps[0]["corefile"], folder) as server:
            await server.serves()
            for step in steps:
                server.corefile.write_text(step["corefile"])
                before = len(server.said())
                if step.get("signal"):
                    server.process.send_signal(signal.SIGUSR1)
                if waits_for := step.get("waits_for"):
                    await _said(server, waits_for, before)
                answer = await dig(place, folder, "a.test A")
                seen.append({"answer": answer, "log": server.said()[before:]})
            seen.append({"status": await server.stop()})
    return seen


async def refused(corefile: str) -> Json:
    """Return how the program ends that cannot serve a Corefile."""
    with tempfile.TemporaryDirectory() as name:
        server = Server(Place(), corefile, Path(name))
        async with asyncio.timeout(PATIENCE):
            status = await asyncio.to_thread(server.process.wait)
        return {"status": status, "log": server.said().replace(name, "")}


async def dig(place: Place, folder: Path, question: str) -> str:
    """Return what dig prints for a question: status, answers, additional records."""
    log = folder / "dig"
    command = ["dig", "+noall", "+comments", "+answer", "+additional", "+nocookie", "+tries=1"]
    server = [] if "@" in question else ["@127.0.0.1"]
    process = place.start(*command, *server, *question.split(), folder=folder, log=log)
    async with asyncio.timeout(PATIENCE):
        await asyncio.to_thread(process.wait)
    lines = [line for line in log.read_text().splitlines() if line and not line.startswith("; ")]
    status = next((line for line in lines if "status:" in line), "no reply")
    records = [" ".join(line.split()) for line in lines if not line.startswith(";")]
    return "\n".join([status.partition("status: ")[2].partition(",")[0] or status, *records])


async def _said(server: Server, what: str, before: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            if what in server.said()[before:]:
                return
            await asyncio.sleep(0.01)
