"""The kubelet with the docker runtime and the engine's images: on a fake engine, and on a real one."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, cast

import pytest

from podwire.emulator.apiserver.agent import NodeAgent
from podwire.emulator.apiserver.server import ApiServer
from podwire.emulator.apiserver.store import Store
from podwire.emulator.engine.client import Engine
from podwire.emulator.kubelet.context import NodeContext
from podwire.emulator.kubelet.kubelet import Kubelet
from podwire.emulator.kubelet.resolver import Resolver
from podwire.emulator.runtimes.docker import DockerRuntime
from podwire.emulator.runtimes.docker_requests import DockerNode, Project
from podwire.emulator.runtimes.engine_images import EngineImages
from podwire.emulator.runtimes.fake import FakeRuntime
from podwire.kube.client import Client
from podwire.kube.clock import SystemClock
from podwire.kube.events import EventRecorder
from podwire.kube.informers import Informers
from podwire.kube.mirror_pods import MIRROR
from podwire.kube.names import Key
from podwire.kube.objects import ConfigMap, Node, ObjectMeta, Pod, ServiceAccount
from podwire.kube.times import rfc3339_micro
from tests.contract.docker_world import FOLDER, IMAGE, Make, docker_world
from tests.unit.emulator.engine.fake_engine import FakeEngine
from tests.unit.emulator.kubelet.conftest import World

MAIN = {"name": "c0", "image": IMAGE, "command": ["builtin:pause"]}


class Cluster:
    """An API server, and one node whose kubelet can be killed and started again."""

    def __init__(self, directory: Path, engine: Engine, make: Make, clients: list[Client]) -> None:
        self._directory = directory
        self.engine = engine
        self._make = make
        self._clients = clients

    @asynccontextmanager
    async def kubelet(self) -> AsyncGenerator[World]:
        """Have the kubelet run inside the block; at its end it is gone as if it was killed."""
        client, test_client = self._clients
        clock = SystemClock()
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            killed = asyncio.TaskGroup()
            await killed.__aenter__()
            runtime = self._make(killed)
            informers, test_informers = Informers(client), Informers(test_client)
            context = NodeContext(
                "node-1",
                IPv4Address("192.168.1.10"),
                netns=Path("/proc/self/ns/net"),
                pods=self._directory,
                runtime=runtime,
                client=client,
                informers=informers,
                recorder=EventRecorder(client, clock, "kubelet", "node-1"),
                clock=clock,
                resolver=Resolver(("192.168.1.1",)),
                cluster_dns="10.96.0.10",
                domain="cluster.local",
                images=EngineImages(self.engine, clock),
                runtime_version=f"docker://{self.engine.release}",
                honoured=("runAsUser",),
            )
            kubelet = Kubelet(context, informers, "10.244.1.0/24", {})
            world = World(test_client, test_informers, kubelet, cast(FakeRuntime, None))
            running = [
                tasks.create_task(work)
                for work in (informers.run(), test_informers.run(), kubelet.run())
            ]
            await test_informers.synced()
            await informers.synced()
            yield world
            # Before the kubelet hears of it: a process that is killed ends no containers.
            for task in asyncio.all_tasks():
                if task.get_name().startswith("process "):
                    task.cancel()
            for task in running:
                task.cancel()
            # As in the program it outlives the kubelet, which has some steps to go until it ends.
            await asyncio.wait(running)
            await killed.__aexit__(None, None, None)

    async def pause(self, container: str, *, paused: bool) -> None:
        """Pause a container, or let it go on."""
        await self.engine.post(f"/containers/{container}/{'pause' if paused else 'unpause'}")

    async def made(self) -> list[str]:
        """Return the names of our containers that are there for pods."""
        found = await self.engine.get(
            "/containers/json", all=True, filters={"label": ["podwire.dev/made-container"]}
        )
        return sorted(
            each["Labels"]["podwire.dev/made-container"]
            for each in found
            if "contract" in each["Labels"]["podwire.dev/made-by"]
        )

    async def cleaned(self) -> None:
        """Wait until there is no container of a pod."""
        for _ in range(500):
            if not await self.made():
                return
            # The engine tells events, but the fake one does not.
            await asyncio.sleep(0.02)
        raise AssertionError(await self.made())


@asynccontextmanager
async def cluster(directory: Path, engine: Engine, make: Make) -> AsyncGenerator[Cluster]:
    """Have an API server for a cluster whose pods are made with *make*."""
    server = ApiServer(Store(), cast(NodeAgent, None), SystemClock(), random.Random(7))
    server.fill(6443)
    path = directory / "api.sock"
    (directory / "pods").mkdir(parents=True)
    async with (
        server.serve(unix_path=path),
        Client.unix(path, user="system:node:node-1") as client,
        Client.unix(path, user="system:test") as test_client,
    ):
        # What controllers give each namespace.
        account = ObjectMeta(name="default", namespace="default")
        await test_client.create(ServiceAccount(metadata=account))
        authority = {"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": "authority"}}
        await test_client.create_raw(ConfigMap, "default", authority)
        yield Cluster(directory / "pods", engine, make, [client, test_client])


def status_of(world: World, name: str = "web") -> Any:
    found = world.get(name)
    assert found is not None
    return found.status.container_statuses[0]


async def first_log(world: World) -> str:
    """Return what is in the log of c0's first run, once there is something."""
    for _ in range(500):
        life = world.kubelet.life(WEB)
        run = life.container("c0") if life is not None else None
        for path in run.log.paths(previous=False) if run is not None else ():
            if text := path.read_text():
                return text
        await asyncio.sleep(0.02)
    raise AssertionError("nothing is in the log")


