"""Plan -> netlink: makes, removes and surveys one attachment. It decides nothing."""

import errno
import time
from collections.abc import Collection, Iterable
from contextlib import suppress

from podwire.cni import plan as plans
from podwire.cni.check import Survey
from podwire.cni.plan import Bridge, Plan
from podwire.cni.ports import PortMapping
from podwire.cni.spec import CniError, Code
from podwire.netlink import namespace as namespaces
from podwire.netlink.changes import AddAddress, Change, DeleteAddress, DeleteLink, SetLink
from podwire.netlink.client import Netlink, NetlinkError
from podwire.netlink.present import OPERSTATE_UP, Link

# The kernel's own work queue turns a port on, mostly before one can look; on a busy machine later.
_PATIENCE = (0.0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 0.5, 1.0, 1.0)


def require_absent(host_interface: str, interface: str, pod: int) -> None:
    """Raise CniError if an attachment is there already; *pod* is its open namespace."""
    try:
        with Netlink() as here, Netlink.inside(pod) as there:
            if there.link(interface) is not None:
                raise CniError(
                    Code.KERNEL, f'interface "{interface}" already exists in the container'
                )
            if here.link(host_interface) is not None:
                raise CniError(Code.KERNEL, f'interface "{host_interface}" already exists')
    except OSError as error:
        raise CniError(Code.KERNEL, _words(error)) from error


def attach(wanted: Plan, pod: int) -> Plan:
    """Make what *wanted* says, and return it with the MAC and MTUs that the kernel has now.

    *pod* is its open namespace. On any failure nothing is left, but for the bridge, which all pods
    share. Raises CniError.
    """
    interface = wanted.attachment.interface
    try:
        with Netlink() as here, Netlink.inside(pod) as there:
            here.apply([plans.veth(wanted)], namespaces={wanted.namespace: pod})
            try:
                if any(each.address.version == 6 for each in wanted.addresses):
                    _allow_ipv6(pod, interface)
                # The pod first: what the kernel refuses, it refuses before there is a bridge.
                there.apply(plans.pod_changes(wanted))
                bridge = _ensure_bridge(here, wanted.bridge)
                _set_up_node(wanted)
                here.apply(plans.host_changes(wanted))
                host = _wait_until_up(here, wanted.host_interface)
            except BaseException:
                here.apply([DeleteLink(wanted.host_interface)], tolerate=(errno.ENODEV,))
                raise
    except OSError as error:
        raise CniError(Code.KERNEL, _words(error)) from error
    known = wanted.bridge._replace(mac=bridge.mac, mtu=bridge.mtu)
    return wanted._replace(bridge=known, mtu=host.mtu)


def detach(host_interface: str) -> bool:
    """Remove the pair by its end on the node; return whether it was there. Raises CniError.

    The pod's namespace is not needed: either end takes the other along.
    """
    try:
        with Netlink() as here:
            here.apply([DeleteLink(host_interface)])
    except NetlinkError as error:
        if error.errno == errno.ENODEV:
            return False
        raise CniError(Code.KERNEL, _words(error)) from error
    return True


def detach_others(alias_prefix: str, valid: Collection[str]) -> tuple[str, ...]:
    """Remove the pairs labelled with *alias_prefix* that are not in *valid*; return what failed."""
    failures: list[str] = []
    with Netlink() as here:
        for link in here.links():
            if link.alias.startswith(alias_prefix) and link.name not in valid:
                try:
                    here.apply([DeleteLink(link.name)], tolerate=(errno.ENODEV,))
                except NetlinkError as error:
                    failures.append(_words(error))
    return tuple(failures)


def survey(bridge: str, host_interface: str, interface: str, pod: int) -> Survey:
    """Return what is there of one attachment. Raises CniError."""
    try:
        with Netlink() as here, Netlink.inside(pod) as there:
            return Survey(
                bridge=here.link(bridge),
                host=here.link(host_interface),
                pod=there.link(interface),
                addresses=there.addresses(),
                routes=there.routes(),
            )
    except OSError as error:
        raise CniError(Code.KERNEL, _words(error)) from error


