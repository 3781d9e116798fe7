"""Who may do what, with real kubectl: tokens, roles, `auth can-i`, `--as`, and who is kept out."""

import datetime
import json
import re
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from podwire.emulator.certificates import Authority
from podwire.testing.cluster import Cluster
from tests.needs import need
from tests.system.conftest import CLIENT, both_runtimes
from tests.system.kubectl import Kubectl, versions

FORBIDDEN = "Error from server (Forbidden): "


def kubectl_of(program: str, cluster: Cluster, tmp_path: Path) -> Kubectl:
    cache = tmp_path / "cache"
    cache.mkdir()
    return Kubectl(program, cluster, tmp_path, cache)


@pytest.fixture
def kubectl(cluster: Cluster, tmp_path: Path) -> Kubectl:
    need("kubectl")
    return kubectl_of(versions()[0], cluster, tmp_path)


@pytest.fixture(params=versions() or ["kubectl"], ids=lambda path: Path(path).name)
def each_kubectl(request: pytest.FixtureRequest, cluster: Cluster, tmp_path: Path) -> Kubectl:
    need("kubectl")
    return kubectl_of(str(request.param), cluster, tmp_path)


def as_robot(kubectl: Kubectl, name: str = "robot") -> str:
    """Make an account and a user of the kubeconfig with its token; return the user's name."""
    kubectl.said("create", "serviceaccount", name)
    return with_token(kubectl, kubectl.said("create", "token", name).strip(), name)


def with_token(kubectl: Kubectl, token: str, user: str) -> str:
    kubectl.said("config", "set-credentials", user, f"--token={token}")
    return user


def account(kubectl: Kubectl, name: str = "robot") -> str:
    return f"system:serviceaccount:{kubectl.namespace}:{name}"


def test_a_token_has_the_rights_of_its_bindings(each_kubectl: Kubectl) -> None:
    kubectl, namespace = each_kubectl, each_kubectl.namespace
    user = as_robot(kubectl)
    who = f'User "{account(kubectl)}" cannot'
    before = kubectl.run("--user", user, "get", "pods")
    assert before.stderr == (
        f'{FORBIDDEN}pods is forbidden: {who} list resource "pods" in API group "" in the '
        f'namespace "{namespace}"\n'
    )
    kubectl.said("create", "role", "reader", "--verb=get,list,watch", "--resource=pods")
    kubectl.said(
        "create", "rolebinding", "readers", "--role=reader", f"--serviceaccount={namespace}:robot"
    )
    assert kubectl.run("--user", user, "get", "pods").stderr == (
        f"No resources found in {namespace} namespace.\n"
    )
    for words, said in (
        (("get", "pods", "-A"), f'pods is forbidden: {who} list resource "pods" in API group "" at the cluster scope'),
        (("get", "nodes"), f'nodes is forbidden: {who} list resource "nodes" in API group "" at the cluster scope'),
        (("get", "secret", "s"), f'secrets "s" is forbidden: {who} get resource "secrets" in API group "" in the namespace "{namespace}"'),
        (("delete", "pod", "p"), f'pods "p" is forbidden: {who} delete resource "pods" in API group "" in the namespace "{namespace}"'),
        (("get", "--raw", "/metrics"), f'forbidden: {who} get path "/metrics"'),
    ):  # fmt: skip
        done = kubectl.run("--user", user, *words)
        assert (done.returncode, done.stderr) == (1, f"{FORBIDDEN}{said}\n")
    kubectl.said("delete", "rolebinding", "readers")
    assert FORBIDDEN in kubectl.run("--user", user, "get", "pods").stderr


@both_runtimes
def test_streams_need_rights_of_their_own(cluster: Cluster, kubectl: Kubectl) -> None:
    user = as_robot(kubectl)
    kubectl.said("create", "rolebinding", "v", "--clusterrole=view", "--serviceaccount", f"{cluster.namespace}:robot")  # fmt: skip
    kubectl.said("apply", "-f", "-", given=CLIENT)
    kubectl.said("wait", "--for=condition=Ready", "pod/client", "--timeout=30s")
    assert kubectl.said("--user", user, "get", "pods", "-o", "name") == "pod/client\n"
    assert kubectl.said("--user", user, "logs", "client") == ""
    for words, what in (
        (("exec", "client", "--", "true"), "exec"),
        (("attach", "client"), "attach"),
        (("port-forward", "pod/client", "18080:80"), "portforward"),
    ):
        done = kubectl.run("--user", user, *words)
        assert done.returncode != 0
        assert f'User "{account(kubectl)}" cannot' in done.stderr
        assert f'resource "pods/{what}"' in done.stderr
    # The twin: `edit` has them.
    kubectl.said("create", "rolebinding", "e", "--clusterrole=edit", "--serviceaccount", f"{cluster.namespace}:robot")  # fmt: skip
    assert kubectl.said("--user", user, "exec", "client", "--", "echo", "hello") == "hello\n"


