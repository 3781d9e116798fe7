"""Pure: the names of chains, as kube-proxy's iptables mode forms them (pkg/proxy/iptables).

A chain's name has at most 28 characters, so what belongs to a Service port or to an endpoint is
named by a hash.
"""

from base64 import b32encode
from hashlib import sha256

SERVICES = "KUBE-SERVICES"
EXTERNAL_SERVICES = "KUBE-EXTERNAL-SERVICES"
NODE_PORTS = "KUBE-NODEPORTS"
POSTROUTING = "KUBE-POSTROUTING"
MARK_MASQ = "KUBE-MARK-MASQ"
FORWARD = "KUBE-FORWARD"
PROXY_FIREWALL = "KUBE-PROXY-FIREWALL"
FIREWALL = "KUBE-FIREWALL"
CANARY = "KUBE-PROXY-CANARY"

CLUSTER, LOCAL, EXTERNAL, SOURCES, ENDPOINT = (
    "KUBE-SVC-",
    "KUBE-SVL-",
    "KUBE-EXT-",
    "KUBE-FW-",
    "KUBE-SEP-",
)
OF_SERVICES = (CLUSTER, LOCAL, EXTERNAL, SOURCES, ENDPOINT)
"""How the names begin of chains that belong to one Service port or one of its endpoints."""


def port_hash(port_name: str, protocol: str) -> str:
    """Return what SVC, SVL, EXT and FW of one Service port end in; *protocol* is in lower case."""
    return _hash(port_name + protocol)


def endpoint_chain(port_name: str, protocol: str, endpoint: str) -> str:
    """Return the chain of one endpoint (address:port) of one Service port."""
    return ENDPOINT + _hash(port_name + protocol + endpoint)


def _hash(text: str) -> str:
    # 16 characters of base32 are the first 10 bytes: no need to encode all 32.
    return b32encode(sha256(text.encode()).digest()[:10]).decode()
