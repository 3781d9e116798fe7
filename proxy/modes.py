"""The four modes by name. The usual one is loaded with this, the others when they are asked for."""

import asyncio
import random
from collections.abc import Callable, Mapping

from podwire.proxy.configuration import Configuration, ModeName
from podwire.proxy.mode import Mode
from podwire.proxy.node import UsualNodePorts
from podwire.proxy.userspace.mode import Userspace

# ruff: noqa: PLC0415 - see above


def build(configuration: Configuration, loop: asyncio.AbstractEventLoop) -> Mode:
    """Return the mode that *configuration* asks for; raises MachineError if it cannot work here."""
    return _MAKERS[configuration.mode](configuration, loop)


def usual_node_ports(mode: str) -> UsualNodePorts:
    """Return where the mode of that name serves NodePorts when nodePortAddresses says nothing."""
    return "primary" if mode in ("userspace", "nftables") else "all"


async def clean_up(loop: asyncio.AbstractEventLoop, *, but: str = "") -> None:
    """Remove what every mode *but* one may have programmed on this node earlier.

    Of "ipvs (userspace)" both are kept: the one is served by the other.
    """
    kept = {word.strip("()") for word in but.split()}
    for name in _MAKERS:
        if name not in kept:
            await build(Configuration(mode=name), loop).close(cleanup=True)


def _userspace(_: Configuration, loop: asyncio.AbstractEventLoop) -> Mode:
    return Userspace.with_relay(loop, chance=random.random)


def _iptables(configuration: Configuration, _: asyncio.AbstractEventLoop) -> Mode:
    from podwire.kube.clock import SystemClock
    from podwire.proxy.iptables.mode import Iptables

    return Iptables(SystemClock(), sync_period=configuration.sync_period)


def _nftables(_: Configuration, __: asyncio.AbstractEventLoop) -> Mode:
    from podwire.kube.clock import SystemClock
    from podwire.proxy.nftables.mode import Nftables

    return Nftables(SystemClock())


def _ipvs(configuration: Configuration, loop: asyncio.AbstractEventLoop) -> Mode:
    from podwire.proxy.ipvs.mode import Ipvs

    return Ipvs.made_for(configuration, loop)


_MAKERS: Mapping[ModeName, Callable[[Configuration, asyncio.AbstractEventLoop], Mode]] = {
    "userspace": _userspace,
    "nftables": _nftables,
    "iptables": _iptables,
    "ipvs": _ipvs,
}
