"""The four modes by name. Each is loaded only when it is asked for: a proxy runs one."""

import asyncio
import random
from collections.abc import Callable, Mapping

from podwire.proxy.configuration import Configuration, ModeName
from podwire.proxy.mode import Mode

# ruff: noqa: PLC0415 - see above


def build(configuration: Configuration, loop: asyncio.AbstractEventLoop) -> Mode:
    """Return the mode that *configuration* asks for; raises MachineError if it cannot work here."""
    return _MAKERS[configuration.mode](configuration, loop)


async def clean_up(loop: asyncio.AbstractEventLoop, *, but: str = "") -> None:
    """Remove what every mode *but* one may have programmed on this node earlier."""
    for name in _MAKERS:
        if name != but:
            await build(Configuration(mode=name), loop).close(cleanup=True)


def _userspace(_: Configuration, loop: asyncio.AbstractEventLoop) -> Mode:
    from podwire.proxy.userspace.mode import Userspace

    return Userspace.with_relay(loop, chance=random.random)


_MAKERS: Mapping[ModeName, Callable[[Configuration, asyncio.AbstractEventLoop], Mode]] = {
    "userspace": _userspace,
}
