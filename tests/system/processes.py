"""The processes of a cluster as the host sees them, and what a cluster could leave behind."""

import json
import os
import select
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True)
class Process:
    """A process that was there; *namespaces* maps net, pid, mnt... to the kernel's name of each."""

    pid: int
    parent: int
    name: str
    inner_pid: int
    namespaces: dict[str, str]
    fd: int

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


def of_cluster(cluster: str) -> list[Process]:
    """Return every process of *cluster*.

    Those started by `--name CLUSTER`, what they started, and all that is in a namespace of theirs:
    when these have ended, nothing holds the namespaces any more.
    """
    everything = _all()
    ours = set(_namespaces(os.getpid()).values())
    within = {pid: set(_namespaces(pid).values()) - ours for pid in everything}
    wanted = {pid for pid in everything if _names(pid, cluster)}
    while True:
        theirs = set[str]().union(*(within[pid] for pid in wanted))
        more = {
            pid for pid, parent in everything.items() if parent in wanted or within[pid] & theirs
        }
        if more <= wanted:
            break
        wanted |= more
    found = [_process(pid, everything[pid]) for pid in sorted(wanted)]
    return [process for process in found if process is not None]


def named(processes: Iterable[Process], name: str) -> Process:
    """Return the one process of that name."""
    found = [process for process in processes if process.name == name]
    assert len(found) == 1, f"not one process {name}: {', '.join(map(str, processes))}"
    return found[0]


def first_process(processes: Iterable[Process], network: str) -> Process:
    """Return the first process of the container in the network namespace *network* ("net:[N]")."""
    found = [p for p in processes if p.namespaces["net"] == network and p.inner_pid == 1]
    assert len(found) == 1, f"not one first process in {network}: {', '.join(map(str, found))}"
    return found[0]


def wait_for_end(processes: Iterable[Process], limit: float = 10.0) -> None:
    """Return when all of them have ended; fails with the names of those that have not."""
    left = {process.fd: process for process in processes}
    poll = select.poll()
    for fd in left:
        poll.register(fd, select.POLLIN)
    deadline = time.monotonic() + limit
    while left:
        ended = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        assert ended, f"still there after {limit:g} s: {', '.join(map(str, left.values()))}"
        for fd, _event in ended:
            poll.unregister(fd)
            left.pop(fd)


def close(processes: Iterable[Process]) -> None:
    """Let go of the descriptors."""
    for process in processes:
        os.close(process.fd)


def leftovers(cluster: str) -> list[str]:
    """Return what is left of a cluster that has ended: nothing, if all is well."""
    left = [f"process {process}" for process in of_cluster(cluster)]
    suffix = f"/{cluster}"
    for line in Path("/proc/net/unix").read_text(encoding="utf-8").splitlines()[1:]:
        if line.split()[-1].startswith("@podwire/") and line.endswith(suffix):
            left.append(f"abstract socket {line.split()[-1]}")
    for line in _mounts():
        if "podwire" in line.split(" - ")[-1] or "/run/netns/node-" in line:
            left.append(f"mount {line}")
    return left


def host_state() -> dict[str, Any]:
    """Return what the host's network is made of: interfaces, addresses, routes, rules, switches."""
    state: dict[str, Any] = {
        what: json.loads(_printed("ip", "-json", *what.split()) or "[]", object_hook=_lasting)
        for what in (
            "link",
            "address",
            "route show table all",
            "rule",
            "neighbour show nud permanent",
        )
    }
    if os.getuid() == 0:  # others may not ask
        state["nft"] = _printed("nft", "list", "ruleset")
    state["sysctl"] = _switches(Path("/proc/sys/net"))
    state["mounts"] = sorted(_mounts())
    return state


def _lasting(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what ip(8) shows without what counts down by itself (DHCP, router advertisements)."""
    passing = ("valid_life_time", "preferred_life_time", "expires", "used", "confirmed", "updated")
    return {key: value for key, value in fields.items() if key not in passing}


def _mounts() -> list[str]:
    # Without the leading ids, which tell nothing, and without those of an engine of tests that run
    # at the same time: of the machine's own engine, or of one that they started.
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    engines = ("/podwire-engine-", "/var/lib/docker/", "/run/docker/")
    return [line.split(" ", 2)[2] for line in lines if not any(e in line for e in engines)]


def _switches(root: Path) -> dict[str, str]:
    """Return every setting below *root*; a count of what happens right now is no setting."""
    found = dict[str, str]()
    for path in sorted(root.rglob("*")):
        if path.is_dir() or path.name in ("nf_conntrack_count", "tcp_mem", "udp_mem"):
            continue
        try:
            found[str(path)] = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # to be written only, or not for us
    return found


def _printed(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": PATH}
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def _all() -> dict[int, int]:
    """Return pid -> parent's pid of every process."""
    found = dict[int, int]()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            fields = _status(int(folder.name))
            if fields and not fields["State"].startswith("Z"):
                found[int(folder.name)] = int(fields["PPid"])
    return found


def _status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _names(pid: int, cluster: str) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return False
    return any(pair == ("--name", cluster) for pair in pairwise(words))


def _namespaces(pid: int) -> dict[str, str]:
    found = dict[str, str]()
    for kind in ("net", "pid", "mnt", "uts", "ipc", "user"):
        try:
            found[kind] = str(Path(f"/proc/{pid}/ns/{kind}").readlink())
        except OSError:
            return {}
    return found


def _process(pid: int, parent: int) -> Process | None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    fields, namespaces = _status(pid), _namespaces(pid)
    if not fields or not namespaces:
        os.close(fd)
        return None
    return Process(pid, parent, fields["Name"], int(fields["NSpid"].split()[-1]), namespaces, fd)
