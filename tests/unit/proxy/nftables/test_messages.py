"""Transactions as the kernel takes them; tests/system has the kernel say whether nft agrees."""

from ipaddress import IPv4Address

from podwire.proxy.endpoints import Backend
from podwire.proxy.nftables.messages import encode
from podwire.proxy.nftables.objects import Balance, Element, Goto, Mark, Place, Rule, Transaction

CHAIN = "service-PFISGYVC-default/web/tcp/"
RULE = Balance("TCP", (Backend(IPv4Address("10.244.0.1"), 8080),))


def test_what_nft_sends_for_a_rule() -> None:
    """Bytes of nft 1.0.6, but for the number of the map."""
    found = encode(Transaction(chains={CHAIN: (RULE,)}), 7)
    assert found is not None
    _, _, new_set, elements, rule = (m.body.hex() for m in found)
    assert [m.kind & 0xFF for m in found] == [3, 8, 9, 12, 6]
    # An integer leads to an address and a port; user data keeps the byte orders for listings.
    for part in (
        "080003000000000b",
        "08000400000000040800050000000004",
        "08000600000001cd0800070000000008",
        "08000a0000000007",
        "0c0009800800010000000001",
        "16000d00000401000000010400000000060400000000",
    ):
        assert part in new_set
    element = "200001800c000180080001000000000010000280" + "0c0001000af400011f900000"
    assert elements.endswith(element)
    expressions = (
        "2400018009000100"
        + b"meta".hex()
        + "00000000"
        + "1400028008000200000000100800010000000001",
        "2c00018008000100"
        + b"cmp".hex()
        + "00"
        + "20000280080001000000000108000200000000000c0003800500010006000000",
        "340001800b000100" + b"numgen".hex() + "0000" + "2400028008000100000000010800020000000001",
        "08000300000000010800040000000000",
        b"lookup".hex() + "0000",
        "300001800800010" + "0" + b"nat".hex() + "00" + "2400028008000100000000010800020000000002",
        "08000300000000010800050000000009",
    )
    at = [rule.index(part) for part in expressions]
    assert at == sorted(at)


def test_maps_are_numbered_on() -> None:
    chains: dict[str, tuple[Rule, ...]]
    chains = {"a/": (RULE,), "external-/": (Mark(0x4000), Goto("a/")), "b/": (RULE,)}
    found = encode(Transaction(chains=chains), 7)
    assert found is not None
    names = [m.body.split(b"__map")[1][:2] for m in found if m.kind & 0xFF == 9]
    assert names == [b"7\0", b"8\0"]


def test_many_elements_take_several_messages() -> None:
    places = {
        Place("cluster-ips", (IPv4Address(n),)): Element() for n in range(1 << 24, (1 << 24) + 1000)
    }
    found = encode(Transaction(elements=places), 1)
    assert found is not None
    assert len(found) > 1
    assert all(len(m.body) < 0xFFFF for m in found)


def test_other_rules_are_left_to_nft() -> None:
    chains: dict[str, tuple[Rule, ...]]
    chains = {CHAIN: (RULE,), "external-": (Goto(CHAIN), "drop")}
    assert encode(Transaction(chains=chains), 1) is None
