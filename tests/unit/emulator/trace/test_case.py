"""Which names a client knows from its /etc/hosts: for them no DNS is asked."""

from typing import TYPE_CHECKING

import pytest

from podwire.emulator.trace.case import known_beforehand

if TYPE_CHECKING:
    from tests.unit.emulator.trace.conftest import Bench

ALIAS = [{"ip": "10.9.9.9", "hostnames": ["old-db", "db.corp"]}]


@pytest.mark.parametrize(
    ("source", "name", "address"),
    [
        ("default/plain", "old-db", "10.9.9.9"),
        ("default/plain", "plain", "10.244.1.8"),
        ("default/plain", "node-1", None),
        ("default/on-node", "old-db", "10.9.9.9"),
        ("default/on-node", "DB.corp", "10.9.9.9"),
        ("default/on-node", "node-1", "192.168.1.10"),
        ("default/on-node", "on-node", None),
        ("node-1", "node-1", "192.168.1.10"),
        ("node-1", "old-db", None),
        ("external", "external", None),
    ],
)
def test_names_of_the_hosts_file(
    bench: "Bench", source: str, name: str, address: str | None
) -> None:
    snapshot = bench.cluster(
        bench.pod("default/plain", "10.244.1.8", hostAliases=ALIAS),
        bench.pod("default/on-node", "192.168.1.10", hostNetwork=True, hostAliases=ALIAS),
    )
    found = known_beforehand(bench.case(snapshot, source=source), name)
    assert (str(found) if found else None) == address
