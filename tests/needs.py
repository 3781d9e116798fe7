"""What a test needs of the machine: without it, it is skipped with the reason, or fails in CI."""

import os
import shutil

import pytest

SEARCH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def need(*programs: str) -> None:
    """Go on only if the machine has all *programs*."""
    missing = [program for program in programs if not shutil.which(program, path=SEARCH)]
    if missing:
        lack(f"this machine lacks {', '.join(missing)}; see scripts/system-packages")


def lack(reason: str) -> None:
    """Skip the test with *reason*; with CI set nobody would see that, so it fails."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
