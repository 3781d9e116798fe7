"""What every runtime does alike: the same scenarios on the fake, the netns and the docker one."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from podwire.emulator.addressing import addresses
from podwire.emulator.engine.client import Engine
from podwire.emulator.runtimes.docker import DockerRuntime
from podwire.emulator.runtimes.docker_requests import DockerNode, Project
from podwire.emulator.runtimes.fake import FakeRuntime
from podwire.emulator.runtimes.netns import NetnsRuntime, NodePlace
from podwire.emulator.runtimes.process_table import ProcessTable
from podwire.emulator.runtimes.runtime import (
    ContainerRequest,
    PodRequest,
    PodSandbox,
    RunningProcess,
    Runtime,
    RuntimeFailure,
    Streams,
)
from podwire.testing import inside
from tests.contract.docker_world import IMAGE, docker_world
from tests.needs import lack
from tests.unit.emulator.engine.fake_engine import FakeEngine

# So many pods the node's network holds here.
ADDRESSES = 6
PATH = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}


def pod(name: str = "web", *, host_network: bool = False) -> PodRequest:
    return PodRequest("default", name, f"uid-of-{name}", name, host_network=host_network)


def container(*argv: str, **environ: str) -> ContainerRequest:
    return ContainerRequest("main", argv, {**PATH, **environ}, image=IMAGE)


class Output:
    """Files for a process's standard streams."""

    def __init__(self, typed: str = "") -> None:
        self._fds = [os.memfd_create(name, os.MFD_CLOEXEC) for name in ("in", "out", "err")]
        os.write(self._fds[0], typed.encode())
        os.lseek(self._fds[0], 0, os.SEEK_SET)
        self.streams = Streams(*self._fds)

    def text(self) -> str:
        out = os.pread(self._fds[1], 4096, 0).decode()
        for fd in self._fds:
            os.close(fd)
        return out


@asynccontextmanager
async def running(
    runtime: Runtime, *argv: str, name: str = "web"
) -> AsyncGenerator[tuple[PodSandbox, RunningProcess]]:
    """Have a pod whose only container runs *argv*; at the end both are gone."""
    sandbox = await runtime.create(pod(name))
    process = await runtime.start(sandbox, container(*argv), Streams())
    yield sandbox, process
    process.send_signal(signal.SIGKILL)
    await process.wait()
    process.close()
    await runtime.remove(sandbox)


async def result(runtime: Runtime, request: ContainerRequest, typed: str = "") -> tuple[int, str]:
    """Run a container of a pod of its own to its end: exit status and output."""
    sandbox = await runtime.create(pod("once"))
    output = Output(typed)
    process = await runtime.start(sandbox, request, output.streams)
    status = await process.wait()
    process.close()
    await runtime.remove(sandbox)
    return status, output.text()


async def refused(work: Awaitable[object]) -> RuntimeFailure:
    try:
        await work
    except RuntimeFailure as failure:
        return failure
    raise AssertionError("it was not refused")


async def pods_have_addresses_of_their_own(runtime: Runtime) -> None:
    sandboxes = [await runtime.create(pod(name)) for name in ("a", "b", "c")]
    found = {sandbox.address for sandbox in sandboxes}
    assert len(found) == 3
    assert len({IPv4Network(f"{address}/24", strict=False) for address in found}) == 1, found
    for sandbox in sandboxes:
        await runtime.remove(sandbox)


async def many_pods_at_once(runtime: Runtime) -> None:
    sandboxes = await asyncio.gather(*(runtime.create(pod(f"p{n}")) for n in range(ADDRESSES)))
    assert len({sandbox.address for sandbox in sandboxes}) == ADDRESSES
    await asyncio.gather(*(runtime.remove(sandbox) for sandbox in sandboxes))


async def an_address_is_reused_only_when_it_is_free(runtime: Runtime) -> None:
    kept = await runtime.create(pod("kept"))
    for n in range(ADDRESSES + 2):
        sandbox = await runtime.create(pod(f"p{n}"))
        assert sandbox.address != kept.address
        await runtime.remove(sandbox)
    await runtime.remove(kept)


