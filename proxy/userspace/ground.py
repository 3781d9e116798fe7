"""The ground that the relay stands on in the kernel: laid at its start, taken away at the end.

It does what `ground_rules` says, with netlink and with nft or, where that is missing, iptables.
Every call may be repeated.
"""

import asyncio
import errno
import logging
import socket
from ipaddress import IPv4Address, IPv4Network

from podwire.netlink.changes import AddRoute, DeleteRoute
from podwire.netlink.client import Netlink
from podwire.proxy import scripts
from podwire.proxy.mode import SyncFailed
from podwire.proxy.node import NodeView
from podwire.proxy.userspace import ground_rules
from podwire.proxy.userspace.borrowing import IP_TRANSPARENT
from podwire.proxy.userspace.ground_rules import Led

log = logging.getLogger(__name__)


class Ground:
    """What is laid for one node. *keeps_source* says whether clients' addresses can be borrowed."""

    def __init__(self) -> None:
        self.keeps_source = False
        self._marks = False
        self._laid: tuple[IPv4Network | None, IPv4Address, bool] | None = None
        self._routes: frozenset[AddRoute] = frozenset()
        self._script = self._ports = ""
        # Who looks at the rules must not do so between their change and the account of it.
        self._rules = asyncio.Lock()

    async def lay(self, node: NodeView) -> None:
        """Make the node ready; done once, and again when it has changed.

        Where the machine cannot have connections come back that have a client's address,
        *keeps_source* is False afterwards and the log says why. Raises SyncFailed when Service
        addresses cannot be made the node's.
        """
        settings = node.settings
        wanted = (settings.service_cidr, node.address, settings.keep_source)
        if wanted == self._laid:
            return
        async with self._rules:
            why = _cannot_borrow() or await self._load(settings.service_cidr, marks=True)
            refused = await self._load(settings.service_cidr, marks=False) if why else ""
        self._marks = not why
        if refused:
            # The node may have seen to it by other means, where it has no packet filter.
            log.info("no rule against pings of Service addresses: %s", refused)
        try:
            with Netlink() as netlink:
                netlink.apply(
                    ground_rules.delivery_changes(netlink.rules(), marks=self._marks),
                    tolerate=(errno.EEXIST, errno.ENOENT),
                )
        except OSError as error:
            self._marks = False
            why = str(error)
        if why and settings.keep_source:
            log.warning("endpoints see the node's address and not the client's: %s", why)
        self.keeps_source = settings.keep_source and self._marks
        await self.lead_here(node, Led(), afresh=True)
        self._laid = wanted

    async def lead_here(self, node: NodeView, led: Led, *, afresh: bool = False) -> None:
        """Have packets for the Service addresses and for *led* taken in, and for no more.

        With *afresh* the kernel is asked what is there. Raises SyncFailed.
        """
        others = set(led.addresses)
        if self._marks:
            async with self._rules:
                await self._lead_ports(led)
        else:
            # All that can be done here is to take in their addresses whole.
            others |= {frontend.address for frontend in led.served | led.refused} - set(node.own)
        wanted = ground_rules.routes(node.settings.service_cidr, others, node.address)
        if wanted == self._routes and not afresh:
            return
        try:
            with Netlink() as netlink:
                present = netlink.routes()
                changes = ground_rules.route_changes(wanted, present)
                added = [change for change in changes if isinstance(change, AddRoute)]
                gone = [change for change in changes if isinstance(change, DeleteRoute)]
                netlink.apply(added)
                netlink.apply(gone, tolerate=(errno.ESRCH,))
        except OSError as error:
            raise SyncFailed(f"cannot take in packets for Services: {error}") from error
        self._routes = wanted

    async def _load(self, services: IPv4Network | None, *, marks: bool) -> str:
        """Load the rules; return why that is impossible, or nothing."""
        self._script = self._ports = ""
        if nft := scripts.found("nft"):
            script = ground_rules.nft(services, marks=marks)
            why = await _run(nft, "-f", "-", stdin=script)
        elif iptables := scripts.found("iptables"):
            for words in ground_rules.iptables_cleanup():
                await _run(iptables, *words)
            script = ground_rules.iptables(services, marks=marks)
            why = await _restore(script)
        else:
            return "neither nft nor iptables is installed"
        self._script = "" if why else script
        return why

    async def _lead_ports(self, led: Led) -> None:
        nft = scripts.found("nft")
        script = (ground_rules.nft_led if nft else ground_rules.iptables_led)(led)
        if script == self._ports or not (self._ports or led.served or led.refused):
            return
        if nft:
            why = await _run(nft, "-f", "-", stdin=script)
        else:
            why = await _restore(script)
        if why:
            raise SyncFailed(f"cannot take in packets for external addresses: {why}")
        self._ports = script

    async def intact(self) -> bool:
        """Return whether what was laid is there; if not, the next `lay` lays it again."""
        if self._laid is None:
            return True
        try:
            with Netlink() as netlink:
                rules, routes = netlink.rules(), netlink.routes()
        except OSError as error:
            log.debug("cannot look at the ground: %s", error)
            return True
        whole = not self._marks or ground_rules.RULE in rules
        ours = {r.destination for r in routes if r.protocol == ground_rules.OWNER}
        whole = whole and all(route.destination in ours for route in self._routes)
        try:
            async with self._rules:
                whole = whole and await self._has_rules()
        except OSError as error:
            # Out of files for a while is no reason to tear down what may be whole.
            log.debug("cannot look at the ground: %s", error)
        if not whole:
            self._laid = None
        return whole

    async def _has_rules(self) -> bool:
        """Return whether the rules and ports are there that were loaded. Raises OSError."""
        wanted = self._script + self._ports
        if nft := scripts.found("nft"):
            listed = await scripts.run([nft, "list", "table", "inet", ground_rules.TABLE])
            return ground_rules.nft_shape(listed.printed) == ground_rules.nft_shape(wanted)
        save = scripts.found("iptables-save")
        if not save:
            return True
        # Without a table's name the legacy kind reads a list that is the machine's root's.
        saved = [await scripts.run([save, "-t", table]) for table in ("mangle", "filter")]
        if any(each.status for each in saved):
            log.debug("cannot look at the ground: %s", [each.complained for each in saved])
            return True
        printed = "".join(each.printed for each in saved)
        return ground_rules.iptables_shape(printed) == ground_rules.iptables_shape(wanted)

    async def take_away(self) -> None:
        """Leave nothing of it; what is not there is no error."""
        self._laid, self._routes = None, frozenset()
        self._script = self._ports = ""
        self._marks = self.keeps_source = False
        await take_away()


