"""The lives of pods: restarts and back-off, init containers and side-cars, deletion, status."""

import asyncio
import json
import signal
from itertools import pairwise
from typing import Any

import pytest

from podwire.emulator.runtimes.fake import FakeProcess, pause
from podwire.emulator.runtimes.runtime import RuntimeFailure
from podwire.kube.names import Key
from podwire.kube.objects import ConfigMap, Pod
from podwire.kube.objects import Node as NodeObject
from podwire.testing.jumps import JumpingLoop
from tests.unit.emulator.kubelet.conftest import Json, Node, World

LOOPS = {"jumping": JumpingLoop}
ACCESS = "/var/run/secrets/kubernetes.io/serviceaccount"


def container(name: str, command: str, **fields: Any) -> Json:
    return {"name": name, "image": "busybox", "command": command.split(), **fields}


async def test_a_pod_runs_and_says_so(node: Node) -> None:
    async with node() as world:
        await world.pod("web", "builtin:pause")
        await world.until(lambda: world.ready())
        assert (world.phase(), world.states()) == ("Running", "running")
        assert world.address() == "10.244.1.2"
        found = world.get()
        assert found is not None
        assert found.status.host_ip == "192.168.1.10"
        assert found.status.container_statuses[0].container_id.startswith("podwire://")
        await world.until(lambda: len(world.events()) == 3)
        assert world.events() == [
            'Pulled: Container image "busybox" is this machine\'s sh and programs',
            "Created: Created container: c0",
            "Started: Started container c0",
        ]


async def test_a_container_gets_its_environment_and_files(node: Node) -> None:
    async with node() as world:
        await world.config_map("game", lives="3")
        await world.secret("key", token="s3cret")
        fields = {
            "env": [
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {
                    "name": "LIVES",
                    "valueFrom": {"configMapKeyRef": {"name": "game", "key": "lives"}},
                },
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "key", "key": "token"}}},
            ],
            "workingDir": "/srv/app",
            "volumeMounts": [{"name": "game", "mountPath": "/etc/game"}],
        }
        await world.pod(
            containers=(container("main", "builtin:pause $(LIVES)", **fields),),
            volumes=[{"name": "game", "configMap": {"name": "game"}}],
        )
        await world.until(lambda: world.ready())
        (request,) = world.runtime.requests
        assert request.argv == ("builtin:pause", "3")
        assert request.environ["IP"] == "10.244.1.2"
        assert (request.environ["LIVES"], request.environ["TOKEN"]) == ("3", "s3cret")
        assert request.environ["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
        assert (request.directory, request.directories) == ("/srv/app", ("/srv/app",))
        files = {bind.path: bind for bind in request.binds}
        assert sorted(files) == [
            "/dev/termination-log",
            "/etc/game",
            "/etc/hostname",
            "/etc/hosts",
            "/etc/resolv.conf",
            ACCESS,
        ]
        assert files["/etc/game"].read_only
        assert text(files["/etc/hostname"].source) == "web\n"
        assert text(files["/etc/hosts"].source).endswith("10.244.1.2\tweb\n")
        assert text(files["/etc/resolv.conf"].source).startswith("nameserver 10.96.0.10\n")
        assert text(files["/etc/game"].source + "/lives") == "3"
        # A change of the ConfigMap reaches the volume.
        key = Key("default", "game")
        await world.client.patch(ConfigMap, key, {"data": {"lives": "4", "level": "1"}})
        await settle()
        assert text(files["/etc/game"].source + "/lives") == "4"
        assert text(files["/etc/game"].source + "/level") == "1"


def text(path: str) -> str:
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        return file.read()


async def settle() -> None:
    """Let everything happen that can happen without time passing."""
    await asyncio.sleep(0.01)


async def test_labels_in_a_volume_follow_the_pods(node: Node) -> None:
    async with node() as world:
        fields = {"volumeMounts": [{"name": "me", "mountPath": "/me"}]}
        item = {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}
        await world.pod(
            containers=(container("main", "builtin:pause", **fields),),
            volumes=[{"name": "me", "downwardAPI": {"items": [item]}}],
        )
        await world.until(lambda: world.ready())
        me = next(b.source for b in world.runtime.requests[0].binds if b.path == "/me")
        assert text(f"{me}/labels") == ""
        labels = {"metadata": {"labels": {"app": "web"}}}
        await world.client.patch(Pod, Key("default", "web"), labels)
        await settle()
        assert text(f"{me}/labels") == 'app="web"'


# --- restarts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "command", "phase", "states"),
    [
        ("Never", "true", "Succeeded", "exit 0"),
        ("Never", "false", "Failed", "exit 1"),
        ("OnFailure", "true", "Succeeded", "exit 0"),
    ],
)
async def test_a_pod_that_is_over_gives_its_address_back_and_keeps_its_log(
    node: Node, policy: str, command: str, phase: str, states: str
) -> None:
    async with node() as world:
        await world.pod("web", command, restartPolicy=policy)
        await world.until(lambda: world.phase() == phase)
        assert world.states() == states
        await settle()
        assert world.runtime.sandboxes == {}
        life = world.kubelet.life(Key("default", "web"))
        assert life is not None
        run = life.container("")
        assert run is not None
        assert len(run.log.paths(previous=False)) == 1
        found = world.get()
        assert found is not None
        assert found.status.container_statuses[0].last_state.terminated is None
        await world.delete()
        await world.until(lambda: world.phase() == "gone")


