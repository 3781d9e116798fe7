"""What people may do beyond themselves: act as others, grant roles, and ask what is allowed."""

import pytest

from podwire.emulator.apiserver.access import impersonation, tokens
from podwire.emulator.apiserver.request import User
from podwire.emulator.apiserver.statuses import Refused
from podwire.testing.apiserver import ADMIN, Json, SilentServer
from tests.unit.emulator.apiserver.accounts import (
    AUTHENTICATION,
    AUTHORIZATION,
    GROUPS,
    RBAC,
    ROBOT,
    SHOP,
    furnished,
    token_of,
)


@pytest.fixture
def server(server: SilentServer) -> SilentServer:
    return furnished(server)


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
