"""How pods get at the API server: token, authority and namespace in every container."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from podwire.emulator.kubelet.access import access_volume
from podwire.errors import NotFound
from podwire.kube.names import Key
from podwire.kube.objects import Pod, PodSpec, ServiceAccount
from podwire.testing.jumps import JumpingLoop
from tests.unit.emulator.kubelet.conftest import Json, Node, World

LOOPS = {"jumping": JumpingLoop}
PLACE = "/var/run/secrets/kubernetes.io/serviceaccount"


def container(name: str = "c0", **fields: Any) -> Json:
    return {"name": name, "image": "busybox", "command": ["builtin:pause"], **fields}


def mounted(world: World, number: int = 0, place: str = PLACE) -> dict[str, str]:
    """Return the files that the nth container finds at a place; empty: there is nothing."""
    binds = [b for b in world.runtime.requests[number].binds if b.path == place]
    return {
        path.name: path.read_text()
        for bind in binds
        for path in sorted(Path(bind.source).iterdir())
        if not path.name.startswith("..")
    }


async def test_every_container_has_it(node: Node) -> None:
    async with node() as world:
        await world.pod(containers=(container("a"), container("b")))
        await world.until(world.ready)
        expected = {
            "ca.crt": "authority",
            "namespace": "default",
            "token": "default/default/web//1",
        }
        assert [mounted(world, 0), mounted(world, 1)] == [expected, expected]
        assert world.node_client.asked == 1
        (bind,) = [b for b in world.runtime.requests[0].binds if b.path == PLACE]
        assert bind.read_only
        # The object stays as it was written.
        found = world.get()
        assert found is not None
        assert found.spec.volumes == ()


@pytest.mark.parametrize(
    ("pod", "account", "mounted_by"),
    [
        ("unset", "unset", "default"),
        ("unset", "yes", "account"),
        ("unset", "no", ""),
        ("yes", "no", "pod"),
        ("no", "yes", ""),
        ("no", "unset", ""),
    ],
)
def test_the_pod_decides_before_its_account(pod: str, account: str, mounted_by: str) -> None:
    values = {"unset": None, "yes": True, "no": False}
    spec = PodSpec(automount_service_account_token=values[pod])
    owner = ServiceAccount(automount_service_account_token=values[account])
    assert (access_volume(Pod(spec=spec), owner) is not None) is bool(mounted_by)


async def test_who_does_not_want_it_does_without(node: Node) -> None:
    async with node() as world:
        await world.pod(automountServiceAccountToken=False)
        await world.until(world.ready)
        assert mounted(world) == {}
        assert world.node_client.asked == 0


async def test_what_a_container_mounts_there_itself_stays(node: Node) -> None:
    async with node() as world:
        await world.config_map("mine", token="own")
        own = container("a", volumeMounts=[{"name": "mine", "mountPath": PLACE + "/"}])
        volumes = [{"name": "mine", "configMap": {"name": "mine"}}]
        await world.pod(containers=(own, container("b")), volumes=volumes)
        await world.until(world.ready)
        assert mounted(world, 0) == {"token": "own"}
        assert sorted(mounted(world, 1)) == ["ca.crt", "namespace", "token"]


async def test_a_token_is_renewed_long_before_its_end(node: Node) -> None:
    async with node() as world:
        await world.pod()
        await world.until(world.ready)
        await asyncio.sleep(3607 * 0.8 - 100)
        assert mounted(world)["token"].endswith("/1")
        await asyncio.sleep(200)
        assert mounted(world)["token"].endswith("/2")
        # One that cannot be renewed stays, and is asked for again.
        world.node_client.refusal = NotFound(404, "NotFound", "no")
        await asyncio.sleep(3000)
        assert mounted(world)["token"].endswith("/2")
        world.node_client.refusal = None
        await asyncio.sleep(120)
        assert mounted(world)["token"].endswith("/3")


async def test_tokens_for_others_are_in_the_volumes_that_ask_for_them(node: Node) -> None:
    async with node() as world:
        source = {
            "serviceAccountToken": {"path": "vault", "audience": "vault", "expirationSeconds": 600}
        }
        await world.pod(
            containers=(container(volumeMounts=[{"name": "t", "mountPath": "/t"}]),),
            volumes=[{"name": "t", "projected": {"sources": [source]}}],
        )
        await world.until(world.ready)
        assert mounted(world, place="/t")["vault"].startswith("default/default/web/vault/")
        before = mounted(world, place="/t")["vault"]
        await asyncio.sleep(600)
        assert mounted(world, place="/t")["vault"] != before


async def test_what_each_namespace_gets_at_its_birth_is_waited_for_in_silence(node: Node) -> None:
    async with node() as world:
        world.node_client.refusal = NotFound(404, "NotFound", 'serviceaccounts "default" not found')
        await world.pod()
        await asyncio.sleep(1)
        assert world.events() == []
        await asyncio.sleep(10)
        uid = msgspec.to_builtins(world.get())["metadata"]["uid"]
        name = f"kube-api-access-{uid[:5]}"
        assert world.events(reason="FailedMount")[0].startswith(
            f'FailedMount: MountVolume.SetUp failed for volume "{name}" : failed to fetch token: '
            'serviceaccounts "default" not found'
        )
        world.node_client.refusal = None
        began = world.now
        account = {"metadata": {"name": "late"}}
        await world.client.create_raw(ServiceAccount, "default", account)
        await world.until(world.ready)
        assert world.now - began < 1
        assert world.kubelet.life(Key("default", "web")) is not None
