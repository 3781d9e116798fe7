import pytest

from podwire.emulator.trace.bpf import by_libpcap, by_tcpdump, compile_filter, load_libpcap
from podwire.errors import MachineError, UsageError
from tests.needs import lack, need

FILTERS = ["tcp port 80", "host 10.244.1.5 and not port 53", "udp", "vlan and ip6"]


def libpcap_and_tcpdump() -> None:
    need("tcpdump")
    if load_libpcap() is None:
        lack("libpcap is not installed")


@pytest.mark.parametrize("expression", FILTERS)
def test_libpcap_and_tcpdump_agree(expression: str) -> None:
    libpcap_and_tcpdump()
    library = load_libpcap()
    assert library is not None
    compiled = by_libpcap(library, expression)
    assert compiled == by_tcpdump(expression)
    assert len(compiled) > 3


def test_no_expression_is_no_program() -> None:
    assert compile_filter(" ") == ()


def test_what_is_no_filter() -> None:
    libpcap_and_tcpdump()
    library = load_libpcap()
    assert library is not None
    with pytest.raises(UsageError, match=r"'tpc port 80' is no capture filter: .*\n  examples"):
        by_libpcap(library, "tpc port 80")
    with pytest.raises(UsageError, match=r"'tpc port 80' is no capture filter: .*\n  examples"):
        by_tcpdump("tpc port 80")


def test_without_libpcap_and_tcpdump() -> None:
    with pytest.raises(MachineError, match=r"apt-get install libpcap0\.8"):
        by_tcpdump("udp", ("no-such-tcpdump",))
