"""Who asks: tokens against the objects they are of, impersonation, reviews; and who gets in."""

import asyncio
import base64
import gc
import logging
import random
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from podwire.emulator.apiserver.access import authn, impersonation, tokens
from podwire.emulator.apiserver.access.tokens import Claims, Private, Reference, Refusal
from podwire.emulator.apiserver.request import User
from podwire.emulator.apiserver.server import ApiServer
from podwire.emulator.apiserver.statuses import Refused
from podwire.emulator.apiserver.store import Store
from podwire.kube.clock import SystemClock
from podwire.testing.agent import FakeAgent
from podwire.testing.apiserver import ADMIN, Json, SilentServer

SHOP = "/api/v1/namespaces/shop"
AUTHENTICATION = "/apis/authentication.k8s.io/v1"
AUTHORIZATION = "/apis/authorization.k8s.io/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
GROUPS = ("system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated")
ROBOT = "system:serviceaccount:shop:robot"


@pytest.fixture
def server(server: SilentServer) -> SilentServer:
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


def test_a_token_is_its_account(server: SilentServer) -> None:
    token = token_of(server)
    claims = tokens.verify(token, server.api.token_key)
    assert who(server, token) == User(
        ROBOT,
        GROUPS,
        uid(server, f"{SHOP}/serviceaccounts/robot"),
        (("authentication.kubernetes.io/credential-id", (f"JTI={claims.jti}",)),),
    )
    now = int(server.clock.now())
    assert (claims.iat, claims.nbf, claims.exp) == (now, now, now + 3600)


def test_a_token_of_a_pod_tells_the_pod_and_its_node(server: SilentServer) -> None:
    found = who(server, token_of(server, **bound("Pod", "web")))
    assert isinstance(found, User)
    extra = {key.partition("/")[2]: value for key, (value,) in found.extra}
    assert extra.pop("credential-id").startswith("JTI=")
    assert extra == {
        "node-name": "node-1",
        "node-uid": uid(server, "/api/v1/nodes/node-1"),
        "pod-name": "web",
        "pod-uid": uid(server, f"{SHOP}/pods/web"),
    }


@pytest.mark.parametrize(
    ("binding", "ends", "reason"),
    [
        ({}, ["serviceaccounts/robot"], 'serviceaccounts "robot" not found'),
        (bound("Pod", "web"), ["pods/web"], "service account token has been invalidated"),
        (bound("Secret", "s"), ["secrets/s"], "service account token has been invalidated"),
        (bound("Pod", "web"), ["serviceaccounts/robot"], 'serviceaccounts "robot" not found'),
    ],
)
def test_a_token_ends_with_what_backs_it(
    server: SilentServer, binding: Json, ends: list[str], reason: str
) -> None:
    token = token_of(server, **binding)
    assert isinstance(who(server, token), User)
    for path in ends:
        server.must(f"DELETE {SHOP}/{path}?gracePeriodSeconds=0")
    assert who(server, token) == Refusal(reason)


@pytest.mark.parametrize(
    ("binding", "again", "what"),
    [
        ({}, ("serviceaccounts", {"metadata": {"name": "robot"}}), "service account UID"),
        (bound("Pod", "web"), ("pods", pod("web")), "pod UID"),
        (bound("Secret", "s"), ("secrets", {"metadata": {"name": "s"}}), "secret UID"),
    ],
)
def test_a_namesake_does_not_back_a_token(
    server: SilentServer, binding: Json, again: tuple[str, Json], what: str
) -> None:
    token = token_of(server, **binding)
    plural, obj = again
    server.must(f"DELETE {SHOP}/{plural}/{obj['metadata']['name']}?gracePeriodSeconds=0")
    server.must(f"POST {SHOP}/{plural}", obj)
    refusal = who(server, token)
    assert isinstance(refusal, Refusal)
    assert refusal.reason.startswith(what)


@pytest.mark.parametrize(("later", "good"), [(0, True), (3599, True), (3600, False), (-1, False)])
def test_a_token_has_its_time(server: SilentServer, later: float, *, good: bool) -> None:
    token = token_of(server)
    found = authn.of_token(token, server.api, server.clock.now() + later)
    assert isinstance(found, User) is good


