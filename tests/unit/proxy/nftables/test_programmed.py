"""From one state of the table to the next: what is claimed, passed on, flushed, deleted later."""

from podwire.kube.names import Key
from podwire.proxy.nftables.objects import Contents, Element, Place
from podwire.proxy.nftables.programmed import SETTLING, Programmed

A, B = Key("default", "a"), Key("default", "b")
SHARED = Place("service-ips", ("TCP", 80))


def claiming(chain: str) -> Contents:
    return Contents({chain: (f"goto {chain}",)}, {}, {SHARED: Element(f"goto {chain}")})


def test_nothing_new_is_no_transaction() -> None:
    programmed = Programmed()
    assert programmed.change({A: claiming("x/a")}, now=0)
    assert not programmed.change({A: claiming("x/a")}, now=0)


def test_another_value_is_a_deletion_and_an_addition() -> None:
    programmed = Programmed()
    programmed.change({A: claiming("x/a")}, now=0)
    change = programmed.change({A: claiming("y/a")}, now=0)
    assert change.deleted_elements == [SHARED]
    assert change.elements == {SHARED: Element("goto y/a")}
    assert (change.flushed, list(change.chains)) == (["x/a"], ["y/a"])


def test_only_chains_that_differ_are_written() -> None:
    programmed = Programmed()
    programmed.change({A: Contents({"x/a": ("drop",), "y/a": ("drop",)})}, now=0)
    change = programmed.change({A: Contents({"x/a": ("drop",), "y/a": ("accept",)})}, now=0)
    assert change.chains == {"y/a": ("accept",)}


def test_of_two_claims_the_first_by_name_counts_whichever_comes_first() -> None:
    programmed = Programmed()
    programmed.change({B: claiming("x/b")}, now=0)
    change = programmed.change({A: claiming("x/a")}, now=0)
    assert change.deleted_elements == [SHARED]
    assert change.elements == {SHARED: Element("goto x/a")}
    assert not programmed.change({B: claiming("x/b")}, now=0)
    at_once = Programmed()
    at_once.change({A: claiming("x/a"), B: claiming("x/b")}, now=0)
    assert at_once.elements() == programmed.elements()


def test_a_claim_that_is_given_up_passes_to_the_next() -> None:
    programmed = Programmed()
    programmed.change({A: claiming("x/a"), B: claiming("x/b")}, now=0)
    change = programmed.change({A: Contents()}, now=0)
    assert change.deleted_elements == [SHARED]
    assert change.elements == {SHARED: Element("goto x/b")}
    last = programmed.change({B: Contents()}, now=0)
    assert (last.deleted_elements, last.elements) == ([SHARED], {})
    assert programmed.elements() == {}
    assert programmed.services() == set()


def test_an_element_that_two_services_exchange_in_one_transaction_is_deleted_once() -> None:
    programmed = Programmed()
    programmed.change({A: claiming("x/a")}, now=0)
    change = programmed.change({A: Contents(), B: claiming("x/b")}, now=0)
    assert change.deleted_elements == [SHARED]
    assert change.elements == {SHARED: Element("goto x/b")}


def test_a_new_element_that_is_won_by_another_at_once_is_not_deleted() -> None:
    change = Programmed().change({B: claiming("x/b"), A: claiming("x/a")}, now=0)
    assert change.deleted_elements == []
    assert change.elements == {SHARED: Element("goto x/a")}


def test_chains_are_flushed_at_once_and_deleted_when_the_kernel_has_settled() -> None:
    programmed = Programmed()
    programmed.change({A: claiming("x/a")}, now=0)
    assert programmed.change({A: Contents()}, now=10).flushed == ["x/a"]
    assert not programmed.change({}, now=10 + SETTLING / 2)
    assert not programmed.waiting(10 + SETTLING / 2)
    assert programmed.waiting(10 + SETTLING)
    assert programmed.change({}, now=10 + SETTLING).deleted_chains == ["x/a"]
    assert not programmed.waiting(100)


def test_a_chain_that_comes_back_is_not_deleted() -> None:
    programmed = Programmed()
    programmed.change({A: claiming("x/a")}, now=0)
    programmed.change({A: Contents()}, now=0)
    change = programmed.change({A: claiming("x/a")}, now=10)
    assert list(change.chains) == ["x/a"]
    assert change.deleted_chains == []


def test_remembered_clients_stay_with_their_endpoint() -> None:
    programmed = Programmed()
    two = Contents({"x/a": ("1", "2")}, {"affinity-1/": 100, "affinity-2/": 100})
    one = Contents({"x/a": ("1",)}, {"affinity-1/": 100})
    programmed.change({A: two}, now=0)
    change = programmed.change({A: one}, now=0)
    assert change.deleted_affinity == ["affinity-2/"]
    assert change.affinity == {}
    assert programmed.affinity() == {"affinity-1/"}


def test_another_timeout_makes_the_set_anew_and_the_rules_that_look_into_it() -> None:
    programmed = Programmed()
    programmed.change({A: Contents({"x/a": ("1",)}, {"affinity-1/": 100})}, now=0)
    change = programmed.change({A: Contents({"x/a": ("1",)}, {"affinity-1/": 50})}, now=0)
    assert change.deleted_affinity == ["affinity-1/"]
    assert change.affinity == {"affinity-1/": 50}
    assert list(change.chains) == ["x/a"]
