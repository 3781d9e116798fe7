"""Random histories of Services: does the kernel have what it would have, had it come at once?

Prints "same". Run in a network namespace of its own.
"""

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any, cast

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podwire.kube.names import Key
from podwire.kube.objects import (
    ClientIPConfig,
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    LoadBalancerIngress,
    LoadBalancerStatus,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
    SessionAffinityConfig,
)
from podwire.proxy.endpoints import Place
from podwire.proxy.mode import Order
from podwire.proxy.nftables import layout, script
from podwire.proxy.nftables.kernel import Kernel
from podwire.proxy.nftables.mode import Nftables
from podwire.proxy.nftables.objects import Transaction
from podwire.proxy.nftables.programmed import Programmed
from podwire.proxy.nftables.render import contents
from podwire.proxy.node import NodeView, Settings
from podwire.proxy.table import service_ports
from podwire.testing.clock import FakeClock

HERE = Place("here")
NODE = IPv4Address("192.168.1.10")
VIEW = NodeView(
    HERE,
    NODE,
    addresses=(NODE, IPv4Address("10.244.1.1")),
    pods=(IPv4Network("10.244.1.0/24"),),
    settings=Settings(
        cluster_cidr=IPv4Network("10.244.0.0/16"), service_cidr=IPv4Network("10.96.0.0/12")
    ),
)
VIEWS = (
    VIEW,
    replace(VIEW, settings=replace(VIEW.settings, masquerade_all=True)),
    replace(VIEW, settings=replace(VIEW.settings, node_port_addresses=(IPv4Network("0.0.0.0/0"),))),
    replace(VIEW, settings=replace(VIEW.settings, cluster_cidr=None)),
    replace(VIEW, same_pod_network="switched"),
)


# Few of everything, so that Services meet: the same pods, and the same addresses outside.
@st.composite
def endpoints(draw: st.DrawFn) -> Endpoint:
    node = draw(st.sampled_from(["here", "there"]))
    ready = draw(st.sampled_from([True, True, True, False]))
    return Endpoint(
        addresses=(f"10.244.{1 if node == 'here' else 2}.{draw(st.integers(1, 3))}",),
        node_name=node,
        conditions=EndpointConditions(
            ready=ready, serving=draw(st.booleans()), terminating=not ready
        ),
    )


@st.composite
def ports_of_services(draw: st.DrawFn) -> ServicePort:
    return ServicePort(
        name=draw(st.sampled_from(["", "a", "b"])),
        protocol=draw(st.sampled_from(["TCP", "UDP", "SCTP"])),
        port=draw(st.integers(80, 81)),
        node_port=draw(st.sampled_from([0, 30080, 30081])),
    )


addresses = st.lists(st.sampled_from(["203.0.113.1", "203.0.113.2"]), unique=True, max_size=2)
port_lists = st.lists(ports_of_services(), max_size=3, unique_by=lambda port: port.name)
policies = st.sampled_from(["Cluster", "Local"])
ranges = st.sampled_from([(), ("192.168.0.0/16", "192.168.1.0/24"), ("198.51.100.9/32",)])


@st.composite
def services(draw: st.DrawFn) -> tuple[Key, tuple[Any, ...]]:
    """Return a Service's key and its ports; none when it is gone."""
    number = draw(st.integers(1, 3))
    key = Key("default", f"svc-{number}")
    timeout = draw(st.sampled_from([0, 0, 100, 200]))
    config = SessionAffinityConfig(client_ip=ClientIPConfig(timeout_seconds=timeout))
    ports = tuple(draw(port_lists))
    spec = ServiceSpec(
        type="LoadBalancer",
        cluster_ip=f"10.96.0.{number}",
        ports=ports,
        external_ips=tuple(draw(addresses)),
        internal_traffic_policy=draw(policies),
        external_traffic_policy=draw(policies),
        load_balancer_source_ranges=draw(ranges),
        session_affinity="ClientIP" if timeout else "None",
        session_affinity_config=config if timeout else None,
    )
    ingress = tuple(LoadBalancerIngress(ip=ip) for ip in draw(addresses))
    service = Service(
        metadata=ObjectMeta(name=key.name, namespace=key.namespace),
        spec=spec,
        status=ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress)),
    )
    slices = [
        EndpointSlice(
            metadata=ObjectMeta(name=f"{key.name}-{n}", namespace=key.namespace),
            address_type="IPv4",
            ports=(EndpointPort(name=port.name, port=8080, protocol=port.protocol),),
            endpoints=tuple(draw(st.lists(endpoints(), max_size=4))),
        )
        for n, port in enumerate(ports)
    ]
    return key, service_ports(service, slices, HERE)


