"""Plan -> kernel, in the namespace that the program lives in. It decides nothing."""

import errno
import logging
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from podwire.emulator.config import Backend
from podwire.emulator.node import packet_filter, plan
from podwire.emulator.node.plan import Interfaces, Survey
from podwire.emulator.node.roster import Peer
from podwire.emulator.node.settings import NodeSettings
from podwire.emulator.topology import VXLAN
from podwire.errors import MachineError
from podwire.netlink.changes import DeleteLink
from podwire.netlink.client import Netlink, NetlinkError
from podwire.netlink.namespace import read_sysctl, write_sysctls

log = logging.getLogger(__name__)

_SYSCTLS = (
    ("net/ipv4/ip_forward", "1"),
    # Every ClusterIP is local to a node, yet no interface may answer ARP for one, or ask with one.
    ("net/ipv4/conf/all/arp_ignore", "1"),
    ("net/ipv4/conf/all/arp_announce", "2"),
)
_STRICT = "1"
_THERE_OR_GONE = (errno.EEXIST, errno.ESRCH, errno.ENOENT, errno.ENODEV)
# A kernel without the module says EOPNOTSUPP ("Unknown device type").
_NO_VXLAN = (errno.EOPNOTSUPP, errno.ENOSYS)


@dataclass(frozen=True, slots=True)
class NodeNetwork:
    """A node whose own part of the network is there."""

    settings: NodeSettings
    found: Interfaces
    backend: Backend

    def connect(self, peers: Iterable[Peer]) -> None:
        """Make the ways to *peers*, and remove all others. Raises NetlinkError."""
        with Netlink() as netlink:
            changes = plan.peer_changes(
                peers, self.settings, self.found, self.backend, survey(netlink)
            )
            netlink.apply(changes, tolerate=_THERE_OR_GONE)


def set_up(settings: NodeSettings) -> NodeNetwork:
    """Make this namespace a node, but for the ways to other nodes; may be repeated.

    Raises MachineError that says what to write into the compose file.
    """
    _require_sysctls(settings)
    try:
        with Netlink() as netlink:
            present = survey(netlink)
            found = plan.interfaces(settings, present)
            _warn_of_strict_filters(found)
            netlink.apply(plan.node_changes(settings, found, present), tolerate=_THERE_OR_GONE)
            filtered = _filter(packet_filter.nft(settings, found.underlay, (found.pods, VXLAN)))
            wanted = plan.rules(settings, found, filtered=filtered)
            netlink.apply(plan.rule_changes(wanted, present.rules), tolerate=_THERE_OR_GONE)
            return NodeNetwork(settings, found, _tunnel(netlink, settings, found, present))
    except NetlinkError as error:
        if error.errno == errno.EPERM:
            raise MachineError(
                f"{settings.name} may not change its network: {error.strerror}\n"
                f"  write into the compose file, under {settings.name}:"
                " cap_add: [NET_ADMIN, NET_BIND_SERVICE, NET_RAW]"
            ) from error
        raise MachineError(
            f"{settings.name}: {error.strerror}\n  the kernel lacks something that nodes need:"
            " policy routing (CONFIG_IP_MULTIPLE_TABLES) or VXLAN"
        ) from error


def survey(netlink: Netlink) -> Survey:
    """Return what the kernel has."""
    return Survey(
        links=netlink.links(),
        addresses=netlink.addresses(),
        routes=netlink.routes(),
        neighbours=netlink.neighbours(),
        forwarding=netlink.forwarding(),
        rules=netlink.rules(),
    )


def _filter(script: str) -> bool:
    """Load *script*, and return whether that worked.

    A node without nft goes on: a mode of the proxy that needs it says so itself.
    """
    try:
        done = subprocess.run(
            ["nft", "-f", "-"], input=script, capture_output=True, text=True, check=False
        )
    except OSError as error:
        said = f"nft: {error.strerror}"
    else:
        said = "; ".join(done.stderr.splitlines()) if done.returncode else ""
    if said:
        log.warning(
            "no packet filter: endpoints that are no pods are reached in userspace mode only, and"
            " pods can ping Services (%s)\n  install nftables in the image",
            said,
        )
    return not said


def _tunnel(
    netlink: Netlink, settings: NodeSettings, found: Interfaces, present: Survey
) -> Backend:
    if settings.backend == "host-gw":
        netlink.apply([DeleteLink(VXLAN)], tolerate=_THERE_OR_GONE)
        return "host-gw"
    try:
        netlink.apply(plan.tunnel_changes(settings, found, present))
    except NetlinkError as error:
        if error.errno not in _NO_VXLAN:
            raise
        log.warning("no VXLAN in this kernel (%s): plain routes between nodes", error.strerror)
        return "host-gw"
    return "vxlan"


def _require_sysctls(settings: NodeSettings) -> None:
    for name, value in _SYSCTLS:
        try:
            write_sysctls([(name, value)])
        except OSError as error:
            setting = name.replace("/", ".")
            raise MachineError(
                f"{settings.name}: {setting} is {read_sysctl(name)}, and a node needs {value}\n"
                f"  write into the compose file, under {settings.name}:"
                f' sysctls: {{{setting}: "{value}"}}'
            ) from error


def _warn_of_strict_filters(found: Interfaces) -> None:
    """Say so if answers that come another way than the question went will be dropped."""
    for device in (found.underlay, found.pods):
        name = f"net/ipv4/conf/{device}/rp_filter"
        values = (read_sysctl(name), read_sysctl("net/ipv4/conf/all/rp_filter"))
        if _STRICT in values and "2" not in values:
            log.warning(
                "rp_filter of %s is strict: pods will not reach NodePorts of other nodes; write"
                ' into the compose file: sysctls: {net.ipv4.conf.all.rp_filter: "0",'
                ' net.ipv4.conf.default.rp_filter: "0"}',
                device,
            )