def test_who_am_i(each_kubectl: Kubectl) -> None:
    kubectl = each_kubectl
    own = kubectl.said("auth", "whoami", "-o", "json")
    info: dict[str, Any] = json.loads(own)["status"]["userInfo"]
    assert info["username"] == "kubernetes-admin"
    assert info["groups"] == ["system:masters", "system:authenticated"]
    assert list(info["extra"]) == ["authentication.kubernetes.io/credential-id"]
    user = as_robot(kubectl)
    lines = kubectl.said("--user", user, "auth", "whoami").splitlines()
    assert lines[0].split() == ["ATTRIBUTE", "VALUE"]
    assert lines[1].split() == ["Username", account(kubectl)]
    other = kubectl.said("auth", "whoami", "--as=jane", "--as-group=team", "--as-uid=7")
    assert [line.split(maxsplit=1) for line in other.splitlines()[1:]] == [
        ["Username", "jane"],
        ["UID", "7"],
        ["Groups", "[team system:authenticated]"],
    ]


def test_can_i(each_kubectl: Kubectl) -> None:
    kubectl = each_kubectl
    kubectl.said("create", "role", "r", "--verb=get,list", "--resource=pods,pods/log")
    kubectl.said("create", "role", "named", "--verb=get", "--resource=configmaps", "--resource-name=mine")  # fmt: skip
    for role in ("r", "named"):
        kubectl.said("create", "rolebinding", role, f"--role={role}", "--user=jane", "--group=team")
    for words, may in (
        ("create deployments", True),
        ("* *", True),
        ("get /logs", True),
        ("list pods --as=jane", True),
        ("list pods --as=joe --as-group=team", True),
        ("list pods --as=joe", False),
        ("list pods --as=jane -A", False),
        ("list pods --as=jane -n default", False),
        ("get pods --subresource=log --as=jane", True),
        ("create pods --subresource=exec --as=jane", False),
        ("get pods/p --as=jane", True),
        ("get configmaps/mine --as=jane", True),
        ("get configmaps/other --as=jane", False),
        ("get configmaps --as=jane", False),
        ("get /version --as=jane", True),
        ("get /logs --as=jane", False),
        ("list deployments.apps --as=jane", False),
    ):
        done = kubectl.run("auth", "can-i", *words.split())
        assert (done.returncode, done.stdout) == ((0, "yes\n") if may else (1, "no\n")), words
    assert kubectl.run("auth", "can-i", "list", "secrets", "--as=jane", "-q").returncode == 1
    listed = kubectl.said("auth", "can-i", "--list", "--as=jane", "--no-headers").splitlines()
    rows = {tuple(line.split()) for line in listed}
    assert {
        ("pods/log", "[]", "[]", "[get", "list]"),
        ("pods", "[]", "[]", "[get", "list]"),
        ("configmaps", "[]", "[mine]", "[get]"),
        ("selfsubjectaccessreviews.authorization.k8s.io", "[]", "[]", "[create]"),
        ("[/version]", "[]", "[get]"),
    } <= rows
    assert ("*.*", "[]", "[]", "[*]") not in rows


def test_to_act_as_another_is_a_right(kubectl: Kubectl) -> None:
    user = as_robot(kubectl)
    kubectl.said("get", "pods")  # the kinds are known now: else kubectl tells of these alone
    assert kubectl.run("--user", user, "get", "pods", "--as=jane").stderr == (
        f'{FORBIDDEN}users "jane" is forbidden: User "{account(kubectl)}" cannot impersonate '
        'resource "users" in API group "" at the cluster scope\n'
    )
    assert "cannot list" in kubectl.run("get", "pods", "--as=jane").stderr
    assert kubectl.said("get", "namespace", "default", "-o", "name", "--as=jane", "--as-group=system:masters") == "namespace/default\n"  # fmt: skip


