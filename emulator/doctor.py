"""Pure: what a machine must offer for a cluster, and the exact command that mends each lack.

`evaluate` judges a Facts value; machine_facts.py gathers one. `up` judges the same facts, less
those that take long to gather, and says the same words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from podwire.errors import MachineError

OLDEST_KERNEL = (5, 12)  # mount_setattr makes the read-only view of the host's files
OLDEST_PYTHON = (3, 11)
OLDEST_KUBECTL = (1, 29)  # the first that can speak WebSocket (KEP-4006)

Status = Literal["ok", "lacking", "optional"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found out about a machine; None is "not looked at" or "this kernel has no such"."""

    system: str = "Linux"
    kernel: tuple[int, int] = (6, 1)
    python: tuple[int, int] = (3, 11)
    distribution: tuple[str, ...] = ()  # ID and ID_LIKE of /etc/os-release
    codename: str = ""  # VERSION_CODENAME of /etc/os-release
    user: int = 1000
    in_container: bool = False
    max_user_namespaces: int | None = None
    unprivileged_userns_clone: int | None = None
    apparmor_restrict_userns: int | None = None
    # Step of the trial -> "" for done, or the kernel's words. Steps not reached are absent.
    trial: Mapping[str, str] = field(default_factory=dict[str, str])
    tun: bool = True
    ip_vs: bool | None = None
    # Program -> whether it is on the PATH; empty: not looked at.
    programs: Mapping[str, bool] = field(default_factory=dict[str, bool])
    kubectl: tuple[int, int] | None = None
    libpcap: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked. *fix* is a command for a shell, or empty if there is none."""

    name: str
    status: Status
    detail: str
    fix: str = ""


def evaluate(facts: Facts, mode: str = "userspace") -> tuple[Finding, ...]:
    """Return the findings, in the order in which a user should mend them.

    What a mode of the proxy needs is lacking for *mode* alone, and optional for all others.
    """
    if facts.system != "Linux":
        return (
            Finding(
                "system",
                "lacking",
                f"this is {facts.system}; network namespaces are Linux",
                "use a Linux machine, virtual machine (lima, colima, WSL 2) or CI runner",
            ),
        )
    return (
        _version("kernel", facts.kernel, OLDEST_KERNEL, "upgrade the kernel to 5.12 or newer"),
        _version("python", facts.python, OLDEST_PYTHON, "uv python install 3.12"),
        *_namespaces(facts),
        *_links(facts),
        *_devices(facts),
        *_modes(facts, mode),
        *_programs(facts),
    )


def lacking(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings that keep a cluster from starting."""
    return tuple(finding for finding in findings if finding.status == "lacking")


def error_for(findings: Sequence[Finding]) -> MachineError | None:
    """Return the error (exit status 69) that says every lack and how to mend it, or None."""
    lines = [
        f"{finding.name}: {finding.detail}" + (f"\n  {finding.fix}" if finding.fix else "")
        for finding in lacking(findings)
    ]
    if not lines:
        return None
    return MachineError("\n".join(["this machine lacks what a cluster needs:", *lines]))


def _version(name: str, present: tuple[int, int], oldest: tuple[int, int], fix: str) -> Finding:
    shown = ".".join(map(str, present))
    if present >= oldest:
        return Finding(name, "ok", shown)
    needed = ".".join(map(str, oldest))
    return Finding(name, "lacking", f"{shown} is older than {needed}", fix)


def _namespaces(facts: Facts) -> tuple[Finding, ...]:
    trial = facts.trial.get("namespaces")
    if trial == "":
        how = "as root" if facts.user == 0 else "without root"
        return (Finding("namespaces", "ok", f"user, network, mount and process namespaces, {how}"),)
    if trial is None:
        return (Finding("namespaces", "lacking", "the trial did not run", "run as another user"),)
    # The trial is the judge; the switches only explain why it failed, the likeliest first.
    if facts.max_user_namespaces == 0:
        return (
            Finding(
                "namespaces",
                "lacking",
                "user namespaces are switched off (user.max_user_namespaces = 0)",
                "sudo sysctl -w user.max_user_namespaces=10000",
            ),
        )
    if facts.unprivileged_userns_clone == 0:
        return (
            Finding(
                "namespaces",
                "lacking",
                "user namespaces are kept for root (kernel.unprivileged_userns_clone = 0)",
                "sudo sysctl -w kernel.unprivileged_userns_clone=1",
            ),
        )
    if facts.apparmor_restrict_userns:
        return (
            Finding(
                "namespaces",
                "lacking",
                "AppArmor takes the rights away inside user namespaces"
                " (kernel.apparmor_restrict_unprivileged_userns = 1)",
                "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
            ),
        )
    if facts.in_container:
        return (
            Finding(
                "namespaces",
                "lacking",
                f"this container may not make namespaces ({trial})",
                "docker run --privileged ...   # or: --security-opt seccomp=unconfined"
                " --security-opt apparmor=unconfined --security-opt systempaths=unconfined",
            ),
        )
    fix = "" if facts.user == 0 else "sudo podwire up   # root needs no user namespace"
    return (Finding("namespaces", "lacking", f"the kernel refuses namespaces ({trial})", fix),)


