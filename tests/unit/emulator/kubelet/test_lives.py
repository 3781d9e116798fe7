"""The lives of pods: their status, restarts and back-off, what is missing, and a lost sandbox."""

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest

from podwire.emulator.runtimes.fake import FakeProcess, pause
from podwire.emulator.runtimes.runtime import RuntimeFailure
from podwire.kube.names import Key
from podwire.kube.objects import ConfigMap, Pod
from podwire.testing.jumps import JumpingLoop
from tests.unit.emulator.kubelet.conftest import Node, World
from tests.unit.emulator.kubelet.containers import container, settle

LOOPS = {"jumping": JumpingLoop}
ACCESS = "/var/run/secrets/kubernetes.io/serviceaccount"


@pytest.mark.parametrize(
    ("image", "policy", "reason", "event"),
    [
        (
            "nobody/knows",
            "Never",
            "ErrImageNeverPull",
            'ErrImageNeverPull: Container image "nobody/knows" is not present with pull policy of '
            "Never; say what it runs: podwire images add nobody/knows -- COMMAND..."
            " (or at the start: podwire up --image nobody/knows='COMMAND...')",
        ),
        (
            "MyApp:1",
            "IfNotPresent",
            "InvalidImageName",
            'InspectFailed: Failed to apply default image tag "MyApp:1": couldn\'t parse image name '
            '"MyApp:1": invalid reference format: repository name (library/MyApp) must be '
            "lowercase",
        ),
    ],
)
async def test_an_image_that_is_not_there_for_another_reason(
    node: Node, image: str, policy: str, reason: str, event: str
) -> None:
    async with node() as world:
        wanted = container("c0", "true") | {"image": image, "imagePullPolicy": policy}
        await world.pod(containers=(wanted,))
        await world.until(lambda: world.states() == f"waiting {reason}")
        await world.until(lambda: len(world.events()) == 2)
        assert world.events() == [event, f"Failed: Error: {reason}"]


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