def log_of(world: World, name: str = "web") -> str:
    """Return the last line that a pod wrote."""
    life = world.kubelet.life(Key("default", name))
    assert life is not None
    run = life.container("c0")
    assert run is not None
    (path,) = run.log.paths(previous=False)
    return path.read_text().splitlines()[-1].partition(" F ")[2]


async def a_life(cluster: Cluster) -> None:
    """A pod runs, is joined by the next kubelet, is executed in, and goes."""
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    async with cluster.kubelet() as world:
        await world.pod("web", containers=({**MAIN, "readinessProbe": probe},))
        await world.until(world.ready)
        status = status_of(world)
        assert status.container_id.startswith("docker://")
        assert status.image_id.startswith("docker")
        await world.until(lambda: len(world.events()) == 3)
        assert world.events()[0] == f'Pulled: Container image "{IMAGE}" already present on machine'
        node = await world.client.get(Node, Key("", "node-1"))
        assert node.status.node_info["containerRuntimeVersion"].startswith("docker://26.")
        assert await cluster.made() == ["POD", "c0"]
    async with cluster.kubelet() as again:
        await again.until(lambda: (life := again.kubelet.life(WEB)) and life.container("c0"))
        life = again.kubelet.life(WEB)
        assert life is not None
        run = life.container("c0")
        assert run is not None
        await again.until(lambda: run.process is not None and again.ready())
        assert status_of(again).container_id == status.container_id
        assert status_of(again).restart_count == 0
        assert await run.commands.output_of(["printenv", "FROM_IMAGE"]) == (0, "yes\n")
        assert len(again.events()) == 3
        await again.delete("web", grace=2)
        await again.until(lambda: again.get() is None)
        await cluster.cleaned()


async def missing_images(cluster: Cluster) -> None:
    """What the engine says of an image stands in the status."""
    async with cluster.kubelet() as world:
        for name, policy in (("pull", "IfNotPresent"), ("never", "Never")):
            image = {"image": "127.0.0.1:9/none:1", "imagePullPolicy": policy}
            await world.pod(name, containers=({**MAIN, **image},))
        await world.until(lambda: world.states("pull") == "waiting ErrImagePull")
        await world.until(lambda: world.states("never") == "waiting ErrImageNeverPull")
        await world.until(lambda: len(world.events("pull")) > 1)
        assert world.events("pull")[0] == 'Pulling: Pulling image "127.0.0.1:9/none:1"'
        assert world.events("pull")[1].startswith('Failed: Failed to pull image "127.0.0.1:9/none')


