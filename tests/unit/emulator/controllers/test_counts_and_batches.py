import pytest

from podwire.emulator.controllers.batches import in_batches, slow_start, together
from podwire.emulator.controllers.counts import scaled_down, scaled_up
from podwire.errors import Forbidden


@pytest.mark.parametrize(
    ("value", "total", "up", "down"),
    [
        (2, 10, 2, 2),
        ("3", 10, 3, 3),
        ("25%", 10, 3, 2),
        ("25%", 4, 1, 1),
        ("25%", 1, 1, 0),
        ("0%", 10, 0, 0),
        ("100%", 7, 7, 7),
        ("50%", 0, 0, 0),
    ],
)
def test_counts_and_percentages(value: int | str, total: int, up: int, down: int) -> None:
    assert (scaled_up(value, total), scaled_down(value, total)) == (up, down)


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(0, []), (1, [1]), (2, [1, 1]), (3, [1, 2]), (10, [1, 2, 4, 3]), (15, [1, 2, 4, 8])],
)
def test_slow_start(count: int, sizes: list[int]) -> None:
    assert list(slow_start(count)) == sizes


@pytest.mark.parametrize(
    ("refused", "tried"),
    [
        ([], 7),
        ([0], 1),
        ([1], 3),
        ([2, 3], 3),
        ([6], 7),
    ],
)
async def test_a_refusal_ends_the_batches(refused: list[int], tried: int) -> None:
    seen: list[int] = []

    async def write(number: int) -> None:
        seen.append(number)
        if number in refused:
            raise Forbidden(403, "Forbidden", f"not {number}")

    errors = await in_batches(range(7), write)
    assert len(seen) == tried
    assert len(errors) == len([n for n in refused if n in seen])


async def test_what_is_no_refusal_is_raised() -> None:
    async def write(number: int) -> None:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await together([1, 2], write)