async def without_a_free_address_there_is_no_pod(runtime: Runtime) -> None:
    sandboxes = [await runtime.create(pod(f"p{n}")) for n in range(ADDRESSES)]
    failure = await refused(runtime.create(pod("late")))
    assert failure.reason == "FailedCreatePodSandBox"
    assert "no IP addresses available" in str(failure)
    free = sandboxes.pop()
    await runtime.remove(free)
    late = await runtime.create(pod("late"))
    assert late.address == free.address
    for sandbox in (*sandboxes, late):
        await runtime.remove(sandbox)


async def removing_is_repeatable(runtime: Runtime) -> None:
    sandbox = await runtime.create(pod())
    await runtime.remove(sandbox)
    await runtime.remove(sandbox)


async def a_pod_on_the_nodes_network_has_the_nodes_address(runtime: Runtime) -> None:
    sandbox = await runtime.create(pod(host_network=True))
    assert sandbox.address == IPv4Address("192.168.1.10")
    await runtime.remove(sandbox)
    await runtime.remove(sandbox)


async def a_cancelled_creation_leaves_nothing(runtime: Runtime) -> None:
    for steps in (0, 1, 2, 5, 10, 20):
        task = asyncio.get_running_loop().create_task(runtime.create(pod(f"p{steps}")))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            await runtime.remove(task.result())
    # Nothing holds an address any more: all of them can be had.
    sandboxes = [await runtime.create(pod(f"p{n}")) for n in range(ADDRESSES)]
    assert len({sandbox.address for sandbox in sandboxes}) == ADDRESSES
    for sandbox in sandboxes:
        await runtime.remove(sandbox)


async def a_container_has_its_arguments_environment_streams_and_status(runtime: Runtime) -> None:
    assert await result(runtime, container("echo", "hello", "you")) == (0, "hello you\n")
    assert await result(runtime, container("printenv", "NAME", NAME="web")) == (0, "web\n")
    assert await result(runtime, container("printenv", "OTHER", NAME="web")) == (1, "")
    assert await result(runtime, container("cat"), typed="typed") == (0, "typed")
    assert await result(runtime, container("true")) == (0, "")
    assert await result(runtime, container("false")) == (1, "")


async def a_container_starts_in_its_directory(runtime: Runtime) -> None:
    request = replace(container("pwd"), directory="/tmp")
    assert await result(runtime, request) == (0, "/tmp\n")


async def without_streams_there_is_nothing_to_read(runtime: Runtime) -> None:
    async with running(runtime, "cat") as (_sandbox, process):
        assert await process.wait() == 0


async def a_program_that_is_not_there_cannot_start(runtime: Runtime) -> None:
    sandbox = await runtime.create(pod())
    failure = await refused(runtime.start(sandbox, container("no-such", "x"), Streams()))
    assert failure.reason == "RunContainerError"
    expected = 'cannot start "no-such x": exec: "no-such": executable file not found in $PATH'
    assert str(failure) == expected
    await runtime.remove(sandbox)


async def sigterm_ends_what_handles_it(runtime: Runtime) -> None:
    async with running(runtime, "builtin:pause") as (_sandbox, process):
        await asyncio.sleep(0.1)  # until it handles signals
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def sigterm_does_nothing_to_a_first_process_that_does_not_handle_it(
    runtime: Runtime,
) -> None:
    async with running(runtime, "sleep", "60") as (_sandbox, process):
        process.send_signal(signal.SIGTERM)
        waiting = asyncio.get_running_loop().create_task(process.wait())
        await asyncio.wait([waiting], timeout=0.1)
        assert not waiting.done()
        process.send_signal(signal.SIGKILL)
        assert await waiting == 128 + signal.SIGKILL


async def a_signal_to_what_is_gone_is_nothing(runtime: Runtime) -> None:
    async with running(runtime, "true") as (_sandbox, process):
        assert await process.wait() == await process.wait() == 0
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == 0


async def a_command_runs_in_a_running_container(runtime: Runtime) -> None:
    async with running(runtime, "sleep", "60") as (_sandbox, process):
        output = Output(typed="typed")
        command = await runtime.execute(process, container("cat"), output.streams)
        assert await command.wait() == 0
        command.close()
        assert output.text() == "typed"
        failure = await refused(runtime.execute(process, container("no-such"), Streams()))
        assert 'exec: "no-such": executable file not found in $PATH' in str(failure)