@pytest.mark.parametrize(
    ("policy", "command"), [("Always", "true"), ("Always", "false"), ("OnFailure", "false")]
)
async def test_the_back_off_doubles_from_10_s_to_300_s(
    node: Node, policy: str, command: str
) -> None:
    starts: list[float] = []
    async with node() as world:
        program = world.runtime.programs[command]

        async def noted(process: FakeProcess) -> int:
            starts.append(world.now)
            return await program(process)

        world.program(command, noted)
        await world.pod("web", command, restartPolicy=policy)
        await world.until(lambda: len(starts) == 9)
        delays = [later - earlier for earlier, later in pairwise(starts)]
        assert delays == pytest.approx([0, 10, 20, 40, 80, 160, 300, 300], abs=0.5)
        await world.until(lambda: world.states() == "waiting CrashLoopBackOff (8)")
        found = world.get()
        assert found is not None
        status = found.status.container_statuses[0]
        assert status.last_state.terminated is not None
        assert status.last_state.terminated.exit_code == (0 if command == "true" else 1)
        uid = found.metadata.uid
        assert status.state.waiting is not None
        assert status.state.waiting.message == (
            f"back-off 300s restarting failed container=c0 pod=web_default({uid})"
        )
        (event,) = world.events(reason="BackOff")
        assert event.startswith(
            f"BackOff: Back-off restarting failed container c0 in pod web_default({uid})"
        )


async def test_a_long_life_forgets_the_back_off(node: Node) -> None:
    lengths = iter([0.0, 0.0, 700.0, 0.0, 0.0])
    starts: list[float] = []

    async with node() as world:

        async def mortal(_process: FakeProcess) -> int:
            starts.append(world.now)
            await asyncio.sleep(next(lengths))
            return 1

        world.program("mortal", mortal)
        await world.pod("web", "mortal")
        await world.until(lambda: len(starts) == 5)
    delays = [later - earlier for earlier, later in pairwise(starts)]
    assert delays == pytest.approx([0, 10, 700, 10], abs=0.5)


async def test_containers_of_a_pod_have_back_offs_of_their_own(node: Node) -> None:
    async with node() as world:
        await world.pod("web", "builtin:pause", "false")
        await world.until(lambda: world.states() == "running, waiting CrashLoopBackOff (3)")
        assert world.phase() == "Running"
        assert not world.ready()


async def test_last_words_are_in_the_log_when_the_end_is_known(node: Node) -> None:
    async with node() as world:
        await world.pod("web", "echo bye", restartPolicy="Never")
        await world.until(lambda: world.phase() == "Succeeded")
        life = world.kubelet.life(Key("default", "web"))
        run = life.container("c0") if life else None
        assert run is not None
        (path,) = run.log.paths(previous=False)
        assert path.read_text().endswith("stdout F bye\n")


# --- what is missing -------------------------------------------------------------------------------


async def test_an_unknown_image_is_named_and_starts_as_soon_as_it_is_added(node: Node) -> None:
    async with node() as world:
        await world.pod(containers=({"name": "c0", "image": "shop/cart:1"},))
        await world.until(lambda: world.states() == "waiting ErrImagePull")
        assert world.phase() == "Pending"
        found = world.get()
        assert found is not None
        waiting = found.status.container_statuses[0].state.waiting
        assert waiting is not None
        assert "podwire images add shop/cart -- COMMAND..." in waiting.message
        await asyncio.sleep(1000)
        began = world.now
        added = json.dumps({"image": "shop/cart", "command": ["builtin:pause", "--cart"]})
        await world.config_map("podwire-images", namespace="kube-system", cart=added)
        await world.until(lambda: world.ready())
        assert world.now - began < 1
        assert world.runtime.requests[-1].argv == ("builtin:pause", "--cart")


async def test_a_missing_config_map_is_named_and_the_container_starts_when_it_comes(
    node: Node,
) -> None:
    env = [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "x"}}}]
    async with node() as world:
        await world.pod(containers=(container("c0", "builtin:pause", env=env),))
        await world.until(lambda: world.states() == "waiting CreateContainerConfigError")
        await world.until(lambda: world.events(reason="Failed"))
        assert world.events(reason="Failed")[0] == 'Failed: Error: configmap "late" not found'
        await asyncio.sleep(1000)
        began = world.now
        await world.config_map("late", x="1")
        await world.until(lambda: world.ready())
        assert world.now - began < 1


