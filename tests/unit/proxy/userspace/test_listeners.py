"""Sockets that match the table, on real addresses of 127.0.0.0/8."""

import asyncio
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network

import pytest

from podwire.proxy.endpoints import Backend
from podwire.proxy.table import PortName, Target
from podwire.proxy.userspace import filters
from podwire.proxy.userspace.changes import Changes, between
from podwire.proxy.userspace.origins import Origins
from podwire.proxy.userspace.routes import Frontend
from tests.unit.proxy.conftest import World, free_port, naming, new_address

MakeWorld = Callable[..., World]
INSIDE, OUTSIDE = "127.0.0.1", "127.0.0.2"
DROP = Target("DROP")


async def outcome(frontend: Frontend, source: str) -> str:
    """Say what a client at *source* meets: a handshake, a refusal, or silence.

    On loopback the kernel answers a SYN before connect returns, so a socket that still waits when
    another one has been refused by a closed port has met silence.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        sock.bind((source, 0))
        sock.connect_ex((str(frontend.address), frontend.port))
        with socket.socket() as twin, pytest.raises(ConnectionRefusedError):
            twin.connect((str(frontend.address), free_port("TCP")))
        try:
            sock.connect((str(frontend.address), frontend.port))
        except ConnectionRefusedError:
            return "refused"
        except BlockingIOError:
            return "silence"
        return "served"


@pytest.mark.usefixtures("filtering")
@pytest.mark.parametrize(
    ("inside", "outside", "met_inside", "met_outside"),
    [
        ("FORWARD", "FORWARD", "served", "served"),
        ("REJECT", "REJECT", "refused", "refused"),
        ("DROP", "DROP", "silence", "silence"),
        ("FORWARD", "DROP", "served", "silence"),
    ],
)
async def test_what_a_client_meets(
    make_world: MakeWorld, inside: str, outside: str, met_inside: str, met_outside: str
) -> None:
    world = make_world(inside=(IPv4Network(INSIDE),))
    backend = await world.backend(naming("x"))
    targets = {"FORWARD": Target("FORWARD", (backend,)), "DROP": DROP, "REJECT": Target("REJECT")}
    frontend = world.frontend(world.route(inside=targets[inside], outside=targets[outside]))
    assert await outcome(frontend, INSIDE) == met_inside
    assert await outcome(frontend, OUTSIDE) == met_outside


@pytest.mark.usefixtures("filtering")
async def test_a_frontend_changes_what_it_does(world: World) -> None:
    backend = await world.backend(naming("x"))
    frontend = world.frontend(world.route(backend))
    for route, expected in (
        (world.route(inside=DROP, outside=DROP), "silence"),
        (world.route(backend), "served"),
        (world.route(), "refused"),
        (world.route(backend), "served"),
        (world.route(inside=DROP, outside=DROP), "silence"),
        (None, "refused"),
    ):
        world.change(frontend, route)
        assert await outcome(frontend, INSIDE) == expected


@pytest.mark.usefixtures("filtering")
async def test_source_ranges(world: World) -> None:
    backend = await world.backend(naming("x"))
    frontend = world.frontend(world.route(backend, sources=(IPv4Network(OUTSIDE),)))
    assert await outcome(frontend, OUTSIDE) == "served"
    assert await outcome(frontend, INSIDE) == "silence"


async def test_inside_and_outside_may_lead_to_different_endpoints(make_world: MakeWorld) -> None:
    """externalTrafficPolicy Local: pods of the node may use every endpoint, others the local."""
    world = make_world(inside=(IPv4Network(INSIDE),))
    far, near = await world.backend(naming("far")), await world.backend(naming("near"))
    frontend = world.frontend(
        world.route(inside=Target("FORWARD", (far,)), outside=Target("FORWARD", (near,)))
    )
    reader, _ = await world.connect(frontend, INSIDE)
    assert await reader.readexactly(3) == b"far"
    reader, _ = await world.connect(frontend, OUTSIDE)
    assert await reader.readexactly(4) == b"near"


@pytest.mark.usefixtures("filtering")
async def test_the_addresses_of_this_node_may_change(make_world: MakeWorld) -> None:
    world = make_world(inside=())
    near = await world.backend(naming("near"))
    frontend = world.frontend(world.route(inside=Target("FORWARD", (near,)), outside=DROP))
    assert await outcome(frontend, INSIDE) == "silence"
    world.listeners.move(Origins(processes=(IPv4Network(INSIDE),)))
    assert await outcome(frontend, INSIDE) == "served"


async def test_one_failure_is_reported_and_the_others_are_served(world: World) -> None:
    route = world.route(await world.backend(naming("x")))
    taken = world.socket()
    taken.listen()
    address, port = taken.getsockname()
    good = Frontend(IPv4Address(new_address()), free_port("TCP"), "TCP")
    bad = Frontend(IPv4Address(address), port, "TCP")
    nowhere = Frontend(IPv4Address("192.0.2.1"), 80, "TCP")
    failed = world.listeners.apply(between({}, {bad: route, nowhere: route, good: route}))
    assert failed == {
        bad: "[Errno 98] Address already in use",
        nowhere: "[Errno 99] Cannot assign requested address",
    }
    assert len(world.listeners) == 1
    assert await outcome(good, INSIDE) == "served"


async def test_load_balancer_addresses_need_not_be_routed_here_yet(world: World) -> None:
    route = world.route(await world.backend(naming("x")), kind="LoadBalancer")
    frontend = Frontend(IPv4Address("192.0.2.1"), free_port("TCP"), "TCP")
    assert world.listeners.apply(Changes(open={frontend: route})) == {}


async def test_every_change_may_be_done_twice(world: World) -> None:
    route = world.route(await world.backend(naming("x")))
    frontend = world.frontend(route)
    assert world.listeners.apply(Changes(open={frontend: route})) == {}
    assert await outcome(frontend, INSIDE) == "served"
    for _ in range(2):
        world.listeners.apply(Changes(close=(frontend,)))
    assert await outcome(frontend, INSIDE) == "refused"


async def test_frontends_of_a_service_port_share_affinity(world: World) -> None:
    backends = [await world.backend(naming(name)) for name in "abcd"]
    route = world.route(*backends, affinity_seconds=60)
    other = world.route(*backends, affinity_seconds=60, name=PortName("default", "other"))
    cluster_ip, node_port = world.frontend(route), world.frontend(route)

    async def met(frontend: Frontend, source: str) -> bytes:
        reader, writer = await world.connect(frontend, source)
        name = await reader.readexactly(1)
        writer.close()
        return name

    first = await met(cluster_ip, INSIDE)
    assert {await met(f, INSIDE) for f in (cluster_ip, node_port) for _ in range(10)} == {first}
    assert len({await met(cluster_ip, f"127.0.1.{n}") for n in range(1, 40)}) == 4
    elsewhere = world.frontend(other)
    stays = await met(elsewhere, INSIDE)
    assert {await met(elsewhere, INSIDE) for _ in range(10)} == {stays}
    # The remembered endpoint goes: another one is chosen, and kept.
    left = [b for b, name in zip(backends, "abcd", strict=True) if name.encode() != first]
    for frontend in (cluster_ip, node_port):
        world.change(frontend, world.route(*left, affinity_seconds=60))
    second = await met(node_port, INSIDE)
    assert second != first
    assert {await met(cluster_ip, INSIDE) for _ in range(10)} == {second}


async def test_connections_spread_over_the_endpoints(world: World) -> None:
    frontend = world.frontend(world.route(*[await world.backend(naming(n)) for n in "abc"]))
    seen: list[bytes] = []
    for _ in range(300):
        reader, writer = await world.connect(frontend)
        seen.append(await reader.readexactly(1))
        writer.close()
    assert all(70 < seen.count(name) < 130 for name in (b"a", b"b", b"c"))


def test_filters_have_a_limit() -> None:
    assert len(filters.only_from([])) == filters.INSTRUCTION
    with pytest.raises(ValueError, match="more than the kernel takes"):
        filters.only_from([IPv4Network(f"10.{n // 256}.{n % 256}.0/24") for n in range(1024)])


async def test_too_many_source_ranges_are_reported(world: World) -> None:
    ranges = tuple(IPv4Network(f"10.{n // 256}.{n % 256}.0/24") for n in range(1024))
    route = world.route(Backend(IPv4Address("127.0.0.1"), 9), sources=ranges)
    frontend = Frontend(IPv4Address(new_address()), free_port("TCP"), "TCP")
    failed = world.listeners.apply(Changes(open={frontend: route}))
    assert "more than the kernel takes" in failed[frontend]
    await asyncio.sleep(0)


async def test_connections_are_counted_by_endpoint(world: World) -> None:
    backend = await world.backend(naming("x"))
    frontend = world.frontend(world.route(backend))
    _, writer = await world.connect(frontend)
    counted = {(PortName("default", "web"), "TCP", backend): 1}
    await world.until(lambda: world.listeners.connections() == counted)
    writer.close()
    await world.until(lambda: not world.listeners.connections())
