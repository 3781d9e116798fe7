"""The kernel's settings of the node's network that a proxy changes, for all modes."""

import logging
from collections.abc import Iterable, Mapping

from podwire.netlink.namespace import read_sysctl, write_sysctls

log = logging.getLogger(__name__)


def write(wanted: Iterable[tuple[str, str]]) -> None:
    """Write each (path below /proc/sys, value) of *wanted*; what cannot be written is logged.

    In a container /proc/sys may be read-only, and what is not this network's own is always refused.
    """
    for name, value in wanted:
        dotted = name.replace("/", ".")
        if read_sysctl(name) is None:
            log.warning("this kernel has no sysctl %s", dotted)
            continue
        try:
            write_sysctls([(name, value)])
        except OSError as error:
            log.warning("cannot set %s to %s: %s", dotted, value, error.strerror)


def write_conntrack(wanted: Mapping[str, str]) -> None:
    """Have the node's connection tracking be as *wanted* says, by the names of net.netfilter."""
    write((f"net/netfilter/{name}", value) for name, value in wanted.items())
