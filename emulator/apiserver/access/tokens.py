"""Pure: tokens of ServiceAccounts: JWTs, signed with one key per cluster (HS256, RFC 7519).

The claims are those of Kubernetes (pkg/serviceaccount/claims.go). Kubernetes signs with RS256, so
that others can verify; here nobody but the API server does.
"""

import base64
import binascii
import hmac
from dataclasses import dataclass

import msgspec

ISSUER = "https://kubernetes.default.svc.cluster.local"
AUDIENCES = (ISSUER,)
"""Who the API server is, to a token that names no other audience."""
LEGACY_ISSUER = "kubernetes/serviceaccount"

_LONGEST = 8192
"""Characters; no header is longer."""
_SHORTEST_KEY = 16


class Reference(msgspec.Struct, frozen=True, omit_defaults=True):
    """An object to which a token belongs."""

    name: str
    uid: str = ""


class Private(msgspec.Struct, frozen=True, omit_defaults=True, rename="lower"):
    """The claim kubernetes.io."""

    namespace: str
    serviceaccount: Reference
    pod: Reference | None = None
    secret: Reference | None = None
    node: Reference | None = None
    warnafter: int | None = None


class Claims(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a token says; the times are seconds since 1970."""

    iss: str
    sub: str
    aud: tuple[str, ...] = ()
    exp: int = 0
    iat: int = 0
    nbf: int = 0
    jti: str = ""
    private: Private | None = msgspec.field(default=None, name="kubernetes.io")
    namespace: str = msgspec.field(default="", name="kubernetes.io/serviceaccount/namespace")
    secret: str = msgspec.field(default="", name="kubernetes.io/serviceaccount/secret.name")
    account: str = msgspec.field(
        default="", name="kubernetes.io/serviceaccount/service-account.name"
    )
    uid: str = msgspec.field(default="", name="kubernetes.io/serviceaccount/service-account.uid")


class NotOurs(Exception):
    """A text that is no token of this cluster's key."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a token of ours is not good, or not any more."""

    reason: str


class _Header(msgspec.Struct, frozen=True):
    alg: str
    crit: tuple[str, ...] = ()


_HEADER = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=").decode()
_decode_header = msgspec.json.Decoder(_Header).decode
_decode_claims = msgspec.json.Decoder(Claims).decode
_encode = msgspec.json.Encoder(order="deterministic").encode


def issue(claims: Claims, key: bytes) -> str:
    """Return *claims*, signed. Raises ValueError for a key that anybody could guess."""
    if len(key) < _SHORTEST_KEY:
        raise ValueError(f"a key of {len(key)} bytes signs nothing; {_SHORTEST_KEY} are needed")
    signed = f"{_HEADER}.{_text(_encode(claims))}"
    return f"{signed}.{_text(_signature(signed, key))}"


def verify(token: str, key: bytes) -> Claims:
    """Return what *token* says; raises NotOurs unless *key* has signed it.

    Whether it is still good is for `timely` to say, and the store.
    """
    if len(token) > _LONGEST or len(key) < _SHORTEST_KEY:
        raise NotOurs
    signed, _, signature = token.rpartition(".")
    try:
        # Before anything is read: only what we signed has a meaning.
        if not hmac.compare_digest(_signature(signed, key), _bytes(signature)):
            raise NotOurs
        header, _, claims = signed.partition(".")
        # Of the algorithms a token may name, one was checked.
        found = _decode_header(_bytes(header))
        if found.alg != "HS256" or found.crit:
            raise NotOurs
        return _decode_claims(_bytes(claims))
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise NotOurs from error


def timely(claims: Claims, now: float) -> Refusal | None:
    """Return why *claims* are not good *now*; a token without a time is good for ever."""
    if claims.exp and now >= claims.exp:
        return Refusal("service account token has expired")
    if now < claims.nbf:
        return Refusal("service account token is not valid yet")
    return None


def _signature(signed: str, key: bytes) -> bytes:
    return hmac.digest(key, signed.encode("ascii"), "sha256")


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    # Strictly: one signature has one spelling.
    found = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _text(found) != text:
        raise ValueError("not the usual spelling")
    return found
