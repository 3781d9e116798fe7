"""The files that a Corefile imports."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path


def read_import(pattern: str, importer: str) -> Sequence[tuple[str, str]]:
    """Return what an ``import`` of *pattern* in the file *importer* takes in: names and texts.

    Relative to the importing file. Raises OSError, and ValueError for a pattern with more than one
    wildcard, as Caddy has it.
    """
    path = Path(importer).parent / pattern
    if not glob.has_magic(pattern):
        return [(str(path), path.read_text())]
    if max(pattern.count("*"), pattern.count("?")) > 1 or "[" in pattern:
        raise ValueError("Glob pattern may only contain one wildcard (*), but has others")
    whole = path.absolute()
    # Folders may have the wildcard too; Path.glob wants to know where to begin.
    found = sorted(Path(whole.anchor).glob(str(whole.relative_to(whole.anchor))))
    return [(str(one), one.read_text()) for one in found]
