"""The probes of one running container: startup first, then readiness and liveness side by side."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from podwire.emulator.kubelet.probes import Outcome
from podwire.kube.objects import Container, Probe
from podwire.kube.podstatus import ContainerRecord

# How a first success is waited for: a fresh container is asked again soon, then less and less
# often, up to the probe's own period. (The kubelet waits a whole period, 1 s at least.) Seconds.
FIRST_RETRY = 0.004
# Failures that come while asking more often than this are part of starting, and nobody's event.
_QUIET = 1.0


@dataclass(frozen=True, slots=True)
class Probed:
    """A container as its probes see it."""

    container: Container
    record: ContainerRecord
    ask: Callable[[Probe], Awaitable[Outcome]]
    # Hears the message of a failure.
    unhealthy: Callable[[str], None]
    # Is told when the record says something new.
    changed: Callable[[], None]
    # Ends the container, because the probe of that kind failed too often.
    kill: Callable[[str, Probe], Awaitable[None]]
    # Whether the container is about to end: then no probe kills it, and failures are no events.
    stopping: Callable[[], bool]


async def watch_over(probed: Probed) -> None:
    """Run the probes until cancelled, or until one of them has ended the container."""
    container = probed.container
    if container.startup_probe is not None and not await _started(probed, container.startup_probe):
        return
    async with asyncio.TaskGroup() as tasks:
        if container.readiness_probe is not None:
            tasks.create_task(_readiness(probed, container.readiness_probe))
        if container.liveness_probe is not None:
            tasks.create_task(_liveness(probed, container.liveness_probe))


async def _started(probed: Probed, probe: Probe) -> bool:
    clock = asyncio.get_running_loop().time
    await asyncio.sleep(probe.initial_delay_seconds)
    began, delay = clock(), FIRST_RETRY
    while not await _asked(probed, probe, "Startup", quiet=delay < _QUIET):
        if probed.stopping():
            return False
        # As if it were asked once in a period, however often it was.
        failures = 1 + int((clock() - began) / probe.period_seconds)
        if failures >= probe.failure_threshold and delay >= probe.period_seconds:
            await probed.kill("startup", probe)
            return False
        delay = min(delay * 2, probe.period_seconds)
        await asyncio.sleep(delay)
    probed.record.started = True
    probed.record.ready = probed.container.readiness_probe is None and not probed.stopping()
    probed.changed()
    return True


async def _readiness(probed: Probed, probe: Probe) -> None:
    record = probed.record
    await asyncio.sleep(probe.initial_delay_seconds)
    successes = failures = 0
    delay, ever = FIRST_RETRY, False
    while True:
        success = await _asked(probed, probe, "Readiness", quiet=delay < _QUIET and not ever)
        successes, failures = (successes + 1, 0) if success else (0, failures + 1)
        ready = record.ready
        # Of a pod that is ending, too: its endpoint is `serving` for as long (KEP-1669).
        if successes >= probe.success_threshold:
            ready = True
        elif failures >= probe.failure_threshold:
            ready = False
        if ready != record.ready:
            record.ready = ready
            probed.changed()
        ever = ever or success
        delay = probe.period_seconds if ever else min(delay * 2, probe.period_seconds)
        await asyncio.sleep(delay)


async def _liveness(probed: Probed, probe: Probe) -> None:
    await asyncio.sleep(probe.initial_delay_seconds)
    failures = 0
    while True:
        alive = probed.stopping() or await _asked(probed, probe, "Liveness", quiet=False)
        failures = 0 if alive else failures + 1
        if failures >= probe.failure_threshold:
            await probed.kill("liveness", probe)
            return
        await asyncio.sleep(probe.period_seconds)


async def _asked(probed: Probed, probe: Probe, kind: str, *, quiet: bool) -> bool:
    outcome = await probed.ask(probe)
    if not outcome.success and not quiet and not probed.stopping():
        probed.unhealthy(f"{kind} probe failed: {outcome.message}")
    return outcome.success
