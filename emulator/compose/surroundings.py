"""Where `api` stands: its project, its image, and where the engine finds the folders it mounts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podwire.emulator.compose.settings import Settings
from podwire.emulator.engine.client import Engine
from podwire.emulator.engine.own import own_container
from podwire.errors import MachineError

Json = Mapping[str, Any]

_PROJECT = "com.docker.compose.project"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What our own container tells of the cluster that we are to serve."""

    project: str
    # What pause containers are made of.
    image: str
    # Where the engine's machine has the folder of the pods' files.
    pod_files: str
    addresses: tuple[str, ...] = ()


async def look_around(engine: Engine, settings: Settings) -> Surroundings:
    """Return where we are; raises MachineError that says what the compose file lacks.

    With a project in *settings* we need not be a container, and see what the engine's machine sees.
    """
    if settings.project:
        return Surroundings(settings.project, settings.image, str(settings.pod_files))
    return read(await own_container(engine), settings.pod_files)


def read(inspected: Json, pod_files: Path) -> Surroundings:
    """Return what the inspection of our own container tells; raises MachineError."""
    labels: Mapping[str, str] = inspected["Config"].get("Labels") or {}
    project = labels.get(_PROJECT, "")
    if not project:
        raise MachineError(
            "this container belongs to no project of Docker Compose\n"
            "  start it with: docker compose up; or name what it should serve: PODWIRE_PROJECT"
        )
    networks: Mapping[str, Json] = inspected["NetworkSettings"].get("Networks") or {}
    return Surroundings(
        project,
        str(inspected["Image"]),
        _source(inspected.get("Mounts") or (), pod_files),
        tuple(str(one["IPAddress"]) for one in networks.values() if one.get("IPAddress")),
    )


def _source(mounts: Iterable[Json], folder: Path) -> str:
    """Return where the engine's machine has what is mounted at *folder* or above it."""
    found = [
        mount
        for mount in mounts
        if mount.get("Source") and folder.is_relative_to(str(mount["Destination"]))
    ]
    if not found:
        raise MachineError(
            f"nothing is mounted at {folder}, so pods could not get their files\n"
            f"  give `api` a volume there (volumes: ['pods:{folder}'])"
        )
    nearest = max(found, key=lambda mount: len(str(mount["Destination"])))
    rest = folder.relative_to(str(nearest["Destination"]))
    return str(Path(str(nearest["Source"])) / rest)
