"""What the command line of the DNS server says."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from podwire.dns.answer import PodMode
from podwire.dns.forward import parse_upstream
from podwire.dns.names import absolute
from podwire.errors import UsageError

API_SOCKET: Final = "/run/podwire/api.sock"
SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
USER: Final = "system:serviceaccount:kube-system:coredns"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says. Ports are numbers, 0 takes a free one; *lameduck* in seconds."""

    listen: tuple[tuple[str, int], ...]
    zone: str
    pods: PodMode
    upstreams: tuple[str, ...]
    api: str
    user: str
    health: int
    ready: int
    metrics: int
    lameduck: float
    is_logging: bool


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Return the settings of a command line; raises UsageError. ``--help`` prints and exits."""
    parser = _Parser(
        prog="podwire-dns",
        description="Cluster DNS, configured as kubeadm configures CoreDNS.",
    )
    add = parser.add_argument
    add("--listen", action="append", metavar="ADDRESS:PORT", help="default 0.0.0.0:53")
    add("--zone", default="cluster.local", help="the cluster domain")
    add("--pods", default="insecure", choices=("disabled", "insecure", "verified"))
    add(
        "--upstream",
        action="append",
        metavar="ADDRESS[:PORT]|FILE",
        help="who is asked for other names; default /etc/resolv.conf",
    )
    add("--api", default=_default_api(environ), metavar="SOCKET|URL", help="the API server")
    add("--user", default=USER, help="who we are, on a socket")
    add("--health", type=int, default=8080, metavar="PORT")
    add("--ready", type=int, default=8181, metavar="PORT")
    add("--metrics", type=int, default=9153, metavar="PORT")
    add("--lameduck", type=float, default=5.0, metavar="SECONDS", help="still serve after SIGTERM")
    add("--log", action="store_true", help="a line for each query")
    found = parser.parse_args(list(argv))
    try:
        endpoints = [parse_upstream(text, lowest_port=0) for text in found.listen or ["0.0.0.0:53"]]
    except ValueError as error:
        raise UsageError(f"--listen: {error}") from error
    return Settings(
        listen=tuple((one.address, one.port) for one in endpoints),
        zone=absolute(found.zone.lower()),
        pods=found.pods,
        upstreams=tuple(found.upstream or ["/etc/resolv.conf"]),
        api=found.api,
        user=found.user,
        health=found.health,
        ready=found.ready,
        metrics=found.metrics,
        lameduck=found.lameduck,
        is_logging=found.log,
    )


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
