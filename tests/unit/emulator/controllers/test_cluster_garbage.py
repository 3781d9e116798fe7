"""Owners and dependents of every kind that is served: built-in ones without a view, and custom."""

from typing import Any

import pytest

from podwire.emulator.controllers.deletion.followed import metadata_of
from podwire.errors import NotFound
from podwire.kube.names import Key
from podwire.kube.objects import ConfigMap, Object, Resource
from tests.unit.emulator.controllers.world import Cluster, World

DEFINITION = metadata_of(
    Resource(
        group="apiextensions.k8s.io",
        version="v1",
        plural="customresourcedefinitions",
        kind="CustomResourceDefinition",
        namespaced=False,
    )
)
WIDGET = metadata_of(Resource(group="example.com", version="v1", plural="widgets", kind="Widget"))
INGRESS = metadata_of(
    Resource(group="networking.k8s.io", version="v1", plural="ingresses", kind="Ingress")
)
RULES = {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}


async def define(world: World) -> None:
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {
            "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        },
    }
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": spec,
    }
    await world.client.create_raw(DEFINITION, "", definition)


async def make(
    world: World, kind: type[Object], name: str, *owners: Object, **parts: Any
) -> Object:
    resource = kind.RESOURCE
    references = [
        {
            "apiVersion": owner.RESOURCE.api_version,
            "kind": owner.RESOURCE.kind,
            "name": owner.metadata.name,
            "uid": owner.metadata.uid,
            "blockOwnerDeletion": True,
        }
        for owner in owners
    ]
    finalizers = parts.pop("finalizers", [])
    made: Object = await world.client.create_raw(
        kind,
        "default",
        {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": name, "ownerReferences": references, "finalizers": finalizers},
            **parts,
        },
    )
    return made


async def test_what_a_custom_resource_owned_goes_with_it(cluster: Cluster) -> None:
    async with cluster() as world:
        await define(world)
        owner = await make(world, WIDGET, "a")
        between = await make(world, INGRESS, "i", owner, spec=RULES)
        await make(world, ConfigMap, "child", between)
        await make(world, ConfigMap, "other")
        await world.until(lambda: world.has(ConfigMap, "child"))
        await world.client.delete(WIDGET, Key("default", "a"))
        await world.until(lambda: not world.has(ConfigMap, "child"))
        assert world.has(ConfigMap, "other")
        with pytest.raises(NotFound):
            await world.client.get(INGRESS, Key("default", "i"))


async def test_a_custom_resource_waits_for_what_blocks_it(cluster: Cluster) -> None:
    async with cluster() as world:
        await define(world)
        owner = await make(world, WIDGET, "a")
        await make(world, ConfigMap, "child", owner, finalizers=["example.com/hold"])
        key = Key("default", "a")
        await world.client.delete(WIDGET, key, propagation="Foreground")
        await world.until(
            lambda: world.get(ConfigMap, "child").metadata.deletion_timestamp is not None
        )
        assert (await world.client.get(WIDGET, key)).metadata.finalizers == ("foregroundDeletion",)
        free = {"metadata": {"finalizers": None}}
        # The owner is a dependent too: its end shows as that of the other one's copy.
        await make(world, ConfigMap, "witness", owner)
        await world.client.patch(ConfigMap, Key("default", "child"), free)
        await world.until(lambda: not world.has(ConfigMap, "child"))
        await world.until(lambda: not world.has(ConfigMap, "witness"))


async def test_orphans_of_a_custom_resource_stay(cluster: Cluster) -> None:
    async with cluster() as world:
        await define(world)
        owner = await make(world, WIDGET, "a")
        await make(world, ConfigMap, "child", owner)
        await world.client.delete(WIDGET, Key("default", "a"), propagation="Orphan")
        await world.until(lambda: world.has(ConfigMap, "child"))
        await world.until(lambda: world.get(ConfigMap, "child").metadata.owner_references == ())


async def test_the_end_of_a_kind_is_the_end_of_what_its_objects_owned(cluster: Cluster) -> None:
    async with cluster() as world:
        await define(world)
        owner = await make(world, WIDGET, "a")
        await make(world, ConfigMap, "child", owner)
        # What was never seen cannot be missed: the kind is followed once this one is gone.
        first = await make(world, WIDGET, "b")
        await make(world, ConfigMap, "first", first)
        await world.until(lambda: world.has(ConfigMap, "first"))
        await world.client.delete(WIDGET, Key("default", "b"))
        await world.until(lambda: not world.has(ConfigMap, "first"))
        assert world.has(ConfigMap, "child")
        await world.client.delete(DEFINITION, Key("", "widgets.example.com"))
        await world.until(lambda: not world.has(ConfigMap, "child"))
