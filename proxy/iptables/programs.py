"""Runs the iptables programs; finds out which variant works here (nf_tables or legacy)."""

import os
import re
import shlex
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podwire.errors import MachineError, PodwireError
from podwire.netlink.namespace import OWN
from podwire.proxy import scripts
from podwire.proxy.iptables.ground import TABLES

LOCK = Path("/run/xtables.lock")
VARIANTS = ("iptables-nft", "iptables", "iptables-legacy")
"""The programs' names, the best first; plain iptables is either variant."""

_PROBE = "*{0}\n:KUBE-PROXY-CANARY - [0:0]\nCOMMIT\n"
_SCTP_PROBE = _PROBE.format("filter").replace(
    "COMMIT", "-A KUBE-PROXY-CANARY -m sctp -p sctp --dport 9899 -j RETURN\nCOMMIT"
)
_WAIT = ("-w", "5")

PRIVILEGED, ORDINARY = 6_000_000, 212_000
"""Bytes of a transaction of nf_tables: about 200 Services with ten endpoints each; and the send
buffer that a socket has without CAP_NET_ADMIN on the machine (net.core.wmem_default)."""

TOO_LONG = "Message too long"
"""What the nf_tables variant says of a transaction that does not fit into the send buffer."""

_SO_SNDBUFFORCE = 32


class CommandFailed(PodwireError):
    """An iptables program refused; the message is in its own words."""


class CannotStart(CommandFailed):
    """A program could not be started, for want of files for instance: nothing is known."""


@dataclass(frozen=True, slots=True)
class Programs:
    """One variant of iptables: *name* is the program's, *version* what it says of itself."""

    name: str
    version: str

    @property
    def variant(self) -> str:
        """Return "nf_tables" or "legacy"; releases before 1.8 know legacy only."""
        return "nf_tables" if "nf_tables" in self.version else "legacy"

    @property
    def limit(self) -> int:
        """Return how many bytes a transaction may have.

        nf_tables slows down with their number and takes them in one message, which for users who
        are not root is short. The legacy kind replaces all of a table each time.
        """
        if self.variant == "legacy":
            return 1 << 40
        return PRIVILEGED if _may_send_much() else ORDINARY

    @property
    def random_fully(self) -> bool:
        """Return whether MASQUERADE has --random-fully (iptables 1.6.2)."""
        found = re.search(r"v(\d+)\.(\d+)\.(\d+)", self.version)
        return found is not None and tuple(map(int, found.groups())) >= (1, 6, 2)

    async def save(self) -> str:
        """Return the tables of kube-proxy as text."""
        if self.variant != "legacy":
            return await run([f"{self.name}-save"])
        # Without a table's name the legacy kind reads a list that only the machine's root may read.
        texts = [await run([f"{self.name}-save", "-t", table]) for table in TABLES]
        return "".join(texts)

    async def restore(self, script: str) -> None:
        """Obey *script* without touching what it does not name; raises CommandFailed."""
        try:
            await run([f"{self.name}-restore", *_WAIT, "--noflush", "--counters"], script)
        except CommandFailed as error:
            raise CommandFailed(explained(str(error), script)) from error

    async def has_chain(self, table: str, chain: str) -> bool:
        """Return whether *chain* is there; raises CannotStart."""
        return await self._succeeds(table, "-S", chain)

    async def has_rule(self, table: str, chain: str, rule: str) -> bool:
        """Return whether *rule* is in *chain*; raises CannotStart."""
        return await self._succeeds(table, "-C", chain, *shlex.split(rule))

    async def knows_sctp(self) -> bool:
        """Return whether rules for SCTP can be programmed here; raises CommandFailed.

        A kernel that lacks the match would obey nothing of a script that has one of them.
        """
        known = True
        try:
            await self.restore(_SCTP_PROBE)
        except CommandFailed:
            known = False
        # Empties the chain; and where this fails too, it was not for SCTP: nothing is known.
        await self.restore(_PROBE.format("filter"))
        return known

    async def _succeeds(self, table: str, *arguments: str) -> bool:
        try:
            await run([self.name, *_WAIT, "-t", table, *arguments])
        except CannotStart:
            raise
        except CommandFailed:
            return False
        return True


