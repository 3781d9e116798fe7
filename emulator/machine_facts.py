"""Finds out what doctor.evaluate judges: reads files, looks for programs, runs the trial."""

import os
import platform
import shutil
import sys
from pathlib import Path

from podwire.emulator.doctor import Facts
from podwire.emulator.trial import run_trial

PROGRAMS = ("nft", "iptables", "kubectl", "curl", "dig", "tshark", "uv")


def gather_fast() -> Facts:
    """Return the facts that decide whether a cluster can start; takes about 10 ms."""
    if sys.platform != "linux":
        return Facts(system=platform.system())
    return _gather(_on_path(PROGRAMS[:2]), trial=run_trial(thorough=False))


def gather() -> Facts:
    """Return all facts."""
    if sys.platform != "linux":
        return Facts(system=platform.system())
    return _gather(_on_path(PROGRAMS), trial=run_trial(thorough=True))


def _on_path(names: tuple[str, ...]) -> dict[str, bool]:
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"  # where nft is, for users too
    return {name: shutil.which(name, path=path) is not None for name in names}


def _gather(programs: dict[str, bool], *, trial: dict[str, str]) -> Facts:
    return Facts(
        system="Linux",
        kernel=_kernel(os.uname().release),
        python=(sys.version_info.major, sys.version_info.minor),
        distribution=_distribution(_read("/etc/os-release")),
        user=os.geteuid(),
        in_container=_in_container(),
        max_user_namespaces=_number("/proc/sys/user/max_user_namespaces"),
        unprivileged_userns_clone=_number("/proc/sys/kernel/unprivileged_userns_clone"),
        apparmor_restrict_userns=_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        trial=trial,
        tun=Path("/dev/net/tun").exists(),
        programs=programs,
    )


def _kernel(release: str) -> tuple[int, int]:
    """Return (6, 1) of "6.1.0-18-amd64"."""
    major, minor, *_ = [*release.split("-")[0].split("."), "0", "0"]
    digits = "".join(character for character in minor if character.isdigit())
    return int(major), int(digits or 0)


def _distribution(os_release: str) -> tuple[str, ...]:
    """Return the distribution and those that it is like, in os-release's words."""
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    return tuple(
        word for key in ("ID", "ID_LIKE") for word in fields.get(key, "").strip("\"'").split()
    )


def _in_container() -> bool:
    return (
        Path("/.dockerenv").exists()
        or Path("/run/.containerenv").exists()
        or "container" in os.environ
        or "KUBERNETES_SERVICE_HOST" in os.environ
    )


def _number(path: str) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdigit() else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
