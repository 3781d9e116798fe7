"""The same request in several modes of the proxy: switch the live cluster, trace, put it back."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from podwire.emulator.trace.compare import Compared, Comparison
from podwire.emulator.trace.request import Request
from podwire.errors import UsageError
from podwire.kube import proxy_modes
from podwire.kube.config import Access
from podwire.kube.plain import Connection
from podwire.testing.target import judged

T = TypeVar("T")


def quiet(text: str) -> None:
    """Tell nobody."""


async def compared(
    access: Access,
    where: str,
    wanted: Request,
    *,
    modes: Sequence[str] = proxy_modes.MODES,
    limit: float = 10.0,
    told: Callable[[str], None] = quiet,
) -> Comparison:
    """Trace *wanted* made at *where* in each of *modes*; then the cluster has its own mode again.

    That also after an error or when this is cancelled. A mode that this machine cannot run is left
    out with its reason. *limit* is each client's, in seconds; *told* hears of every switch.
    """
    unknown = [mode for mode in modes if mode not in proxy_modes.MODES]
    if unknown or not modes:
        names = ", ".join(proxy_modes.MODES)
        raise UsageError(f"there is no mode {', '.join(unknown) or 'named'}\n  modes: {names}")
    switch = _Switch(access)
    text = await switch.done(proxy_modes.configuration)
    before = next(iter((await switch.done(proxy_modes.modes)).values()), "") or "userspace"
    found: list[Compared] = []
    current, touched = before, False
    try:
        for mode in dict.fromkeys(modes):
            if current.partition(" ")[0] != mode:
                told(f"switching to mode {mode}")
                touched = True
                try:
                    await switch.to(proxy_modes.with_mode(text, mode), mode)
                except proxy_modes.CannotRun as error:
                    found.append(Compared(mode, reason=str(error)))
                    current = ""
                    continue
                current = mode
            found.append(Compared(mode, await judged(access, where, wanted, limit=limit)))
    finally:
        if touched:
            told(f"back to mode {before}")
            await switch.to(text, before.partition(" ")[0], again=True)
    return Comparison(str(wanted), where, before, tuple(found))


class _Switch:
    """Blocking calls in threads, of which none goes on when its caller is cancelled."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._given_up = threading.Event()

    async def to(self, text: str, mode: str, *, again: bool = False) -> None:
        """Return when all proxies run with the configuration *text*."""
        if again:
            self._given_up.clear()
        await self.done(
            lambda c: proxy_modes.configure(c, text, mode, given_up=self._given_up.is_set)
        )

    async def done(self, what: Callable[[Connection], T]) -> T:
        """Return what *what* returns; when this is cancelled, it has ended first."""

        def run() -> T:
            with Connection(self._access) as connection:
                return what(connection)

        running = asyncio.get_running_loop().run_in_executor(None, run)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self._given_up.set()
            await asyncio.wait([running])
            if not running.cancelled():
                running.exception()  # asked for, or asyncio would complain of it later
            raise
