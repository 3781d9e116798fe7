"""A sync that fails half-way leaves nothing behind once the next one succeeds."""

from ipaddress import IPv4Address
from typing import cast

import pytest

from podwire.kube import objects
from podwire.kube.names import Key
from podwire.proxy.endpoints import Place
from podwire.proxy.mode import Order, SyncFailed
from podwire.proxy.node import NodeView
from podwire.proxy.table import ServicePort, service_ports
from podwire.proxy.userspace.ground import Ground
from podwire.proxy.userspace.ground_rules import Led
from podwire.proxy.userspace.mode import Userspace
from tests.unit.proxy.conftest import World, free_port, naming, new_address
from tests.unit.proxy.test_proxier import slice_of

NODE = NodeView(Place("node-1"), IPv4Address("127.9.0.1"))
WEB, OTHER = Key("default", "web"), Key("default", "other")


class Fake:
    """What stands for the ground: the addresses that lead here. It fails while told to."""

    keeps_source = False

    def __init__(self) -> None:
        self.failing = False
        self.addresses: set[IPv4Address] = set()

    async def lay(self, node: NodeView) -> None:
        del node

    async def lead_here(self, node: NodeView, led: Led) -> None:
        del node
        if self.failing:
            raise SyncFailed("no such luck")
        self.addresses = set(led.addresses)


async def ports(world: World, address: str, port: int) -> tuple[ServicePort, ...]:
    """Return the port of a Service with one endpoint."""
    service = objects.Service(
        metadata=objects.ObjectMeta(name="web", namespace="default"),
        spec=objects.ServiceSpec(cluster_ip=address, ports=(objects.ServicePort(port=port),)),
    )
    return service_ports(service, [slice_of(await world.backend(naming("a")))], NODE.place)


async def test_what_a_failed_sync_had_begun_is_done_by_the_next(world: World) -> None:
    ground = Fake()
    mode = Userspace(world.listeners, world.relay, cast("Ground", ground))
    address, port = new_address(), free_port("TCP")
    web = await ports(world, address, port)
    await mode.sync(Order(NODE, {WEB: web}, whole=True))
    assert len(world.listeners) == 1
    ground.failing = True
    other = await ports(world, new_address(), free_port("TCP"))
    for _ in range(3):
        with pytest.raises(SyncFailed):
            await mode.sync(Order(NODE, {WEB: (), OTHER: other}))
        with pytest.raises(SyncFailed):
            await mode.sync(Order(NODE, {OTHER: other}, whole=True))
    ground.failing = False
    await mode.sync(Order(NODE, {OTHER: other}, whole=True))
    assert len(world.listeners) == 1
    assert ground.addresses == {other[0].cluster_ip}
    await mode.sync(Order(NODE, {}, whole=True))
    assert len(world.listeners) == 0
    assert ground.addresses == set()


async def test_an_address_with_a_port_that_is_taken_leads_here_once(world: World) -> None:
    ground = Fake()
    mode = Userspace(world.listeners, world.relay, cast("Ground", ground))
    taken = world.socket(address=new_address())
    taken.listen()
    web = await ports(world, *taken.getsockname())
    for _ in range(3):
        assert WEB in await mode.sync(Order(NODE, {WEB: web}))
    assert ground.addresses == {web[0].cluster_ip}
    await mode.sync(Order(NODE, {WEB: ()}))
    assert ground.addresses == set()
