"""What only the docker runtime does, on a real engine: join what runs, terminals, mounts, rights."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from podwire.emulator.engine.client import Engine
from podwire.emulator.images.catalogue import ImageError
from podwire.emulator.runtimes.capabilities import NUMBERS, asked, kept
from podwire.emulator.runtimes.docker import DockerRuntime
from podwire.emulator.runtimes.docker_process import EngineProcess
from podwire.emulator.runtimes.engine_images import EngineImages
from podwire.emulator.runtimes.made import MadeContainers
from podwire.emulator.runtimes.mounts import Bind
from podwire.emulator.runtimes.runtime import (
    ContainerRequest,
    PodSandbox,
    RunningProcess,
    RuntimeFailure,
    Streams,
)
from podwire.kube.clock import SystemClock
from tests.contract.docker_world import FOLDER, IMAGE, SLEEP, Make, Sweep, docker_world, pod

pytestmark = pytest.mark.docker


def container(*argv: str, name: str = "main", **fields: Any) -> ContainerRequest:
    return replace(ContainerRequest(name, argv, {"PATH": "/bin"}, image=IMAGE), **fields)


def shell(script: str, **fields: Any) -> ContainerRequest:
    return container("sh", "-c", script, **fields)


class World:
    """An engine with a node, and what a test does on it."""

    def __init__(self, make: Make, engine: Engine, sweep: Sweep) -> None:
        self._make = make
        self.engine = engine
        self.sweep = sweep

    @asynccontextmanager
    async def runtime(self) -> AsyncGenerator[DockerRuntime]:
        """Have a runtime, as long as its api program would live; containers stay."""
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            owner = tasks.create_task(asyncio.Event().wait())
            async with asyncio.TaskGroup() as streams:
                yield self._make(streams)
                for task in asyncio.all_tasks():
                    if task.get_name().startswith("process "):
                        task.cancel()
            owner.cancel()

    async def kill(self, identity: str) -> None:
        await self.engine.post(f"/containers/{identity}/kill")
        await self.engine.post(f"/containers/{identity}/wait", condition="not-running")

    async def inspect(self, process: RunningProcess) -> dict[str, Any]:
        found = await self.engine.get(f"/containers/{cast(EngineProcess, process).id}/json")
        return cast("dict[str, Any]", found)


async def output(
    runtime: DockerRuntime, sandbox: PodSandbox, request: ContainerRequest
) -> tuple[int, str]:
    """Run a container to its end: exit status, what it wrote."""
    fd = os.memfd_create("output", os.MFD_CLOEXEC)
    try:
        process = await runtime.start(sandbox, request, Streams(-1, fd, fd))
        return await process.wait(), os.pread(fd, 1 << 16, 0).decode()
    finally:
        os.close(fd)


async def said(runtime: DockerRuntime, process: RunningProcess, *argv: str) -> str:
    """Run a command in a container; returns what it wrote."""
    fd = os.memfd_create("output", os.MFD_CLOEXEC)
    try:
        command = await runtime.execute(process, container(*argv), Streams(-1, fd, fd))
        await command.wait()
        return os.pread(fd, 1 << 16, 0).decode()
    finally:
        os.close(fd)


async def a_new_runtime_joins_what_runs(world: World) -> None:
    async with world.runtime() as runtime:
        sandbox = await runtime.create(pod())
        assert not await runtime.has(sandbox, "main")
        first = await runtime.start(sandbox, shell("echo before; sleep 60"), Streams())
        other = await runtime.start(sandbox, container("true", name="other"), Streams())
        assert await other.wait() == 0
        ids = runtime.container_id(first), runtime.container_id(other)
    async with world.runtime() as runtime:
        again = await runtime.create(pod())
        assert (again.id, again.address) == (sandbox.id, sandbox.address)
        assert await runtime.has(again, "main")
        # How it ended, nobody has heard from this runtime yet.
        assert await runtime.has(again, "other")
        fd = os.memfd_create("output", os.MFD_CLOEXEC)
        joined = await runtime.start(again, shell("never run"), Streams(-1, fd, fd))
        told = await runtime.start(again, shell("never run", name="other"), Streams())
        assert (await told.wait(), runtime.container_id(told)) == (0, ids[1])
        assert 0 < runtime.times(told)[0] <= runtime.times(told)[1]
        assert not await runtime.has(again, "other")
        replaced = await runtime.start(again, container("true", name="other"), Streams())
        assert runtime.container_id(joined) == ids[0]
        assert runtime.container_id(replaced) != ids[1]
        assert await said(runtime, joined, "echo", "hello") == "hello\n"
        joined.send_signal(signal.SIGKILL)
        assert await joined.wait() == 128 + signal.SIGKILL
        assert os.pread(fd, 100, 0) == b"before\n"
        os.close(fd)
        await runtime.remove(again)


async def a_sandbox_that_has_ended_is_made_anew(world: World) -> None:
    async with world.runtime() as runtime:
        sandbox = await runtime.create(pod())
        await world.kill(sandbox.id)
        again = await runtime.create(pod())
        assert again.id != sandbox.id
        first = await runtime.start(again, container("sleep", "60"), Streams())
        await world.kill(again.id)
        await runtime.lost(again)
        third = await runtime.create(pod())
        assert await first.wait() == 128 + signal.SIGKILL
        assert (await output(runtime, third, shell("ip addr show eth0")))[0] == 0
        await runtime.remove(third)


async def a_copy_of_ours_is_somebody_elses(world: World) -> None:
    """An image made of a pod's container has its labels, and so have the containers of it."""
    async with world.runtime() as runtime:
        sandbox = await runtime.create(pod())
        first = await runtime.start(sandbox, container("sleep", "60"), Streams())
        identity = cast(EngineProcess, first).id
        image = await world.engine.post("/commit", {}, container=identity)
        body = {"Image": image["Id"], "Entrypoint": list(SLEEP[:1]), "Cmd": list(SLEEP[1:])}
        theirs = [
            (await world.engine.post("/containers/create", {**body, **more}))["Id"]
            for more in ({}, {"HostConfig": {"NetworkMode": f"container:{sandbox.id}"}})
        ]
        try:
            for each in theirs:
                await world.engine.post(f"/containers/{each}/start")
            first.send_signal(signal.SIGKILL)
            await first.wait()
            assert not await runtime.has(sandbox, "main")
            await runtime.remove(sandbox)
            await world.sweep()
            for each in theirs:
                found = await world.engine.get(f"/containers/{each}/json")
                assert found["State"]["Running"]
        finally:
            for each in theirs:
                await world.engine.delete(f"/containers/{each}", force=True)
            await world.engine.delete(f"/images/{image['Id']}")


