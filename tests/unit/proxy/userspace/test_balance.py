import random
from collections import Counter
from ipaddress import IPv4Address

import pytest

from podwire.proxy.endpoints import Backend
from podwire.proxy.userspace.balance import Affinity, pick, pick_for

A, B, C = (Backend(IPv4Address(f"10.244.1.{n}"), 80) for n in (1, 2, 3))


@pytest.mark.parametrize(
    ("chance", "tried", "chosen"),
    [
        (0.0, (), A),
        (0.34, (), B),
        (0.999999, (), C),
        (0.0, (A,), B),
        (0.6, (A,), B),
        (0.3, (A,), C),
        (0.9, (A, B), C),
        (0.5, (A, B, C), None),
    ],
)
def test_pick_is_uniform_over_what_was_not_tried(
    chance: float, tried: tuple[Backend, ...], chosen: Backend | None
) -> None:
    assert pick((A, B, C), chance=chance, tried=tried) == chosen


def test_pick_of_nothing() -> None:
    assert pick((), chance=0.5) is None
    assert pick((), chance=0.5, tried=(A,)) is None


@pytest.mark.parametrize("tried", [(), (A,), (B,), (A, C)])
def test_all_that_were_not_tried_are_as_likely(tried: tuple[Backend, ...]) -> None:
    chosen = Counter(pick((A, B, C), chance=n / 9000, tried=tried) for n in range(9000))
    assert chosen.keys() == {A, B, C} - {*tried}
    assert max(chosen.values()) - min(chosen.values()) <= 9


class Asked(tuple[Backend, ...]):
    """Backends that count how often it was asked whether one is among them."""

    times = 0

    def __contains__(self, backend: object) -> bool:
        self.times += 1
        return super().__contains__(backend)


def test_another_one_of_thousands_is_found_without_looking_at_all() -> None:
    many = tuple(Backend(IPv4Address(0x0A000000 + n), 80) for n in range(10_000))
    tried = Asked(many[:64])
    dice = random.Random(8)
    found = {pick(many, chance=dice.random(), tried=tried) for _ in range(1000)}
    assert not found & {*tried}
    assert tried.times < 20_000


def test_a_client_keeps_its_backend_until_the_time_is_over() -> None:
    memory = Affinity(10)
    assert pick_for("10.0.0.1", (A, B), memory, now=0, chance=0.9) == B
    assert pick_for("10.0.0.1", (A, B), memory, now=9, chance=0.0) == B  # and renews the time
    assert pick_for("10.0.0.2", (A, B), memory, now=9, chance=0.0) == A
    assert pick_for("10.0.0.1", (A, B), memory, now=18, chance=0.0) == B
    assert pick_for("10.0.0.1", (A, B), memory, now=28, chance=0.0) == A


def test_a_client_whose_backend_is_gone_gets_another_and_keeps_that() -> None:
    memory = Affinity(10)
    assert pick_for("10.0.0.1", (A, B), memory, now=0, chance=0.9) == B
    assert pick_for("10.0.0.1", (A, C), memory, now=1, chance=0.9) == C
    assert pick_for("10.0.0.1", (A, B, C), memory, now=2, chance=0.0) == C


def test_a_backend_tried_in_vain_is_not_kept() -> None:
    memory = Affinity(10)
    assert pick_for("10.0.0.1", (A, B), memory, now=0, chance=0.0) == A
    assert pick_for("10.0.0.1", (A, B), memory, now=0, chance=0.0, tried=[A]) == B
    assert memory.backend_of("10.0.0.1", now=1) == B


def test_clients_that_do_not_come_back_are_forgotten() -> None:
    memory = Affinity(10)
    for number in range(1000):
        pick_for(f"10.1.0.{number}", (A, B), memory, now=number, chance=0.0)
    assert len(memory) <= 11
