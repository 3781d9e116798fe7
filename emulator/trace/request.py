"""Pure: what a traced client does: fetch a URL, connect to a port, or run a command."""

import shlex
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from podwire.errors import UsageError

PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Fetch:
    """GET a URL. *host* is a name or an address."""

    url: str
    host: str
    port: int
    protocol: Literal["TCP"] = "TCP"

    def __str__(self) -> str:
        return f"GET {self.url}"


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a TCP connection, or send one UDP datagram and wait for an answer."""

    host: str
    port: int
    protocol: Literal["TCP", "UDP"] = "TCP"

    @property
    def url(self) -> str:
        """Return the target as the client program takes it."""
        return f"{self.protocol.lower()}://{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.protocol} {self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Command:
    """Run a command; whatever it asks and opens first is the request."""

    argv: tuple[str, ...]

    def __str__(self) -> str:
        return f"$ {shlex.join(self.argv)}"


Request = Fetch | Connect | Command


def parse(text: str) -> Fetch | Connect:
    """Read what the user wrote: a URL or HOST:PORT[/udp]; raises UsageError."""
    return _url(text) if "://" in text else _port(text)


def file_stem(request: Request) -> str:
    """Return a name for the capture's file: the host, or the command's first word."""
    word = request.argv[0] if isinstance(request, Command) else request.host
    kept = "".join(c if c.isalnum() or c in ".-_" else "-" for c in word.rpartition("/")[2])
    return kept.strip(".-") or "trace"


def _url(text: str) -> Fetch | Connect:
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{text!r}: {error}") from error
    if not parts.hostname or (parts.scheme not in PORTS and port is None):
        raise UsageError(f"{text!r} is no URL that can be traced\n  use http://HOST[:PORT]/PATH")
    _check_host(parts.hostname)
    if parts.scheme in {"tcp", "udp"} and port is not None:
        return Connect(parts.hostname, port, "UDP" if parts.scheme == "udp" else "TCP")
    if parts.scheme not in PORTS:
        raise UsageError(f"{text!r}: {parts.scheme}:// cannot be traced\n  give HOST:PORT instead")
    url = text if parts.path else text.replace(parts.netloc, f"{parts.netloc}/", 1)
    return Fetch(url, parts.hostname, port or PORTS[parts.scheme])


def _port(text: str) -> Connect:
    target, _, protocol = text.partition("/")
    host, colon, number = target.rpartition(":")
    if not (colon and host and number.isdigit() and 0 < int(number) < 65536):
        raise UsageError(
            f"{text!r} is neither a URL nor HOST:PORT\n"
            "  examples: http://web-svc, web-svc:80, kube-dns.kube-system:53/udp"
        )
    _check_host(host)
    if protocol.lower() not in {"", "tcp", "udp"}:
        raise UsageError(f"{text!r}: the protocol is tcp or udp")
    return Connect(host, int(number), "UDP" if protocol.lower() == "udp" else "TCP")


def _check_host(host: str) -> None:
    if ":" in host:
        raise UsageError(f"{host} is an IPv6 address\n  the cluster has IPv4 only")