async def what_is_left_of_a_pod_without_its_sandbox_is_ours(world: World) -> None:
    async with world.runtime() as runtime:
        sandbox = await runtime.create(pod())
        first = await runtime.start(sandbox, container("sleep", "60"), Streams())
        await world.engine.delete(f"/containers/{sandbox.id}", force=True)
        await runtime.lost(sandbox)
        await runtime.remove(sandbox)
        assert await first.wait() == 128 + signal.SIGKILL


async def a_pod_on_its_nodes_network_is_lost_with_it(world: World) -> None:
    async with world.runtime() as runtime:
        sandbox = await runtime.create(pod(host_network=True))
        assert (await runtime.create(pod(host_network=True))).id == sandbox.id
        lost = asyncio.create_task(runtime.lost(sandbox))  # noqa: TID251 - awaited below
        found = await world.engine.get(f"/containers/{sandbox.id}/json")
        node = found["HostConfig"]["NetworkMode"].partition(":")[2]
        await world.engine.post(f"/containers/{node}/restart", t=0)
        await lost
        await runtime.lost(sandbox)
        again = await runtime.create(pod(host_network=True))
        assert again.id != sandbox.id
        await runtime.remove(again)


async def containers_carry_their_labels_and_no_rights(world: World) -> None:
    async with world.runtime() as runtime:
        sandbox = await runtime.create(pod())
        plain = await runtime.start(sandbox, shell("grep CapEff /proc/self/status"), Streams())
        found = await world.inspect(plain)
        assert found["Name"].startswith("/podwire_podwire-contract-")
        assert found["Name"].endswith("_default_web_main_0")
        labels = found["Config"]["Labels"]
        assert labels["podwire.dev/made-container"] == "main"
        assert labels["podwire.dev/pod-uid"] == "uid-of-web"
        assert "podwire.dev/pod" not in labels
        assert found["HostConfig"]["Privileged"] is False
        capabilities = shell("grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status")
        none, _ = 0, await plain.wait()
        assert await output(runtime, sandbox, capabilities) == (
            0,
            f"CapEff:\t{none:016x}\nCapBnd:\t{none:016x}\nNoNewPrivs:\t1\n",
        )
        wanted = ["NET_ADMIN", "SYS_ADMIN"]
        some = replace(capabilities, capabilities=kept(wanted), asked=asked(wanted))
        admin = 1 << NUMBERS["NET_ADMIN"]
        assert (await output(runtime, sandbox, some))[1].startswith(f"CapEff:\t{admin:016x}\n")
        inspected = await world.engine.get(f"/containers/{sandbox.id}/json")
        assert inspected["HostConfig"]["CapDrop"] == ["ALL"]
        assert not inspected["HostConfig"]["CapAdd"]
        await runtime.remove(sandbox)


