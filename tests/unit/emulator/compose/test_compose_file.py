"""docker-compose.yml: what its health checks have in common, which is what `up --wait` waits for."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[4]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(
    (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
)["services"]
CHECKS = {name: one["healthcheck"] for name, one in SERVICES.items() if "healthcheck" in one}


def test_whoever_serves_says_when() -> None:
    silent = {"duo", "capture", "tools"}  # they only hold a place, or lend
    assert SERVICES.keys() - CHECKS.keys() == silent


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_waits_so_that_one_does_for_a_start(name: str) -> None:
    """Each is an exec of the engine, 50 ms of CPU time; repeated ones were a quarter of the start."""
    form, command = CHECKS[name]["test"]
    assert (form, command.split()[0], command.split()[-1]) == ("CMD-SHELL", "until", "done")


def test_only_client_waits_for_health_and_for_one_alone() -> None:
    """Compose looks every half second, and tells of a failure only when it has waited for all."""
    waits = [
        (name, other)
        for name, one in SERVICES.items()
        for other, how in one.get("depends_on", {}).items()
        if how["condition"] == "service_healthy"
    ]
    assert waits == [("client", "api")]