async def test_a_missing_volume_is_named_and_the_pod_starts_when_it_comes(node: Node) -> None:
    volumes = [{"name": "v", "secret": {"secretName": "late"}}]
    async with node() as world:
        await world.pod(volumes=volumes)
        await world.until(lambda: world.events(reason="FailedMount"))
        assert world.states() == "waiting ContainerCreating"
        assert (
            'MountVolume.SetUp failed for volume "v" : secret "late" not found' in world.events()[0]
        )
        await asyncio.sleep(1000)
        began = world.now
        await world.secret("late", x="1")
        await world.until(lambda: world.ready())
        assert world.now - began < 1


async def test_an_image_that_cannot_be_had_is_tried_again_less_and_less_often(node: Node) -> None:
    async with node() as world:
        began = world.now
        await world.pod(containers=({"name": "c0", "image": "shop/cart:1"},))
        pulls: list[float] = []
        for _ in range(4):
            await world.until(lambda: world.states() == "waiting ErrImagePull")
            pulls.append(world.now - began)
            await world.until(lambda: world.states() == "waiting ImagePullBackOff")
        assert pulls == pytest.approx([0, 10, 30, 70], abs=0.5)
        found = world.get()
        assert found is not None
        waiting = found.status.container_statuses[0].state.waiting
        assert waiting is not None
        words = 'Back-off pulling image "shop/cart:1": ErrImagePull: no image "shop/cart:1" here'
        assert waiting.message.startswith(words)
        last = "Failed: Error: ImagePullBackOff x4"
        await world.until(lambda: last in world.events(reason="Failed"))
        back_off = 'BackOff: Back-off pulling image "shop/cart:1" x4'
        assert world.events(reason="BackOff") == [back_off]
        pulled, *others = world.events(reason="Failed")
        assert pulled.startswith('Failed: Failed to pull image "shop/cart:1": no image')
        assert others == ["Failed: Error: ErrImagePull x4", last]


async def test_a_command_that_is_not_there(node: Node) -> None:
    async with node() as world:
        await world.pod("web", "no-such")
        await world.until(lambda: world.states() == "waiting CrashLoopBackOff (1)")
        await world.until(lambda: world.events(reason="Failed"))
        assert "executable file not found in $PATH" in world.events(reason="Failed")[0]
        found = world.get()
        assert found is not None
        last = found.status.container_statuses[0].last_state.terminated
        assert last is not None
        assert (last.exit_code, last.reason) == (128, "StartError")
        world.program("no-such", pause)
        await world.until(lambda: world.ready())


@pytest.mark.parametrize(
    ("policy", "fields", "states", "phase"),
    [
        ("Never", {}, "exit 128", "Failed"),
        ("OnFailure", {}, "waiting CrashLoopBackOff (1)", "Running"),
        (
            "Never",
            {"init": (container("i", "no-such"),)},
            "exit 128, waiting PodInitializing",
            "Failed",
        ),
    ],
)
async def test_a_command_that_is_not_there_counts_as_an_end(
    node: Node, policy: str, fields: dict[str, Any], states: str, phase: str
) -> None:
    async with node() as world:
        command = "builtin:pause" if fields else "no-such"
        await world.pod("web", command, restartPolicy=policy, **fields)
        await world.until(lambda: world.phase() == phase)
        await world.until(lambda: world.states() == states)


async def test_a_pod_that_cannot_be_made_is_tried_again(node: Node) -> None:
    async with node() as world:
        for _ in range(3):
            failure = RuntimeFailure("FailedCreatePodSandBox", "no IP addresses available")
            world.runtime.refusals.append(failure)
        await world.pod()
        await world.until(lambda: world.ready())
        assert world.events(reason="FailedCreate") == [
            "FailedCreatePodSandBox: Failed to create pod sandbox: no IP addresses available x3"
        ]


async def test_what_is_not_supported_is_said_once(node: Node) -> None:
    async with node() as world:
        await world.pod(securityContext={"runAsUser": 1000})
        await world.until(lambda: world.ready())
        assert world.events(reason="NotSupported") == [
            "NotSupported: not supported: spec.securityContext.runAsUser; "
            "containers run as the root user of the sandbox"
        ]


# --- init containers and side-cars -----------------------------------------------------------------


async def test_init_containers_run_one_after_the_other(node: Node) -> None:
    async with node() as world:
        await world.pod(
            init=(container("i0", "sleep 5"), container("i1", "sleep 5")),
        )
        await world.until(
            lambda: (
                world.get() is not None
                and world.states() == "running, waiting PodInitializing, waiting PodInitializing"
            )
        )
        assert world.phase() == "Pending"
        await world.until(lambda: world.states() == "exit 0, running, waiting PodInitializing")
        await world.until(lambda: world.ready())
        assert world.states() == "exit 0, exit 0, running"
        found = world.get()
        assert found is not None
        assert [s.ready for s in found.status.init_container_statuses] == [True, True]


@pytest.mark.parametrize(
    ("policy", "phase", "states"),
    [
        ("Never", "Failed", "exit 1, waiting PodInitializing"),
        ("Always", "Pending", "waiting CrashLoopBackOff (2), waiting PodInitializing"),
        ("OnFailure", "Pending", "waiting CrashLoopBackOff (2), waiting PodInitializing"),
    ],
)
async def test_an_init_container_that_fails(
    node: Node, policy: str, phase: str, states: str
) -> None:
    async with node() as world:
        await world.pod(init=(container("i0", "false"),), restartPolicy=policy)
        await world.until(lambda: world.states() == states)
        assert world.phase() == phase


