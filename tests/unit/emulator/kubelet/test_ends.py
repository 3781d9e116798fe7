"""How pods and containers end: deadlines, last words, and objects that outlive their pods."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from podwire.emulator.runtimes.fake import FakeProcess
from podwire.kube.names import Key
from podwire.kube.objects import Pod
from podwire.testing.jumps import JumpingLoop
from tests.unit.emulator.kubelet.conftest import Json, Node, World

LOOPS = {"jumping": JumpingLoop}
PATH = "/dev/termination-log"


def container(command: str, **fields: Any) -> Json:
    return {"name": "c0", "image": "busybox", "command": command.split(), **fields}


# --- activeDeadlineSeconds -------------------------------------------------------------------------


async def test_a_pod_that_is_active_for_too_long_has_failed(node: Node) -> None:
    async with node() as world:
        await world.pod("web", "builtin:pause", activeDeadlineSeconds=100)
        await world.until(world.ready)
        began = world.now
        await world.until(lambda: world.phase() == "Failed")
        assert 98 <= world.now - began <= 101
        found = world.get()
        assert found is not None
        text = "Pod was active on the node longer than the specified deadline"
        await world.until(lambda: (world.get() or found).status.reason == "DeadlineExceeded")
        assert (world.get() or found).status.message == text
        assert world.states() == "exit 0"
        await world.until(lambda: world.events(reason="DeadlineExceeded"))
        assert world.events(reason="DeadlineExceeded") == [f"DeadlineExceeded: {text}"]
        assert not world.runtime.sandboxes
        # Its object stays until somebody deletes it.
        await asyncio.sleep(1000)
        assert world.phase() == "Failed"
        await world.delete()
        await world.until(lambda: world.phase() == "gone")


async def test_a_deadline_gives_containers_their_grace(node: Node) -> None:
    async with node() as world:
        fields: Json = {"activeDeadlineSeconds": 10, "terminationGracePeriodSeconds": 20}
        await world.pod("web", "sleep 36000", **fields)
        await world.until(world.ready)
        began = world.now
        await world.until(lambda: world.phase() == "Failed")
        assert 28 <= world.now - began <= 32
        assert world.states() == "exit 137"


async def test_a_deadline_also_ends_what_never_started(node: Node) -> None:
    async with node() as world:
        volumes = [{"name": "v", "secret": {"secretName": "never"}}]
        await world.pod(activeDeadlineSeconds=10, volumes=volumes)
        await world.until(lambda: world.phase() == "Failed")
        assert not world.runtime.sandboxes


async def test_a_deadline_may_come_later_and_closer(node: Node) -> None:
    async with node() as world:
        await world.pod()
        await world.until(world.ready)
        began = world.now
        for seconds in (1000, 50):
            patch = {"spec": {"activeDeadlineSeconds": seconds}}
            await world.client.patch(Pod, Key("default", "web"), patch)
        await world.until(lambda: world.phase() == "Failed")
        assert world.now - began < 60


async def test_what_is_over_has_no_deadline(node: Node) -> None:
    async with node() as world:
        await world.pod("web", "true", restartPolicy="Never", activeDeadlineSeconds=10)
        await world.until(lambda: world.phase() == "Succeeded")
        await asyncio.sleep(100)
        assert world.phase() == "Succeeded"
        assert world.events(reason="DeadlineExceeded") == []


async def test_a_pod_whose_object_outlives_it_is_not_begun_anew(node: Node) -> None:
    async with node() as world:
        await world.pod("web", "true", restartPolicy="Never")
        await world.until(lambda: world.phase() == "Succeeded")
        key = Key("default", "web")
        held = {"metadata": {"finalizers": ["example.com/hold"]}}
        await world.client.patch(Pod, key, held)
        await world.delete()
        await asyncio.sleep(100)
        await world.client.patch(Pod, key, {"metadata": {"labels": {"seen": "yes"}}})
        await asyncio.sleep(100)
        assert (world.phase(), world.states()) == ("Succeeded", "exit 0")
        assert len(world.runtime.requests) == 1
        await world.client.patch(Pod, key, {"metadata": {"finalizers": None}})
        await world.until(lambda: world.phase() == "gone")


# --- last words ------------------------------------------------------------------------------------


def said(world: World) -> str:
    found = world.get()
    assert found is not None
    ended = found.status.container_statuses[0].state.terminated
    assert ended is not None
    return ended.message


def writer(text: str, log: str = "", *, status: int = 1, path: str = PATH) -> Any:
    async def write(process: FakeProcess) -> int:
        process.print(log)
        (place,) = [bind.source for bind in process.request.binds if bind.path == path]
        Path(place).write_text(text, encoding="utf-8")  # noqa: ASYNC240 - a tmpfs
        return status

    return write


@pytest.mark.parametrize(
    ("fields", "text", "log", "status", "message"),
    [
        ({}, "out of cheese", "log", 1, "out of cheese"),
        ({}, "all well", "log", 0, "all well"),
        ({}, "", "log", 1, ""),
        ({}, "x" * 5000, "", 1, "x" * 4096),
        ({"terminationMessagePolicy": "FallbackToLogsOnError"}, "", "log\n", 1, "log\n"),
        ({"terminationMessagePolicy": "FallbackToLogsOnError"}, "said", "log\n", 1, "said"),
        ({"terminationMessagePolicy": "FallbackToLogsOnError"}, "", "log\n", 0, ""),
        (
            {"terminationMessagePolicy": "FallbackToLogsOnError"},
            "",
            "".join(f"{n}\n" for n in range(100)),
            1,
            "".join(f"{n}\n" for n in range(20, 100)),
        ),
        (
            {"terminationMessagePolicy": "FallbackToLogsOnError"},
            "",
            "y" * 3000 + "\n",
            1,
            "y" * 2047 + "\n",
        ),
    ],
)
async def test_the_last_words_of_a_container(
    node: Node, fields: Json, text: str, log: str, status: int, message: str
) -> None:
    async with node() as world:
        world.program("speak", writer(text, log, status=status))
        await world.pod(containers=(container("speak", **fields),), restartPolicy="Never")
        await world.until(lambda: world.phase() in ("Failed", "Succeeded"))
        assert said(world) == message


async def test_each_run_has_words_of_its_own(node: Node) -> None:
    async with node() as world:
        words = iter(("first", ""))

        async def speak(process: FakeProcess) -> int:
            return int(await writer(next(words), path="/tmp/words")(process))

        world.program("speak", speak)
        fields = {"terminationMessagePath": "/tmp/words"}
        await world.pod(containers=(container("speak", **fields),))
        await world.until(lambda: "(1)" in world.states())
        found = world.get()
        assert found is not None
        before = found.status.container_statuses[0].last_state.terminated
        assert before is not None
        assert before.message == "first"
        await world.until(lambda: world.states() == "waiting CrashLoopBackOff (1)")
        found = world.get()
        assert found is not None
        last = found.status.container_statuses[0].last_state.terminated
        assert last is not None
        assert last.message == ""
