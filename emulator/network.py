"""Topology -> kernel: namespaces, wires, routes and rules. It decides nothing and may be repeated.

A namespace is a file in a directory (usually /run/netns) on which it is mounted. The calling thread
visits other namespaces and always comes back; there must be no await in between.
"""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from podwire.emulator.node_rules import Rules
from podwire.emulator.topology import HOST_SYSCTLS, Namespace, Sysctls, Topology
from podwire.errors import MachineError
from podwire.linux import CLONE_NEWNET, MS_BIND, mount, setns, unmount, unshare
from podwire.netlink.changes import AddBridge, AddVeth, AddVxlan, SetLink, describe
from podwire.netlink.client import Netlink
from podwire.netlink.namespace import (
    OWN,
    entered,
    is_network_namespace,
    opened,
    read_sysctl,
    write_sysctls,
)
from podwire.netlink.present import Link

_SBIN = "/usr/sbin:/sbin:/usr/local/sbin"
_OPTIONAL = {
    "net/ipv6/conf/all/disable_ipv6",
    "net/ipv6/conf/default/disable_ipv6",
    "net/bridge/bridge-nf-call-iptables",
    "net/ipv4/icmp_msgs_per_sec",
}
_KIND = {AddBridge: "bridge", AddVeth: "veth", AddVxlan: "vxlan"}


def build(topology: Topology, directory: Path) -> None:
    """Make all of *topology* that is not there yet, with its namespaces in *directory*.

    Raises MachineError if the machine cannot do it.
    """
    with _explained("cannot build the cluster's network"):
        for wanted in topology.namespaces:
            make_namespace(directory / wanted.name, wanted.sysctls)
        with ExitStack() as stack:
            files = {
                wanted.name: stack.enter_context(opened(str(directory / wanted.name)))
                for wanted in topology.namespaces
            }
            # nft takes longer than all the rest, so it works meanwhile.
            loads = [
                (wanted.name, _load(wanted.rules, files[wanted.name]))
                for wanted in topology.namespaces
                if wanted.rules is not None
            ]
            try:
                for wanted in topology.namespaces:
                    _fill(wanted, files)
            finally:
                for name, load in loads:
                    _finish(name, load)


def missing(topology: Topology, directory: Path) -> tuple[str, ...]:
    """Return what of *topology* is not there, one sentence each; empty if all is.

    The packet filter is looked for by its table only.
    """
    return tuple(
        f"{wanted.name}: {fault}"
        for wanted in topology.namespaces
        for fault in _faults(wanted, directory / wanted.name)
    )


def make_namespace(path: Path, sysctls: Sysctls = HOST_SYSCTLS) -> None:
    """Make a network namespace and mount it on *path*, with *sysctls* and `lo` up.

    The default is right for a pod. One that is there already is kept. Raises OSError.
    """
    if _is_there(path):
        with opened(str(path)) as file, entered(file):
            _write(sysctls)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    home = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        unshare(CLONE_NEWNET)
        try:
            mount(OWN, path, flags=MS_BIND)
            _write(sysctls)
            with Netlink() as netlink:
                netlink.apply([SetLink("lo", up=True)])
        finally:
            setns(home, CLONE_NEWNET)
    finally:
        os.close(home)


def remove_namespace(path: Path) -> None:
    """Let go of the namespace at *path*; it lives on while a process is in it. Repeatable."""
    try:
        unmount(path)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
    path.unlink(missing_ok=True)


def _fill(wanted: Namespace, files: Mapping[str, int]) -> None:
    with Netlink.inside(files[wanted.name]) as netlink:
        netlink.apply(wanted.links, namespaces=files, tolerate=(errno.EEXIST,))
        if wanted.link_sysctls:
            with entered(files[wanted.name]):
                write_sysctls(wanted.link_sysctls)
        netlink.apply(
            (
                *wanted.ports,
                *wanted.addresses,
                *wanted.routes,
                *wanted.neighbours,
                *wanted.forwarding,
            )
        )


