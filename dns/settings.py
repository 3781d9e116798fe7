"""What the command line of the DNS server says: CoreDNS's own flags, and where the API is."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from podwire import __version__
from podwire.dns.cluster.sources import SERVICE_ACCOUNT
from podwire.dns.registry import GATHERED, PLUGINS
from podwire.errors import UsageError

API_SOCKET: Final = "/run/podwire/api.sock"
USER: Final = "system:serviceaccount:kube-system:coredns"
DEFAULT_COREFILE: Final = Path("Corefile")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says.

    *corefile* is None when there is none to read; *port* is that of zones that name none. *api* is
    a Unix socket's path or a URL, *user* who we are on a socket.
    """

    corefile: Path | None
    port: int
    api: str
    user: str


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Return the settings of a command line; raises UsageError. ``--help`` prints and exits."""
    parser = _Parser(
        prog="podwire-dns",
        description="Cluster DNS, configured by a Corefile as CoreDNS is.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "-conf",
        "--conf",
        type=Path,
        metavar="FILE",
        help="the Corefile; default ./Corefile, and without that whoami and log on every name",
    )
    add(
        "-dns.port",
        "--dns.port",
        "-p",
        dest="port",
        type=int,
        default=53,
        metavar="PORT",
        help="of zones that name none; default 53",
    )
    add("-quiet", action="store_true", help="accepted: there is little to be quiet about")
    add("-version", action="version", version=f"podwire-dns {__version__}")
    add(
        "-plugins",
        action="version",
        version="\n".join(sorted({*PLUGINS, *GATHERED, "bind"})),
        help="list them and end",
    )
    add("--api", default=_default_api(environ), metavar="SOCKET|URL", help="the API server")
    add("--user", default=USER, help="who we are, on a socket")
    found = parser.parse_args(list(argv))
    if not 0 <= found.port < 65536:
        raise UsageError(f"-dns.port: {found.port} is no port number")
    corefile = found.conf or (DEFAULT_COREFILE if DEFAULT_COREFILE.exists() else None)
    return Settings(corefile=corefile, port=found.port, api=found.api, user=found.user)


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are our errors, with our exit status."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\n{self.format_usage().strip()}")


def _default_api(environ: Mapping[str, str]) -> str:
    host = environ.get("KUBERNETES_SERVICE_HOST")
    if host and (SERVICE_ACCOUNT / "token").exists():
        bracketed = f"[{host}]" if ":" in host else host
        return f"https://{bracketed}:{environ.get('KUBERNETES_SERVICE_PORT', '443')}"
    return API_SOCKET
