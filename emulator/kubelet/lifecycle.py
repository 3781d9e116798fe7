"""The hooks of a container, and its end: preStop, the stop signal, SIGKILL."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress

from podwire.emulator.kubelet.grace import AFTER_HOOK, Grace
from podwire.emulator.kubelet.probes import Outcome
from podwire.emulator.runtimes.runtime import RunningProcess
from podwire.kube.objects import LifecycleHandler, Probe

# Seconds: longer than any pod lives.
_FOR_EVER = 1 << 31


async def run_hook(
    handler: LifecycleHandler, ask: Callable[[Probe], Awaitable[Outcome]], limit: int | None
) -> bool:
    """Do what a hook says, in *limit* seconds (None: in any time); tell whether it worked.

    *ask* runs a probe.
    """
    if handler.sleep is not None:
        await asyncio.sleep(handler.sleep.get("seconds", 0))
        return True
    # A hook does what a probe does, once.
    probe = Probe(
        exec=handler.exec,
        http_get=handler.http_get,
        tcp_socket=handler.tcp_socket,
        timeout_seconds=_FOR_EVER if limit is None else max(limit, 1),
    )
    return (await ask(probe)).success


async def end(
    process: RunningProcess,
    grace: Grace,
    *,
    stop_signal: int,
    pre_stop: Callable[[], Awaitable[None]] | None,
) -> None:
    """Run *pre_stop*, send *stop_signal*, and SIGKILL when *grace* is over; returns at the end."""
    at_least = 0.0
    try:
        if pre_stop is not None and not grace.over:
            at_least = AFTER_HOOK
            with suppress(TimeoutError):
                async with grace.limit():
                    await pre_stop()
        async with grace.limit(at_least=at_least):
            process.send_signal(stop_signal)
            await process.wait()
    except TimeoutError:
        process.send_signal(signal.SIGKILL)
        await process.wait()
