"""A node's proxy alone, for bench/services.py: told of Services by no API server but by itself.

    .venv/bin/python -P bench/services_node.py MODE SERVICES ENDPOINTS

Serves in the network namespace it is started in. Prints a line of JSON once everything is
programmed, and one for each line that it reads: then it has exchanged the endpoints of the Service
in the middle. Ends when its standard input does, or by a signal; its namespace ends with it.
"""

import asyncio
import json
import os
import sys
import time
from ipaddress import IPv4Address, IPv4Network
from typing import cast

import uvloop

from podwire.kube.clock import SystemClock
from podwire.kube.objects import (
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
)
from podwire.proxy import modes
from podwire.proxy.configuration import Configuration, ModeName
from podwire.proxy.endpoints import Place
from podwire.proxy.node import NodeView, Settings
from podwire.proxy.proxier import Proxier
from podwire.proxy.sources import SERVICE_NAME_LABEL
from podwire.testing.processes import proportional_memory

NODE = IPv4Address("192.168.1.10")
SERVICES = IPv4Address("10.96.1.0")
"""The address of the first Service; the others follow it."""
ENDPOINTS = IPv4Address("10.245.0.0")
OTHERS = (IPv4Address("10.250.0.0"), IPv4Address("10.251.0.0"))
"""Where the two sets of endpoints begin that the Service in the middle has in turn."""
SETTINGS = Settings(
    cluster_cidr=IPv4Network("10.240.0.0/12"), service_cidr=IPv4Network("10.96.0.0/12")
)
VIEW = NodeView(
    Place("node"), NODE, (NODE,), pods=(IPv4Network("10.244.1.0/24"),), settings=SETTINGS
)


def main(argv: list[str]) -> None:
    """Serve until standard input ends."""
    mode, services, endpoints = argv
    uvloop.run(serve(cast("ModeName", mode), int(services), int(endpoints)))


async def serve(name: ModeName, services: int, endpoints: int) -> None:
    """Program everything, then make a change for each line that is read."""
    loop = asyncio.get_running_loop()
    asked = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(asked), sys.stdin)
    mode = modes.build(Configuration(mode=name, settings=SETTINGS), loop)
    proxier = Proxier(mode, VIEW, clock=SystemClock(), loop=loop)
    before = proportional_memory(os.getpid())
    for number in range(services):
        proxier.sources.service(None, service(number))
        proxier.sources.slice(None, slice_of(number, ENDPOINTS + number * endpoints, endpoints))
    heard = proportional_memory(os.getpid())
    middle = services // 2
    present = slice_of(middle, ENDPOINTS + middle * endpoints, endpoints)
    turns = [(first, slice_of(middle, first, endpoints)) for first in OTHERS]
    try:
        async with asyncio.TaskGroup() as tasks:
            began = time.monotonic()
            serving = tasks.create_task(proxier.serve())
            await proxier.synced.wait()
            say(
                mode=mode.name,
                sync=time.monotonic() - began,
                failed=len(proxier.failed),
                memory=proportional_memory(os.getpid()),
                objects=heard - before,
            )
            while await asked.readline():
                turns.reverse()
                at = time.time()
                first, new = turns[0]
                proxier.sources.slice(present, new)
                present = new
                say(at=at, network=f"{first}/16")
            serving.cancel()
    finally:
        await mode.close(cleanup=False)


def say(**what: object) -> None:
    """Print a line of JSON."""
    print(json.dumps(what), flush=True)


def service(number: int) -> Service:
    """Return a Service with one port."""
    return Service(
        metadata=ObjectMeta(name=f"service-{number:05}", namespace="default"),
        spec=ServiceSpec(
            cluster_ip=str(SERVICES + number), ports=(ServicePort(name="p", port=80),)
        ),
    )


def slice_of(number: int, first: IPv4Address, count: int) -> EndpointSlice:
    """Return the EndpointSlice of a Service: *count* addresses from *first* on."""
    name = f"service-{number:05}"
    return EndpointSlice(
        metadata=ObjectMeta(
            name=f"{name}-1", namespace="default", labels={SERVICE_NAME_LABEL: name}
        ),
        address_type="IPv4",
        ports=(EndpointPort(name="p", port=8080),),
        endpoints=tuple(
            Endpoint(
                addresses=(str(first + each),),
                node_name="another",
                conditions=EndpointConditions(ready=True, serving=True),
            )
            for each in range(count)
        ),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
