"""Sysctls that cannot be written: each is said, and the others are written all the same."""

import pytest

from podwire.netlink.namespace import read_sysctl
from podwire.proxy import sysctls


def test_what_is_not_there_is_said_and_the_others_are_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    present = "net/ipv4/ip_forward"
    value = read_sysctl(present)
    assert value is not None
    sysctls.write([("net/ipv4/no_such", "1"), (present, value)])
    assert caplog.messages == ["this kernel has no sysctl net.ipv4.no_such"]