def sidecar(name: str, command: str, **fields: Any) -> Json:
    return container(name, command, restartPolicy="Always", **fields)


async def test_a_side_car_runs_beside_and_ends_with_the_pods_work(node: Node) -> None:
    order: list[str] = []

    def noted(name: str) -> Any:
        async def program(process: FakeProcess) -> int:
            order.append(f"{name} begins")
            status = await pause(process)
            order.append(f"{name} ends")
            return status

        return program

    async def work(_process: FakeProcess) -> int:
        order.append("work begins")
        await asyncio.sleep(60)
        order.append("work ends")
        return 0

    async with node() as world:
        world.program("one", noted("one"))
        world.program("two", noted("two"))
        world.program("work", work)
        await world.pod(
            "web",
            "work",
            init=(sidecar("s1", "one"), sidecar("s2", "two")),
            restartPolicy="Never",
        )
        await world.until(lambda: world.ready())
        assert world.states() == "running, running, running"
        await world.until(lambda: world.phase() == "Succeeded")
        assert world.states() == "exit 0, exit 0, exit 0"
    assert order == [
        "one begins",
        "two begins",
        "work begins",
        "work ends",
        "two ends",
        "one ends",
    ]


async def test_side_cars_end_after_the_containers_of_a_deleted_pod(node: Node) -> None:
    order: list[str] = []

    def slow(name: str) -> Any:
        async def program(process: FakeProcess) -> int:
            await pause(process)
            await asyncio.sleep(3)
            order.append(name)
            return 0

        return program

    async with node() as world:
        for name in ("one", "two", "main"):
            world.program(name, slow(name))
        await world.pod("web", "main", init=(sidecar("s1", "one"), sidecar("s2", "two")))
        await world.until(lambda: world.ready())
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
    assert order == ["main", "two", "one"]


async def test_a_side_car_that_crashes_is_started_again_and_takes_nothing_back(node: Node) -> None:
    async with node() as world:
        await world.pod(init=(sidecar("s1", "sleep 50"),))
        await world.until(lambda: world.ready())
        await world.until(lambda: "waiting CrashLoopBackOff" in world.states())
        assert world.phase() == "Running"
        found = world.get()
        assert found is not None
        assert {c.type: c.status for c in found.status.conditions}["Initialized"] == "True"


# --- the end ---------------------------------------------------------------------------------------


def killings(world: World) -> list[str]:
    return world.events(reason="Killing")


async def test_deletion_asks_first(node: Node) -> None:
    async with node() as world:
        await world.pod()
        await world.until(lambda: world.ready())
        began = world.now
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
        assert world.now - began < 1
        assert killings(world) == ["Killing: Stopping container c0"]
        last = [pod for pod in world.history if pod is not None][-1]
        assert last.status.phase == "Succeeded"
        assert last.status.container_statuses[0].state.terminated is not None
        await settle()
        assert world.runtime.sandboxes == {}
        assert world.kubelet.lives() == ()


@pytest.mark.parametrize(("own", "asked", "seconds"), [(30, None, 30), (5, None, 5), (30, 2, 2)])
async def test_what_does_not_listen_is_killed_after_its_grace(
    node: Node, own: int, asked: int | None, seconds: float
) -> None:
    async with node() as world:
        await world.pod("web", "sleep 36000", terminationGracePeriodSeconds=own)
        await world.until(lambda: world.ready())
        began = world.now
        await world.delete(grace=asked)
        await world.until(lambda: world.phase() == "gone")
        assert world.now - began == pytest.approx(seconds, abs=0.5)
        last = [pod for pod in world.history if pod is not None][-1]
        terminated = last.status.container_statuses[0].state.terminated
        assert terminated is not None
        assert (terminated.exit_code, last.status.phase) == (137, "Failed")


@pytest.mark.parametrize(("own", "asked"), [(30, 0), (0, None)])
async def test_without_grace_the_pod_is_forgotten_at_once_and_killed(
    node: Node, own: int, asked: int | None
) -> None:
    async with node() as world:
        await world.pod("web", "sleep 36000", terminationGracePeriodSeconds=own)
        await world.until(lambda: world.ready())
        began = world.now
        await world.delete(grace=asked)
        await world.until(lambda: world.phase() == "gone")
        await settle()
        assert world.runtime.sandboxes == {}
        assert world.now - began < 1


@pytest.mark.parametrize("shorter", [0, 3])
async def test_a_second_deletion_may_shorten_the_first(node: Node, shorter: int) -> None:
    async with node() as world:
        await world.pod("web", "sleep 36000", terminationGracePeriodSeconds=600)
        await world.until(lambda: world.ready())
        await world.delete()
        await asyncio.sleep(100)
        began = world.now
        await world.delete(grace=shorter)
        await world.until(lambda: world.phase() == "gone")
        await settle()
        assert world.now - began == pytest.approx(shorter, abs=0.5)
        assert world.runtime.sandboxes == {}


