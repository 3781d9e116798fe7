"""Pure: who asks, from a TLS client certificate or, on the cluster's own socket, from a header."""

from collections.abc import Mapping
from typing import Any

from podwire.emulator.apiserver.request import User
from podwire.emulator.apiserver.reviews import ANONYMOUS, DNS

USER_HEADER = "X-Remote-User"
NOBODY = User(ANONYMOUS, ("system:unauthenticated",))

_AUTHENTICATED = "system:authenticated"

DNS_SERVER = User(
    DNS, ("system:serviceaccounts", "system:serviceaccounts:kube-system", _AUTHENTICATED)
)


def of_certificate(certificate: Mapping[str, Any] | None) -> User | None:
    """Return the user of a verified certificate (CN is the user, each O a group), or None.

    *certificate* is what `ssl.SSLSocket.getpeercert` returns.
    """
    if not certificate:
        return None
    names: list[tuple[str, str]] = [pair for rdn in certificate.get("subject", ()) for pair in rdn]
    user = next((value for name, value in names if name == "commonName"), "")
    groups = [value for name, value in names if name == "organizationName"]
    return User(user, (*groups, _AUTHENTICATED)) if user else None


def of_header(headers: Mapping[str, str]) -> User | None:
    """Return the user that a component on the Unix socket says it is, or None if it says nothing.

    Only for a socket that nobody but the cluster's own processes can open.
    """
    user = headers.get(USER_HEADER, "")
    if not user:
        return None
    groups = [_AUTHENTICATED]
    if user.startswith("system:node:"):
        groups.insert(0, "system:nodes")
    return User(user, tuple(groups))
