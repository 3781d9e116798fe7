"""What the user gets in the project's folder: the kubeconfig, and a folder for captures.

The folder is the host's and its owner some user of the host, while we are root: files get that
owner. Without the folder the cluster is as good, only harder to reach.
"""

import os
from pathlib import Path
from typing import Any

import yaml

from podwire.errors import MachineError

CAPTURES = "pcaps"
KUBECONFIG = "kubeconfig"


def write(folder: Path, document: dict[str, Any]) -> Path:
    """Write *document* as the kubeconfig of *folder*, make the folder for captures.

    Returns the kubeconfig's path. Raises MachineError that says what to do.
    """
    target = folder / KUBECONFIG
    try:
        owner = folder.stat()
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder} is no folder")
        if not _is_ours(target):
            raise FileExistsError(f"{target} is not one of podwire's: move it away")
        _replace(target, yaml.safe_dump(document, sort_keys=False), owner)
        captures = folder / CAPTURES
        captures.mkdir(exist_ok=True)
        _give(captures, owner)
    except OSError as error:
        raise MachineError(
            f"no kubeconfig for the host: {error}\n"
            f"  let `api` mount a folder that can be written (volumes: ['.:{folder}']), then: "
            "docker compose up -d api; meanwhile: docker compose exec api podwire kubeconfig"
        ) from error
    return target


def _is_ours(path: Path) -> bool:
    """Tell whether *path* is missing, or a kubeconfig of ours and nobody else's."""
    if not path.exists():
        return True
    try:
        held: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        names = [str(item["name"]) for item in held["contexts"]]
    except (ValueError, KeyError, TypeError, yaml.YAMLError):
        return path.stat().st_size == 0
    return bool(names) and all(name.startswith("podwire-") for name in names)


def _replace(target: Path, text: str, owner: os.stat_result) -> None:
    draft = target.with_name(f".{target.name}.new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        _give(draft, owner)
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _give(path: Path, owner: os.stat_result) -> None:
    there = path.stat()
    if (there.st_uid, there.st_gid) != (owner.st_uid, owner.st_gid):
        os.chown(path, owner.st_uid, owner.st_gid)
