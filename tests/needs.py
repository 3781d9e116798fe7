"""What a test needs of the machine: without it, it is skipped with the reason, or fails in CI."""

import os
import shutil
from pathlib import Path

import pytest

CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21  # linux/capability.h
SEARCH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def need(*programs: str) -> None:
    """Go on only if the machine has all *programs*."""
    missing = [program for program in programs if not shutil.which(program, path=SEARCH)]
    if missing:
        lack(f"this machine lacks {', '.join(missing)}; see scripts/system-packages")


def need_admin() -> None:
    """Go on only with what root may: enter a network namespace, borrow an address, filter a socket.

    Inside the sandbox everybody may; there the system tests do the same as any user.
    """
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    if not all(effective >> number & 1 for number in (CAP_NET_ADMIN, CAP_SYS_ADMIN)):
        lack("this takes CAP_NET_ADMIN and CAP_SYS_ADMIN, as root has them")


def lack(reason: str) -> None:
    """Skip the test with *reason*; with CI set nobody would see that, so it fails."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
