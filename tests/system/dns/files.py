"""The vector files: those of this repository, or others of the same shape that the caller names."""

import json
import os
from pathlib import Path
from typing import Any

Json = dict[str, Any]

DATA = Path(__file__).resolve().parents[2] / "data" / "dns"


def vectors() -> Json:
    """Return the file that $PODWIRE_DNS_VECTORS names, or ours: one object in three files."""
    if named := os.environ.get("PODWIRE_DNS_VECTORS"):
        return read(Path(named))
    return {
        **read(DATA / "units.json"),
        **read(DATA / "sequences.json"),
        **read(DATA / "cases.json"),
    }


def hostile() -> Json:
    """Return the file that $PODWIRE_DNS_HOSTILE names, or ours."""
    return read(Path(os.environ.get("PODWIRE_DNS_HOSTILE") or DATA / "hostile.json"))


def read(path: Path) -> Json:
    found: Json = json.loads(path.read_text())
    return found
