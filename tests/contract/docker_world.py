"""What the docker runtime needs of an engine, for tests: an image of busybox, a node, a network."""

import asyncio
import io
import os
import subprocess
import tarfile
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from shutil import rmtree, which

from podwire.emulator.engine.client import Engine
from podwire.emulator.runtimes.docker import DockerRuntime
from podwire.emulator.runtimes.docker_requests import DockerNode, Project
from podwire.emulator.runtimes.made import MadeContainers
from podwire.emulator.runtimes.runtime import PodRequest
from tests.needs import SEARCH, need
from tests.system.docker.engine import engine as an_engine

Make = Callable[[asyncio.TaskGroup], DockerRuntime]
Sweep = Callable[[], Awaitable[None]]

IMAGE = "podwire/contract:1"
# Not the subnets of the compose file: that cluster may run on the same engine.
SUBNET, GATEWAY = "10.246.77.0/24", "10.246.77.1"
RANGE, TAKEN = "10.246.77.128/29", ("10.246.77.128", "10.246.77.129")
SLEEP = ("sleep", "1000000")
FOLDER = f"/tmp/podwire-contract-{os.getpid()}"

_APPLETS = ("cat", "echo", "env", "false", "grep", "hostname", "id", "ip", "kill", "ls", "nc",
            "ps", "pwd", "sh", "sleep", "stty", "test", "touch", "true")  # fmt: skip
_SCRIPTS = {
    # Not an applet of Debian's busybox.
    "printenv": 'eval "found=\\${$1-}"; [ -n "$found" ] && echo "$found"',
    "builtin:pause": "trap 'exit 0' TERM; while :; do sleep 0.05; done",
}


@contextmanager
def engine_socket() -> Generator[Path]:
    """Give an engine's socket: the one in DOCKER_HOST, else one of the tests' own."""
    host = os.environ.get("DOCKER_HOST", "")
    if host.startswith("unix://"):
        yield Path(host.removeprefix("unix://"))
        return
    with an_engine() as own:
        yield Path(own.socket)


@asynccontextmanager
async def docker_world() -> AsyncGenerator[tuple[Make, Engine, Sweep]]:
    """Give what makes a docker runtime from a TaskGroup, and what removes all that it made.

    All is gone at the end.
    """
    need("docker", "busybox")
    name = f"podwire-contract-{uuid.uuid4().hex[:8]}"
    with engine_socket() as socket:
        _import_image(socket)
        async with Engine.connect(socket) as engine:
            network = await engine.post("/networks/create", _network(name))
            body = {"Image": IMAGE, "Cmd": list(SLEEP), "Hostname": "node-1", "StopSignal": "9"}
            node = await engine.post("/containers/create", body, name=name)
            await engine.post(f"/containers/{node['Id']}/start")
            project = Project(name, IMAGE, SLEEP, {FOLDER: FOLDER})
            place = DockerNode("node-1", IPv4Address("192.168.1.10"), node["Id"], network["Id"])

            def make(tasks: asyncio.TaskGroup) -> DockerRuntime:
                return DockerRuntime(engine, place, project, tasks)

            async def sweep() -> None:
                await MadeContainers(engine, name).leftovers(())

            try:
                yield make, engine, sweep
            finally:
                await sweep()
                await engine.delete(f"/containers/{node['Id']}", force=True)
                await engine.delete(f"/networks/{network['Id']}")
                rmtree(FOLDER, ignore_errors=True)


def pod(name: str = "web", *, host_network: bool = False) -> PodRequest:
    """Return a pod to make."""
    return PodRequest("default", name, f"uid-of-{name}", name, host_network=host_network)


def _network(name: str) -> dict[str, object]:
    # Six addresses are left of the range.
    taken = {f"taken{number}": address for number, address in enumerate(TAKEN)}
    pool = {"Subnet": SUBNET, "Gateway": GATEWAY, "IPRange": RANGE, "AuxiliaryAddresses": taken}
    return {"Name": name, "Driver": "bridge", "IPAM": {"Config": [pool]}}


def _import_image(socket: Path) -> None:
    busybox = which("busybox", path=SEARCH)
    assert busybox is not None
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        _add(tar, "bin/busybox", Path(busybox).read_bytes())
        _add(tar, "tmp/nothing", b"")
        for applet in _APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for script, text in _SCRIPTS.items():
            _add(tar, f"bin/{script}", f"#!/bin/sh\n{text}\n".encode())
    subprocess.run(
        ["docker", "import", "-c", "ENV FROM_IMAGE=yes", "-c", "WORKDIR /tmp",
         "-c", "STOPSIGNAL SIGINT", "-c", 'CMD ["echo", "default"]', "-", IMAGE],
        input=packed.getvalue(), env={**os.environ, "DOCKER_HOST": f"unix://{socket}"},
        check=True, capture_output=True,
    )  # fmt: skip


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o755
    tar.addfile(info, io.BytesIO(content))