@pytest.mark.parametrize(
    ("asked", "good_for", "good"),
    [
        ([], tokens.AUDIENCES, True),
        (["vault"], tokens.AUDIENCES, False),
        (["vault"], ("vault",), True),
        (["vault", tokens.ISSUER], tokens.AUDIENCES, True),
        ([], ("vault",), False),
    ],
)
def test_audiences(
    server: SilentServer, asked: list[str], good_for: tuple[str, ...], *, good: bool
) -> None:
    token = token_of(server, audiences=asked)
    found = authn.of_token(token, server.api, server.clock.now(), good_for)
    assert isinstance(found, User) is good
    if not good:
        shown = '["vault"]' if asked else f'["{tokens.ISSUER}"]'
        target = "[" + " ".join(f'"{one}"' for one in good_for) + "]"
        assert found == Refusal(
            f"token audiences {shown} is invalid for the target audiences {target}"
        )


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"expirationSeconds": 599}, '422 Invalid: TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes'),
        ({"expirationSeconds": 0}, '422 Invalid: TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 0: may not specify a duration less than 10 minutes'),
        ({"expirationSeconds": 2**32 + 1}, '422 Invalid: TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds'),
        ({"expirationSeconds": "x"}, "400 BadRequest: TokenRequest in version"),
        (bound("Pod", "none"), '404 NotFound: pods "none" not found'),
        (bound("Secret", "none"), '404 NotFound: secrets "none" not found'),
        (bound("Pod", "other"), '400 BadRequest: cannot bind token for serviceaccount "robot" to pod running with serviceaccount "default"'),
        (bound("Pod", "web", "x"), '409 Conflict: Operation cannot be fulfilled on Pod "web": the UID in the bound object reference (x) does not match the UID in record ('),
        (bound("ConfigMap", "c"), "400 BadRequest: cannot bind token to object of type /v1, Kind=ConfigMap"),
        ({"boundObjectRef": {"kind": "Pod", "apiVersion": "apps/v1", "name": "web"}}, "400 BadRequest: cannot bind token to object of type apps/v1, Kind=Pod"),
    ],
)  # fmt: skip
def test_token_requests_that_are_refused(server: SilentServer, spec: Json, said: str) -> None:
    server.must(f"POST {SHOP}/pods", pod("other", "default"))
    line = f"POST {SHOP}/serviceaccounts/robot/token"
    assert server.says(line, {"spec": spec}).startswith(said)


def test_token_requests_by_name(server: SilentServer) -> None:
    line = f"POST {SHOP}/serviceaccounts/robot/token"
    body = {"metadata": {"name": "other"}, "spec": {}}
    assert server.says(line, body) == (
        '422 Invalid: TokenRequest.authentication.k8s.io "other" is invalid: metadata.name: '
        'Invalid value: "other": must match the service account name if specified'
    )
    nobody = f"POST {SHOP}/serviceaccounts/nobody/token"
    assert server.says(nobody, {"spec": {}}) == '404 NotFound: serviceaccounts "nobody" not found'


@pytest.mark.parametrize(
    ("spec", "year"),
    [
        ({"expirationSeconds": 3607, **bound("Pod", "web")}, True),
        ({"expirationSeconds": 3600, **bound("Pod", "web")}, False),
        ({"expirationSeconds": 3607}, False),
        ({"expirationSeconds": 3607, "audiences": ["vault"], **bound("Pod", "web")}, False),
    ],
)
def test_what_a_kubelet_asks_for_lives_a_year(
    server: SilentServer, spec: Json, *, year: bool
) -> None:
    claims = tokens.verify(token_of(server, **spec), server.api.token_key)
    assert claims.exp - claims.iat == (365 * 86400 if year else spec["expirationSeconds"])
    assert claims.private is not None
    assert claims.private.warnafter == (claims.iat + 3607 if year else None)


# --- Secrets that hold a token -------------------------------------------------------------------