async def mirror_pods(cluster: Cluster) -> None:
    """Whoever wrote a mirror pod also runs it."""
    async with cluster.kubelet() as world:
        mirror = {
            "metadata": {"name": "mirror", "annotations": {MIRROR: "id"}},
            "spec": {"nodeName": "node-1", "containers": [MAIN]},
        }
        await world.client.create_raw(Pod, "default", mirror)
        await world.pod("web", containers=(MAIN,))
        await world.until(world.ready)
        assert world.kubelet.life(Key("default", "mirror")) is None
        assert world.phase("mirror") == "Pending"


async def users_and_directories(cluster: Cluster) -> None:
    """A container is what its image says, unless the pod says otherwise."""
    async with cluster.kubelet() as world:
        plain = {**MAIN, "command": ["pwd"]}
        await world.pod("web", containers=(plain,), restartPolicy="Never")
        await world.until(lambda: world.phase() == "Succeeded")
        assert log_of(world) == "/tmp"
        await world.pod("other", containers=({**plain, "workingDir": "/bin"},),
                        restartPolicy="Never")  # fmt: skip
        await world.until(lambda: world.phase("other") == "Succeeded")
        assert log_of(world, "other") == "/bin"


async def a_crash(cluster: Cluster) -> None:
    """A container that ends is replaced, and its log is that of the run."""
    async with cluster.kubelet() as world:
        script = {"command": ["echo", "hello"], "args": ["you"]}
        await world.pod("web", containers=({**MAIN, **script},), restartPolicy="OnFailure")
        await world.until(lambda: world.phase() == "Succeeded")
        # The pod is over, and its address given back.
        await cluster.cleaned()
        assert log_of(world) == "hello you"
        await world.pod("worse", "false", containers=({**MAIN, "command": ["false"]},))
        await world.until(lambda: "CrashLoopBackOff (1)" in world.states("worse"))


def identity_of(world: World) -> Any:
    """Return the id of the only container, for the engine."""
    return status_of(world).container_id.removeprefix("docker://")


async def sandbox_of(cluster: Cluster) -> str:
    wanted = {"label": ["podwire.dev/made-container=POD"]}
    found = await cluster.engine.get("/containers/json", all=True, filters=wanted)
    (identity,) = [
        each["Id"] for each in found if "contract" in each["Labels"]["podwire.dev/made-by"]
    ]
    return str(identity)


async def an_end_while_away(cluster: Cluster) -> None:
    """How a container ended while no kubelet ran is told by the next one, with its time and log."""
    async with cluster.kubelet() as world:
        await world.pod("web", containers=(MAIN,), restartPolicy="Never")
        await world.pod("again", containers=(MAIN,))
        await world.until(lambda: world.ready() and world.ready("again"))
        ids = [status_of(world, name).container_id for name in ("web", "again")]
    for each in ids:
        identity = each.removeprefix("docker://")
        await cluster.engine.post(f"/containers/{identity}/kill")
        await cluster.engine.post(f"/containers/{identity}/wait", condition="not-running")
    async with cluster.kubelet() as after:
        await after.until(lambda: after.phase() == "Failed")
        assert after.states() == "exit 137"
        assert status_of(after).container_id == ids[0]
        assert after.events(reason="Started") == ["Started: Started container c0"]
        await after.until(lambda: after.states("again") == "running (1)")


async def a_log_keeps_its_times(cluster: Cluster) -> None:
    """What a container wrote before the kubelet was started again has the time when it did."""
    async with cluster.kubelet() as world:
        echo = {**MAIN, "command": ["echo", "hello"]}
        await world.pod("web", containers=(echo, {**MAIN, "name": "c1"}), restartPolicy="Never")
        await world.until(lambda: world.states() == "exit 0, running")
    restarted = rfc3339_micro(SystemClock().now())
    async with cluster.kubelet() as again:
        (line,) = (await first_log(again)).splitlines()
        assert line.endswith(" stdout F hello")
        assert line.partition(" ")[0] < restarted
        await again.until(lambda: again.states() == "exit 0, running")
        assert sorted(again.events(reason="Started")) == [
            "Started: Started container c0",
            "Started: Started container c1",
        ]


