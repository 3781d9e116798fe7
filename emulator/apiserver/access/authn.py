"""Pure: who asks: by a TLS client certificate, a bearer token or, on the own socket, a header."""

import base64
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from podwire.emulator.apiserver import statuses
from podwire.emulator.apiserver.access import tokens
from podwire.emulator.apiserver.access.authorize import ACCOUNT_PREFIX, MASTERS
from podwire.emulator.apiserver.access.tokens import Claims, NotOurs, Reference, Refusal
from podwire.emulator.apiserver.admission.field_errors import go_words
from podwire.emulator.apiserver.request import Api, User
from podwire.emulator.apiserver.store import Stored
from podwire.emulator.apiserver.types.fields import struct
from podwire.kube.names import Key

Json = dict[str, Any]

USER_HEADER = "X-Remote-User"
AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
ANONYMOUS = "system:anonymous"
NOBODY = User(ANONYMOUS, (UNAUTHENTICATED,))

_EXTRA = "authentication.kubernetes.io/"
CREDENTIAL_ID = f"{_EXTRA}credential-id"

TOKEN_SECRET = "kubernetes.io/service-account-token"
_INVALIDATED = Refusal("service account token has been invalidated")
_UNKNOWN = Refusal("")
"""Nobody here has issued that."""


def groups_of(namespace: str) -> tuple[str, ...]:
    """Return the groups of the ServiceAccounts of a namespace."""
    return ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")


DNS_SERVER = User(
    f"{ACCOUNT_PREFIX}kube-system:coredns", (*groups_of("kube-system"), AUTHENTICATED)
)


def of_certificate(certificate: Mapping[str, Any] | None, encoded: bytes = b"") -> User | None:
    """Return the user of a verified certificate (CN is the user, each O a group), or None.

    *certificate* is what `ssl.SSLSocket.getpeercert` returns, *encoded* the same as DER.
    """
    if not certificate:
        return None
    names: list[tuple[str, str]] = [pair for rdn in certificate.get("subject", ()) for pair in rdn]
    user = next((value for name, value in names if name == "commonName"), "")
    groups = [value for name, value in names if name == "organizationName"]
    if not user:
        return None
    shown = f"X509SHA256={sha256(encoded).hexdigest()}"
    extra = ((CREDENTIAL_ID, (shown,)),) if encoded else ()
    return User(user, (*groups, AUTHENTICATED), extra=extra)


def of_header(headers: Mapping[str, str]) -> User | None:
    """Return the user that a component on the Unix socket says it is, or None if it says nothing.

    Only for a socket that nobody but the cluster's own processes can open: they may do everything.
    """
    user = headers.get(USER_HEADER, "")
    return User(user, (MASTERS, AUTHENTICATED)) if user else None


def of_authorization(header: str, api: Api, now: float) -> User | None:
    """Return whose token the header Authorization has; None if there is no such header.

    Raises Refused (401) for any other: who shows something that is not good is not taken for
    somebody who shows nothing.
    """
    if not header:
        return None
    scheme, _, token = header.strip().partition(" ")
    found = of_token(token, api, now) if scheme.lower() == "bearer" else _UNKNOWN
    if isinstance(found, Refusal):
        raise statuses.unauthorized()
    return found


def of_token(
    token: str, api: Api, now: float, audiences: Sequence[str] = tokens.AUDIENCES
) -> User | Refusal:
    """Return whose *token* it is, or why it is not good for any of *audiences*."""
    try:
        claims = tokens.verify(token, api.token_key)
    except NotOurs:
        return _UNKNOWN
    if claims.iss == tokens.LEGACY_ISSUER:
        return _of_legacy(token, claims, api, audiences)
    private = claims.private
    if claims.iss != tokens.ISSUER or private is None or not claims.exp:
        return _UNKNOWN
    if not set(claims.aud) & set(audiences):
        return Refusal(
            f"token audiences {go_words(claims.aud)} is invalid for the target audiences "
            f"{go_words(audiences)}"
        )
    refusal = tokens.timely(claims, now) or _gone(api, private)
    if refusal is not None:
        return refusal
    extra: list[tuple[str, str]] = [("credential-id", f"JTI={claims.jti}")] if claims.jti else []
    for kind, bound in (("node", private.node), ("pod", private.pod)):
        if bound is not None:
            extra += [(f"{kind}-name", bound.name), (f"{kind}-uid", bound.uid)]
    return _account(private.namespace, private.serviceaccount, extra)


def audiences_of(token: str, api: Api) -> tuple[str, ...]:
    """Return for whom a token of ours is; raises NotOurs."""
    return tokens.verify(token, api.token_key).aud or tokens.AUDIENCES


def _gone(api: Api, private: tokens.Private) -> Refusal | None:
    """Return why the account or the object to which a token is bound does not back it any more."""
    namespace, account = private.namespace, private.serviceaccount
    refusal = _without_account(api, namespace, account)
    if refusal is not None:
        return refusal
    for collection, what, bound in (
        ("secrets", "secret", private.secret),
        ("pods", "pod", private.pod),
        # A pod's node is told, and not asked for: the pod's end is the token's.
        ("nodes", "node", private.node if private.pod is None else None),
    ):
        if bound is None:
            continue
        place = "" if collection == "nodes" else namespace
        found = api.store.get(collection, Key(place, bound.name))
        if found is None:
            return _INVALIDATED
        uid = _uid(found)
        if uid != bound.uid:
            return Refusal(
                f"{what} UID ({uid}) does not match service account {what} ref claim ({bound.uid})"
            )
    return None


def _without_account(api: Api, namespace: str, account: Reference) -> Refusal | None:
    found = api.store.get("serviceaccounts", Key(namespace, account.name))
    if found is None:
        return Refusal(f'serviceaccounts "{account.name}" not found')
    uid = _uid(found)
    if uid != account.uid:
        return Refusal(f"service account UID ({uid}) does not match claim ({account.uid})")
    return None


def _of_legacy(token: str, claims: Claims, api: Api, audiences: Sequence[str]) -> User | Refusal:
    """Return whose token it is that a Secret holds; it is good as long as that holds it."""
    if not set(tokens.AUDIENCES) & set(audiences):
        return _UNKNOWN
    account = Reference(claims.account, claims.uid)
    refusal = _without_account(api, claims.namespace, account)
    if refusal is not None:
        return refusal
    secret = api.store.get("secrets", Key(claims.namespace, claims.secret))
    if secret is None or secret.object.get("type") != TOKEN_SECRET:
        return _INVALIDATED
    # The text was signed by us: nothing is learned from how long this takes.
    if struct(secret.object, "data").get("token") != base64.b64encode(token.encode()).decode():
        return _INVALIDATED
    return _account(claims.namespace, account, [])


def _account(namespace: str, account: Reference, extra: Sequence[tuple[str, str]]) -> User:
    return User(
        f"{ACCOUNT_PREFIX}{namespace}:{account.name}",
        (*groups_of(namespace), AUTHENTICATED),
        account.uid,
        tuple((_EXTRA + name, (value,)) for name, value in extra),
    )


def _uid(stored: Stored) -> str:
    return str(stored.object["metadata"]["uid"])
