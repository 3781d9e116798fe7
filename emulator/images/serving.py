"""Runs a built-in server until a signal tells it to stop."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

import uvloop

# Serves until the event is set, and returns when it has ended in good order.
Serve = Callable[[asyncio.Event], Awaitable[None]]


def until_told(*servers: Serve) -> int:
    """Run *servers* on one loop until SIGTERM, SIGINT or SIGQUIT; returns the exit status."""
    uvloop.run(_run(servers))
    return 0


async def _run(servers: tuple[Serve, ...]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await asyncio.gather(*(serve(stop) for serve in servers))
