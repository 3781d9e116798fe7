"""The health-check NodePorts of Services: a load balancer asks a node whether it has endpoints.

Only for type LoadBalancer with externalTrafficPolicy Local (pkg/proxy/healthcheck). The answer is
of this node alone: 200 while one of its endpoints is ready, else 503, also when only terminating
ones are left, though they still get traffic.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address

from podwire.kube.httpd import Page, serving_one
from podwire.kube.names import Key
from podwire.proxy.mode import Order
from podwire.proxy.table import ServicePort

log = logging.getLogger(__name__)

RETRY = 1.0
"""Seconds until a port that is taken is tried again."""

Failed = Callable[[Key, int, str], None]
"""Called with the Service, its port and the reason when a port cannot be served."""


@dataclass(frozen=True, slots=True)
class Check:
    """What one Service is asked on: its port, and how many endpoints of this node are ready."""

    port: int
    endpoints: int


def checks_of(services: Mapping[Key, tuple[ServicePort, ...]]) -> dict[Key, Check | None]:
    """Return the check of each Service, None for one that has none. Endpoints count by address."""
    found: dict[Key, Check | None] = {}
    for key, ports in services.items():
        number = next((port.health_check_port for port in ports if port.health_check_port), 0)
        ready = {backend.address for port in ports for backend in port.usable.ready_here}
        found[key] = Check(number, len(ready)) if number else None
    return found


def answer(key: Key, endpoints: int, *, healthy: bool) -> Page:
    """Return what a load balancer is told, in kube-proxy's words and headers."""
    body = {
        "service": {"namespace": key.namespace, "name": key.name},
        "localEndpoints": endpoints,
        "serviceProxyHealthy": healthy,
    }
    return Page(
        json.dumps(body, separators=(",", ":")) + "\n",
        status=200 if endpoints and healthy else 503,
        content_type="application/json",
        headers={
            "X-Content-Type-Options": "nosniff",
            "X-Load-Balancing-Endpoint-Weight": str(endpoints),
        },
    )


class HealthChecks:
    """The servers of one node. Follows orders like a mode does."""

    def __init__(
        self, addresses: Iterable[IPv4Address], healthy: Callable[[], bool], failed: Failed
    ) -> None:
        self._addresses = tuple(dict.fromkeys(addresses))
        self._healthy = healthy
        self._failed = failed
        self._wanted: dict[Key, Check] = {}
        self._serving: dict[tuple[Key, int], asyncio.Event] = {}
        self._changed = asyncio.Event()

    def obey(self, order: Order) -> None:
        """Take note of what the Services of *order* want."""
        for key, check in checks_of(order.services).items():
            if check is None:
                self._wanted.pop(key, None)
            else:
                self._wanted[key] = check
        if order.whole:
            self._wanted = {k: c for k, c in self._wanted.items() if k in order.services}
        self._changed.set()

    async def run(self) -> None:
        """Open and close servers as they are wanted, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._changed.clear()
                wanted = {(key, check.port) for key, check in self._wanted.items()}
                # A port that passes from one Service to another must be free first.
                for each in self._serving.keys() - wanted:
                    self._serving.pop(each).set()
                await asyncio.sleep(0)
                for each in wanted - self._serving.keys():
                    stop = self._serving[each] = asyncio.Event()
                    tasks.create_task(self._serve(*each, stop))
                await self._changed.wait()

    async def _serve(self, key: Key, port: int, stop: asyncio.Event) -> None:
        def page() -> Page:
            check = self._wanted.get(key)
            return answer(key, check.endpoints if check else 0, healthy=self._healthy())

        async with AsyncExitStack() as stack:
            waiting, said = set(self._addresses), False
            while waiting and not stop.is_set():
                for address in sorted(waiting):
                    try:
                        await stack.enter_async_context(serving_one(page, str(address), port))
                    except OSError as error:
                        if not said:
                            self._failed(key, port, str(error))
                        said = True
                    else:
                        waiting.discard(address)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), RETRY if waiting else None)
