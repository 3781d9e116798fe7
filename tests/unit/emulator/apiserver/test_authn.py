"""Who asks: tokens against the objects that they are of."""

import base64

import pytest

from podwire.emulator.apiserver.access import authn, tokens
from podwire.emulator.apiserver.access.tokens import Refusal
from podwire.emulator.apiserver.request import User
from podwire.emulator.apiserver.statuses import Refused
from podwire.testing.apiserver import Json, SilentServer
from tests.unit.emulator.apiserver.accounts import (
    GROUPS,
    ROBOT,
    SHOP,
    bad_headers,
    bound,
    furnished,
    pod,
    token_of,
    uid,
    who,
)


@pytest.fixture
def server(server: SilentServer) -> SilentServer:
    return furnished(server)


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
