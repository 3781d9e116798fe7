import pytest

from podwire.proxy.configuration import Ipvs
from podwire.proxy.ipvs.ground import sysctls


@pytest.mark.parametrize(
    ("settings", "written"),
    [
        (
            Ipvs(),
            "vs/conntrack=1 vs/expire_nodest_conn=1 vs/expire_quiescent_template=1 ip_forward=1",
        ),
        (
            Ipvs(strict_arp=True),
            "vs/conntrack=1 vs/expire_nodest_conn=1 vs/expire_quiescent_template=1 ip_forward=1"
            " conf/all/arp_ignore=1 conf/all/arp_announce=2",
        ),
    ],
)
def test_sysctls(settings: Ipvs, written: str) -> None:
    found = [f"{name.removeprefix('net/ipv4/')}={value}" for name, value in sysctls(settings)]
    assert " ".join(found) == written