async def find(names: Sequence[str] = VARIANTS, *, but: str = "") -> Programs:
    """Return the first of *names* that is installed and works here; raises MachineError.

    The variant *but* is passed over.
    """
    failures: list[str] = []
    for name in names:
        if not _installed(name):
            continue
        try:
            version = (await run([name, "--version"])).strip()
            found = Programs(name, version)
            if found.variant == but:
                continue
            await found.restore("".join(map(_PROBE.format, ("mangle", "nat", "filter"))))
        except CommandFailed as error:
            failures.append(str(error))
            continue
        return found
    if failures:
        raise MachineError(
            "iptables does not work here: " + "; ".join(failures) + "\n"
            "load the kernel's modules (modprobe nf_tables nft_compat, or iptable_nat), "
            "or use another mode of the proxy"
        )
    raise MachineError(
        "the iptables mode of the proxy needs the program iptables-restore\n"
        "install the package: apt-get install iptables (dnf install iptables-nft)"
    )


async def in_use() -> tuple[Programs, ...]:
    """Return the variants that may have rules of ours in this namespace."""
    found: list[Programs] = []
    for name in VARIANTS:
        if not _installed(name):
            continue
        try:
            programs = Programs(name, (await run([name, "--version"])).strip())
        except CommandFailed:
            continue
        variants = {other.variant for other in found}
        if programs.variant == "legacy" and not await _has_legacy_rules(programs):
            continue
        if programs.variant not in variants:
            found.append(programs)
    return tuple(found)


async def run(command: Sequence[str], script: str = "") -> str:
    """Return what *command* prints; raises CommandFailed with what it complains of, CannotStart.

    Cancelled, it first lets the command end: half of a script is neither the old nor the new.
    """
    try:
        ended = await scripts.run(command, script, environ=_environ())
    except OSError as error:
        raise CannotStart(f"{command[0]}: {error.strerror}") from error
    if ended.status:
        words = " ".join(ended.complained.partition("\nTry `")[0].split())
        raise CommandFailed(f"{command[0]}: {words or f'exit status {ended.status}'}")
    return ended.printed


def explained(words: str, script: str) -> str:
    """Return *words* of iptables-restore with the line of *script* that they name."""
    found = re.search(r"line:? (\d+)", words)
    lines = script.splitlines()
    if TOO_LONG in words or found is None or not 0 < int(found[1]) <= len(lines):
        return words
    return f"{words} (line {found[1]}: {lines[int(found[1]) - 1]})"


def _installed(name: str) -> bool:
    return all(
        shutil.which(program, path=_path()) for program in (name, f"{name}-restore", f"{name}-save")
    )


def _environ() -> dict[str, str]:
    environ = {**os.environ, "PATH": _path()}
    if "XTABLES_LOCKFILE" not in environ and not _lockable():
        # The tables are those of a network namespace, and so is this lock.
        environ["XTABLES_LOCKFILE"] = f"/tmp/xtables-{Path(OWN).stat().st_ino}.lock"
    return environ


def _path() -> str:
    # Users who are not root often lack the sbin directories.
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def _may_send_much() -> bool:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, PRIVILEGED)
        except PermissionError:
            return False
    return True


def _lockable() -> bool:
    return os.access(LOCK if LOCK.exists() else LOCK.parent, os.W_OK)


async def _has_legacy_rules(programs: Programs) -> bool:
    listed = _legacy_tables_listed()
    if listed is not None:
        return listed
    try:
        return "KUBE-" in await programs.save()
    except CommandFailed:
        return False


def _legacy_tables_listed() -> bool | None:
    """Return whether there is a legacy table; None where only the machine's root may know.

    Asking for a table itself would make it.
    """
    try:
        return bool(Path("/proc/self/net/ip_tables_names").read_text().strip())
    except PermissionError:
        return None
    except OSError:
        return False
