"""A table of virtual servers that nobody connects to."""

from collections.abc import Callable, Iterable, Mapping

from podwire.kube.names import Key
from podwire.proxy.endpoints import Backend
from podwire.proxy.ipvs.changes import Change, Listed
from podwire.proxy.ipvs.emulated import Emulated
from podwire.proxy.mode import Order
from podwire.proxy.pages import Metric
from podwire.proxy.table import PortName, Protocol
from podwire.proxy.userspace.routes import Frontend


class Memory:
    """A table of virtual servers and nothing else."""

    name = "ipvs"
    keeps_source = True

    def __init__(self) -> None:
        self.emulated = Emulated()

    async def obey(
        self, changes: Iterable[Change], order: Order, owner: Callable[[Frontend], Key | None]
    ) -> Mapping[Key, str]:
        self.emulated.apply(changes)
        return {}

    def remove(self, changes: Iterable[Change]) -> None:
        self.emulated.apply(changes)

    def listed(self, frontends: Iterable[Frontend] | None = None) -> Mapping[Frontend, Listed]:
        if frontends is None:
            return self.emulated.listed()
        return self.emulated.listed_of(frontends)

    def facts(self) -> tuple[tuple[int, int, int], int]:
        return (1, 2, 1), 4096

    async def intact(self) -> bool:
        return True

    def connections(self) -> Mapping[tuple[PortName, Protocol, Backend], int] | None:
        return None

    def metrics(self) -> tuple[Metric, ...]:
        return ()

    async def close(self, *, cleanup: bool) -> None:
        pass
