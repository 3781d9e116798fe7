"""A cluster for each test that asks for one: see world.py."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from podwire.kube.objects import Object
from tests.unit.emulator.controllers.world import Cluster, World, started_cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    def start(
        *, lag: float = 0.0, late: type[Object] | None = None
    ) -> AbstractAsyncContextManager[World]:
        return started_cluster(tmp_path / "api.sock", lag, late)

    return start
