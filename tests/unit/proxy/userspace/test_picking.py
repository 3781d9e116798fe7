"""Which endpoint of a frontend comes next, while some are Services' own addresses."""

import asyncio
import random
from ipaddress import IPv4Address

from podwire.proxy.endpoints import Backend
from podwire.proxy.table import PortName, Target
from podwire.proxy.userspace.balance import Affinity
from podwire.proxy.userspace.origins import Origins
from podwire.proxy.userspace.picking import Carried, Choice
from podwire.proxy.userspace.routes import Frontend, Route

CLIENT = ("10.244.1.9", 40000)
MANY = tuple(Backend(IPv4Address(0x0A600000 + n), 80) for n in range(10_000))


def choice(backends: tuple[Backend, ...], own: tuple[Backend, ...], seconds: int = 0) -> Choice:
    name, target = PortName("default", "web"), Target("FORWARD", backends)
    return Choice(
        Route(name, "ClusterIP", target, target),
        Carried(name, Frontend(IPv4Address("10.96.0.1"), 80, "TCP")),
        Origins(),
        frozenset(),
        Affinity(seconds) if seconds else None,
        random.Random(4).random,
        asyncio.get_running_loop(),
        None,
        {backend.sockaddr for backend in own},
    )


async def test_thousands_of_services_own_addresses_lead_nowhere() -> None:
    assert choice(MANY, MANY).next(CLIENT, ()) is None
    assert choice(MANY, MANY, seconds=60).next(CLIENT, ()) is None


async def test_the_others_are_found_among_thousands_of_them() -> None:
    chosen = choice(MANY, MANY[2:])
    assert {chosen.next(CLIENT, ()) for _ in range(30)} == {*MANY[:2]}
    assert {chosen.next(CLIENT, {MANY[0]}) for _ in range(30)} == {MANY[1]}
    assert chosen.next(CLIENT, {*MANY[:2]}) is None


async def test_a_client_is_not_kept_at_a_services_own_address() -> None:
    chosen = choice(MANY[:9], MANY[1:9], seconds=60)
    assert {chosen.next(CLIENT, ()) for _ in range(9)} == {MANY[0]}