async def containers_of_a_pod_share_its_network_and_name(world: World) -> None:
    async with world.runtime() as runtime:
        sandbox = await runtime.create(pod())
        listening = shell("echo hi | nc -l -p 80", name="server")
        await runtime.start(sandbox, listening, Streams())
        ask = shell("for n in 1 2 3 4 5 6 7 8 9; do nc 127.0.0.1 80 && exit; sleep 0.1; done")
        assert await output(runtime, sandbox, ask) == (0, "hi\n")
        named = shell("hostname; ip -4 addr show eth0", name="named")
        status, text = await output(runtime, sandbox, named)
        assert status == 0
        assert text.startswith("web\n")
        assert str(sandbox.address) in text
        await runtime.remove(sandbox)


async def files_are_mounted_where_the_engine_finds_them(world: World) -> None:
    folder = Path(FOLDER)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "resolv.conf").write_text("nameserver 10.96.0.10\n")
    binds = (
        Bind("/etc/resolv.conf", f"{folder}/resolv.conf", is_directory=False),
        Bind("/data", f"{folder}/data", is_directory=True),
        Bind("/kept", f"{folder}/data", is_directory=True, read_only=True),
    )
    async with world.runtime() as runtime:
        sandbox = await runtime.create(pod())
        script = "cat /etc/resolv.conf; echo x > /data/new; cat /kept/new; touch /kept/no"
        status, text = await output(runtime, sandbox, shell(script, binds=binds))
        assert status == 1
        assert "nameserver 10.96.0.10\n" in text
        assert "x\n" in text.splitlines(keepends=True)
        assert "Read-only file system" in text
        etc = (Bind("/etc/host", "/etc", is_directory=True),)
        with pytest.raises(RuntimeFailure, match="hostPath volumes are not supported"):
            await runtime.start(sandbox, shell("ls /etc/host", binds=etc), Streams())
        await runtime.remove(sandbox)


async def a_container_runs_as_its_user_on_its_root(world: World) -> None:
    async with world.runtime() as runtime:
        sandbox = await runtime.create(pod())
        user = shell("id -u; id -g", user="1000:2000")
        assert await output(runtime, sandbox, user) == (0, "1000\n2000\n")
        assert (await output(runtime, sandbox, shell("touch /tmp/x")))[0] == 0
        assert (await output(runtime, sandbox, shell("touch /tmp/x", read_only=True)))[0] == 1
        await runtime.remove(sandbox)


async def a_terminal_is_the_containers(world: World) -> None:
    async with world.runtime() as runtime:
        sandbox = await runtime.create(pod())
        master, slave = os.openpty()
        request = shell("read line; echo got $line", tty=True)
        process = await runtime.start(sandbox, request, Streams(slave, slave, slave))
        os.close(slave)
        os.write(master, b"typed\r")
        assert await process.wait() == 0
        # Echoed once, by the container's terminal; its line ends come through as they are.
        text = os.read(master, 4096)
        assert text.endswith(b"typed\r\ngot typed\r\n"), text
        assert text.count(b"typed") == 2
        os.close(master)
        await runtime.remove(sandbox)


