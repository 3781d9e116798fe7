"""Services that change in any order come to the same virtual servers as all at once."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from podwire.kube.names import Key
from podwire.proxy.configuration import Configuration
from podwire.proxy.ipvs import rules
from podwire.proxy.ipvs.mode import Ipvs
from podwire.proxy.mode import Order
from podwire.proxy.table import ServicePort
from tests.unit.proxy.ipvs.memory import Memory
from tests.unit.proxy.ipvs.written import without_what_drains
from tests.unit.proxy.written import node, ports

ENDPOINTS = (
    "10.244.1.2:80@node-1",
    "10.244.1.3:80@node-1",
    "10.244.2.2:80@node-2",
    "10.244.2.3:80@node-2,unready",
)


def service(
    *,
    number: int,
    endpoints: frozenset[str],
    local: bool,
    sticky: bool,
    protocol: str,
    address: int,
) -> tuple[Key, tuple[ServicePort, ...]]:
    found = ports(
        " ".join(sorted(endpoints)),
        name=f"s{number}",
        port=f"web=80:{30080 + number}/{protocol} more=81",
        # Two Services never share an address here: who had it first would decide.
        cluster_ip=f"10.96.{number}.{address}",
        external_ips=(f"198.51.{number}.{address}",),
        external_traffic_policy="Local" if local else "Cluster",
        session_affinity="ClientIP" if sticky else "None",
    )
    return Key("default", f"s{number}"), found


services = st.builds(
    service,
    number=st.integers(0, 3),
    endpoints=st.frozensets(st.sampled_from(ENDPOINTS)),
    local=st.booleans(),
    sticky=st.booleans(),
    protocol=st.sampled_from(("TCP", "UDP")),
    address=st.integers(1, 2),
)
gone = st.integers(0, 3).map(lambda n: (Key("default", f"s{n}"), ()))
steps = st.lists(
    st.tuples(
        st.lists(services | gone, min_size=1, max_size=3).map(dict),
        st.booleans(),  # whether everything is ordered anew
        st.lists(st.integers(0, 20), max_size=4),  # whose connections begin
    ),
    max_size=8,
)
History = list[tuple[dict[Key, tuple[ServicePort, ...]], bool, list[int]]]


@given(steps)
def test_any_history_ends_as_from_scratch(history: History) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        table, fresh = Memory(), Memory()
        mode = Ipvs(table, Configuration(mode="ipvs"), loop)
        now: dict[Key, tuple[ServicePort, ...]] = {}
        for changed, whole, begin in history:
            now = {key: found for key, found in (now | changed).items() if found}
            await mode.sync(Order(node(), now if whole else changed, whole=whole))
            there = sorted(
                (place, end)
                for place, listed in table.listed().items()
                for end in listed.destinations
            )
            for number in begin if there else ():
                table.emulated.began(*there[number % len(there)])
        other = Ipvs(fresh, Configuration(mode="ipvs"), loop)
        await other.sync(Order(node(), now, whole=True))
        assert without_what_drains(table.listed()) == without_what_drains(fresh.listed())
        if not any(begin for _, _, begin in history):
            assert table.listed() == fresh.listed()
            assert mode.listings() == other.listings()
        for each in (mode, other):
            await each.close(cleanup=False)

    asyncio.run(play())


@given(steps)
def test_any_history_ends_with_the_same_sets(history: History) -> None:
    members, fresh = rules.Members(), rules.Members()
    now: dict[Key, tuple[ServicePort, ...]] = {}
    programmed: set[rules.Element] = set()
    for changed, _, _ in history:
        now |= changed
        difference = members.update(changed, node())
        assert difference.deleted <= programmed
        assert not difference.added & programmed
        programmed = (programmed - difference.deleted) | difference.added
    fresh.update(now, node())
    assert programmed == members.all() == fresh.all()
