"""RBAC: roles and bindings to yes or no, with Kubernetes' reasons."""

import pytest

from podwire.emulator.apiserver.access.authn import DNS_SERVER, NOBODY
from podwire.emulator.apiserver.access.rbac import Asked
from podwire.emulator.apiserver.request import User
from podwire.testing.apiserver import Json, SilentServer

RBAC = "/apis/rbac.authorization.k8s.io/v1"
JANE = User("jane", ("team", "system:authenticated"))
ROBOT = User(
    "system:serviceaccount:shop:robot",
    ("system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"),
)


def rule(verbs: str, groups: str, resources: str, names: str = "") -> Json:
    """Return a rule; a dot is the core group."""
    found = ["" if group == "." else group for group in groups.split()]
    written: Json = {"verbs": verbs.split(), "apiGroups": found, "resources": resources.split()}
    return written | ({"resourceNames": names.split()} if names else {})


def subject(text: str) -> Json:
    kind, _, name = text.partition(" ")
    if kind == "ServiceAccount":
        namespace, _, name = name.rpartition("/")
        return {"kind": kind, "name": name} | ({"namespace": namespace} if namespace else {})
    return {"kind": kind, "apiGroup": "rbac.authorization.k8s.io", "name": name}


def grant(server: SilentServer, where: str, who: str, *rules: Json, name: str = "given") -> None:
    """Give *who* rules: in a namespace by Role and RoleBinding, in "" by those of the cluster."""
    prefix = "" if where else "Cluster"
    base = f"{RBAC}/namespaces/{where}" if where else RBAC
    server.must(
        f"POST {base}/{prefix.lower()}roles", {"metadata": {"name": name}, "rules": list(rules)}
    )
    bind(server, where, who, f"{prefix}Role {name}", name=name)


def bind(server: SilentServer, where: str, who: str, role: str, name: str = "given") -> None:
    base = f"{RBAC}/namespaces/{where}/rolebindings" if where else f"{RBAC}/clusterrolebindings"
    kind, _, role_name = role.partition(" ")
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role_name}
    body = {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject(who)]}
    server.must(f"POST {base}", body)


def asked(text: str) -> Asked:
    """Read `VERB RESOURCE[.GROUP][/SUBRESOURCE][ NAME][ in NAMESPACE]` or `VERB /PATH`."""
    text, _, namespace = text.partition(" in ")
    verb, what, *name = text.split()
    if what.startswith("/"):
        return Asked(verb, path=what)
    resource, _, subresource = what.partition("/")
    resource, _, group = resource.partition(".")
    return Asked(verb, group, resource, subresource, namespace, name[0] if name else "")


@pytest.fixture
def server(server: SilentServer) -> SilentServer:
    server.must("POST /api/v1/namespaces", {"metadata": {"name": "shop"}})
    return server


