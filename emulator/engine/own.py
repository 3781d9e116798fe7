"""Which container we run in ourselves, as the engine describes it."""

import re
from pathlib import Path
from typing import Any

from podwire.emulator.engine.client import Engine, EngineError
from podwire.errors import MachineError

# The engine mounts files of its own over these in every container, and their sources hold its id
# (proc_pid_mountinfo(5): the fourth field is the source within its file system, the fifth where).
_ID = re.compile(
    r"^(?:\S+ ){3}\S*/containers/([0-9a-f]{64})/\S+ /etc/(?:hostname|hosts|resolv\.conf) ",
    re.MULTILINE,
)
_MOUNTS = Path("/proc/self/mountinfo")
_HOSTNAME = Path("/etc/hostname")


async def own_container(
    engine: Engine, mounts: Path = _MOUNTS, hostname: Path = _HOSTNAME
) -> dict[str, Any]:
    """Return the inspection of the container we run in; raises MachineError outside of one."""
    for candidate in _candidates(mounts, hostname):
        try:
            found: dict[str, Any] = await engine.get(f"/containers/{candidate}/json")
        except EngineError as error:
            if error.status != 404:
                raise
        else:
            return found
    raise MachineError(
        f"this process runs in no container of {engine.socket}; it is a part of the cluster "
        "that `docker compose up` starts"
    )


def _candidates(mounts: Path, hostname: Path) -> list[str]:
    """Return ids and names that may be ours, the surest first."""
    found = list(dict.fromkeys(_ID.findall(mounts.read_text()))) if mounts.exists() else []
    # Unless somebody gave it another one, a container's host name is the start of its id.
    return [*found, *(hostname.read_text().split()[:1] if hostname.exists() else [])]