def test_nobody_gives_more_than_they_have(kubectl: Kubectl) -> None:
    kubectl.said("create", "rolebinding", "admins", "--clusterrole=admin", "--user=jane")
    refused = kubectl.run("create", "rolebinding", "x", "--clusterrole=cluster-admin", "--user=jane", "--as=jane")  # fmt: skip
    assert (
        'user "jane" (groups=["system:authenticated"]) is attempting to grant RBAC permissions '
        'not currently held:\n{APIGroups:["*"], Resources:["*"], Verbs:["*"]}\n'
        '{NonResourceURLs:["*"], Verbs:["*"]}' in refused.stderr
    )
    kubectl.said("create", "rolebinding", "x", "--clusterrole=view", "--user=joe", "--as=jane")
    kubectl.said("get", "pods", "--as=joe")


REACHES = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: r, namespace: NS}
rules:
- {apiGroups: [""], resources: [pods], verbs: [get, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: r, namespace: NS}
subjects: [{kind: User, name: jane, apiGroup: rbac.authorization.k8s.io}]
roleRef: {kind: Role, name: r, apiGroup: rbac.authorization.k8s.io}
"""


def test_reconcile(each_kubectl: Kubectl) -> None:
    kubectl = each_kubectl
    # The namespace is written: `auth reconcile` does not take the context's.
    reaches = REACHES.replace("NS", kubectl.namespace)
    first = kubectl.said("auth", "reconcile", "-f", "-", given=reaches)
    assert first.startswith("role.rbac.authorization.k8s.io/r reconciled\n")
    assert kubectl.said("auth", "can-i", "list", "pods", "--as=jane") == "yes\n"
    more = reaches.replace("[get, list]", "[watch]").replace("name: jane", "name: joe")
    second = kubectl.run("auth", "reconcile", "-f", "-", given=more).stderr
    assert "{Verbs:[watch] APIGroups:[] Resources:[pods] ResourceNames:[] NonResourceURLs:[]}" in second  # fmt: skip
    for who in ("jane", "joe"):
        assert kubectl.said("auth", "can-i", "watch", "pods", f"--as={who}") == "yes\n"
    assert kubectl.run("auth", "reconcile", "-f", "-", given=more).stderr == ""


def test_create_token(each_kubectl: Kubectl) -> None:
    kubectl = each_kubectl
    kubectl.said("create", "serviceaccount", "robot")
    for words, said in (
        (("robot", "--duration=60s"), 'error: failed to create token: TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes\n'),
        (("nobody",), 'error: failed to create token: serviceaccounts "nobody" not found\n'),
        (("robot", "--bound-object-kind=Pod", "--bound-object-name=none"), 'error: failed to create token: pods "none" not found\n'),
    ):  # fmt: skip
        assert kubectl.run("create", "token", *words).stderr == said
    answer = json.loads(
        kubectl.said("create", "token", "robot", "--audience=a", "--audience=b", "--duration=20m", "-o", "json")
    )  # fmt: skip
    assert answer["spec"]["audiences"] == ["a", "b"]
    assert answer["spec"]["expirationSeconds"] == 1200
    # A token for others is none for the API server.
    user = with_token(kubectl, answer["status"]["token"], "vault")
    assert "must be logged in" in kubectl.run("--user", user, "get", "pods").stderr


def test_a_secret_with_a_token(kubectl: Kubectl) -> None:
    kubectl.said("create", "serviceaccount", "robot")
    secret = """
apiVersion: v1
kind: Secret
metadata: {name: t, annotations: {kubernetes.io/service-account.name: robot}}
type: kubernetes.io/service-account-token
"""
    kubectl.said("apply", "-f", "-", given=secret)
    shown = kubectl.said("describe", "secret", "t")
    assert "Type:  kubernetes.io/service-account-token" in shown
    for key in ("ca.crt:", "namespace:", "token:"):
        assert key in shown
    token = kubectl.said("get", "secret", "t", "-o", "go-template={{.data.token | base64decode}}")
    user = with_token(kubectl, token, "robot")
    assert account(kubectl) in kubectl.said("--user", user, "auth", "whoami")
    assert re.search(r"(?m)^Tokens: +t$", kubectl.said("describe", "serviceaccount", "robot"))
    kubectl.said("delete", "secret", "t")
    assert "must be logged in" in kubectl.run("--user", user, "get", "pods").stderr


def test_what_is_there_from_the_start(kubectl: Kubectl) -> None:
    label = "kubernetes.io/bootstrapping=rbac-defaults"
    names = kubectl.said("get", "clusterroles", "-l", label, "-o", "name").split()
    assert {"admin", "cluster-admin", "edit", "system:basic-user", "system:discovery", "view"} <= {
        name.partition("/")[2] for name in names
    }
    shown = kubectl.said("describe", "clusterrole", "view").splitlines()
    (row,) = [line for line in shown if line.split()[:1] == ["pods/log"]]
    assert row.split(maxsplit=3)[1:] == ["[]", "[]", "[get list watch]"]
    wide = kubectl.said("get", "clusterrolebinding", "cluster-admin", "-o", "wide", "--no-headers")
    assert wide.split()[:2] == ["cluster-admin", "ClusterRole/cluster-admin"]
    assert wide.split()[-1] == "system:masters"


def test_a_pod_needs_the_account_it_names(kubectl: Kubectl) -> None:
    overrides = '--overrides={"spec":{"serviceAccountName":"none"}}'
    done = kubectl.run("run", "p", "--image=podwire/shell:test", overrides)
    assert done.stderr == (
        f'{FORBIDDEN}pods "p" is forbidden: error looking up service account '
        f'{kubectl.namespace}/none: serviceaccount "none" not found\n'
    )


# --- Who is kept out -----------------------------------------------------------------------------


def ask(cluster: Cluster, path: str, context: ssl.SSLContext, **headers: str) -> tuple[int, str]:
    """Return code and text of a GET by a client with *context*."""
    request = urllib.request.Request(cluster.access.server + path, headers=headers)
    try:
        with urllib.request.urlopen(request, context=context, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def stranger(cluster: Cluster) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=cluster.access.authority.decode())


@pytest.mark.parametrize(
    "header",
    ["Bearer x", "Bearer a.b.c", "Basic YWRtaW46YWRtaW4=", "Bearer", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0."],
)  # fmt: skip
def test_a_bad_header_is_unauthorized(cluster: Cluster, header: str) -> None:
    for path in ("/api/v1/namespaces", "/version", "/apis/podwire.dev/v1/hosts"):
        code, text = ask(cluster, path, stranger(cluster), Authorization=header)
        assert (code, json.loads(text)["message"]) == (401, "Unauthorized")


def test_nobody_sees_the_version_alone(cluster: Cluster) -> None:
    assert ask(cluster, "/version", stranger(cluster))[0] == 200
    assert ask(cluster, "/readyz", stranger(cluster)) == (200, "ok")
    code, text = ask(cluster, "/api/v1/secrets", stranger(cluster))
    assert (code, json.loads(text)["reason"]) == (403, "Forbidden")
    # What one says of oneself is no proof.
    headers = {"X-Remote-User": "system:admin", "X-Remote-Group": "system:masters"}
    assert ask(cluster, "/api/v1/secrets", stranger(cluster), **headers)[0] == 403
    headers = {"Impersonate-User": "kubernetes-admin", "Impersonate-Group": "system:masters"}
    assert ask(cluster, "/api/v1/secrets", stranger(cluster), **headers)[0] == 403


def test_a_foreign_certificate_is_no_certificate(cluster: Cluster, tmp_path: Path) -> None:
    own = Authority("podwire-ca", now=datetime.datetime.now(datetime.UTC))
    foreign = own.client("kubernetes-admin", "system:masters")
    file = tmp_path / "client.pem"
    file.write_bytes(foreign.certificate + foreign.key)
    context = stranger(cluster)
    context.load_cert_chain(file)
    # Python's TLS ends the connection before anything is asked; Kubernetes would answer 401.
    with pytest.raises(OSError, match=r"unknown ca|alert|reset|EOF|closed"):
        ask(cluster, "/api/v1/secrets", context)
    # The twin: the cluster's own administrator is let in.
    file.write_bytes(cluster.access.certificate + cluster.access.key)
    context = stranger(cluster)
    context.load_cert_chain(file)
    assert ask(cluster, "/api/v1/secrets", context)[0] == 200


def test_a_token_of_another_cluster_is_garbage(kubectl: Kubectl) -> None:
    user = as_robot(kubectl)
    token = kubectl.said("config", "view", "--raw", "-o", 'jsonpath={.users[?(@.name=="robot")].user.token}')  # fmt: skip
    # As long, and with the same words: only the signature is by another key.
    head, body, signature = token.split(".")
    forged = f"{head}.{body}.{signature[::-1]}"
    assert kubectl.run("--user", user, "auth", "whoami").returncode == 0
    other = with_token(kubectl, forged, "forged")
    assert "must be logged in" in kubectl.run("--user", other, "auth", "whoami").stderr