@pytest.mark.parametrize(
    ("given", "yes", "no"),
    [
        (
            rule("get list", ".", "pods"),
            ["get pods p in shop", "list pods in shop"],
            ["watch pods in shop", "get pods/log p in shop", "get pods.metrics.k8s.io p in shop",
             "get services s in shop", "list pods", "list pods in default", "get /pods"],
        ),
        (rule("*", ".", "pods"), ["dance pods in shop"], ["dance services in shop"]),
        (rule("get", "*", "pods"), ["get pods.metrics.k8s.io p in shop"], ["list pods in shop"]),
        (
            rule("get", ".", "*"),
            ["get pods p in shop", "get pods/log p in shop", "get secrets s in shop"],
            ["get deployments.apps d in shop", "get /"],
        ),
        (
            rule("update", "apps", "*/scale"),
            ["update deployments.apps/scale d in shop"],
            ["update deployments.apps d in shop", "update deployments.apps/status d in shop",
             "update scale.apps d in shop"],
        ),
        (
            rule("get", ".", "pods/log"),
            ["get pods/log p in shop"],
            ["get pods p in shop", "get pods/exec p in shop", "get services/log s in shop"],
        ),
        (
            rule("get list", ".", "configmaps", "a b"),
            ["get configmaps a in shop", "get configmaps b in shop", "list configmaps a in shop"],
            ["get configmaps c in shop", "list configmaps in shop"],
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("who", ["User jane", "Group team"])
def test_a_role_in_a_namespace(
    server: SilentServer, who: str, given: Json, yes: list[str], no: list[str]
) -> None:
    grant(server, "shop", who, given)
    decide = server.api.authorizer.decide
    assert [text for text in yes if not decide(JANE, asked(text)).allowed] == []
    assert [text for text in no if decide(JANE, asked(text)).allowed] == []
    stranger = User("joe", ("system:authenticated",))
    assert [text for text in yes if decide(stranger, asked(text)).allowed] == []


@pytest.mark.parametrize(
    ("urls", "yes", "no"),
    [
        (["/metrics"], ["get /metrics"], ["get /metrics/x", "post /metrics", "get /"]),
        (["/logs/*"], ["get /logs/", "get /logs/a/b"], ["get /logs", "get /log"]),
        (["/he*"], ["get /he", "get /hello"], ["get /h"]),
        (["*"], ["get /", "get /x/y"], ["put /", "get pods in shop"]),
    ],
)
def test_paths(server: SilentServer, urls: list[str], yes: list[str], no: list[str]) -> None:
    grant(server, "", "User jane", {"verbs": ["get"], "nonResourceURLs": urls})
    decide = server.api.authorizer.decide
    assert [text for text in yes if not decide(JANE, asked(text)).allowed] == []
    assert [text for text in no if decide(JANE, asked(text)).allowed] == []


@pytest.mark.parametrize(
    ("where", "who", "role", "reason"),
    [
        ("", "User jane", "ClusterRole view", 'ClusterRoleBinding "given" of ClusterRole "view" to User "jane"'),
        ("", "Group team", "ClusterRole view", 'ClusterRoleBinding "given" of ClusterRole "view" to Group "team"'),
        ("shop", "User jane", "ClusterRole view", 'RoleBinding "given/shop" of ClusterRole "view" to User "jane"'),
        ("shop", "Group team", "Role own", 'RoleBinding "given/shop" of Role "own" to Group "team"'),
        ("default", "User jane", "ClusterRole view", None),
        ("shop", "User Jane", "ClusterRole view", None),
        ("shop", "ServiceAccount jane", "ClusterRole view", None),
        ("shop", "Group jane", "ClusterRole view", None),
        ("shop", "User team", "ClusterRole view", None),
    ],
)  # fmt: skip
def test_reasons(server: SilentServer, where: str, who: str, role: str, reason: str | None) -> None:
    body = {"metadata": {"name": "own"}, "rules": [rule("list", ".", "pods")]}
    server.must(f"POST {RBAC}/namespaces/shop/roles", body)
    bind(server, where, who, role)
    verdict = server.api.authorizer.decide(JANE, asked("list pods in shop"))
    assert verdict.allowed is (reason is not None)
    assert verdict.reason == (f"RBAC: allowed by {reason}" if reason else "")


@pytest.mark.parametrize(
    ("where", "who", "reason"),
    [
        ("shop", "ServiceAccount robot", 'RoleBinding "given/shop" of ClusterRole "view" to ServiceAccount "robot/shop"'),
        ("shop", "ServiceAccount shop/robot", 'RoleBinding "given/shop" of ClusterRole "view" to ServiceAccount "robot/shop"'),
        ("", "ServiceAccount shop/robot", 'ClusterRoleBinding "given" of ClusterRole "view" to ServiceAccount "robot/shop"'),
        ("shop", "Group system:serviceaccounts:shop", 'RoleBinding "given/shop" of ClusterRole "view" to Group "system:serviceaccounts:shop"'),
        ("shop", "User system:serviceaccount:shop:robot", 'RoleBinding "given/shop" of ClusterRole "view" to User "system:serviceaccount:shop:robot"'),
        ("shop", "ServiceAccount default/robot", None),
        ("shop", "ServiceAccount shop/other", None),
    ],
)  # fmt: skip
def test_service_accounts(server: SilentServer, where: str, who: str, reason: str | None) -> None:
    bind(server, where, who, "ClusterRole view")
    verdict = server.api.authorizer.decide(ROBOT, asked("list pods in shop"))
    assert verdict.allowed is (reason is not None)
    assert verdict.reason == (f"RBAC: allowed by {reason}" if reason else "")


def test_a_binding_to_nothing_says_so_and_gives_nothing(server: SilentServer) -> None:
    bind(server, "shop", "User jane", "Role none", name="a")
    bind(server, "shop", "User jane", "ClusterRole none", name="b")
    verdict = server.api.authorizer.decide(JANE, asked("list pods in shop"))
    assert (verdict.allowed, verdict.reason) == (
        False,
        'RBAC: [role.rbac.authorization.k8s.io "none" not found, '
        'clusterrole.rbac.authorization.k8s.io "none" not found]',
    )


def test_changes_hold_at_once(server: SilentServer) -> None:
    def may() -> bool:
        return server.api.authorizer.decide(JANE, asked("list pods in shop")).allowed

    role, binding = (f"{RBAC}/namespaces/shop/{kind}/given" for kind in ("roles", "rolebindings"))
    assert not may()
    grant(server, "shop", "User jane", rule("list", ".", "pods"))
    assert may()
    server.must(f"PATCH {role}", {"rules": [rule("list", ".", "services")]}, patch="merge")
    assert not may()
    server.must(f"PATCH {role}", {"rules": [rule("list", ".", "pods")]}, patch="merge")
    assert may()
    server.must(f"DELETE {role}")
    assert not may()
    server.must(f"POST {RBAC}/namespaces/shop/roles", {"metadata": {"name": "given"}, "rules": [rule("list", ".", "pods")]})  # fmt: skip
    assert may()
    server.must(f"DELETE {binding}")
    assert not may()


@pytest.mark.parametrize(
    ("who", "text", "may"),
    [
        (User("x", ("system:masters",)), "dance moons.sky in shop", True),
        (User("x", ("system:masters",)), "get /moon", True),
        (User("system:masters", ()), "get pods p in shop", False),
        (User("system:admin", ("system:authenticated",)), "get pods p in shop", False),
        (User("system:node:node-1", ("system:nodes", "system:authenticated")), "get pods p in shop", False),
        (User("cluster-admin", ("cluster-admin",)), "get pods p in shop", False),
        (NOBODY, "get /version", True),
        (NOBODY, "get /healthz", True),
        (NOBODY, "get /api", False),
        (NOBODY, "create selfsubjectaccessreviews.authorization.k8s.io", False),
        (ROBOT, "get /api", True),
        (ROBOT, "get /openapi/v3/apis/apps/v1", True),
        (ROBOT, "get /metrics", False),
        (ROBOT, "create selfsubjectaccessreviews.authorization.k8s.io", True),
        (ROBOT, "create selfsubjectreviews.authentication.k8s.io", True),
        (ROBOT, "create subjectaccessreviews.authorization.k8s.io", False),
        (ROBOT, "create tokenreviews.authentication.k8s.io", False),
        (ROBOT, "get configmaps kube-root-ca.crt in shop", False),
        (DNS_SERVER, "watch endpointslices.discovery.k8s.io", True),
        (DNS_SERVER, "list services", True),
        (DNS_SERVER, "list secrets", False),
    ],
)  # fmt: skip
def test_what_everybody_may_from_the_start(
    server: SilentServer,
    who: User,
    text: str,
    may: bool,  # noqa: FBT001
) -> None:
    assert server.api.authorizer.decide(who, asked(text)).allowed is may


@pytest.mark.parametrize(
    ("role", "yes", "no"),
    [
        ("view", ["list pods", "get pods/log p", "list deployments.apps", "list pods.metrics.k8s.io"],
         ["list secrets", "create pods", "get pods/exec p", "list roles.rbac.authorization.k8s.io"]),
        ("edit", ["list pods", "list secrets", "create pods/exec p", "delete deployments.apps d",
                  "update deployments.apps/scale d", "create serviceaccounts/token robot"],
         ["list roles.rbac.authorization.k8s.io", "create limitranges", "list nodes"]),
        ("admin", ["list secrets", "create rolebindings.rbac.authorization.k8s.io",
                   "create localsubjectaccessreviews.authorization.k8s.io"],
         ["create clusterroles.rbac.authorization.k8s.io", "delete namespaces shop", "list nodes"]),
        ("cluster-admin", ["delete nodes n", "dance moons.sky"], []),
    ],
)  # fmt: skip
def test_roles_for_users(server: SilentServer, role: str, yes: list[str], no: list[str]) -> None:
    bind(server, "shop", "User jane", f"ClusterRole {role}")
    decide = server.api.authorizer.decide
    assert [text for text in yes if not decide(JANE, asked(f"{text} in shop")).allowed] == []
    assert [text for text in no if decide(JANE, asked(f"{text} in shop")).allowed] == []


def test_aggregation_follows_labels(server: SilentServer) -> None:
    def verbs(name: str) -> list[list[str]]:
        rules: list[Json] = server.get(f"{RBAC}/clusterroles/{name}").get("rules") or []
        return [r["verbs"] for r in rules if "moons" in r.get("resources", [])]

    label = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    moons = {"metadata": {"name": "moons", "labels": label}, "rules": [rule("get", "sky", "moons")]}
    server.must(f"POST {RBAC}/clusterroles", moons)
    # admin has what edit has, which has what view has.
    assert [verbs(name) for name in ("view", "edit", "admin")] == [[["get"]]] * 3
    change = {"rules": [rule("list", "sky", "moons")]}
    server.must(f"PATCH {RBAC}/clusterroles/moons", change, patch="merge")
    assert [verbs(name) for name in ("view", "edit", "admin")] == [[["list"]]] * 3
    server.must(f"DELETE {RBAC}/clusterroles/moons")
    assert [verbs(name) for name in ("view", "edit", "admin")] == [[]] * 3


def test_as_many_roles_as_like_aggregate_each_other(server: SilentServer) -> None:
    """There are more ways through them than anybody could go."""
    everybody = {"labels": {"crowd": "yes"}}
    rules = {"clusterRoleSelectors": [{"matchLabels": {"crowd": "yes"}}]}
    for number in range(30):
        role: Json = {
            "metadata": {"name": f"of-{number:02}", **everybody},
            "aggregationRule": rules,
        }
        server.must(f"POST {RBAC}/clusterroles", role)
    plain = {"metadata": {"name": "plain", **everybody}, "rules": [rule("get", ".", "pods")]}
    server.must(f"POST {RBAC}/clusterroles", plain)
    assert server.get(f"{RBAC}/clusterroles/of-00")["rules"] == [rule("get", ".", "pods")]


def test_roles_that_aggregate_each_other_come_to_rest(server: SilentServer) -> None:
    for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
        body = {
            "metadata": {"name": name, "labels": {"ring": name}},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"ring": other}}]},
            "rules": [rule(f"get{name}", ".", "pods")],
        }
        server.must(f"POST {RBAC}/clusterroles", body)
    revision = server.api.store.revision
    server.must(f"PATCH {RBAC}/clusterroles/view", {"metadata": {"labels": {"x": "y"}}}, patch="merge")  # fmt: skip
    assert server.api.store.revision == revision + 1