async def test_a_pod_may_be_deleted_while_it_is_made(node: Node) -> None:
    async with node() as world:
        world.runtime.gate.clear()
        await world.pod()
        await world.until(lambda: world.phase() == "Pending" and world.kubelet.lives())
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
        world.runtime.gate.set()
        await settle()
        assert world.runtime.sandboxes == {}
        assert world.runtime.requests == []
        assert world.kubelet.lives() == ()


async def test_a_pod_may_be_deleted_while_its_container_starts(node: Node) -> None:
    async with node() as world:
        await world.pod("first")
        await world.until(lambda: world.ready("first"))
        env = [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "x"}}}]
        await world.pod("web", containers=(container("c0", "builtin:pause", env=env),))
        await world.until(lambda: world.states() == "waiting CreateContainerConfigError")
        world.runtime.gate.clear()
        await world.config_map("late", x="1")
        await settle()
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
        world.runtime.gate.set()
        await settle()
        assert len(world.runtime.requests) == 1
        assert len(world.runtime.sandboxes) == 1


@pytest.mark.parametrize("command", ["false", "no-such"])
async def test_a_pod_may_be_deleted_while_it_waits_to_start_again(node: Node, command: str) -> None:
    async with node() as world:
        await world.pod("web", command)
        await world.until(lambda: "waiting" in world.states())
        await asyncio.sleep(500)
        began = world.now
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
        assert world.now - began < 1
        await settle()
        assert world.runtime.sandboxes == {}


async def test_a_pod_may_be_deleted_in_its_init_containers(node: Node) -> None:
    async with node() as world:
        await world.pod(init=(container("i0", "builtin:pause"),))
        await world.until(lambda: world.states().startswith("running"))
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
        # The init container ended well, but nothing follows it.
        assert [request.name for request in world.runtime.requests] == ["i0"]


async def test_a_pods_address_is_free_for_the_next_one(node: Node) -> None:
    async with node() as world:
        await world.pod("a")
        await world.pod("b")
        await world.until(lambda: world.ready("a") and world.ready("b"))
        assert {world.address("a"), world.address("b")} == {"10.244.1.2", "10.244.1.3"}
        freed = world.address("a")
        await world.delete("a")
        await world.until(lambda: world.phase("a") == "gone")
        await world.pod("c")
        await world.until(lambda: world.ready("c"))
        assert world.address("c") == freed


async def test_a_pod_of_the_same_name_may_follow_at_once(node: Node) -> None:
    async with node() as world:
        await world.pod("web", "sleep 36000")
        await world.until(lambda: world.ready())
        await world.delete(grace=0)
        await world.pod("web", "builtin:pause")
        await world.until(lambda: world.ready())
        await settle()
        assert len(world.runtime.sandboxes) == 1
        life = world.kubelet.life(Key("default", "web"))
        found = world.get()
        assert life is not None
        assert found is not None
        assert life.pod.metadata.uid == found.metadata.uid


async def test_a_pod_that_cannot_be_removed_stays_until_it_can(node: Node) -> None:
    async with node() as world:
        await world.pod()
        await world.until(lambda: world.ready())
        for _ in range(3):
            world.runtime.refusals_to_remove.append(RuntimeFailure("FailedKillPod", "busy"))
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
        killed = ["FailedKillPod: error killing pod: busy x3"]
        await world.until(lambda: world.events(reason="FailedKillPod") == killed)
        assert world.runtime.sandboxes == {}


# --- hooks -----------------------------------------------------------------------------------------


async def test_pre_stop_comes_before_the_signal_and_within_the_grace(node: Node) -> None:
    order: list[str] = []

    async def main(process: FakeProcess) -> int:
        await pause(process)
        order.append("told to end")
        return 0

    async def drain(_process: FakeProcess) -> int:
        order.append("drains")
        await asyncio.sleep(3)
        return 0

    async with node() as world:
        world.program("main", main)
        world.program("drain", drain)
        lifecycle = {"preStop": {"exec": {"command": ["drain"]}}}
        await world.pod(containers=(container("c0", "main", lifecycle=lifecycle),))
        await world.until(lambda: world.ready())
        began = world.now
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
        assert order == ["drains", "told to end"]
        assert world.now - began == pytest.approx(3, abs=0.5)


@pytest.mark.parametrize(
    ("hook", "main", "seconds"),
    [
        ("sleep 100", "builtin:pause", 10),  # the hook takes all the time; the rest is asked
        ("sleep 100", "sleep 36000", 12),  # two seconds more, as the kubelet gives
        ("sleep 4", "sleep 36000", 10),
    ],
)
async def test_a_pre_stop_that_takes_too_long(
    node: Node, hook: str, main: str, seconds: float
) -> None:
    lifecycle = {"preStop": {"exec": {"command": hook.split()}}}
    async with node() as world:
        await world.pod(
            containers=(container("c0", main, lifecycle=lifecycle),),
            terminationGracePeriodSeconds=10,
        )
        await world.until(lambda: world.ready())
        began = world.now
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
        assert world.now - began == pytest.approx(seconds, abs=0.5)