def token_secret(name: str, account: str = "robot") -> Json:
    notes = {"kubernetes.io/service-account.name": account}
    return {
        "metadata": {"name": name, "annotations": notes},
        "type": "kubernetes.io/service-account-token",
    }


def held(server: SilentServer, name: str) -> str:
    data: Json = server.get(f"{SHOP}/secrets/{name}").get("data") or {}
    return base64.b64decode(data.get("token", "")).decode()


def test_a_secret_is_filled_and_its_token_ends_with_it(server: SilentServer) -> None:
    authority = {"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": "PEM"}}
    server.must(f"POST {SHOP}/configmaps", authority)
    server.must(f"POST {SHOP}/secrets", token_secret("t"))
    secret = server.get(f"{SHOP}/secrets/t")
    account = uid(server, f"{SHOP}/serviceaccounts/robot")
    assert secret["metadata"]["annotations"]["kubernetes.io/service-account.uid"] == account
    assert {k: base64.b64decode(v).decode() for k, v in secret["data"].items() if k != "token"} == {
        "ca.crt": "PEM",
        "namespace": "shop",
    }
    token = held(server, "t")
    assert who(server, token) == User(ROBOT, GROUPS, account)
    # For ever, but not for others.
    assert isinstance(authn.of_token(token, server.api, 10**12), User)
    assert isinstance(authn.of_token(token, server.api, 0, ("vault",)), Refusal)
    # A new write keeps it; one that takes it away gets another, which is the same.
    server.must(f"PATCH {SHOP}/secrets/t", {"metadata": {"labels": {"a": "b"}}}, patch="merge")
    assert held(server, "t") == token
    server.must(f"DELETE {SHOP}/secrets/t")
    assert who(server, token) == Refusal("service account token has been invalidated")
    # A Secret of that name that holds something else does not bring it back.
    server.must(f"POST {SHOP}/secrets", {"metadata": {"name": "t"}, "data": {"token": "eA=="}})
    assert who(server, token) == Refusal("service account token has been invalidated")


def test_a_secret_for_a_token_names_its_account(server: SilentServer) -> None:
    body = token_secret("t")
    del body["metadata"]["annotations"]
    assert server.says(f"POST {SHOP}/secrets", body) == (
        '422 Invalid: Secret "t" is invalid: '
        "metadata.annotations[kubernetes.io/service-account.name]: Required value"
    )


def test_a_secret_waits_for_its_account_and_ends_with_it(server: SilentServer) -> None:
    server.must(f"POST {SHOP}/secrets", token_secret("t", "late"))
    assert held(server, "t") == ""
    server.must(f"POST {SHOP}/serviceaccounts", {"metadata": {"name": "late"}})
    assert isinstance(who(server, held(server, "t")), User)
    server.must(f"DELETE {SHOP}/serviceaccounts/late")
    assert server.says(f"GET {SHOP}/secrets/t").startswith("404")
    assert server.get(f"{SHOP}/secrets/s")


# --- ServiceAccounts and pods --------------------------------------------------------------------


def test_a_pod_needs_its_account(server: SilentServer) -> None:
    said = (
        'is forbidden: error looking up service account shop/none: serviceaccount "none" not found'
    )
    body = pod("p", "none")
    assert server.says(f"POST {SHOP}/pods", body) == f'403 Forbidden: pods "p" {said}'
    body["metadata"] = {"generateName": "p-"}
    assert server.says(f"POST {SHOP}/pods", body) == f'403 Forbidden: pods "p-" {said}'
    # The twin; and `default`, which its controller makes a moment after the namespace.
    server.must(f"POST {SHOP}/pods", pod("p", "robot"))
    made = server.must(f"POST {SHOP}/pods", pod("q", ""))
    assert made["spec"]["serviceAccountName"] == made["spec"]["serviceAccount"] == "default"
    assert "volumes" not in made["spec"]