async def take_away() -> None:
    """Remove what any relay has laid on this node; what is not there is no error."""
    try:
        with Netlink() as netlink:
            delivered = DeleteRoute(ground_rules.ANYWHERE, "lo", ground_rules.DELIVERIES)
            netlink.apply(
                (
                    *ground_rules.delivery_changes(netlink.rules(), marks=False),
                    delivered,
                    *ground_rules.route_changes((), netlink.routes()),
                ),
                tolerate=(errno.ESRCH, errno.ENOENT, errno.EPERM),
            )
    except OSError as error:
        log.warning("cannot remove the routes of the userspace mode: %s", error)
    if nft := scripts.found("nft"):
        await _run(nft, "-f", "-", stdin=ground_rules.nft_cleanup())
    elif iptables := scripts.found("iptables"):
        for words in ground_rules.iptables_cleanup():
            await _run(iptables, *words)


async def _restore(script: str) -> str:
    restore = scripts.found("iptables-restore")
    if not restore:
        return "neither nft nor iptables is installed"
    return await _run(restore, "--noflush", "-w", stdin=script)


async def _run(program: str, *words: str, stdin: str = "") -> str:
    """Run *program*; return what it says when it fails or cannot be started, or nothing."""
    try:
        ended = await scripts.run([program, *words], stdin)
    except OSError as error:
        return f"{program}: {error}"
    return (ended.complained.strip() or f"{program} failed") if ended.status else ""


def _cannot_borrow() -> str:
    """Return why no socket of this process may have an address that is not the node's."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
        try:
            trial.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
        except OSError as error:
            return f"no transparent sockets: {error}"
    return ""