def require_bridge_usable(name: str) -> None:
    """Raise CniError if a link of that name is there and is no bridge."""
    with Netlink() as here:
        link = here.link(name)
    if link is not None and link.kind != "bridge":
        raise CniError(Code.INVALID_CONFIG, _not_a_bridge(name))


def forget_flows(ports: Iterable[PortMapping]) -> None:
    """Have UDP flows to *ports* led anew: while datagrams come, they miss that the rules changed.

    As the reference plugin portmap does; IPv4 only. Without a table of flows there is none to end.
    """
    wanted = {(each.host_address, each.host_port) for each in ports if each.protocol == "udp"}
    if not wanted:
        return
    from podwire.netlink.conntrack import Conntrack  # noqa: PLC0415 (not for every ADD)

    with suppress(OSError), Conntrack() as table:
        table.delete(
            [
                flow
                for flow in table.flows("UDP")
                if (None, flow.destination_port) in wanted
                or (flow.destination, flow.destination_port) in wanted
            ]
        )


def _ensure_bridge(here: Netlink, bridge: Bridge) -> Link:
    link = here.link(bridge.name)
    if link is None:
        # EEXIST: another pod's ADD was faster.
        here.apply(plans.bridge_changes(bridge), tolerate=(errno.EEXIST,))
        link = here.link(bridge.name)
    if link is None or link.kind != "bridge":
        raise CniError(Code.INVALID_CONFIG, _not_a_bridge(bridge.name))
    changes: list[Change] = [] if link.up else [SetLink(bridge.name, up=True)]
    if bridge.promiscuous and not link.promiscuous:
        changes.append(SetLink(bridge.name, promiscuous=True))
    present = [each.address for each in here.addresses() if each.link == link.number]
    for wanted in bridge.addresses:
        if wanted in present:
            continue
        # IPv6 may have several, if they do not overlap (every link has a link-local one).
        rivals = [
            each
            for each in present
            if each.version == wanted.version
            and (wanted.version == 4 or each.network.overlaps(wanted.network))
        ]
        if rivals and not bridge.force_address:
            raise CniError(
                Code.INVALID_CONFIG,
                f'"{bridge.name}" already has an IP address different from {wanted}',
                f"bridge {bridge.name} has {', '.join(str(each) for each in rivals)}",
            )
        changes += [DeleteAddress(bridge.name, each) for each in rivals]
        changes.append(AddAddress(bridge.name, wanted))
    if changes and link.mac != bridge.mac:
        # A bridge of another's making: its MAC would follow its ports', and the pods' ARP not.
        changes.append(SetLink(bridge.name, mac=link.mac))
    here.apply(changes)
    return link


def _set_up_node(wanted: Plan) -> None:
    settings: list[tuple[str, str]] = []
    if wanted.ports:
        # For what the node sends to its own 127.0.0.1, and the rules turn towards the pod.
        settings.append((f"net/ipv4/conf/{wanted.bridge.name}/route_localnet", "1"))
    for version in {each.version for each in wanted.bridge.addresses}:
        name = "net/ipv4/ip_forward" if version == 4 else "net/ipv6/conf/all/forwarding"
        # Writing it resets other settings of every interface, so not without need.
        if namespaces.read_sysctl(name) != "1":
            settings.append((name, "1"))
    namespaces.write_sysctls(settings)


def _allow_ipv6(pod: int, interface: str) -> None:
    with namespaces.entered(pod):
        namespaces.write_sysctls([(f"net/ipv6/conf/{interface}/disable_ipv6", "0")])


def _wait_until_up(here: Netlink, name: str) -> Link:
    for delay in _PATIENCE:
        time.sleep(delay)
        link = here.link(name)
        if link is not None and link.operstate == OPERSTATE_UP:
            return link
    raise CniError(Code.KERNEL, f"{name} did not come up in {sum(_PATIENCE):.0f} s")


def _not_a_bridge(name: str) -> str:
    return f'"{name}" already exists but is not a bridge'


def _words(error: OSError) -> str:
    return str(error.strerror or error)