def _is_there(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        return is_network_namespace(file)
    finally:
        os.close(file)


def _write(sysctls: Sysctls) -> None:
    # What a kernel has not, or has once for the whole machine, has no switch in a namespace.
    write_sysctls(s for s in sysctls if s[0] not in _OPTIONAL or read_sysctl(s[0]) is not None)


def _load(rules: Rules, namespace: int) -> subprocess.Popen[str]:
    search = f"{os.environ.get('PATH', '')}:{_SBIN}"
    for program, render, arguments in _LOADERS:
        path = shutil.which(program, path=search)
        if path is None:
            continue
        with entered(namespace):
            process = subprocess.Popen(
                [path, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        assert process.stdin is not None
        process.stdin.write(render(rules))
        process.stdin.close()
        return process
    raise MachineError(
        "nodes need a packet filter, and neither nft nor iptables is installed\n"
        "  run: sudo apt install nftables"
    )


_LOADERS: tuple[tuple[str, Callable[[Rules], str], tuple[str, ...]], ...] = (
    ("nft", lambda rules: rules.nft(), ("-f", "-")),
    ("iptables-restore", lambda rules: rules.iptables(), ()),
)


def _finish(name: str, load: subprocess.Popen[str]) -> None:
    assert load.stdout is not None
    with load.stdout as stdout:
        said = stdout.read().strip()
    if load.wait() != 0:
        raise MachineError(
            f"{name}: the kernel refused the packet filter: {said}\n"
            "  run: sudo modprobe nf_tables nft_masq nf_nat"
        )


def _faults(wanted: Namespace, path: Path) -> Iterator[str]:
    if not _is_there(path):
        yield f"no namespace at {path}"
        return
    with opened(str(path)) as file, entered(file), Netlink() as netlink:
        for name, value in (*wanted.sysctls, *wanted.link_sysctls):
            if read_sysctl(name) not in (value, None):
                yield f"sysctl {name} is not {value}"
        links = {link.name: link for link in netlink.links()}
        yield from _link_faults(wanted, links)
        there = {(_name(links, a.link), a.address) for a in netlink.addresses()}
        yield from (
            f"cannot find: {describe(a)}"
            for a in wanted.addresses
            if (a.link, a.address) not in there
        )
        routes = {(r.destination, _name(links, r.link), r.gateway) for r in netlink.routes()}
        yield from (
            f"cannot find: {describe(r)}"
            for r in wanted.routes
            if (r.destination, r.link, r.gateway) not in routes
        )
        neighbours = {
            (_name(links, n.link), n.address, n.mac)
            for n in (*netlink.neighbours(), *netlink.forwarding())
            if n.permanent
        }
        yield from (
            f"cannot find: {describe(n)}"
            for n in wanted.neighbours
            if (n.link, n.address, n.mac) not in neighbours
        )
        yield from (
            f"cannot find: {describe(f)}"
            for f in wanted.forwarding
            if (f.link, f.to, f.mac) not in neighbours
        )


def _link_faults(wanted: Namespace, links: Mapping[str, Link]) -> Iterator[str]:
    for change in wanted.links:
        link = links.get(change.name)
        if link is None:
            yield f"cannot find: {describe(change)}"
        elif link.kind != _KIND[type(change)]:
            yield f"{link.name} is a {link.kind or 'device'}, not a {_KIND[type(change)]}"
        elif link.mac != change.mac:
            yield f"{link.name} has MAC {link.mac}, not {change.mac}"
    for port in wanted.ports:
        link = links.get(port.name)
        if link is None or not link.up:
            yield f"{port.name} is not up"
        elif port.master is not None and _name(links, link.master) != port.master:
            yield f"{port.name} is not on {port.master}"


def _name(links: Mapping[str, Link], number: int) -> str:
    return next((link.name for link in links.values() if link.number == number), "")


@contextmanager
def _explained(what: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise MachineError(f"{what}: {error}\n  run: podwire doctor") from error
