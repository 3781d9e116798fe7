"""Pure: the names that kube-proxy gives to what it makes per Service port and per endpoint.

A reader of a dump finds them by the Service's name; the hash in front keeps two apart that are too
long to differ otherwise (pkg/proxy/nftables/proxier.go).
"""

from base64 import b32encode
from functools import cache
from hashlib import sha256

from podwire.proxy.endpoints import Backend
from podwire.proxy.table import PortName, Protocol

TABLE = "kube-proxy"
LONGEST = 240
"""The kernel allows 255 characters; the rest is for the prefix."""


def port_base(name: PortName, protocol: Protocol) -> str:
    """Return what the names of a Service port's chains have in common."""
    return _hashed(_port(name, protocol))


def endpoint_base(name: PortName, protocol: Protocol, backend: Backend) -> str:
    """Return what the names of an endpoint's chain and of its affinity set have in common."""
    return _hashed(f"{_port(name, protocol)}__{backend.address}/{backend.port}")


def is_of_service(chain: str) -> bool:
    """Return whether *chain* belongs to a Service port, as opposed to the table's own chains."""
    return "/" in chain


def _port(name: PortName, protocol: Protocol) -> str:
    return f"{name.namespace}/{name.service}/{protocol.lower()}/{name.port}"


@cache
def _hashed(name: str) -> str:
    # Every sync asks for the same names again, and they are the larger part of rendering.
    base = f"{b32encode(sha256(name.encode()).digest())[:8].decode()}-{name}"
    return base if len(base) <= LONGEST else f"{base[: LONGEST - 3]}..."
