"""Volumes that follow ConfigMaps and Secrets while the pod runs, and those that cannot."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from podwire.kube.names import Key
from podwire.kube.objects import ConfigMap, Secret
from podwire.testing.jumps import JumpingLoop
from tests.unit.emulator.kubelet.conftest import Node, World

LOOPS = {"jumping": JumpingLoop}
SETTINGS = Key("default", "settings")


async def running(world: World, *, sub_path: str = "", **source: Any) -> Path:
    """Start a pod with a volume at /v; return where its files are."""
    mount = {"name": "v", "mountPath": "/v", **({"subPath": sub_path} if sub_path else {})}
    container = {
        "name": "c0",
        "image": "busybox",
        "command": ["builtin:pause"],
        "volumeMounts": [mount],
    }
    await world.pod(containers=(container,), volumes=[{"name": "v", **source}])
    await world.until(world.ready)
    return next(Path(b.source) for b in world.runtime.requests[0].binds if b.path == "/v")


def seen(place: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in place.iterdir() if not p.name.startswith("..")}


async def settle() -> None:
    """Let everything happen that can happen without time passing."""
    await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "source",
    [
        {"configMap": {"name": "settings"}},
        {"projected": {"sources": [{"configMap": {"name": "settings"}}]}},
    ],
)
async def test_a_change_of_a_config_map_is_seen_at_once(node: Node, source: dict[str, Any]) -> None:
    async with node() as world:
        await world.config_map("settings", color="blue", size="1")
        place = await running(world, **source)
        assert seen(place) == {"color": "blue", "size": "1"}
        patch = {"data": {"color": "red", "size": None, "shape": "round"}}
        await world.client.patch(ConfigMap, SETTINGS, patch)
        await settle()
        assert seen(place) == {"color": "red", "shape": "round"}


async def test_a_change_of_a_secret_is_seen_at_once(node: Node) -> None:
    async with node() as world:
        await world.secret("key", token="old")
        place = await running(world, secret={"secretName": "key"})
        patch = {"stringData": {"token": "new"}}
        await world.client.patch(Secret, Key("default", "key"), patch)
        await settle()
        assert seen(place) == {"token": "new"}


async def test_items_that_were_chosen_are_all_that_follow(node: Node) -> None:
    async with node() as world:
        await world.config_map("settings", color="blue")
        items = [{"key": "color", "path": "paint"}]
        place = await running(world, configMap={"name": "settings", "items": items})
        await world.client.patch(ConfigMap, SETTINGS, {"data": {"color": "red", "size": "1"}})
        await settle()
        assert seen(place) == {"paint": "red"}


async def test_one_that_is_made_anew_is_followed(node: Node) -> None:
    async with node() as world:
        await world.config_map("settings", color="blue")
        place = await running(world, configMap={"name": "settings"})
        await world.client.delete(ConfigMap, SETTINGS)
        await world.until(lambda: world.events(reason="FailedMount"))
        assert world.events(reason="FailedMount") == [
            'FailedMount: MountVolume.SetUp failed for volume "v" : configmap "settings" not found'
        ]
        # What was there stays until there is something else.
        assert seen(place) == {"color": "blue"}
        await world.config_map("settings", color="red")
        await settle()
        assert seen(place) == {"color": "red"}


async def test_an_optional_one_comes_and_goes(node: Node) -> None:
    async with node() as world:
        place = await running(world, configMap={"name": "settings", "optional": True})
        assert seen(place) == {}
        await world.config_map("settings", color="blue")
        await settle()
        assert seen(place) == {"color": "blue"}
        await world.client.delete(ConfigMap, SETTINGS)
        await settle()
        assert seen(place) == {}
        assert world.events(reason="FailedMount") == []


async def test_a_volume_that_fails_does_not_hold_back_another(node: Node) -> None:
    async with node() as world:
        await world.config_map("settings", color="blue")
        await world.config_map("other", x="1")
        mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("settings", "other")]
        container = {
            "name": "c0",
            "image": "busybox",
            "command": ["builtin:pause"],
            "volumeMounts": mounts,
        }
        volumes = [{"name": n, "configMap": {"name": n}} for n in ("settings", "other")]
        await world.pod(containers=(container,), volumes=volumes)
        await world.until(world.ready)
        await world.client.delete(ConfigMap, SETTINGS)
        await world.client.patch(ConfigMap, Key("default", "other"), {"data": {"x": "2"}})
        await settle()
        place = next(Path(b.source) for b in world.runtime.requests[0].binds if b.path == "/other")
        assert seen(place) == {"x": "2"}


async def test_what_could_not_be_written_is_tried_again(node: Node) -> None:
    async with node() as world:
        await world.config_map("settings", color="blue")
        place = await running(world, configMap={"name": "settings"})
        (place / "..data_tmp").mkdir()  # in the way of the link, as a full disk would be
        await world.client.patch(ConfigMap, SETTINGS, {"data": {"color": "red"}})
        await world.until(lambda: world.events(reason="FailedMount"))
        assert seen(place) == {"color": "blue"}
        (place / "..data_tmp").rmdir()
        await asyncio.sleep(61)
        assert seen(place) == {"color": "red"}


async def test_a_file_by_itself_is_that_of_the_start(node: Node) -> None:
    async with node() as world:
        await world.config_map("settings", color="blue")
        file = await running(world, sub_path="color", configMap={"name": "settings"})
        # What is mounted is the file that the path leads to then.
        with file.open() as mounted:
            await world.client.patch(ConfigMap, SETTINGS, {"data": {"color": "red"}})
            await settle()
            assert mounted.read() == "blue"