_LINKS = {
    "proc": ("/proc inside a sandbox", ""),
    "veth": ("veth pairs", "veth"),
    "bridge": ("bridges", "bridge"),
    "vxlan": ("VXLAN devices", "vxlan"),
    "forwarding": ("ip_forward inside a sandbox", ""),
}


def _links(facts: Facts) -> tuple[Finding, ...]:
    findings = list[Finding]()
    for step, (words, module) in _LINKS.items():
        result = facts.trial.get(step)
        if result is None:
            continue
        if result == "":
            findings.append(Finding(step, "ok", words))
        elif module:
            fix = f"sudo modprobe {module}"
            if "debian" in facts.distribution or "ubuntu" in facts.distribution:
                fix += "   # cloud kernel without it: sudo apt-get install linux-image-amd64"
            findings.append(Finding(step, "lacking", f"no {words} ({result})", fix))
        else:
            fix = (
                "docker run --security-opt systempaths=unconfined ..."
                if facts.in_container
                else "sudo podwire up   # as root; or mount /proc and /proc/sys writable"
            )
            findings.append(Finding(step, "lacking", f"no {words} ({result})", fix))
    overlay = facts.trial.get("overlay")
    if overlay is not None:
        findings.append(
            Finding("overlay", "ok", "overlay file systems")
            if overlay == ""
            else Finding(
                "overlay",
                "optional",
                f"no overlay file systems ({overlay})",
                "sudo modprobe overlay",
            )
        )
    return tuple(findings)


def _devices(facts: Facts) -> tuple[Finding, ...]:
    if facts.tun:
        return (Finding("tun", "ok", "/dev/net/tun"),)
    return (Finding("tun", "optional", "no /dev/net/tun", "sudo modprobe tun"),)


_MODE_NEEDS = {
    "nftables": ("nft", "nftables", "nf_tables nft_nat nft_masq nft_fib_ipv4 nft_numgen"),
    "iptables": (
        "iptables",
        "iptables",
        "nft_compat xt_nat xt_MASQUERADE xt_statistic xt_addrtype xt_comment xt_mark",
    ),
}
"""Mode -> its program, the package of that, and the kernel's modules."""


def _modes(facts: Facts, chosen: str) -> tuple[Finding, ...]:
    """Return what each mode of the proxy would be like here."""
    if not facts.programs:
        return ()
    findings = [_userspace_mode(facts)]
    for mode, (program, package, modules) in _MODE_NEEDS.items():
        name = f"mode {mode}"
        lack: Status = "lacking" if mode == chosen else "optional"
        refused = facts.trial.get(mode, "")
        if not facts.programs.get(program):
            fix = _install(facts, {"": package}) or f"install {package}"
            detail = f"proxy mode {mode} needs the program {program}"
        elif refused:
            fix = f"sudo modprobe -a {modules}"
            detail = f"proxy mode {mode} needs rules that {program} cannot load here ({refused})"
        else:
            findings.append(Finding(name, "ok", f"proxy mode {mode}: {program}"))
            continue
        if mode == chosen:
            fix += "   # or another mode: podwire up --proxy-mode userspace"
        findings.append(Finding(name, lack, detail, fix))
    return (*findings, _ipvs_mode(facts, chosen))


def _userspace_mode(facts: Facts) -> Finding:
    name, refused = "mode userspace", facts.trial.get("transparent", "")
    if not refused:
        return Finding(name, "ok", "proxy mode userspace")
    return Finding(
        name,
        "optional",
        f"in proxy mode userspace endpoints see the node's address, not the client's ({refused})",
        "sudo modprobe nft_socket",
    )