async def test_a_pre_stop_that_fails_is_an_event_and_nothing_more(node: Node) -> None:
    lifecycle = {"preStop": {"exec": {"command": ["false"]}}}
    async with node() as world:
        await world.pod(containers=(container("c0", "builtin:pause", lifecycle=lifecycle),))
        await world.until(lambda: world.ready())
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
        await world.until(lambda: world.events(reason="FailedPreStopHook"))
        assert "FailedPreStopHook: PreStopHook failed" in world.events()


async def test_until_post_start_is_over_the_container_is_not_running(node: Node) -> None:
    lifecycle = {"postStart": {"exec": {"command": ["sleep", "7"]}}}
    async with node() as world:
        await world.pod(containers=(container("c0", "builtin:pause", lifecycle=lifecycle),))
        await world.until(lambda: world.events(reason="Started"))
        began = world.now
        assert world.states() == "waiting ContainerCreating"
        await world.until(lambda: world.ready())
        assert world.now - began == pytest.approx(7, abs=0.5)


async def test_post_start_may_take_longer_than_an_end(node: Node) -> None:
    async def slow(_process: FakeProcess) -> int:
        await asyncio.sleep(100)
        return 0

    async with node() as world:
        world.program("slow", slow)
        lifecycle = {"postStart": {"exec": {"command": ["slow"]}}}
        await world.pod(
            containers=(container("c0", "builtin:pause", lifecycle=lifecycle),),
            terminationGracePeriodSeconds=1,
        )
        await world.until(lambda: world.ready())
        assert world.events(reason="FailedPostStartHook") == []


async def test_a_post_start_that_fails_ends_the_container(node: Node) -> None:
    lifecycle = {"postStart": {"exec": {"command": ["false"]}}}
    async with node() as world:
        await world.pod(containers=(container("c0", "builtin:pause", lifecycle=lifecycle),))
        await world.until(lambda: "CrashLoop" in world.states())
        failed = "FailedPostStartHook: PostStartHook failed x2"
        await world.until(lambda: failed in world.events())
        assert not world.ready()


# --- probes ----------------------------------------------------------------------------------------


def exec_probe(command: str, **fields: Any) -> Json:
    return {"exec": {"command": command.split()}, **fields}


class Health:
    """A program `health` whose answer the test sets; counts how often it was asked."""

    def __init__(self, world: World, *, healthy: bool) -> None:
        self.healthy = healthy
        self.asked: list[float] = []
        self._world = world
        world.program("health", self._answer)

    async def _answer(self, process: FakeProcess) -> int:
        self.asked.append(self._world.now)
        process.print("sick\n" if not self.healthy else "")
        return 0 if self.healthy else 1


async def test_readiness_follows_the_probe(node: Node) -> None:
    probe = exec_probe("health", periodSeconds=10, failureThreshold=3)
    async with node() as world:
        health = Health(world, healthy=False)
        await world.pod(containers=(container("c0", "builtin:pause", readinessProbe=probe),))
        await world.until(lambda: world.phase() == "Running")
        assert not world.ready()
        await world.until(lambda: world.events(reason="Unhealthy"))
        assert world.events(reason="Unhealthy")[0].startswith(
            "Unhealthy: Readiness probe failed: sick\n"
        )
        health.healthy = True
        await world.until(lambda: world.ready())
        began = world.now
        health.healthy = False
        await world.until(lambda: not world.ready())
        assert 20 <= world.now - began <= 30.5
        assert world.states() == "running"
        health.healthy = True
        await world.until(lambda: world.ready())


async def test_a_pod_that_is_ending_is_as_ready_as_its_probe_says(node: Node) -> None:
    # Its endpoint is `serving` for as long: open UDP flows stay with it until it says no.
    probe = exec_probe("health", periodSeconds=1, failureThreshold=2)
    lifecycle = {"preStop": {"exec": {"command": ["sleep", "20"]}}}
    async with node() as world:
        health = Health(world, healthy=True)
        await world.pod(
            containers=(
                container("c0", "builtin:pause", readinessProbe=probe, lifecycle=lifecycle),
            )
        )
        await world.until(lambda: world.ready())
        await world.delete()
        await asyncio.sleep(5)
        assert world.ready()
        health.healthy = False
        await world.until(lambda: not world.ready())
        assert world.phase() == "Running"


async def test_a_fresh_container_is_asked_at_once_and_without_a_fuss(node: Node) -> None:
    probe = exec_probe("health", periodSeconds=10)
    async with node() as world:
        health = Health(world, healthy=False)
        await world.pod(containers=(container("c0", "builtin:pause", readinessProbe=probe),))
        await world.until(lambda: world.phase() == "Running")
        await asyncio.sleep(0.2)
        assert len(health.asked) >= 4
        health.healthy = True
        began = world.now
        await world.until(lambda: world.ready())
        assert world.now - began < 0.5
        assert world.events(reason="Unhealthy") == []


