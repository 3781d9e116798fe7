"""Pure: virtual servers as `ipvsadm -Ln` prints them (version 1.31; sorted, numeric)."""

from collections.abc import Iterator, Mapping

from podwire.proxy.ipvs.changes import Listed
from podwire.proxy.ipvs.plan import VirtualServer
from podwire.proxy.userspace.routes import Frontend

_NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132}


def listing(
    servers: Mapping[Frontend, Listed],
    *,
    version: tuple[int, int, int],
    size: int,
) -> str:
    """Return the list of *servers*; *size* is of the kernel's table of connections."""
    return "\n".join(_lines(servers, version, size)) + "\n"


def _lines(
    servers: Mapping[Frontend, Listed], version: tuple[int, int, int], size: int
) -> Iterator[str]:
    number = ".".join(map(str, version))
    yield f"IP Virtual Server version {number} (size={size})"
    yield "Prot LocalAddress:Port Scheduler Flags"
    yield "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn"
    for frontend in sorted(servers, key=lambda f: (_NUMBERS[f.protocol], f.address, f.port)):
        listed = servers[frontend]
        address = f"{frontend.address}:{frontend.port}"
        yield f"{frontend.protocol:<4} {address} {_flags(listed.server)}"
        for backend, each in sorted(listed.destinations.items(), key=lambda item: item[0]):
            yield (
                f"  -> {backend!s:<28} {'Masq':<7} {each.weight:<6} {each.active:<10}"
                f" {each.inactive:<10}"
            )


def _flags(server: VirtualServer) -> str:
    words = [server.scheduler]
    if server.flags:
        words.append(f"({','.join(sorted(server.flags))})")
    if server.persistent:
        words.append(f"persistent {server.persistent}")
    return " ".join(words)
