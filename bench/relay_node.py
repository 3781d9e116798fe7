"""The proxy on the node of bench/relay.py, told of one backend by no API server.

    .venv/bin/python -P bench/relay_node.py relay|nftables|one-rule ADDRESS BACKEND PORT...

Has connections to the PORTs of ADDRESS reach those of BACKEND: by the relay; by the table of the
mode nftables; or by a table with one rule for each port and nothing else. Serves in the network
namespace it is started in, prints 1 as soon as it does, and ends by SIGTERM.
"""

import asyncio
import random
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from ipaddress import IPv4Address, IPv4Network

import uvloop

from podwire.kube.clock import SystemClock
from podwire.kube.objects import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
)
from podwire.proxy.endpoints import Backend, Place
from podwire.proxy.nftables.kernel import Kernel
from podwire.proxy.nftables.mode import Nftables
from podwire.proxy.node import NodeView, Settings
from podwire.proxy.sources import SERVICE_NAME_LABEL, Sources
from podwire.proxy.table import PortName, Target
from podwire.proxy.userspace.changes import between
from podwire.proxy.userspace.limits import raise_file_limit
from podwire.proxy.userspace.listeners import Listeners
from podwire.proxy.userspace.routes import Frontend, Route
from podwire.proxy.userspace.tcp import Relay

NODE = IPv4Address("10.0.2.1")
"""The node's address on the side of the backend, as bench/relay.py has it."""

Serve = Callable[[str, str, Sequence[int]], Coroutine[None, None, None]]


def main(argv: Sequence[str]) -> None:
    """Serve until SIGTERM."""
    how, address, backend, *ports = argv
    uvloop.run(WAYS[how](address, backend, [int(port) for port in ports]))


async def serve_relay(address: str, backend: str, ports: Sequence[int]) -> None:
    """Be the proxy in the mode userspace."""
    loop = asyncio.get_running_loop()
    relay = Relay(loop, limit=raise_file_limit() // 2)
    listeners = Listeners(relay, chance=random.random)
    table: dict[Frontend, Route] = {}
    for port in ports:
        target = Target("FORWARD", (Backend(IPv4Address(backend), port),))
        frontend = Frontend(IPv4Address(address), port, "TCP")
        table[frontend] = Route(PortName("bench", "web"), "ClusterIP", target, target)
    failed = listeners.apply(between({}, table))
    if failed:
        raise SystemExit(f"cannot listen: {failed}")
    await _stopped()
    listeners.close()
    relay.close()


async def serve_nftables(address: str, backend: str, ports: Sequence[int]) -> None:
    """Be the proxy in the mode nftables."""
    settings = Settings(cluster_cidr=IPv4Network("10.0.0.0/8"))
    sources = Sources(NodeView(Place("node"), NODE, (NODE,), settings=settings), lambda: None)
    sources.service(
        None,
        Service(
            metadata=ObjectMeta(name="bulk", namespace="bench"),
            spec=ServiceSpec(
                cluster_ip=address,
                ports=tuple(ServicePort(name=f"p{port}", port=port) for port in ports),
            ),
        ),
    )
    sources.slice(
        None,
        EndpointSlice(
            metadata=ObjectMeta(
                name="bulk-1", namespace="bench", labels={SERVICE_NAME_LABEL: "bulk"}
            ),
            address_type="IPv4",
            ports=tuple(EndpointPort(name=f"p{port}", port=port) for port in ports),
            endpoints=(Endpoint(addresses=(backend,)),),
        ),
    )
    mode = Nftables(SystemClock())
    await mode.sync(sources.take_order())
    await _stopped()
    await mode.close(cleanup=True)


async def serve_one_rule(address: str, backend: str, ports: Sequence[int]) -> None:
    """Have the kernel lead each port to the backend by one rule."""
    rules = "\n".join(
        f"ip daddr {address} tcp dport {port} dnat to {backend}:{port}" for port in ports
    )
    hook = "type nat hook prerouting priority dstnat;"
    kernel = Kernel()
    await kernel.run(f"table ip one-rule {{\nchain prerouting {{\n{hook}\n{rules}\n}}\n}}\n")
    await _stopped()
    await kernel.run("delete table ip one-rule")


WAYS: dict[str, Serve] = {
    "relay": serve_relay,
    "nftables": serve_nftables,
    "one-rule": serve_one_rule,
}


async def _stopped() -> None:
    """Say that we serve; wait for the end."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(1, flush=True)
    await stop.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