async def a_lost_sandbox(cluster: Cluster) -> None:
    """Without its sandbox a pod has no network: it is made again, unless it is not to be."""
    for policy, said in (("Always", "running (1)"), ("Never", "exit 137")):
        name = policy.lower()
        async with cluster.kubelet() as world:
            await world.pod(name, containers=(MAIN,), restartPolicy=policy)
            await world.until(lambda: world.ready(name))  # noqa: B023
            sandbox = await sandbox_of(cluster)
            await cluster.engine.delete(f"/containers/{sandbox}", force=True)
            await world.until(lambda: world.states(name) == said)  # noqa: B023
            await world.until(lambda: world.events(name, reason="SandboxChanged"))  # noqa: B023
            assert world.events(name, reason="SandboxChanged") == [
                "SandboxChanged: Pod sandbox changed, it will be killed and re-created."
            ]
            if policy == "Always":
                await world.until(lambda: world.ready(name))  # noqa: B023
                assert await sandbox_of(cluster) != sandbox
            await world.delete(name, grace=0)
            await world.until(lambda: world.get(name) is None)  # noqa: B023
            await cluster.cleaned()


async def a_pause(cluster: Cluster) -> None:
    """A paused container answers nobody: not ready at once, and ready when it goes on."""
    async with cluster.kubelet() as world:
        await world.pod("web", containers=(MAIN,))
        await world.until(world.ready)
        await cluster.pause(identity_of(world), paused=True)
        await world.until(lambda: not world.ready())
        assert world.states() == "running"
        await cluster.pause(identity_of(world), paused=False)
        await world.until(world.ready)
        await cluster.pause(identity_of(world), paused=True)
        await world.until(lambda: not world.ready())
    async with cluster.kubelet() as again:
        await again.until(lambda: (life := again.kubelet.life(WEB)) and life.container("c0"))
        await asyncio.sleep(0.5)
        assert not again.ready()
        await cluster.pause(identity_of(again), paused=False)
        await again.until(again.ready)
        assert status_of(again).restart_count == 0


async def a_sub_path(cluster: Cluster) -> None:
    """The engine looks a subPath up again when another container may have changed it."""
    async with cluster.kubelet() as world:
        mounts = [{"name": "e", "mountPath": "/sub", "subPath": "x"}]
        volumes: list[Any] = [{"name": "e", "emptyDir": {}}]
        await world.pod("web", containers=({**MAIN, "volumeMounts": mounts},), volumes=volumes)
        await world.until(lambda: world.states() == "waiting CreateContainerConfigError")
        waiting = status_of(world).state.waiting
        assert waiting is not None
        assert "subPath 'x' of the emptyDir volume e: not supported" in waiting.message


WEB = Key("default", "web")
Scenario = Callable[[Cluster], Any]
SCENARIOS: tuple[Scenario, ...] = (
    a_life,
    missing_images,
    mirror_pods,
    users_and_directories,
    a_crash,
    an_end_while_away,
    a_log_keeps_its_times,
    a_lost_sandbox,
    a_pause,
    a_sub_path,
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_the_kubelet_on_a_fake_engine(scenario: Scenario, tmp_path: Path) -> None:
    node = DockerNode("node-1", IPv4Address("192.168.1.10"), "node", "pods")
    pods = str(tmp_path / "pods")
    project = Project("contract", IMAGE, ("sleep", "3600"), {pods: pods})
    async with asyncio.TaskGroup() as tasks:
        fake = FakeEngine(tasks)
        config = {"Cmd": ["pause"], "Env": ["FROM_IMAGE=yes"], "WorkingDir": "/tmp"}
        fake.images[IMAGE] = {"Id": "sha256:1", "Config": config}
        async with (
            fake.serving(tmp_path / "docker.sock") as path,
            Engine.connect(path) as engine,
            cluster(
                tmp_path, engine, lambda owner: DockerRuntime(engine, node, project, owner)
            ) as made,
        ):
            await scenario(made)


@pytest.mark.docker
async def test_the_kubelet_on_an_engine(tmp_path: Path) -> None:
    failed: list[str] = []
    async with docker_world() as (make, engine, sweep):
        for scenario in SCENARIOS:
            directory = Path(FOLDER) / tmp_path.name / scenario.__name__
            try:
                async with cluster(directory, engine, make) as made:
                    await scenario(made)
            except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001
                failed.append(f"{scenario.__name__}: {error!r}")
            await sweep()
    assert not failed, "\n".join(failed)