async def a_command_can_be_ended_and_the_container_goes_on(runtime: Runtime) -> None:
    async with running(runtime, "sleep", "60") as (_sandbox, process):
        command = await runtime.execute(process, container("sleep", "60"), Streams())
        command.send_signal(signal.SIGTERM)
        assert await command.wait() == 128 + signal.SIGTERM
        again = await runtime.execute(process, container("true"), Streams())
        assert await again.wait() == 0


async def commands_end_with_their_container(runtime: Runtime) -> None:
    async with running(runtime, "sleep", "60") as (_sandbox, process):
        command = await runtime.execute(process, container("sleep", "60"), Streams())
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == 128 + signal.SIGKILL
        assert await command.wait() == 128 + signal.SIGKILL
        failure = await refused(runtime.execute(process, container("true"), Streams()))
        assert failure.reason == "InternalError"
        assert "not running" in str(failure)


async def containers_of_a_pod_end_one_by_one(runtime: Runtime) -> None:
    async with running(runtime, "sleep", "60") as (sandbox, first):
        other = replace(container("false"), name="other")
        second = await runtime.start(sandbox, other, Streams())
        assert await second.wait() == 1
        third = await runtime.execute(first, container("true"), Streams())
        assert await third.wait() == 0


async def a_container_beside_another_starts_and_ends_by_itself(runtime: Runtime) -> None:
    async with running(runtime, "sleep", "60") as (sandbox, first):
        request = replace(container("echo", "seen"), name="debugger", beside=first)
        output = Output()
        second = await runtime.start(sandbox, request, output.streams)
        assert await second.wait() == 0
        second.close()
        assert output.text() == "seen\n"
        third = await runtime.execute(first, container("true"), Streams())
        assert await third.wait() == 0


async def containers_that_share_their_processes_end_one_by_one(runtime: Runtime) -> None:
    sandbox = await runtime.create(replace(pod(), shares_processes=True))
    first = await runtime.start(sandbox, container("sleep", "60"), Streams())
    other = replace(container("false"), name="other")
    second = await runtime.start(sandbox, other, Streams())
    assert await second.wait() == 1
    third = await runtime.execute(first, container("true"), Streams())
    assert await third.wait() == 0
    # It is no first process any more: signals do what they do elsewhere.
    first.send_signal(signal.SIGTERM)
    assert await first.wait() == 128 + signal.SIGTERM
    await runtime.remove(sandbox)
    await runtime.remove(sandbox)


