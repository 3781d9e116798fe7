"""Captures that cannot begin say why."""

from pathlib import Path

import pytest

from podwire.emulator.apiserver.agent import AgentError
from podwire.emulator.kubelet import recorder
from podwire.emulator.kubelet.recorder import CaptureAgent, Running


class Silent:
    """An agent that runs and never listens, as on a machine with too much to do."""

    running = True


async def silent(_path: Path) -> Running:
    return Silent()


async def test_an_agent_that_is_too_slow_is_said_to_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(recorder, "PATIENCE", 0.05)
    with pytest.raises(AgentError, match=r"it did not begin within 0\.05 s"):
        await CaptureAgent(silent, tmp_path / "socket").capture([], 64, [])
