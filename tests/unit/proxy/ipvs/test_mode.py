"""The mode on a table in memory: what it makes of orders, and what it shows."""

import asyncio

from podwire.kube.names import Key
from podwire.proxy import modes
from podwire.proxy.configuration import Configuration
from podwire.proxy.configuration import Ipvs as Settings
from podwire.proxy.ipvs.kernel import find_family
from podwire.proxy.ipvs.mode import Ipvs
from podwire.proxy.mode import Order
from podwire.proxy.table import PortName, ServicePort
from tests.unit.proxy.ipvs.memory import Memory
from tests.unit.proxy.ipvs.written import backend, frontend
from tests.unit.proxy.written import node, ports

WEB, API = Key("default", "web"), Key("default", "api")
END = backend("10.244.1.2:8080")


def ipvs(table: Memory, **settings: str) -> Ipvs:
    configuration = Configuration(mode="ipvs", ipvs=Settings(**settings))  # type: ignore[arg-type]
    return Ipvs(table, configuration, asyncio.get_running_loop())


def order(services: dict[Key, tuple[ServicePort, ...]], *, whole: bool = False) -> Order:
    return Order(node(), services, whole=whole)


async def test_it_lists_with_the_scheduler_of_the_configuration() -> None:
    mode = ipvs(Memory(), scheduler="wlc")
    await mode.sync(order({WEB: ports()}, whole=True))
    lines = mode.listings()["ipvsadm"].splitlines()
    assert lines[3:] == [
        "TCP  10.96.10.10:80 wlc",
        "  -> 10.244.1.2:8080              Masq    1      0          0         ",
    ]
    await mode.close(cleanup=False)


async def test_connections_are_counted_per_service_port() -> None:
    table = Memory()
    mode = ipvs(table)
    dns = ports("10.244.1.2:8080@node-1", name="dns", port="53/UDP", cluster_ip="10.96.0.10")
    served = {WEB: ports(port="web=80:30080"), Key("default", "dns"): dns}
    await mode.sync(order(served, whole=True))
    for place in ("10.96.10.10:80", "192.168.1.10:30080", "10.96.0.10:53/UDP"):
        table.emulated.began(frontend(place), END)
    table.emulated.ended(frontend("192.168.1.10:30080"), END, now=0)
    table.emulated.began(frontend("192.168.1.10:30080"), END)
    assert mode.connections() == {
        (PortName("default", "web", "web"), "TCP", END): 2,
        (PortName("default", "dns"), "UDP", END): 1,
    }
    await mode.close(cleanup=False)


async def test_of_two_services_with_one_address_the_first_has_it() -> None:
    table = Memory()
    mode = ipvs(table)
    first = ports("10.244.1.2:1@node-1", external_ips=("198.51.100.1",))
    second = ports(
        "10.244.1.2:2@node-1", name="api", cluster_ip="10.96.0.7", external_ips=("198.51.100.1",)
    )
    shared = frontend("198.51.100.1:80")
    await mode.sync(order({WEB: first}, whole=True))
    await mode.sync(order({API: second}))
    assert set(table.listed()[shared].destinations) == {backend("10.244.1.2:1")}
    await mode.sync(order({WEB: ()}))
    assert set(table.listed()[shared].destinations) == {backend("10.244.1.2:2")}
    await mode.close(cleanup=False)


async def test_a_whole_order_removes_what_it_does_not_name() -> None:
    table = Memory()
    mode = ipvs(table)
    await mode.sync(order({WEB: ports()}, whole=True))
    await mode.sync(order({}, whole=True))
    assert table.listed() == {}
    await mode.close(cleanup=False)


async def test_its_name_says_whether_the_kernel_has_ip_vs() -> None:
    mode = modes.build(Configuration(mode="ipvs"), asyncio.get_running_loop())
    assert mode.name == ("ipvs (userspace)" if find_family() is None else "ipvs")
    await mode.close(cleanup=False)