def test_many_strangers_are_not_remembered_for_ever(server: SilentServer) -> None:
    for number in range(5000):
        who = User(f"user-{number}", ("system:authenticated",))
        server.api.authorizer.decide(who, asked(f"list pods in namespace-{number}"))
    server.api.authorizer.decide(User("x" * 10_000), asked("list pods"))
    inside = vars(server.api.authorizer)
    assert len(inside["_remembered"]) <= 1024
    assert set(inside["_indexes"]) == {""}
    assert all(len(who[0]) < 10_000 for who in inside["_remembered"])


FORBIDDEN = [
    ("GET /api/v1/namespaces/shop/pods", 'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "shop"'),
    ("GET /api/v1/pods", 'pods is forbidden: User "jane" cannot list resource "pods" in API group "" at the cluster scope'),
    ("GET /api/v1/pods?watch=1", 'pods is forbidden: User "jane" cannot watch resource "pods" in API group "" at the cluster scope'),
    ("GET /api/v1/namespaces/shop/pods/p", 'pods "p" is forbidden: User "jane" cannot get resource "pods" in API group "" in the namespace "shop"'),
    ("GET /api/v1/namespaces/shop/pods/p/log", 'pods "p" is forbidden: User "jane" cannot get resource "pods/log" in API group "" in the namespace "shop"'),
    ("GET /apis/apps/v1/namespaces/shop/deployments/d", 'deployments.apps "d" is forbidden: User "jane" cannot get resource "deployments" in API group "apps" in the namespace "shop"'),
    ("PATCH /apis/apps/v1/namespaces/shop/deployments/d/scale", 'deployments.apps "d" is forbidden: User "jane" cannot patch resource "deployments/scale" in API group "apps" in the namespace "shop"'),
    ("GET /api/v1/namespaces/shop", 'namespaces "shop" is forbidden: User "jane" cannot get resource "namespaces" in API group "" in the namespace "shop"'),
    ("GET /api/v1/namespaces", 'namespaces is forbidden: User "jane" cannot list resource "namespaces" in API group "" at the cluster scope'),
    ("GET /api/v1/nodes/n", 'nodes "n" is forbidden: User "jane" cannot get resource "nodes" in API group "" at the cluster scope'),
    ("DELETE /api/v1/namespaces/shop/pods", 'pods is forbidden: User "jane" cannot deletecollection resource "pods" in API group "" in the namespace "shop"'),
    ("GET /api/v1/namespaces/shop/pods?fieldSelector=metadata.name%3Dp", 'pods "p" is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "shop"'),
    ("GET /api/v1/namespaces/shop/secrets/%3Cb%3E%26", 'secrets "<b>&" is forbidden: User "jane" cannot get resource "secrets" in API group "" in the namespace "shop"'),
]  # fmt: skip


@pytest.mark.parametrize(("line", "message"), FORBIDDEN)
def test_forbidden(server: SilentServer, line: str, message: str) -> None:
    server.user = JANE
    code, status = server.ask(line)
    assert (code, status["reason"], status["message"]) == (403, "Forbidden", message)
    # The twin: whoever may, gets another answer.
    grant_all = User("root", ("system:masters",))
    server.user = grant_all
    assert server.ask(line)[0] != 403


def test_a_name_in_a_field_selector_is_a_name(server: SilentServer) -> None:
    grant(server, "shop", "User jane", rule("list watch", ".", "configmaps", "mine"))
    server.user = JANE
    maps = "/api/v1/namespaces/shop/configmaps"
    assert server.ask(f"GET {maps}?fieldSelector=metadata.name=mine")[0] == 200
    for other in ("metadata.name=other", "metadata.name!=mine", "metadata.name=", "a=b\\,metadata.name=mine"):  # fmt: skip
        assert server.ask(f"GET {maps}?fieldSelector={other}")[0] == 403, other
    # All conditions must hold: what is listed has the name, or there is nothing.
    both = "metadata.name=mine,metadata.name=other"
    assert server.get(f"{maps}?fieldSelector={both}")["items"] == []