def test_a_pod_gets_the_pull_secrets_of_its_account(server: SilentServer) -> None:
    pulls = {"imagePullSecrets": [{"name": "registry"}]}
    server.must(f"PATCH {SHOP}/serviceaccounts/robot", pulls, patch="merge")
    made = server.must(f"POST {SHOP}/pods", pod("p"))
    assert made["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    own = pod("q")
    own["spec"]["imagePullSecrets"] = [{"name": "mine"}]
    assert server.must(f"POST {SHOP}/pods", own)["spec"]["imagePullSecrets"] == [{"name": "mine"}]


# --- The header Authorization --------------------------------------------------------------------


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


def test_bad_tokens_are_nobodys_and_not_anonymous(server: SilentServer) -> None:
    for name, header in bad_headers(server).items():
        with pytest.raises(Refused) as refused:
            authn.of_authorization(header, server.api, server.clock.now())
        assert refused.value.code == 401, name
        assert refused.value.status["message"] == "Unauthorized", name
    # The twins.
    assert authn.of_authorization("", server.api, 0) is None
    for scheme in ("Bearer", "bearer", "BEARER"):
        header = f"{scheme} {token_of(server)}"
        found = authn.of_authorization(header, server.api, server.clock.now())
        assert found is not None
        assert found.name == ROBOT


def test_without_a_key_there_are_no_tokens(server: SilentServer) -> None:
    header = f"Bearer {token_of(server)}"
    object.__setattr__(server.api, "token_key", b"")
    with pytest.raises(Refused):
        authn.of_authorization(header, server.api, server.clock.now())


# --- Impersonation -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], ADMIN),
        ([("Accept", "x")], ADMIN),
        ([("Impersonate-User", "")], ADMIN),
        ([("Impersonate-User", "bob")], User("bob", ("system:authenticated",))),
        ([("impersonate-user", "bob")], User("bob", ("system:authenticated",))),
        ([("Impersonate-User", "bob"), ("Impersonate-Group", "g"), ("Impersonate-Group", "h")], User("bob", ("g", "h", "system:authenticated"))),
        ([("Impersonate-User", "bob"), ("Impersonate-Group", "system:authenticated")], User("bob", ("system:authenticated",))),
        ([("Impersonate-User", "bob"), ("Impersonate-Group", "system:unauthenticated")], User("bob", ("system:unauthenticated",))),
        ([("Impersonate-User", "system:anonymous")], User("system:anonymous", ("system:unauthenticated",))),
        ([("Impersonate-User", ROBOT)], User(ROBOT, GROUPS)),
        ([("Impersonate-User", ROBOT), ("Impersonate-Group", "g")], User(ROBOT, ("g", "system:authenticated"))),
        ([("Impersonate-User", "system:serviceaccount:Shop:robot")], User("system:serviceaccount:Shop:robot", ("system:authenticated",))),
        ([("Impersonate-User", "bob"), ("Impersonate-Uid", "7")], User("bob", ("system:authenticated",), "7")),
        ([("Impersonate-User", "bob"), ("Impersonate-Extra-Scopes", "a"), ("Impersonate-Extra-scopes", "b"), ("Impersonate-Extra-x%2fy", "c")],
         User("bob", ("system:authenticated",), "", (("scopes", ("a", "b")), ("x/y", ("c",))))),
    ],
)  # fmt: skip
def test_an_administrator_may_be_anybody(
    server: SilentServer, headers: list[tuple[str, str]], expected: User
) -> None:
    assert impersonation.acting(server.api, ADMIN, headers) == expected


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([("Impersonate-User", "bob")], '403 users "bob" is forbidden: User "eve" cannot impersonate resource "users" in API group "" at the cluster scope'),
        ([("Impersonate-User", "jane"), ("Impersonate-Group", "system:masters")], '403 groups "system:masters" is forbidden: User "eve" cannot impersonate resource "groups" in API group "" at the cluster scope'),
        ([("Impersonate-User", "system:serviceaccount:shop:boss")], '403 serviceaccounts "boss" is forbidden: User "eve" cannot impersonate resource "serviceaccounts" in API group "" in the namespace "shop"'),
        ([("Impersonate-User", "jane"), ("Impersonate-Extra-scopes", "all")], '403 userextras.authentication.k8s.io "all" is forbidden: User "eve" cannot impersonate resource "userextras/scopes" in API group "authentication.k8s.io" at the cluster scope'),
        ([("Impersonate-User", "jane"), ("Impersonate-Uid", "0")], '403 uids.authentication.k8s.io "0" is forbidden: User "eve" cannot impersonate resource "uids" in API group "authentication.k8s.io" at the cluster scope'),
        ([("Impersonate-Group", "system:masters")], "400 requested group=system:masters without impersonating a user"),
        ([("Impersonate-User", "jane")], ""),
        ([("Impersonate-User", ROBOT)], ""),
    ],
)  # fmt: skip
def test_others_may_be_whom_a_role_says(
    server: SilentServer, headers: list[tuple[str, str]], said: str
) -> None:
    grant(
        server,
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users", "serviceaccounts"], "resourceNames": ["jane", "robot"]},
    )  # fmt: skip
    try:
        impersonation.acting(server.api, EVE, headers)
        found = ""
    except Refused as refused:
        found = f"{refused.code} {refused.status['message']}"
    assert found == said