async def a_commands_terminal_can_be_resized_and_let_go(world: World) -> None:
    async with world.runtime() as runtime:
        sandbox = await runtime.create(pod())
        first = await runtime.start(sandbox, container("sleep", "60"), Streams())
        master, slave = os.openpty()
        command = await runtime.execute(
            first, container("sh", tty=True), Streams(slave, slave, slave)
        )
        os.close(slave)
        os.set_blocking(master, False)
        seen = b""
        while b"33 99" not in seen:
            command.resize(99, 33)
            os.write(master, b"stty size\n")
            await asyncio.sleep(0.1)
            seen += os.read(master, 4096)
        command.send_signal(signal.SIGKILL)
        command.close()
        assert await command.wait() == 128 + signal.SIGKILL
        os.close(master)
        # The shell has ended itself, for it reads its terminal.
        wait = "for n in 1 2 3 4 5 6 7 8 9; do ps | grep -q ' sh$' || exit; sleep 0.2; done; ps"
        assert await said(runtime, first, "sh", "-c", f"{wait}") == ""
        await runtime.remove(sandbox)


async def much_output_waits_for_a_slow_reader(world: World) -> None:
    async with world.runtime() as runtime:
        sandbox = await runtime.create(pod())
        read, write = os.pipe()
        size = 3 << 20
        script = f"yes=0123456789abcdef; while :; do echo $yes$yes$yes$yes; done | head -c {size}"
        script = script.replace("head", "/bin/busybox head")
        process = await runtime.start(sandbox, shell(script), Streams(-1, write, write))
        os.close(write)

        def drain() -> int:
            total = 0
            while chunk := os.read(read, 1 << 16):
                total += len(chunk)
            return total

        assert await asyncio.to_thread(drain) == size
        assert await process.wait() == 0
        os.close(read)
        await runtime.remove(sandbox)


async def images_are_the_engines(world: World) -> None:
    told: list[str] = []

    def tell(reason: str, message: str) -> None:
        told.append(f"{reason}: {message}")

    images = EngineImages(world.engine, SystemClock())
    found = await images.image(IMAGE, "IfNotPresent", tell)
    assert told == [f'Pulled: Container image "{IMAGE}" already present on machine']
    assert (found.command, found.directory, found.stop_signal) == (("echo", "default"), "/tmp", 2)
    assert found.environ["FROM_IMAGE"] == "yes"
    assert found.identity.startswith("docker://sha256:")
    for name, policy, reason, words in (
        ("podwire/none:1", "Never", "ErrImageNeverPull", "not present with pull policy of Never"),
        ("127.0.0.1:9/none:1", "IfNotPresent", "ErrImagePull", "connection refused"),
        ("UPPER:1", "IfNotPresent", "InvalidImageName", "couldn't parse image name"),
    ):
        with pytest.raises(ImageError, match=words) as raised:
            await images.image(name, policy, tell)
        assert raised.value.reason == reason


async def one_that_is_gone_has_ended(world: World) -> None:
    async with world.runtime() as runtime:
        sandbox = await runtime.create(pod())
        process = await runtime.start(sandbox, container("sleep", "60"), Streams())
        await MadeContainers(world.engine, "another").remove_pod("uid-of-web")
        assert await runtime.has(sandbox, "main")
        await world.engine.delete(f"/containers/{cast(EngineProcess, process).id}", force=True)
        assert await process.wait() == 128 + signal.SIGKILL
        await runtime.remove(sandbox)


Scenario = Callable[[World], Awaitable[None]]
SCENARIOS: tuple[Scenario, ...] = (
    a_new_runtime_joins_what_runs,
    a_sandbox_that_has_ended_is_made_anew,
    a_copy_of_ours_is_somebody_elses,
    what_is_left_of_a_pod_without_its_sandbox_is_ours,
    a_pod_on_its_nodes_network_is_lost_with_it,
    containers_carry_their_labels_and_no_rights,
    containers_of_a_pod_share_its_network_and_name,
    files_are_mounted_where_the_engine_finds_them,
    a_container_runs_as_its_user_on_its_root,
    a_terminal_is_the_containers,
    a_commands_terminal_can_be_resized_and_let_go,
    much_output_waits_for_a_slow_reader,
    images_are_the_engines,
    one_that_is_gone_has_ended,
)


async def test_the_docker_runtime_on_an_engine() -> None:
    failed: list[str] = []
    async with docker_world() as (make, engine, sweep):
        world = World(make, engine, sweep)
        for scenario in SCENARIOS:
            try:
                await scenario(world)
            except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001
                failed.append(f"{scenario.__name__}: {error!r}")
            await sweep()
    assert not failed, "\n".join(failed)