steps = st.one_of(
    st.lists(services(), min_size=1, max_size=3).map(dict),
    st.lists(services(), min_size=1, max_size=3).map(dict),
    st.sampled_from([*VIEWS, "restart"]),
)
careful = settings(
    max_examples=40,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=(HealthCheck.too_slow,),
)


@careful
@given(st.lists(steps, min_size=1, max_size=6))
def histories(history: list[Any]) -> None:
    """A table that went through *history* is the one that is written at its end."""
    asyncio.run(_history(history))


async def _history(history: list[Any]) -> None:
    clock = FakeClock()
    mode = Nftables(clock)
    view, everything = VIEW, cast("dict[Key, tuple[Any, ...]]", {})
    await mode.sync(Order(view, {}, whole=True))
    for step in history:
        if isinstance(step, dict):
            changed = cast("dict[Key, tuple[Any, ...]]", step)
            everything |= changed
            await mode.sync(Order(view, changed))
        else:
            if step == "restart":
                await mode.close(cleanup=False)
                mode = Nftables(clock)
            else:
                view = step
            await mode.sync(Order(view, {k: p for k, p in everything.items() if p}, whole=True))
    clock.advance(2)
    assert await mode.intact()
    grown = _table()
    await mode.close(cleanup=True)
    at_once = Nftables(clock)
    await at_once.sync(Order(view, everything, whole=True))
    assert grown == _table()
    await at_once.close(cleanup=True)


@careful
@given(st.lists(services(), min_size=1, max_size=3).map(dict))
def writers(wanted: dict[Key, tuple[Any, ...]]) -> None:
    """What netlink writes is what nft writes."""
    asyncio.run(_writers(wanted))


async def _writers(wanted: dict[Key, tuple[Any, ...]]) -> None:
    kernel = Kernel()
    found: list[Any] = []
    for by_netlink in (True, False):
        kernel.remove()
        await kernel.run(script.foundation(VIEW))
        await kernel.run(script.completion(VIEW, layout.elements(VIEW)))
        parts = {key: contents(ports, VIEW) for key, ports in wanted.items()}
        change = Programmed().change(parts, now=0)
        # Chains that netlink cannot write are there already; others may lead to them.
        plain = {c: r for c, r in change.chains.items() if all(not isinstance(x, str) for x in r)}
        rest = {c: r for c, r in change.chains.items() if c not in plain}
        for chain in change.chains:
            await kernel.run(f"add chain ip kube-proxy {chain}")
        await kernel.run(script.changes(Transaction(chains=rest)))
        half = Transaction(chains=plain, affinity=change.affinity, elements=change.elements)
        if by_netlink:
            assert kernel.commit(half)
        else:
            await kernel.run(script.changes(half))
        found.append(_table())
        undone = Transaction(
            deleted_elements=list(change.elements),
            flushed=list(plain),
            deleted_affinity=list(change.affinity),
        )
        if by_netlink:
            assert kernel.commit(undone)
        else:
            await kernel.run(script.changes(undone))
        found.append(_table())
    assert found[:2] == found[2:]
    kernel.remove()
    kernel.close()


def _table() -> list[Any]:
    """Return the table as nft lists it, without what depends on the order of events."""
    done = subprocess.run(
        ["nft", "-j", "list", "table", "ip", "kube-proxy"], capture_output=True, check=True
    )
    objects: dict[str, Any] = {}
    for entry in json.loads(done.stdout)["nftables"]:
        ((kind, thing),) = entry.items()
        if kind == "metainfo":
            continue
        thing.pop("handle", None)
        if "elem" in thing:
            thing["elem"] = sorted(thing["elem"], key=json.dumps)
        if kind == "rule":
            objects.setdefault(f"rules {thing['chain']}", []).append(_sorted(thing["expr"]))
        else:
            objects[f"{kind} {thing['name']}"] = thing
    return sorted(objects.items())


def _sorted(value: Any) -> Any:
    """Return *value* with the elements of anonymous sets in one order."""
    if isinstance(value, dict):
        found = {k: _sorted(v) for k, v in cast("dict[str, Any]", value).items()}
        if isinstance(found.get("set"), list):
            found["set"] = sorted(found["set"], key=json.dumps)
        return found
    if isinstance(value, list):
        return [_sorted(each) for each in cast("Any", value)]
    return value


writers()
histories()
sys.stdout.write("same\n")