def _ipvs_mode(facts: Facts, chosen: str) -> Finding:
    name = "mode ipvs"
    if facts.ip_vs and not facts.programs.get("nft"):
        fix = _install(facts, {"": "nftables"}) or "install nftables"
        detail = "proxy mode ipvs masquerades by the program nft"
        return Finding(name, "lacking" if chosen == "ipvs" else "optional", detail, fix)
    if facts.ip_vs is False:
        return Finding(
            name,
            "optional",
            "this kernel has no ip_vs: proxy mode ipvs is emulated, and relays in userspace",
            "sudo modprobe ip_vs",
        )
    return Finding(name, "ok", "proxy mode ipvs")


# Program -> (what for, package per distribution).
_PROGRAMS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "curl": ("requests in pods", {"": "curl"}),
    "dig": (
        "DNS questions in pods",
        {"debian": "dnsutils", "fedora": "bind-utils", "arch": "bind"},
    ),
    "tshark": ("reading captures", {"": "wireshark-cli", "debian": "tshark", "alpine": "tshark"}),
    "uv": ("a quick set-up", {}),
}

# A package manager per distribution family.
_INSTALL = {
    "debian": "sudo apt-get install -y",
    "ubuntu": "sudo apt-get install -y",
    "fedora": "sudo dnf install -y",
    "rhel": "sudo dnf install -y",
    "centos": "sudo dnf install -y",
    "arch": "sudo pacman -S --noconfirm",
    "alpine": "sudo apk add",
    "suse": "sudo zypper install -y",
    "opensuse": "sudo zypper install -y",
}


def _programs(facts: Facts) -> tuple[Finding, ...]:
    if not facts.programs:
        return ()
    findings = [_packet_filter(facts), _kubectl(facts), _capture_filter(facts)]
    for program, (purpose, packages) in _PROGRAMS.items():
        if facts.programs.get(program):
            findings.append(Finding(program, "ok", f"{program}: {purpose}"))
        else:
            fix = _install(facts, packages) or _ELSEWHERE.get(program, f"install {program}")
            findings.append(Finding(program, "optional", f"no {program} ({purpose})", fix))
    return tuple(findings)


_ELSEWHERE = {"uv": "pip install uv"}


def _kubectl(facts: Facts) -> Finding:
    if not facts.programs.get("kubectl"):
        return Finding("kubectl", "optional", "no kubectl (the usual client)", _kubectl_fix(facts))
    if facts.kubectl is not None and facts.kubectl < OLDEST_KUBECTL:
        detail = "kubectl {}.{} is older than {}.{}".format(*facts.kubectl, *OLDEST_KUBECTL)
        return Finding("kubectl", "optional", detail, _kubectl_fix(facts))
    return Finding("kubectl", "ok", "kubectl: the usual client")


def _kubectl_fix(facts: Facts) -> str:
    by_hand = "install kubectl 1.29 or later: https://kubernetes.io/docs/tasks/tools/"
    if facts.codename == "bookworm":
        # Its own package is 1.20; the script takes that of the next release.
        return f"sudo scripts/system-packages   # in a checkout of podwire; or {by_hand}"
    packages = {"debian": "kubernetes-client", "alpine": "kubectl", "arch": "kubectl"}
    return _install(facts, packages) or by_hand


def _capture_filter(facts: Facts) -> Finding:
    if facts.libpcap or facts.programs.get("tcpdump"):
        return Finding("libpcap", "ok", "libpcap or tcpdump: podwire capture -f")
    fix = _install(facts, {"": "tcpdump"}) or "install tcpdump or libpcap"
    return Finding("libpcap", "optional", "neither libpcap nor tcpdump (podwire capture -f)", fix)


def _packet_filter(facts: Facts) -> Finding:
    present = [name for name in ("nft", "iptables") if facts.programs.get(name)]
    if present:
        return Finding("packet filter", "ok", " and ".join(present))
    fix = _install(facts, {"": "nftables"}) or "install nftables"
    return Finding("packet filter", "lacking", "neither nft nor iptables", fix)


def _install(facts: Facts, packages: Mapping[str, str]) -> str:
    for family in facts.distribution:
        package = packages.get(family) or packages.get(_COUSINS.get(family, "")) or packages.get("")
        if family in _INSTALL and package:
            return f"{_INSTALL[family]} {package}"
    return ""


_COUSINS = {"ubuntu": "debian", "rhel": "fedora", "centos": "fedora"}
