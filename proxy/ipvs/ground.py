"""What ip_vs needs beside its virtual servers: addresses that are the node's, sysctls, rules.

Addresses of Services are on the dummy device kube-ipvs0, which stays down, or where the kernel has
no such devices, by local routes on lo: both have packets for them reach the INPUT hook, where ip_vs
takes them. It was never run beside an ip_vs; without one it only lets packets in.
"""

import errno
import logging
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from podwire.errors import MachineError
from podwire.netlink.changes import (
    AddAddress,
    AddDummy,
    AddRoute,
    Change,
    DeleteAddress,
    DeleteLink,
    DeleteRoute,
)
from podwire.netlink.client import Netlink, NetlinkError
from podwire.netlink.rtnetlink import TABLE_LOCAL
from podwire.proxy import scripts
from podwire.proxy.configuration import Ipvs
from podwire.proxy.ipvs import rules
from podwire.proxy.mode import SyncFailed

log = logging.getLogger(__name__)

DEVICE = "kube-ipvs0"
OWNER = 81
"""Of our local routes (rtm_protocol), where there is no dummy device."""

_NO_SUCH_KIND = (errno.EOPNOTSUPP, errno.EAFNOSUPPORT)


def sysctls(settings: Ipvs) -> tuple[tuple[str, str], ...]:
    """Return what the mode sets, as kube-proxy does at its start."""
    wanted = [
        ("net/ipv4/vs/conntrack", "1"),
        ("net/ipv4/vs/expire_nodest_conn", "1"),
        ("net/ipv4/vs/expire_quiescent_template", "1"),
        ("net/ipv4/ip_forward", "1"),
    ]
    if settings.strict_arp:
        wanted += [("net/ipv4/conf/all/arp_ignore", "1"), ("net/ipv4/conf/all/arp_announce", "2")]
    return tuple(wanted)


class Addresses:
    """The addresses of Services that are made the node's."""

    def __init__(self) -> None:
        self._dummy: bool | None = None
        self._bound: frozenset[IPv4Address] | None = None

    def bind(self, wanted: frozenset[IPv4Address], *, afresh: bool = False) -> None:
        """Have only *wanted* be the node's; *afresh* asks the kernel. Raises SyncFailed."""
        try:
            with Netlink() as netlink:
                if self._dummy is None or afresh:
                    self._dummy = _made(netlink)
                if self._bound is None or afresh:
                    self._bound = _present(netlink, dummy=self._dummy)
                netlink.apply(_changes(self._bound, wanted, dummy=self._dummy))
        except OSError as error:
            self._bound = None
            raise SyncFailed(f"cannot take in packets for Services: {error}") from error
        self._bound = wanted

    def intact(self) -> bool:
        """Return whether they are the node's still."""
        if self._bound is None or self._dummy is None:
            return True
        with Netlink() as netlink:
            return _present(netlink, dummy=self._dummy) >= self._bound


def unbind() -> None:
    """Remove the device and the routes; what is not there is no error."""
    with Netlink() as netlink:
        ours = [r for r in netlink.routes() if r.protocol == OWNER and r.table == TABLE_LOCAL]
        routes = [DeleteRoute(route.destination, "lo", TABLE_LOCAL) for route in ours]
        netlink.apply((DeleteLink(DEVICE), *routes), tolerate=(errno.ENODEV, errno.ESRCH))


def _made(netlink: Netlink) -> bool:
    """Make the dummy device; return whether this kernel has such devices."""
    try:
        netlink.apply((AddDummy(DEVICE),), tolerate=(errno.EEXIST,))
    except NetlinkError as error:
        if error.errno not in _NO_SUCH_KIND:
            raise
        log.info("no dummy devices here: local routes instead of %s", DEVICE)
        return False
    return True


def _present(netlink: Netlink, *, dummy: bool) -> frozenset[IPv4Address]:
    if not dummy:
        return frozenset(
            route.destination.network_address
            for route in netlink.routes()
            if route.protocol == OWNER
            and route.table == TABLE_LOCAL
            and isinstance(route.destination, IPv4Network)
        )
    device = netlink.link(DEVICE)
    if device is None:
        return frozenset()
    return frozenset(
        each.address.ip
        for each in netlink.addresses()
        if each.link == device.number and isinstance(each.address, IPv4Interface)
    )


def _changes(
    there: frozenset[IPv4Address], wanted: frozenset[IPv4Address], *, dummy: bool
) -> tuple[Change, ...]:
    new, gone = sorted(wanted - there), sorted(there - wanted)
    if dummy:
        return (
            *(AddAddress(DEVICE, IPv4Interface(address)) for address in new),
            *(DeleteAddress(DEVICE, IPv4Interface(address)) for address in gone),
        )
    return (
        *(AddRoute(IPv4Network(a), "lo", local=True, protocol=OWNER) for a in new),
        *(DeleteRoute(IPv4Network(a), "lo", TABLE_LOCAL) for a in gone),
    )


async def load(script: str) -> None:
    """Have nft run *script*: all of it or nothing. Raises SyncFailed."""
    said = await _nft("-f", "-", stdin=script)
    if said is not None:
        raise SyncFailed(f"nft: {said[:500]}")


async def is_loaded() -> bool:
    """Return whether our table is there."""
    return await _nft("list", "table", "ip", rules.TABLE) is None


async def unload() -> None:
    """Remove the rules, if there can be any."""
    if scripts.found("nft") is not None:
        await load(rules.cleanup())


async def _nft(*words: str, stdin: str = "") -> str | None:
    """Return what nft says when it refuses, None when it does not.

    Raises MachineError if there is no nft, SyncFailed if it cannot be started.
    """
    program = scripts.found("nft")
    if program is None:
        raise MachineError(
            "proxy mode ipvs masquerades by the program nft, which is not installed\n"
            "  run: sudo apt install nftables"
        )
    try:
        ended = await scripts.run([program, *words], stdin)
    except OSError as error:
        raise SyncFailed(f"cannot start nft: {error.strerror}") from error
    return ended.complained.strip() if ended.status else None
