"""Containers in real namespaces: what they see, what they may, and what is left of them."""

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest

from podwire.emulator.addressing import addresses
from podwire.emulator.runtimes.capabilities import kept
from podwire.emulator.runtimes.mounts import Bind
from podwire.emulator.runtimes.netns import NetnsRuntime, NodePlace
from podwire.emulator.runtimes.runtime import (
    ContainerRequest,
    PodRequest,
    PodSandbox,
    RunningProcess,
    RuntimeFailure,
    Streams,
)
from podwire.emulator.sandbox import paths
from podwire.emulator.sandbox.processes import Place, Program
from podwire.testing import inside
from tests.needs import lack

pytestmark = pytest.mark.system

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


@pytest.fixture(autouse=True, scope="module")
def namespaces() -> None:
    if reason := inside.lacking():
        lack(f"containers need namespaces: {reason}")


class Pod:
    """A pod of the netns runtime, in which shell scripts are run."""

    def __init__(self, runtime: NetnsRuntime, sandbox: PodSandbox) -> None:
        self.runtime, self.sandbox = runtime, sandbox

    @classmethod
    async def make(cls, world: inside.World) -> "Pod":
        address = addresses(world.config).nodes[0].underlay.ip
        node = NodePlace("node-1", address, world.node_netns, world.cni_config)
        runtime = NetnsRuntime(node, world.forks)
        request = PodRequest("default", "web", "uid-1", "web-0", host_network=False)
        return cls(runtime, await runtime.create(request))

    async def start(
        self,
        script: str,
        streams: Streams | None = None,
        *,
        binds: tuple[Bind, ...] = (),
        directories: tuple[str, ...] = (),
        directory: str = "/",
    ) -> RunningProcess:
        request = ContainerRequest(
            "main",
            ("sh", "-c", script),
            ENVIRONMENT,
            directory=directory,
            binds=binds,
            directories=directories,
            capabilities=kept(),
        )
        return await self.runtime.start(self.sandbox, request, streams or Streams())

    async def says(
        self,
        script: str,
        *,
        binds: tuple[Bind, ...] = (),
        directories: tuple[str, ...] = (),
        directory: str = "/",
    ) -> str:
        """Return what *script* writes, both streams, in a container of its own."""
        output = os.memfd_create("output", os.MFD_CLOEXEC)
        try:
            process = await self.start(
                script,
                Streams(-1, output, output),
                binds=binds,
                directories=directories,
                directory=directory,
            )
            await process.wait()
            process.close()
            return os.pread(output, 1 << 16, 0).decode().strip()
        finally:
            os.close(output)


def put(name: str, text: str) -> str:
    """Write a file that a volume would hold; returns its path."""
    path = paths.PODS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


async def a_container_is_process_1_and_sees_only_its_own(world: inside.World) -> None:
    pod = await Pod.make(world)
    assert await pod.says("set -- /proc/[0-9]*; echo $$ $#") == "1 1"
    assert await pod.says("hostname") == "web-0"
    assert await pod.says("ls /proc/self/fd | wc -w") == "4"
    links = await pod.says("ip -o link | awk '{print $2}' | sed 's/@.*//; s/://'")
    assert links.split() == ["lo", "eth0"]


async def the_host_is_read_only_and_the_usual_places_are_ones_own(world: inside.World) -> None:
    pod = await Pod.make(world)
    for place in ("/usr/x", "/etc/x", "/x", "/bin/x"):
        assert "Read-only file system" in await pod.says(f"touch {place}"), place
    for place in ("/tmp/x", "/var/x", "/run/x", "/var/run/y", "/var/log/x", "/dev/shm/x"):
        assert await pod.says(f"echo hello > {place}; cat {place}") == "hello", place
    assert await pod.says("ls /run /var/log") == "/run:\n\n/var/log:"
    assert await pod.says("echo x > /dev/null; head -c 3 /dev/zero | wc -c") == "3"


async def mounts_are_where_they_are_asked_for(world: inside.World) -> None:
    pod = await Pod.make(world)
    file = put("file", "from the volume")
    folder = str(Path(put("folder/inner", "in a folder")).parent)
    for path in (
        "/etc/hostname",  # on what is there
        "/etc/app/config",  # below a directory of the host's that has no such thing
        "/lib/app.conf",  # through a link, on most machines
        "/data/app.conf",  # where the host has nothing
        "/var/lib/app/x",  # in a place of the container's own
        "/tmp/app.conf",
    ):
        bind = Bind(path, file, is_directory=False)
        assert await pod.says(f"cat {path}", binds=(bind,)) == "from the volume", path
    both = (
        Bind("/usr/share/one", folder, is_directory=True),
        Bind("/usr/two/three/four", folder, is_directory=True, read_only=True),
    )
    script = "cat /usr/share/one/inner /usr/two/three/four/inner; ls /usr/bin/env"
    assert await pod.says(script, binds=both) == "in a folderin a folder/usr/bin/env"
    assert await pod.says("echo x > /usr/share/one/new; cat /usr/share/one/new", binds=both) == "x"
    assert "Read-only" in await pod.says("echo x > /usr/two/three/four/new", binds=both)
    assert "one" not in os.listdir("/usr/share")  # noqa: PTH208
    made = await pod.says("pwd; touch x; ls", directory="/srv/app", directories=("/srv/app",))
    assert made == "/srv/app\nx"