Scenario = Callable[[Runtime], Awaitable[None]]
SCENARIOS: tuple[Scenario, ...] = (
    pods_have_addresses_of_their_own,
    many_pods_at_once,
    an_address_is_reused_only_when_it_is_free,
    without_a_free_address_there_is_no_pod,
    removing_is_repeatable,
    a_pod_on_the_nodes_network_has_the_nodes_address,
    a_cancelled_creation_leaves_nothing,
    a_container_has_its_arguments_environment_streams_and_status,
    a_container_starts_in_its_directory,
    without_streams_there_is_nothing_to_read,
    a_program_that_is_not_there_cannot_start,
    sigterm_ends_what_handles_it,
    sigterm_does_nothing_to_a_first_process_that_does_not_handle_it,
    a_signal_to_what_is_gone_is_nothing,
    a_command_runs_in_a_running_container,
    a_command_can_be_ended_and_the_container_goes_on,
    commands_end_with_their_container,
    containers_of_a_pod_end_one_by_one,
    a_container_beside_another_starts_and_ends_by_itself,
    containers_that_share_their_processes_end_one_by_one,
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_the_fake_runtime(scenario: Scenario) -> None:
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        await scenario(FakeRuntime(tasks, addresses=ADDRESSES))


def test_the_netns_runtime() -> None:
    # All in one sandbox: each would cost the start of one.
    if lacking := inside.lacking():
        lack(f"the netns runtime needs namespaces: {lacking}")
    inside.play(every_scenario_on_the_netns_runtime)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_the_docker_runtime_on_a_fake_engine(scenario: Scenario, tmp_path: Path) -> None:
    node = DockerNode("node-1", IPv4Address("192.168.1.10"), "node", "pods")
    project = Project("contract", IMAGE, ("sleep", "3600"))
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        fake = FakeEngine(tasks, addresses=ADDRESSES + 1)
        async with (
            fake.serving(tmp_path / "docker.sock") as path,
            Engine.connect(path) as engine,
            asyncio.TaskGroup() as streams,
        ):
            made = await engine.post("/containers/create", {"Cmd": ["sleep", "60"]}, name="node")
            await engine.post(f"/containers/{made['Id']}/start")
            await scenario(DockerRuntime(engine, node, project, streams))


@pytest.mark.docker
async def test_the_docker_runtime() -> None:
    # All on one engine, network and image: each would cost the making of one.
    async with docker_world() as (make, _engine, sweep):
        failed: list[str] = []
        for scenario in SCENARIOS:
            async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
                runtime = make(tasks)
                try:
                    await scenario(runtime)
                except (AssertionError, RuntimeFailure, OSError) as error:
                    failed.append(f"{scenario.__name__}: {error!r} (line {_line(error)})")
                await sweep()
        assert not failed, "\n".join(failed)


async def every_scenario_on_the_netns_runtime(world: inside.World) -> None:
    address = addresses(world.config).nodes[0].underlay.ip
    node = NodePlace("node-1", address, world.node_netns, world.cni_config)
    network = json.loads(world.cni_config.read_bytes())
    (pool,) = network["plugins"][0]["ipam"]["ranges"][0]
    pool |= {"rangeStart": "10.244.1.2", "rangeEnd": str(IPv4Address("10.244.1.1") + ADDRESSES)}
    world.cni_config.write_text(json.dumps(network))
    failed: list[str] = []
    for scenario in (*SCENARIOS, it_sees_what_it_is_beside, processes_are_measured):
        try:
            await scenario(NetnsRuntime(node, world.forks))
        except (AssertionError, RuntimeFailure, OSError) as error:
            failed.append(f"{scenario.__name__}: {error!r} (line {_line(error)})")
    assert not failed, "\n".join(failed)


async def it_sees_what_it_is_beside(runtime: Runtime) -> None:
    show = container("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    async with running(runtime, "sleep", "61") as (sandbox, first):
        seen: list[str] = []
        for beside in (None, first):
            output = Output()
            request = replace(show, name="debugger", beside=beside)
            process = await runtime.start(sandbox, request, output.streams)
            assert await process.wait() == 0
            seen.append(output.text())
        assert ["sleep 61" in text for text in seen] == [False, True], seen
    sandbox = await runtime.create(replace(pod(), shares_processes=True))
    first = await runtime.start(sandbox, container("sleep", "62"), Streams())
    output = Output()
    second = await runtime.start(sandbox, replace(show, name="other"), output.streams)
    assert await second.wait() == 0
    assert "sleep 62" in output.text()
    # What a container leaves behind ends with it, though the others go on.
    request = replace(container("sh", "-c", "sleep 63 & sleep 0.1"), name="leaver")
    third = await runtime.start(sandbox, request, Streams())
    assert await third.wait() == 0
    output = Output()
    second = await runtime.start(sandbox, replace(show, name="other"), output.streams)
    assert await second.wait() == 0
    text = output.text()
    assert ("sleep 62" in text, "sleep 63" in text) == (True, False)
    # The end of the pod is the end of all its processes.
    await runtime.remove(sandbox)
    assert await first.wait() == 128 + signal.SIGKILL


async def processes_are_measured(runtime: Runtime) -> None:
    meter = ProcessTable()
    burn = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; sleep 60"
    async with running(runtime, "sh", "-c", f"(:); sh -c '{burn}'") as (_sandbox, process):
        async with asyncio.timeout(20):
            while True:
                (used,) = (await meter.read([process], memory=True)).containers
                assert used is not None
                if used.cpu > 0.05:
                    break
                await asyncio.sleep(0.05)
        assert 100_000 < used.memory < 100_000_000
    reading = await meter.read([process], memory=False)
    assert reading.containers == (None,)
    assert reading.rest is not None
    assert reading.rest.cpu > 0


def _line(error: BaseException) -> int:
    trace = error.__traceback__
    line = 0
    while trace is not None:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == __file__ else line
        trace = trace.tb_next
    return line