async def test_a_failing_liveness_probe_restarts_the_container(node: Node) -> None:
    probe = exec_probe("health", periodSeconds=10, failureThreshold=3)
    async with node() as world:
        health = Health(world, healthy=True)
        await world.pod(containers=(container("c0", "builtin:pause", livenessProbe=probe),))
        await world.until(lambda: world.ready())
        await asyncio.sleep(35)
        began = world.now
        health.healthy = False
        await world.until(lambda: world.states() == "running (1)")
        assert 20 <= world.now - began <= 30.5
        health.healthy = True
        assert killings(world) == ["Killing: Container c0 failed liveness probe, will be restarted"]


async def test_a_liveness_probe_kills_what_does_not_listen_after_its_own_grace(
    node: Node,
) -> None:
    probe = exec_probe(
        "health", periodSeconds=1, failureThreshold=1, terminationGracePeriodSeconds=5
    )
    async with node() as world:
        Health(world, healthy=False)
        await world.pod(containers=(container("c0", "sleep 36000", livenessProbe=probe),))
        await world.until(lambda: killings(world))
        began = world.now
        await world.until(lambda: world.states() == "running (1)")
        assert world.now - began == pytest.approx(5, abs=1.1)
        found = world.get()
        assert found is not None
        last = found.status.container_statuses[0].last_state.terminated
        assert last is not None
        assert last.exit_code == 128 + signal.SIGKILL


async def test_the_other_probes_wait_for_the_startup_probe(node: Node) -> None:
    startup = exec_probe("starting", periodSeconds=10, failureThreshold=30)
    async with node() as world:
        health, starting = Health(world, healthy=True), {"done": False}

        async def answer(_process: FakeProcess) -> int:
            return 0 if starting["done"] else 1

        world.program("starting", answer)
        fields = {"startupProbe": startup, "livenessProbe": exec_probe("health")}
        await world.pod(containers=(container("c0", "builtin:pause", **fields),))
        await world.until(lambda: world.phase() == "Running")
        await asyncio.sleep(100)
        assert health.asked == []
        assert not world.ready()
        starting["done"] = True
        await world.until(lambda: world.ready())
        await asyncio.sleep(11)
        assert health.asked


async def test_a_startup_probe_that_never_succeeds_restarts_the_container(node: Node) -> None:
    startup = exec_probe("false", periodSeconds=10, failureThreshold=3)
    async with node() as world:
        await world.pod(containers=(container("c0", "builtin:pause", startupProbe=startup),))
        await world.until(lambda: world.phase() == "Running")
        began = world.now
        await world.until(lambda: world.states() == "running (1)")
        assert 20 <= world.now - began <= 31
        assert killings(world) == ["Killing: Container c0 failed startup probe, will be restarted"]


async def test_a_probe_that_takes_too_long_is_killed(node: Node) -> None:
    probe = exec_probe("sleep 100", periodSeconds=10, timeoutSeconds=2)
    async with node() as world:
        await world.pod(containers=(container("c0", "builtin:pause", readinessProbe=probe),))
        await world.until(lambda: world.events(reason="Unhealthy"))
        assert "Readiness probe failed: command timed out after 2s" in world.events()[-1]
        life = world.kubelet.life(Key("default", "web"))
        run = life.container("") if life else None
        assert run is not None
        assert isinstance(run.process, FakeProcess)
        await asyncio.sleep(1)
        assert not any(other.running for other in run.process.others)


async def test_liveness_leaves_a_pod_in_peace_that_is_ending(node: Node) -> None:
    probe = exec_probe("health", periodSeconds=1, failureThreshold=1)
    lifecycle = {"preStop": {"exec": {"command": ["sleep", "20"]}}}
    async with node() as world:
        health = Health(world, healthy=True)
        await world.pod(
            containers=(container("c0", "builtin:pause", livenessProbe=probe, lifecycle=lifecycle),)
        )
        await world.until(lambda: world.ready())
        await world.delete()
        await asyncio.sleep(1)
        health.healthy = False
        began = world.now
        await world.until(lambda: world.phase() == "gone")
        assert world.now - began == pytest.approx(19, abs=1)
        assert killings(world) == ["Killing: Stopping container c0"]


async def test_a_readiness_gate_opens_when_its_condition_comes(node: Node) -> None:
    async with node() as world:
        await world.pod(readinessGates=[{"conditionType": "example.com/lb"}])
        await world.until(lambda: world.phase() == "Running")
        assert not world.ready()
        found = world.get()
        assert found is not None
        kept = [{"type": c.type, "status": c.status} for c in found.status.conditions]
        gate = {"type": "example.com/lb", "status": "True"}
        patch = {"status": {"conditions": [*kept, gate]}}
        await world.client.patch(Pod, Key("default", "web"), patch, subresource="status")
        await world.until(lambda: world.ready())


