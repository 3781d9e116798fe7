"""Pure: which Linux capabilities a container keeps (capabilities(7)).

The default is that of container runtimes, without what would let root of the machine reach beyond
its pod: making devices, mounting, loading modules. Those are never given, whatever a pod asks for.
"""

from collections.abc import Iterable

NUMBERS = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "FOWNER": 3,
    "FSETID": 4,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "SETPCAP": 8,
    "NET_BIND_SERVICE": 10,
    "NET_BROADCAST": 11,
    "NET_ADMIN": 12,
    "NET_RAW": 13,
    "IPC_LOCK": 14,
    "IPC_OWNER": 15,
    "SYS_CHROOT": 18,
    "SYS_NICE": 23,
    "SYS_RESOURCE": 24,
    "AUDIT_WRITE": 29,
    "SETFCAP": 31,
}
DEFAULT = frozenset(
    {
        "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
        "NET_BIND_SERVICE", "NET_RAW", "SYS_CHROOT", "AUDIT_WRITE", "SETFCAP",
    }
)  # fmt: skip


def kept(add: Iterable[str] = (), drop: Iterable[str] = ()) -> tuple[int, ...]:
    """Return the numbers that a container keeps; names as in securityContext.capabilities."""
    added = {_plain(name) for name in add}
    dropped = {_plain(name) for name in drop}
    wanted: set[str] = set(NUMBERS) if "ALL" in added else set(DEFAULT)
    if "ALL" in dropped:
        wanted.clear()
    names = ((wanted - dropped) | (added - {"ALL"})) & set(NUMBERS)
    return tuple(sorted(NUMBERS[name] for name in names))


def asked(add: Iterable[str] = ()) -> tuple[int, ...]:
    """Return the numbers of those that are asked for by name, and that a container can have."""
    names = {_plain(name) for name in add}
    return tuple(sorted(n for name, n in NUMBERS.items() if name in names or "ALL" in names))


def never(add: Iterable[str]) -> tuple[str, ...]:
    """Return those of *add* that no container gets here."""
    return tuple(name for name in add if _plain(name) not in {*NUMBERS, "ALL"})


def _plain(name: str) -> str:
    return name.upper().removeprefix("CAP_")
