"""A ServiceAccount, its tokens good and bad, and what they are bound to."""

import base64
from typing import Any

from podwire.emulator.apiserver.access import authn, tokens
from podwire.emulator.apiserver.access.tokens import Claims, Private, Reference, Refusal
from podwire.emulator.apiserver.request import User
from podwire.testing.apiserver import Json, SilentServer

SHOP = "/api/v1/namespaces/shop"
AUTHENTICATION = "/apis/authentication.k8s.io/v1"
AUTHORIZATION = "/apis/authorization.k8s.io/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
GROUPS = ("system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated")
ROBOT = "system:serviceaccount:shop:robot"


def furnished(server: SilentServer) -> SilentServer:
    """Return a server with a namespace, an account, a node, a pod and a Secret."""
    server.must("POST /api/v1/namespaces", {"metadata": {"name": "shop"}})
    server.must(f"POST {SHOP}/serviceaccounts", {"metadata": {"name": "robot"}})
    server.must("POST /api/v1/nodes", {"metadata": {"name": "node-1"}})
    server.must(f"POST {SHOP}/pods", pod("web"))
    server.must(f"POST {SHOP}/secrets", {"metadata": {"name": "s"}})
    return server


def pod(name: str, account: str = "robot", node: str = "node-1") -> Json:
    spec = {"containers": [{"name": "c", "image": "i:1"}], "serviceAccountName": account}
    return {"metadata": {"name": name}, "spec": spec | ({"nodeName": node} if node else {})}


def request_token(server: SilentServer, **spec: Any) -> tuple[int, Json]:
    return server.ask(f"POST {SHOP}/serviceaccounts/robot/token", {"spec": spec})


def token_of(server: SilentServer, **spec: Any) -> str:
    code, answer = request_token(server, **spec)
    assert code == 201, answer
    return str(answer["status"]["token"])


def bound(kind: str, name: str, uid: str = "") -> Json:
    return {"boundObjectRef": {"kind": kind, "apiVersion": "v1", "name": name, "uid": uid}}


def uid(server: SilentServer, url: str) -> str:
    return str(server.get(url)["metadata"]["uid"])


def who(server: SilentServer, token: str) -> User | Refusal:
    return authn.of_token(token, server.api, server.clock.now())


def bad_headers(server: SilentServer) -> dict[str, str]:
    """Return headers of every kind that is not good."""
    good, key = token_of(server), server.api.token_key
    claims = tokens.verify(good, key)
    head, body, signature = good.split(".")
    private = Private("shop", Reference("robot", "no uid"))

    def issued(**other: Any) -> str:
        fields = {name: getattr(claims, name) for name in claims.__struct_fields__}
        return "Bearer " + tokens.issue(Claims(**{**fields, **other}), key)

    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    return {
        "garbage": "Bearer garbage",
        "nothing": "Bearer",
        "spaces": "Bearer      ",
        "null": "Bearer null",
        "two tokens": f"Bearer {good} {good}",
        "a comma": f"Bearer {good},",
        "basic": "Basic " + base64.b64encode(b"admin:admin").decode(),
        "a known user": "Basic " + base64.b64encode(b"kubernetes-admin:").decode(),
        "negotiate": "Negotiate abc",
        "no scheme": good,
        "alg none": f"Bearer {none}.{body}.",
        "alg none and a signature": f"Bearer {none}.{body}.{signature}",
        "no signature": f"Bearer {head}.{body}.",
        "another cluster": "Bearer " + tokens.issue(claims, b"the key of somebody else"),
        "expired": issued(exp=1),
        "not yet": issued(nbf=10**12),
        "without an end": issued(exp=0),
        "another issuer": issued(iss="https://example.com"),
        "of a Secret that is not": issued(iss=tokens.LEGACY_ISSUER),
        "no private claims": issued(private=None),
        "another uid": issued(private=private),
        "another namespace": issued(private=Private("default", claims.private.serviceaccount)) if claims.private else "",
        "no audience": issued(aud=()),
        "another audience": issued(aud=("vault",)),
        "a pod that is not": issued(private=Private("shop", Reference("robot", claims.private.serviceaccount.uid), pod=Reference("none", "x"))) if claims.private else "",
        "no ASCII": "Bearer ü",
        "long": "Bearer " + "A" * 8000,
    }  # fmt: skip
