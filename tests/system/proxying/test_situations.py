"""Every row of the table of truth, in every mode, from every client that it concerns, on the wire."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from podwire.testing.launch import launch
from tests.needs import need
from tests.system.proxying.situation import CLIENTS, MODES, Situation
from tests.system.proxying.situations import SITUATIONS
from tests.system.proxying.world import World, config_file

PROGRAMS = {"nftables": ("nft",), "iptables": ("iptables-restore",)}

CHECKS = [
    pytest.param(mode, situation, client, id=f"{mode}-{situation.name}-{client}")
    for mode in MODES
    for situation in SITUATIONS
    for client in CLIENTS
    if situation.answer(client, mode)
]


class Worlds:
    """One world per mode, made when it is first asked for; one that failed is not tried again."""

    def __init__(self, make_folder: Callable[[str], Path]) -> None:
        self._make_folder = make_folder
        self._made: dict[str, World | Exception] = {}
        self._ends: list[Callable[[], None]] = []

    def of(self, mode: str) -> World:
        """Return the world in which *mode* has been asked everything."""
        need("python3", *PROGRAMS.get(mode, ()))
        if mode not in self._made:
            try:
                self._made[mode] = self._make(mode)
            except Exception as error:  # noqa: BLE001 - it is raised again for every situation
                self._made[mode] = error
        made = self._made[mode]
        if isinstance(made, Exception):
            raise made
        return made

    def end(self) -> None:
        """End all clusters."""
        for end in self._ends:
            end()

    def _make(self, mode: str) -> World:
        folder = self._make_folder(mode)
        launched = launch(f"{mode}-{os.getpid()}", folder, config=config_file(folder, mode))
        self._ends.append(launched.end)
        world = World(launched.cluster, mode)
        asyncio.run(_play(world))
        return world


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    made = Worlds(tmp_path_factory.mktemp)
    yield made
    made.end()


async def _play(world: World) -> None:
    await world.fill()
    await world.ask()


@pytest.mark.parametrize(("mode", "situation", "client"), CHECKS)
def test_situation(worlds: Worlds, mode: str, situation: Situation, client: str) -> None:
    world = worlds.of(mode)
    wrong = world.judge(situation, client)
    assert not wrong, f"{situation.answer(client, mode)} was expected, but {client} {wrong}"


def test_the_table_is_large_enough() -> None:
    assert len(SITUATIONS) >= 60
    assert len(CHECKS) >= 400