async def signals_arrive_and_can_be_trapped(world: inside.World) -> None:
    pod = await Pod.make(world)
    for number, name in ((signal.SIGTERM, "TERM"), (signal.SIGINT, "INT"), (signal.SIGHUP, "HUP")):
        ready, told = os.pipe()
        script = f"trap 'exit 7' {name}; echo ready; while :; do sleep 0.05; done"
        process = await pod.start(script, Streams(-1, told, -1))
        os.close(told)
        await asyncio.to_thread(os.read, ready, 100)
        os.close(ready)
        process.send_signal(number)
        assert await process.wait() == 7, name
        process.close()


async def the_end_of_a_container_is_the_end_of_all_its_processes(world: inside.World) -> None:
    pod = await Pod.make(world)
    ours, theirs = os.pipe()
    process = await pod.start("sleep 600 & sleep 600 & wait", Streams(-1, theirs, -1))
    os.close(theirs)
    process.send_signal(signal.SIGKILL)
    assert await process.wait() == 137
    # All of them held the pipe: it ends when the last of them is gone.
    assert await asyncio.to_thread(os.read, ours, 1) == b""
    os.close(ours)


async def a_command_is_in_the_container_and_may_have_a_terminal(world: inside.World) -> None:
    pod = await Pod.make(world)
    process = await pod.start("echo here > /tmp/mark; exec sleep 600")
    request = ContainerRequest(
        "main", ("sh", "-c", "cat /tmp/mark; test -t 0 && tty; echo $$"), ENVIRONMENT, tty=True
    )
    while True:
        master, slave = os.openpty()
        command = await pod.runtime.execute(process, request, Streams(slave, slave, slave))
        os.close(slave)
        await command.wait()
        command.close()
        said = os.read(master, 4096).decode().split()
        os.close(master)
        if "No" not in said:  # it may have come before the mark
            break
    assert said[0] == "here"
    assert said[1].startswith("/dev/pts/")
    assert int(said[2]) > 1
    process.send_signal(signal.SIGKILL)
    await process.wait()


async def what_cannot_start_says_why_and_leaves_nothing(world: inside.World) -> None:
    pod = await Pod.make(world)
    wrong = (
        (ContainerRequest("c", ("no-such",), ENVIRONMENT), "executable file not found in $PATH"),
        (ContainerRequest("c", ("/no/such",), ENVIRONMENT), "no such file or directory"),
        (ContainerRequest("c", ("builtin:no",), ENVIRONMENT), 'no built-in program "no"'),
        (ContainerRequest("c", ("true",), ENVIRONMENT, directory="/no/such"), "/no/such"),
        (
            ContainerRequest(
                "c", ("true",), ENVIRONMENT, binds=(Bind("/x", "/no/such", is_directory=False),)
            ),
            "/no/such",
        ),
    )
    for request, message in wrong:
        with pytest.raises(RuntimeFailure, match=re.escape(message)):
            await pod.runtime.start(pod.sandbox, request, Streams())
    assert await pod.says("echo fine") == "fine"


async def a_pod_that_is_gone_leaves_no_namespace_and_no_interface(world: inside.World) -> None:
    def there() -> tuple[list[str], int]:
        descriptors = sum(1 for _ in Path("/proc/self/fd").iterdir())
        return sorted(path.name for path in paths.NETNS.iterdir()), descriptors

    before, links = there(), await host_links(world)
    pod = await Pod.make(world)
    assert there() != before
    await pod.runtime.remove(pod.sandbox)
    assert there() == before
    # The kernel takes the interfaces away a moment after the namespace.
    async with asyncio.timeout(10):
        while await host_links(world) != links:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)


async def host_links(world: inside.World) -> str:
    output = os.memfd_create("output", os.MFD_CLOEXEC)
    net = os.open(world.node_netns, os.O_RDONLY | os.O_CLOEXEC)
    program = Program(("ip", "-o", "link"), ENVIRONMENT)
    process = await world.forks.fork(program, Place(net=net), stdout=output)
    await process.wait()
    process.close()
    os.close(net)
    text = os.pread(output, 1 << 16, 0).decode()
    os.close(output)
    return "\n".join(line.split()[1] for line in text.splitlines())


@pytest.mark.parametrize(
    "scenario",
    [
        a_container_is_process_1_and_sees_only_its_own,
        the_host_is_read_only_and_the_usual_places_are_ones_own,
        mounts_are_where_they_are_asked_for,
        signals_arrive_and_can_be_trapped,
        the_end_of_a_container_is_the_end_of_all_its_processes,
        a_command_is_in_the_container_and_may_have_a_terminal,
        what_cannot_start_says_why_and_leaves_nothing,
        a_pod_that_is_gone_leaves_no_namespace_and_no_interface,
    ],
    ids=lambda scenario: scenario.__name__,
)
def test_containers(scenario: inside.Scenario) -> None:
    inside.play(scenario)
