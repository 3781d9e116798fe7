"""Slow start: writes go out in batches of 1, 2, 4, ... so a refusal is met only a few times."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

from podwire.errors import ApiError

Item = TypeVar("Item")


def slow_start(count: int) -> Iterator[int]:
    """Return the sizes of the batches for *count* writes: 1, 2, 4, ... and the rest."""
    size = 1
    while count > 0:
        yield min(size, count)
        count -= size
        size *= 2


async def in_batches(
    items: Sequence[Item], write: Callable[[Item], Awaitable[None]]
) -> tuple[ApiError, ...]:
    """Write *items*, one batch at a time; after a batch with errors stop, and return its errors."""
    done = 0
    for size in slow_start(len(items)):
        errors = await together(items[done : done + size], write)
        if errors:
            return errors
        done += size
    return ()


async def together(
    items: Sequence[Item], write: Callable[[Item], Awaitable[None]]
) -> tuple[ApiError, ...]:
    """Write *items* at the same time; one refusal does not stop the others. Return the refusals."""
    results = await asyncio.gather(*(write(item) for item in items), return_exceptions=True)
    errors: list[ApiError] = []
    for result in results:
        if isinstance(result, ApiError):
            errors.append(result)
        elif isinstance(result, BaseException):
            raise result
    return tuple(errors)
