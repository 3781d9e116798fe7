"""The engine's client: who answers, what the engine's refusals become, streams."""

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from podwire.emulator.engine.client import Engine, EngineError
from podwire.emulator.engine.own import own_container
from podwire.emulator.engine.streams import demultiplexed, pieces
from podwire.errors import MachineError
from tests.unit.emulator.engine.conftest import Engines
from tests.unit.emulator.engine.fake_engine import FakeEngine, Refusal

ID = f"{1:064x}"


async def refused(path: Path) -> str:
    with pytest.raises(MachineError) as raised:
        async with Engine.connect(path):
            pass
    return str(raised.value)


async def test_without_a_socket_the_message_says_how_to_start_or_to_find_the_engine(
    tmp_path: Path,
) -> None:
    said = await refused(tmp_path / "docker.sock")
    assert said.startswith(f"there is no {tmp_path}/docker.sock")
    assert "systemctl start docker" in said
    assert "DOCKER_SOCK=" in said


async def test_a_file_is_no_socket(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is not a socket" in await refused(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every socket")
async def test_without_permission_the_message_names_the_group(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "docker.sock"))
        (tmp_path / "docker.sock").chmod(0)
        assert "usermod -aG docker" in await refused(tmp_path / "docker.sock")


async def test_a_socket_where_nobody_listens_is_no_engine(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "docker.sock"))
        said = await refused(tmp_path / "docker.sock")
    assert "is not Docker Engine" in said
    assert "DOCKER_SOCK=" in said


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ({"Version": "23.0.1", "ApiVersion": "1.42", "MinAPIVersion": "1.12"},
         "Docker Engine 23.0.1 at {} is too old: it speaks API 1.42, and 1.44 is needed; "
         "install Docker Engine 25 or newer"),
        ({"Version": "24.0.9", "ApiVersion": "1.43", "MinAPIVersion": "1.12"},
         "Docker Engine 24.0.9 at {} is too old: it speaks API 1.43, and 1.44 is needed; "
         "install Docker Engine 25 or newer"),
        ({"hello": "world"}, "what answers at {} is not Docker Engine"),
    ],
)  # fmt: skip
async def test_an_engine_that_does_not_do(version: Any, said: str, tmp_path: Path) -> None:
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        fake = FakeEngine(tasks)
        fake.version = version
        async with fake.serving(tmp_path / "docker.sock") as path:
            assert (await refused(path)).startswith(said.format(path))


@pytest.mark.parametrize(
    ("least", "latest", "spoken"),
    [("1.24", "1.44", "/v1.44"), ("1.24", "1.45", "/v1.45"), ("1.24", "1.51", "/v1.45"),
     ("1.48", "1.51", "/v1.48")],
)  # fmt: skip
async def test_the_version_is_what_both_speak(
    least: str, latest: str, spoken: str, tmp_path: Path
) -> None:
    heads: list[bytes] = []
    version = f'{{"Version":"9","ApiVersion":"{latest}","MinAPIVersion":"{least}"}}'.encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            length = f"Content-Length: {len(version)}\r\n\r\n".encode()
            writer.write(b"HTTP/1.1 200 OK\r\n" + length + version)
        writer.close()

    server = await asyncio.start_unix_server(answer, str(tmp_path / "docker.sock"))
    async with Engine.connect(tmp_path / "docker.sock") as engine:
        await engine.get("/info")
    server.close()
    assert heads[1].startswith(f"GET {spoken}/info ".encode())


async def test_a_refusal_has_the_engines_words(engines: Engines) -> None:
    async with engines() as (fake, engine):
        with pytest.raises(EngineError, match=r"^No such container: x$") as raised:
            await engine.get("/containers/x/json")
        assert raised.value.status == 404
        with pytest.raises(EngineError, match=r"^No such container: x$") as raised:
            await engine.hijack("/containers/x/attach", stream=True)
        assert raised.value.status == 404
        fake.refusals["GET /containers/json"] = Refusal(500, "it hurts")
        with pytest.raises(EngineError, match="it hurts"):
            await engine.get("/containers/json")
        assert await engine.get("/containers/json") == []


async def test_an_engine_that_goes_away_is_an_error_without_status(tmp_path: Path) -> None:
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        async with FakeEngine(tasks).serving(tmp_path / "docker.sock") as path:
            connected = Engine.connect(path)
            engine = await connected.__aenter__()
            path.unlink()
        for call in (engine.get("/info"), engine.hijack("/exec/x/start")):
            with pytest.raises(EngineError) as raised:
                await call
            assert raised.value.status == 0
            assert str(raised.value) == (
                f"Docker Engine at {path} does not answer: No such file or directory"
            )
        await connected.__aexit__(None, None, None)


async def test_a_stream_has_both_ways_and_an_end(engines: Engines) -> None:
    async with engines() as (_fake, engine):
        body = {"Cmd": ["cat"], "OpenStdin": True}
        made = await engine.post("/containers/create", body, name="cat")
        reader, writer = await engine.hijack("/containers/cat/attach", stream=True, stdin=True)
        await engine.post("/containers/cat/start")
        writer.write(b"typed")
        writer.write_eof()
        heard = [part async for part in demultiplexed(pieces(reader))]
        assert heard == [("stdout", b"typed")]
        assert await engine.post(f"/containers/{made['Id']}/wait") == {"StatusCode": 0}
        writer.close()


async def test_a_filter_goes_as_json(engines: Engines) -> None:
    async with engines() as (_fake, engine):
        for name in ("a", "b"):
            await engine.post("/containers/create", {"Labels": {"is": name}}, name=name)
        found = await engine.get("/containers/json", all=True, filters={"label": ["is=b"]})
        assert [each["Names"] for each in found] == [["/b"]]


@pytest.mark.parametrize(
    ("mounts", "hostname", "who"),
    [
        ("700 1 0:1 /data/containers/{}/hosts /etc/hosts rw - ext4 x rw\n", "", "ours"),
        ("700 1 0:1 /x /etc/hosts rw - ext4 x rw\n", "{short}\n", "ours"),
        # Somebody else's, as the host of the engine sees it.
        ("700 1 0:1 / /data/containers/{}/mounts/shm rw - tmpfs shm rw\n", "", "nobody"),
        ("", "a-machine\n", "nobody"),
    ],
)
async def test_own_container(
    mounts: str, hostname: str, who: str, engines: Engines, tmp_path: Path
) -> None:
    (tmp_path / "mounts").write_text(mounts.format(ID))
    async with engines() as (_fake, engine):
        await engine.post("/containers/create", {}, name="short-id")
        (tmp_path / "hostname").write_text(hostname.format(short="short-id"))
        asked = own_container(engine, tmp_path / "mounts", tmp_path / "hostname")
        if who == "ours":
            assert (await asked)["Id"] == ID
        else:
            with pytest.raises(MachineError, match="runs in no container"):
                await asked