EVE = User("eve", ("system:authenticated",))


def grant(server: SilentServer, *rules: Json) -> None:
    """Give eve rules, in the whole cluster."""
    server.must(f"POST {RBAC}/clusterroles", {"metadata": {"name": "given"}, "rules": list(rules)})
    subject = {"kind": "User", "name": "eve", "apiGroup": "rbac.authorization.k8s.io"}
    reference = {"kind": "ClusterRole", "name": "given", "apiGroup": "rbac.authorization.k8s.io"}
    body = {"metadata": {"name": "given"}, "roleRef": reference, "subjects": [subject]}
    server.must(f"POST {RBAC}/clusterrolebindings", body)


# --- Escalation ----------------------------------------------------------------------------------

_READER = {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]}
_WRITER = {"verbs": ["*"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"]}
_WRITES = {**_WRITER, "verbs": ["create", "update", "patch", "get"]}
_BEGIN = 'is forbidden: user "eve" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:\n'


@pytest.mark.parametrize(
    ("rules", "lacking"),
    [
        ([_READER], ""),
        ([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["p"]}], ""),
        ([{"verbs": ["get", "list", "watch", "delete"], "apiGroups": [""], "resources": ["pods"]}],
         '{APIGroups:[""], Resources:["pods"], Verbs:["watch" "delete"]}'),
        ([{"verbs": ["get"], "apiGroups": ["", "apps"], "resources": ["pods"]}],
         '{APIGroups:["apps"], Resources:["pods"], Verbs:["get"]}'),
        ([{"verbs": ["get"], "apiGroups": [""], "resources": ["*"]}], '{APIGroups:[""], Resources:["*"], Verbs:["get"]}'),
        ([{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"]}],
         '{APIGroups:[""], Resources:["secrets"], ResourceNames:["a"], Verbs:["get"]}'),
        ([{"verbs": ["get"], "nonResourceURLs": ["/x"]}], '{NonResourceURLs:["/x"], Verbs:["get"]}'),
        ([{"verbs": ["get"], "nonResourceURLs": ["/api/x"]}], ""),
    ],
)  # fmt: skip
def test_nobody_grants_what_they_have_not(
    server: SilentServer, rules: list[Json], lacking: str
) -> None:
    grant(server, _READER, _WRITES)
    server.user = EVE
    body = {"metadata": {"name": "new"}, "rules": rules}
    if not lacking:
        server.must(f"POST {RBAC}/clusterroles", body)
        return
    assert server.says(f"POST {RBAC}/clusterroles", body) == (
        f'403 Forbidden: clusterroles.rbac.authorization.k8s.io "new" {_BEGIN}{lacking}'
    )
    # Neither by a binding to a role that is there.
    server.user = ADMIN
    server.must(f"POST {RBAC}/clusterroles", body)
    server.user = EVE
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "new"}
    binding: Json = {"metadata": {"name": "b"}, "roleRef": reference, "subjects": []}
    assert server.says(f"POST {RBAC}/clusterrolebindings", binding) == (
        f'403 Forbidden: clusterrolebindings.rbac.authorization.k8s.io "b" {_BEGIN}{lacking}'
    )
    # What changes nothing of the rights is no grant.
    server.must(f"PATCH {RBAC}/clusterroles/new", {"metadata": {"labels": {"a": "b"}}}, patch="merge")  # fmt: skip


@pytest.mark.parametrize("verb", ["escalate", "bind"])
def test_the_verbs_escalate_and_bind(server: SilentServer, verb: str) -> None:
    grant(server, _WRITES, {**_WRITER, "verbs": [verb]})
    server.user = EVE
    role = {"metadata": {"name": "new"}, "rules": [{**_READER, "verbs": ["delete"]}]}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    binding: Json = {"metadata": {"name": "b"}, "roleRef": reference, "subjects": []}
    codes = [
        server.ask(f"POST {RBAC}/clusterroles", role)[0],
        server.ask(f"POST {RBAC}/clusterrolebindings", binding)[0],
    ]
    assert codes == ([201, 403] if verb == "escalate" else [403, 201])


def test_an_aggregation_rule_needs_everything(server: SilentServer) -> None:
    grant(server, _WRITES)
    server.user = EVE
    rule = {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}
    body = {"metadata": {"name": "new"}, "aggregationRule": rule}
    assert server.says(f"POST {RBAC}/clusterroles", body) == (
        '403 Forbidden: clusterroles.rbac.authorization.k8s.io "new" is forbidden: must have '
        "cluster-admin privileges to use an aggregationRule"
    )


# --- Reviews -------------------------------------------------------------------------------------


def test_token_reviews(server: SilentServer) -> None:
    def review(token: str, *audiences: str) -> Json:
        body = {"spec": {"token": token, "audiences": list(audiences)}}
        status: Json = server.must(f"POST {AUTHENTICATION}/tokenreviews", body)["status"]
        return status

    good = token_of(server)
    status = review(good)
    assert (status["authenticated"], status["audiences"]) == (True, [tokens.ISSUER])
    assert status["user"]["username"] == ROBOT
    assert status["user"]["groups"] == list(GROUPS)
    assert set(status["user"]["extra"]) == {"authentication.kubernetes.io/credential-id"}
    vault = token_of(server, audiences=["vault", "other"])
    assert review(vault, "vault")["audiences"] == ["vault"]
    assert review(vault)["error"] == (
        '[invalid bearer token, token audiences ["vault" "other"] is invalid for the target '
        f'audiences ["{tokens.ISSUER}"]]'
    )
    assert review("x") == {"user": {}, "error": "invalid bearer token"}
    server.must(f"DELETE {SHOP}/serviceaccounts/robot")
    error = '[invalid bearer token, serviceaccounts "robot" not found]'
    assert review(good) == {"user": {}, "error": error}
    body: Json = {"spec": {}}
    assert server.says(f"POST {AUTHENTICATION}/tokenreviews", body) == (
        "400 BadRequest: token is required for TokenReview in authentication"
    )


LOCAL = f"{AUTHORIZATION}/namespaces/shop/localsubjectaccessreviews"
PODS = {"verb": "list", "resource": "pods", "namespace": "shop"}
BY_VIEW = 'RBAC: allowed by ClusterRoleBinding "given" of ClusterRole "given" to User "eve"'


@pytest.mark.parametrize(
    ("path", "spec", "expected"),
    [
        (f"{AUTHORIZATION}/subjectaccessreviews", {"user": "eve", "resourceAttributes": PODS}, {"allowed": True, "reason": BY_VIEW}),
        (f"{AUTHORIZATION}/subjectaccessreviews", {"user": "joe", "resourceAttributes": PODS}, {"allowed": False}),
        (f"{AUTHORIZATION}/subjectaccessreviews", {"groups": ["system:masters"], "resourceAttributes": PODS}, {"allowed": True}),
        (f"{AUTHORIZATION}/subjectaccessreviews", {"user": "eve", "nonResourceAttributes": {"verb": "get", "path": "/x"}}, {"allowed": False}),
        (f"{AUTHORIZATION}/subjectaccessreviews", {"user": "x", "groups": ["system:authenticated"], "nonResourceAttributes": {"verb": "get", "path": "/api"}},
         {"allowed": True, "reason": 'RBAC: allowed by ClusterRoleBinding "system:discovery" of ClusterRole "system:discovery" to Group "system:authenticated"'}),
        (f"{AUTHORIZATION}/selfsubjectaccessreviews", {"resourceAttributes": PODS}, {"allowed": True}),
        (LOCAL, {"user": "eve", "resourceAttributes": PODS}, {"allowed": True, "reason": BY_VIEW}),
        (LOCAL, {"user": "eve", "resourceAttributes": {**PODS, "namespace": "default"}}, 'LocalSubjectAccessReview.authorization.k8s.io "" is invalid: spec.resourceAttributes.namespace: Invalid value: "default": must match metadata.namespace'),
        (f"{AUTHORIZATION}/selfsubjectaccessreviews", {}, 'SelfSubjectAccessReview.authorization.k8s.io "" is invalid: spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified'),
        (f"{AUTHORIZATION}/subjectaccessreviews", {"resourceAttributes": PODS}, 'SubjectAccessReview.authorization.k8s.io "" is invalid: spec.user: Invalid value: "": at least one of user or group must be specified'),
    ],
)  # fmt: skip
def test_access_reviews(server: SilentServer, path: str, spec: Json, expected: Json | str) -> None:
    grant(server, _READER)
    code, answer = server.ask(f"POST {path}", {"spec": spec})
    if isinstance(expected, str):
        assert (code, answer["message"]) == (422, expected)
    else:
        assert (code, answer["status"]) == (201, expected)


def test_rules_reviews(server: SilentServer) -> None:
    grant(server, _READER)
    server.user = EVE
    path = f"POST {AUTHORIZATION}/selfsubjectrulesreviews"
    assert server.says(path, {"spec": {}}) == "400 BadRequest: no namespace on request"
    status = server.must(path, {"spec": {"namespace": "shop"}})["status"]
    assert status["incomplete"] is False
    assert _READER in status["resourceRules"]
    assert {"/version"} < {url for r in status["nonResourceRules"] for url in r["nonResourceURLs"]}


# --- Over HTTP: who gets in ----------------------------------------------------------------------


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[ApiServer, aiohttp.ClientSession]]:
    """Give a server and a client that says nothing of itself."""
    made = ApiServer(Store(), FakeAgent(), SystemClock(), random.Random(1))
    made.fill(6443)
    connector = aiohttp.UnixConnector(str(tmp_path / "api.sock"))
    async with (
        made.serve(unix_path=tmp_path / "api.sock"),
        aiohttp.ClientSession("http://api", connector=connector) as client,
    ):
        yield made, client


def with_objects(made: ApiServer) -> SilentServer:
    """Return a way to ask *made* without HTTP, with an account."""
    silent = SilentServer(api=made.api)
    silent.clock.advance(SystemClock().now() - silent.clock.now())
    silent.must("POST /api/v1/namespaces", {"metadata": {"name": "shop"}})
    silent.must(f"POST {SHOP}/serviceaccounts", {"metadata": {"name": "robot"}})
    return silent


ASKED = [
    "GET /version",
    "GET /api",
    "GET /api/v1/pods",
    "GET /api/v1/pods?watch=1&timeoutSeconds=1",
    "POST /api/v1/namespaces/default/configmaps",
    "DELETE /api/v1/namespaces/shop",
    "GET /api/v1/namespaces/default/pods/p/log",
    "GET /api/v1/namespaces/default/pods/p/exec?command=id&stdout=1",
    "GET /apis/podwire.dev/v1/hosts",
    "GET /apis/podwire.dev/v1/capture",
    f"POST {AUTHENTICATION}/selfsubjectreviews",
    "GET /openapi/v2",
    "GET /moon",
    "GET /api/v1/moons",
]


async def test_bad_tokens_get_nowhere(served: tuple[ApiServer, aiohttp.ClientSession]) -> None:
    made, client = served
    silent = with_objects(made)
    headers = bad_headers(silent)
    del headers["no ASCII"]  # aiohttp's client does not send it
    headers["long"] = headers["long"][:7000]
    revision = made.api.store.revision
    for name, header in headers.items():
        for line in ASKED:
            method, _, path = line.partition(" ")
            sent = {"Authorization": header, "Impersonate-User": "kubernetes-admin"}
            async with client.request(method, path, headers=sent, json={}) as answer:
                status = await answer.json()
                assert (answer.status, status["message"]) == (401, "Unauthorized"), (name, line)
    assert made.api.store.revision == revision
    # The twin: a good one is let in.
    good = {"Authorization": f"Bearer {token_of(silent)}"}
    async with client.get("/version", headers=good) as answer:
        assert answer.status == 200
    async with client.get("/api/v1/pods", headers=good) as answer:
        assert (await answer.json())["message"] == (
            f'pods is forbidden: User "{ROBOT}" cannot list resource "pods" in API group "" at '
            "the cluster scope"
        )


async def test_to_read_everything_is_no_shell_on_a_host(
    served: tuple[ApiServer, aiohttp.ClientSession],
) -> None:
    made, client = served
    silent = with_objects(made)
    rules = [{"verbs": ["get", "list", "watch"], "apiGroups": ["*"], "resources": ["*"]}]
    silent.must(f"POST {RBAC}/clusterroles", {"metadata": {"name": "reader"}, "rules": rules})
    account = {"kind": "ServiceAccount", "name": "robot", "namespace": "shop"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"}
    binding = {"metadata": {"name": "reader"}, "roleRef": role, "subjects": [account]}
    silent.must(f"POST {RBAC}/clusterrolebindings", binding)
    headers = {"Authorization": f"Bearer {token_of(silent)}"}
    for path, status in (
        ("hosts", 200),
        ("capturepoints", 200),
        ("hosts/node-1/exec?command=id&stdout=1", 403),
        ("hosts/node-1/exec/?command=id&stdout=1", 403),
        ("capture?point=node-1", 403),
    ):
        async with client.get(f"/apis/podwire.dev/v1/{path}", headers=headers) as answer:
            assert answer.status == status, path


async def test_nobody_sees_versions_and_nothing_else(
    served: tuple[ApiServer, aiohttp.ClientSession],
) -> None:
    made, client = served
    with_objects(made)
    revision = made.api.store.revision
    for line in ASKED:
        method, _, path = line.partition(" ")
        async with client.request(method, path, json={}) as answer:
            text = await answer.text()
        if path == "/version":
            assert answer.status == 200
            continue
        assert answer.status == 403, line
        assert 'User \\"system:anonymous\\" cannot ' in text, line
    async with client.get("/moon") as answer:
        assert (await answer.json())["message"] == (
            'forbidden: User "system:anonymous" cannot get path "/moon"'
        )
    assert made.api.store.revision == revision


async def test_a_huge_header_is_refused(served: tuple[ApiServer, aiohttp.ClientSession]) -> None:
    _, client = served
    for size in (9_000, 100_000, 2_000_000):
        try:
            async with client.get(
                "/version", headers={"Authorization": "Bearer " + "A" * size}
            ) as answer:
                assert answer.status in (400, 431)
        except aiohttp.ClientError:
            pass  # the server has closed the connection while the header was being sent
    async with client.get("/version") as answer:
        assert answer.status == 200


async def test_many_bad_attempts_leave_nothing(
    served: tuple[ApiServer, aiohttp.ClientSession], caplog: pytest.LogCaptureFixture
) -> None:
    _, client = served
    caplog.set_level(logging.WARNING)  # pytest keeps what is logged: that is not the server's

    async def attempts(number: int) -> None:
        for attempt in range(number):
            header = {"Authorization": f"Bearer {attempt}.{'x' * 500}.{attempt}"}
            async with client.get(f"/api/v1/namespaces/n{attempt}/pods", headers=header) as answer:
                assert answer.status == 401
            async with client.get(f"/api/v1/namespaces/n{attempt}/pods") as answer:
                assert answer.status == 403

    await attempts(250)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        async with asyncio.timeout(60):
            await attempts(250)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # What is remembered of names is limited; without the limit it would be megabytes.
    assert after - before < 500_000
