"""A real trial: a child makes the namespaces and links of a sandbox, says how it went, and is gone.

The child's end removes all that it made. Nothing of the host is touched. The keeper of a cluster
enters its namespaces by the same function, so what the trial says of them holds.
"""

import json
import os
import shutil
import socket
import struct
from collections.abc import Callable, Collection
from pathlib import Path

from podwire import linux

SBIN = "/usr/sbin:/sbin"
"""Where nft and iptables are, which is not on the PATH of every user."""

# What a mode of the proxy asks of the packet filter, in little.
_RULES = {
    "nftables": """table ip trial {
        map services { type inet_proto . ipv4_addr . inet_service : verdict; }
        chain service { numgen random mod 2 vmap { 0 : accept, 1 : accept }; }
        chain prerouting {
            type nat hook prerouting priority -100
            ip protocol . ip daddr . th dport vmap @services
            fib daddr type local meta l4proto tcp dnat to 192.0.2.1:80
        }
        chain postrouting { type nat hook postrouting priority 100; masquerade fully-random; }
    }""",
    "iptables": """*nat
:TRIAL - [0:0]
-A PREROUTING -m comment --comment "trial" -m addrtype --dst-type LOCAL -j TRIAL
-A TRIAL -m statistic --mode random --probability 0.5 -j MARK --or-mark 0x4000
-A TRIAL -p tcp -m tcp -j DNAT --to-destination 192.0.2.1:80
-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE
COMMIT
""",
    "transparent": """table inet trial {
        chain prerouting {
            type filter hook prerouting priority mangle
            meta l4proto tcp socket transparent 1 meta mark set 1
        }
    }""",
}
_COMMANDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "nftables": (("nft", "-f", "-"),),
    # Any of them will do, the best first (podwire.proxy.iptables.programs).
    "iptables": tuple(
        (f"{name}-restore", "--noflush") for name in ("iptables-nft", "iptables", "iptables-legacy")
    ),
    "transparent": (("nft", "-f", "-"),),
}
RULES = tuple(_RULES)
"""The steps that load rules: what the modes nftables and iptables need, and kept sources."""

_ALL_BUT_USER = (
    linux.CLONE_NEWNS
    | linux.CLONE_NEWUTS
    | linux.CLONE_NEWIPC
    | linux.CLONE_NEWPID
    | linux.CLONE_NEWNET
)


def enter_namespaces() -> None:
    """Move this process into namespaces of its own, as root there; raises OSError.

    Root of the machine needs no user namespace; everybody else, and root without CAP_SYS_ADMIN,
    becomes root in a new one, where only that one user exists.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        try:
            linux.unshare(_ALL_BUT_USER)
        except PermissionError:
            pass
        else:
            return
    linux.unshare(_ALL_BUT_USER | linux.CLONE_NEWUSER)
    for name, text in (
        ("uid_map", f"0 {uid} 1"),
        # An unprivileged user may map groups only when nobody can drop them (user_namespaces(7)).
        ("setgroups", "deny"),
        ("gid_map", f"0 {gid} 1"),
    ):
        Path("/proc/self", name).write_text(text)


def run_trial(*, thorough: bool, rules: Collection[str] = ()) -> dict[str, str]:
    """Return step -> "" for done, or the kernel's words; steps after a failed first one are absent.

    Forks, so call it before any thread starts. *thorough* adds the optional steps, *rules* those of
    RULES that it names; one whose program is not installed is absent.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        _child(write_end, thorough=thorough, rules=rules)
    os.close(write_end)
    with open(read_end, "rb") as pipe:  # noqa: PTH123 - a descriptor
        answer = pipe.read()
    os.waitpid(child, 0)
    results: dict[str, str] = json.loads(answer) if answer else {}
    return results


def _child(write_end: int, *, thorough: bool, rules: Collection[str]) -> None:
    """Run in the child; never return."""
    try:
        results = {"namespaces": _tried(enter_namespaces)}
        if results["namespaces"] == "":
            grandchild = os.fork()  # the first process of the new process namespace
            if grandchild == 0:
                results |= _steps(thorough=thorough, rules=rules)
                os.write(write_end, json.dumps(results).encode())
                os._exit(0)
            os.waitpid(grandchild, 0)
        else:
            os.write(write_end, json.dumps(results).encode())
    finally:
        os._exit(0)


def _steps(*, thorough: bool, rules: Collection[str]) -> dict[str, str]:
    # /proc first: ip_forward is written through the new one, where the host's may be read-only.
    results = {
        "proc": _tried(_mount_proc),
        "veth": _tried(lambda: _add_link("trial0", "veth")),
        "bridge": _tried(lambda: _add_link("trial1", "bridge")),
        "vxlan": _tried(lambda: _add_link("trial2", "vxlan", _attribute(1, struct.pack("=I", 1)))),
        "forwarding": _tried(_forward),
    }
    if thorough:
        results["overlay"] = _tried(_mount_overlay)
    for step in rules:
        said = _loaded(step)
        if said is not None:
            results[step] = said
    return results


def _loaded(step: str) -> str | None:
    """Load the rules of *step*; return "", the words of who refused, or None without a program."""
    said: str | None = None
    for argv in _COMMANDS[step]:
        program = shutil.which(argv[0], path=f"{os.environ.get('PATH', os.defpath)}:{SBIN}")
        if program is None:
            continue
        said = _fed((program, *argv[1:]), _RULES[step])
        if not said:
            break
    return said


def _fed(argv: tuple[str, ...], script: str) -> str:
    """Run *argv* with *script*; return "" or the first line that it says when it fails."""
    # Not subprocess: `up` starts light, and this process has one thread.
    with (
        os.fdopen(os.memfd_create("script"), "w+b") as stdin,
        os.fdopen(os.memfd_create("said"), "w+b") as output,
    ):
        stdin.write(script.encode())
        stdin.seek(0)
        child = os.fork()
        if child == 0:
            try:
                for number, file in enumerate((stdin, output, output)):
                    os.dup2(file.fileno(), number)
                os.execv(argv[0], argv)
            finally:
                os._exit(127)
        _, status = os.waitpid(child, 0)
        if status == 0:
            return ""
        output.seek(0)
        lines = output.read().decode(errors="replace").strip().splitlines()
    return lines[0] if lines else f"{argv[0]} ended with {os.waitstatus_to_exitcode(status)}"


def _mount_proc() -> None:
    linux.mount("none", "/", "", linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)


def _forward() -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _mount_overlay() -> None:
    linux.mount("tmpfs", "/tmp", "tmpfs", linux.MS_NOSUID)
    for name in ("lower", "upper", "work", "merged"):
        Path("/tmp", name).mkdir()
    options = "lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work"
    linux.mount("overlay", "/tmp/merged", "overlay", 0, options)


def _add_link(name: str, kind: str, data: bytes = b"") -> None:
    """Create a link by rtnetlink(7): RTM_NEWLINK with IFLA_IFNAME and IFLA_LINKINFO."""
    info = _attribute(1, kind.encode()) + (_attribute(2, data) if data else b"")
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0)
    body += _attribute(3, name.encode() + b"\0") + _attribute(18, info)
    # RTM_NEWLINK; NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
    message = struct.pack("=IHHII", 16 + len(body), 16, 0x605, 1, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.send(message)
        (code,) = struct.unpack_from("=i", netlink.recv(4096), 16)
    if code:
        raise OSError(-code, os.strerror(-code))


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + b"\0" * (-length % 4)


def _tried(step: Callable[[], None]) -> str:
    try:
        step()
    except OSError as error:
        return error.strerror or str(error)
    return ""
