"""Finds out what doctor.evaluate judges: reads files, looks for programs, runs the trial."""

import json
import os
import platform
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from podwire.emulator.doctor import Facts
from podwire.emulator.trial import RULES, SBIN, run_trial

PROGRAMS = ("nft", "iptables", "kubectl", "tcpdump", "curl", "dig", "tshark", "uv")


def gather_fast(mode: str = "userspace") -> Facts:
    """Return the facts that decide whether a cluster can start whose proxy is in *mode*.

    It takes about 10 ms, and what *mode* asks of nft or iptables as long again.
    """
    if sys.platform != "linux":
        return Facts(system=platform.system())
    rules = [mode] if mode in RULES else []
    return _gather(_on_path(PROGRAMS[:2]), trial=run_trial(thorough=False, rules=rules))


def gather() -> Facts:
    """Return all facts."""
    if sys.platform != "linux":
        return Facts(system=platform.system())
    facts = _gather(_on_path(PROGRAMS), trial=run_trial(thorough=True, rules=RULES))
    return replace(facts, kubectl=_kubectl(), libpcap=_has_libpcap())


def _on_path(names: tuple[str, ...]) -> dict[str, bool]:
    path = f"{os.environ.get('PATH', os.defpath)}:{SBIN}"
    return {name: shutil.which(name, path=path) is not None for name in names}


def _kubectl() -> tuple[int, int] | None:
    """Return the version of the kubectl on the PATH; None if it does not say."""
    import subprocess  # noqa: PLC0415 - not for `up`, which should start light

    command = ["kubectl", "version", "--client", "-o", "json"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return kubectl_version(done.stdout)


def kubectl_version(said: bytes) -> tuple[int, int] | None:
    """Return (1, 32) of what `kubectl version --client -o json` prints; None if that is not it."""
    try:
        version = str(json.loads(said)["clientVersion"]["gitVersion"])
    except (ValueError, LookupError, TypeError):
        return None
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else None


def _has_libpcap() -> bool:
    import ctypes.util  # noqa: PLC0415 - not for `up`: it loads subprocess

    # By name first: find_library starts a compiler or ldconfig to look around.
    for name in ("libpcap.so.1", "libpcap.so.0.8"):
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return ctypes.util.find_library("pcap") is not None


def _gather(programs: dict[str, bool], *, trial: dict[str, str]) -> Facts:
    release = _read("/etc/os-release")
    return Facts(
        system="Linux",
        kernel=_kernel(os.uname().release),
        python=(sys.version_info.major, sys.version_info.minor),
        distribution=_distribution(release),
        codename=_field(release, "VERSION_CODENAME"),
        user=os.geteuid(),
        in_container=_in_container(),
        max_user_namespaces=_number("/proc/sys/user/max_user_namespaces"),
        unprivileged_userns_clone=_number("/proc/sys/kernel/unprivileged_userns_clone"),
        apparmor_restrict_userns=_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        trial=trial,
        tun=Path("/dev/net/tun").exists(),
        ip_vs=Path("/sys/module/ip_vs").exists() or Path("/proc/net/ip_vs").exists(),
        programs=programs,
    )


def _kernel(release: str) -> tuple[int, int]:
    """Return (6, 1) of "6.1.0-18-amd64"."""
    major, minor, *_ = [*release.split("-")[0].split("."), "0", "0"]
    digits = "".join(character for character in minor if character.isdigit())
    return int(major), int(digits or 0)


def _distribution(os_release: str) -> tuple[str, ...]:
    """Return the distribution and those that it is like, in os-release's words."""
    return tuple(word for key in ("ID", "ID_LIKE") for word in _field(os_release, key).split())


def _field(os_release: str, key: str) -> str:
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    return fields.get(key, "").strip("\"'")


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