async def test_a_pod_may_be_deleted_while_what_is_over_is_removed(node: Node) -> None:
    async with node() as world:
        for _ in range(20):
            world.runtime.refusals_to_remove.append(RuntimeFailure("FailedKillPod", "busy"))
        await world.pod("web", "true", restartPolicy="Never")
        await world.until(lambda: world.phase() == "Succeeded")
        await world.until(lambda: world.events(reason="FailedKillPod"))
        await world.delete()
        await world.until(lambda: world.phase() == "gone")
        await asyncio.sleep(200)
        assert world.runtime.sandboxes == {}


async def node_says(world: World, status: str) -> None:
    reason = "KubeletReady" if status == "True" else "ContainerNotRunning"
    patch = {"status": {"conditions": [{"type": "Ready", "status": status, "reason": reason}]}}
    await world.client.patch(NodeObject, Key("", "node-1"), patch, subresource="status")


async def readiness_is(world: World, status: str) -> None:
    """Write it as somebody else does; who wrote the last word is then seen."""
    found = world.get()
    assert found is not None
    conditions = [
        {"type": c.type, "status": status if c.type == "Ready" else c.status}
        for c in found.status.conditions
    ]
    patch = {"status": {"conditions": conditions}}
    await world.client.patch(Pod, Key("default", "web"), patch, subresource="status")


async def test_readiness_that_somebody_took_comes_back(node: Node) -> None:
    async with node() as world:
        await world.pod()
        await world.until(lambda: world.ready())
        await readiness_is(world, "False")
        await world.until(lambda: not world.ready())
        await world.until(lambda: world.ready())


async def test_while_the_node_is_down_nobody_is_contradicted_and_then_the_truth_is_written(
    node: Node,
) -> None:
    async with node() as world:
        crash = asyncio.Event()

        async def crashes(process: FakeProcess) -> int:
            if crash.is_set():
                return await pause(process)
            await crash.wait()
            return 1

        world.program("crashes", crashes)
        await world.pod("web", "builtin:pause", "crashes")
        await world.until(lambda: world.ready())
        await node_says(world, "False")
        await settle()
        await readiness_is(world, "False")  # the node lifecycle controller
        await settle()
        assert not world.ready()
        before = len(world.history)
        crash.set()
        await world.until(lambda: world.states() == "running, running (1)")
        await settle()
        assert not any(ready_in(pod) for pod in world.history[before:])
        await node_says(world, "True")
        await world.until(lambda: world.ready())


def ready_in(pod: Pod | None) -> bool:
    conditions = pod.status.conditions if pod is not None else ()
    return any(one.type == "Ready" and one.status == "True" for one in conditions)


# --- what others do to it --------------------------------------------------------------------------


def lose(world: World, name: str = "web") -> None:
    """Take a pod's sandbox away."""
    (identity,) = (one for one in world.runtime.losses if f"/{name}/" in one)
    world.runtime.losses[identity].set()


@pytest.mark.parametrize(
    ("policy", "states", "phase"),
    [
        ("Always", "running (1), running (1)", "Running"),
        ("OnFailure", "exit 0, running (1)", "Running"),
        ("Never", "exit 0, exit 137", "Failed"),
    ],
)
async def test_a_lost_sandbox(node: Node, policy: str, states: str, phase: str) -> None:
    first = "builtin:pause" if policy == "Always" else "true"
    async with node() as world:
        await world.pod("web", first, "builtin:pause", restartPolicy=policy)
        before = "running" if policy == "Always" else "exit 0"
        await world.until(lambda: world.states() == f"{before}, running")
        lose(world)
        await world.until(lambda: world.states() == states)
        assert world.phase() == phase
        await world.until(lambda: len(world.events(reason="SandboxChanged")) == 1)
        assert world.events(reason="SandboxChanged") == [
            "SandboxChanged: Pod sandbox changed, it will be killed and re-created."
        ]
        await world.until(lambda: "Stopping container c1" in " ".join(world.events()))
        await world.delete("web", grace=1)
        await world.until(lambda: world.get() is None)
        assert not world.runtime.sandboxes


async def test_init_containers_run_again_in_another_sandbox(node: Node) -> None:
    async with node() as world:
        init = (container("i0", "true"), container("i1", "builtin:pause", restartPolicy="Always"))
        await world.pod("web", "builtin:pause", init=init)
        await world.until(lambda: world.states() == "exit 0, running, running")
        lose(world)
        await world.until(lambda: world.states() == "exit 0 (1), running (1), running (1)")
        assert world.ready()


async def test_a_paused_container_is_not_ready(node: Node) -> None:
    async with node() as world:
        processes: list[FakeProcess] = []

        async def program(process: FakeProcess) -> int:
            processes.append(process)
            return await pause(process)

        world.program("program", program)
        await world.pod("web", "program")
        await world.until(lambda: world.ready())
        processes[0].pause(True)
        await world.until(lambda: not world.ready())
        assert world.states() == "running"
        processes[0].pause(False)
        await world.until(lambda: world.ready())
        processes[0].pause(True)
        await world.until(lambda: not world.ready())
        processes[0].end(1)
        await world.until(lambda: world.states() == "running (1)" and world.ready())
