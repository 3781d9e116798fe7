"""Pure: heads of HTTP messages that are passed on, changed as little as Kubernetes changes them.

What is of one connection only goes, X-Forwarded-* come, and a redirect leads back through the
proxy. Source: apimachinery, util/proxy (upgradeaware.go, transport.go).
"""

import posixpath
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit, urlunsplit

Headers = Sequence[tuple[str, str]]

# RFC 9110, 7.6.1; and what was meant for the API server alone.
_OF_THIS_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
        "authorization",
        "impersonate-user",
        "impersonate-group",
        "impersonate-uid",
        "x-remote-user",
        "x-remote-group",
    }
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came in. *prefix* is our part of its path, *rest* what is passed on."""

    method: str
    prefix: str
    rest: str
    headers: Headers
    client: str = ""
    body: AsyncIterator[bytes] | None = None
    length: int | None = None
    """Of the body; None: unknown."""

    def header(self, name: str) -> str:
        """Return a header, or the empty text."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    @property
    def upgrade(self) -> str:
        """Return the protocol that is asked for instead of HTTP; empty: none."""
        words = {word.strip().lower() for word in self.header("connection").split(",")}
        return self.header("upgrade") if "upgrade" in words else ""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer."""

    status: int
    reason: str
    headers: Headers

    def all(self, name: str) -> list[str]:
        """Return the values of a header."""
        return [value for key, value in self.headers if key.lower() == name]


def request_head(asked: Asked) -> bytes:
    """Return the head to send."""
    named = {word.strip().lower() for word in asked.header("connection").split(",")}
    gone = _OF_THIS_HOP | named | {"content-length", "x-forwarded-for", "x-forwarded-uri"}
    kept = [
        (name, value)
        for name, value in asked.headers
        if name.lower() not in gone and not name.lower().startswith("impersonate-")
    ]
    path = asked.rest.partition("?")[0]
    kept.append(("X-Forwarded-Uri", f"{asked.prefix}{path}"))
    before = asked.header("x-forwarded-for")
    if asked.client:
        kept.append(("X-Forwarded-For", f"{before}, {asked.client}" if before else asked.client))
    if asked.body is not None:
        if asked.length is None:
            kept.append(("Transfer-Encoding", "chunked"))
        else:
            kept.append(("Content-Length", str(asked.length)))
    if asked.upgrade:
        kept += [("Connection", "Upgrade"), ("Upgrade", asked.upgrade)]
    else:
        kept.append(("Connection", "close"))
    lines = [f"{asked.method} {asked.rest or '/'} HTTP/1.1", *(f"{k}: {v}" for k, v in kept)]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


def upstream_path(tail: str) -> str:
    """Return the path to ask for: decoded, cleaned and encoded again, as Go does on the way.

    So the Python client's `%2F` become slashes.
    """
    decoded = unquote(tail)
    path = "/" + posixpath.normpath("/" + decoded).lstrip("/")
    if decoded.endswith("/") and path != "/":
        path += "/"
    return quote(path, safe="/$&+,:;=@!'()*~")


def parse_head(content: bytes) -> Head | None:
    """Return the head of an answer, None if that is no HTTP/1."""
    first, *lines = content.decode("utf-8", "surrogateescape").split("\r\n")
    version, _, rest = first.partition(" ")
    code, _, reason = rest.partition(" ")
    if version not in ("HTTP/1.1", "HTTP/1.0") or not (code.isdigit() and len(code) == 3):
        return None
    headers = [line.partition(":") for line in lines if ":" in line]
    return Head(int(code), reason, [(name.strip(), value.strip()) for name, _, value in headers])


def redirected(asked: Asked, location: str) -> str:
    """Return where a redirect leads, seen from the client: through the proxy again."""
    try:
        to = urlsplit(location)
    except ValueError:
        return location
    other = to.netloc and to.netloc != asked.header("host")
    if other or not to.path.startswith("/") or to.path.startswith(asked.prefix):
        return location
    return urlunsplit(to._replace(path=f"{asked.prefix}{to.path}"))


def answer_headers(asked: Asked, head: Head) -> Headers:
    """Return the headers of the answer for the client."""
    named = {word.strip().lower() for value in head.all("connection") for word in value.split(",")}
    kept = [
        (name, redirected(asked, value) if name.lower() == "location" else value)
        for name, value in head.headers
        if name.lower() not in _OF_THIS_HOP | named
    ]
    if not head.all("cache-control"):
        kept.append(("Cache-Control", "no-cache, private"))
    return kept
