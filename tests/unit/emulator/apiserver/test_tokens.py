"""Tokens: what is signed comes back, and nothing else does."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from podwire.emulator import certificates
from podwire.emulator.apiserver.access import tokens
from podwire.emulator.apiserver.access.tokens import Claims, NotOurs, Private, Reference, Refusal
from podwire.kube import credentials

KEY = bytes(range(32))
CLAIMS = Claims(
    iss=tokens.ISSUER,
    sub="system:serviceaccount:shop:robot",
    aud=tokens.AUDIENCES,
    exp=2000,
    iat=1000,
    nbf=1000,
    jti="id",
    private=Private(
        "shop", Reference("robot", "uid-1"), pod=Reference("web", "uid-2"), warnafter=9
    ),
)


def part(value: Any) -> str:
    encoded = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(encoded).rstrip(b"=").decode()


def signed(header: Any, claims: Any, key: bytes = KEY) -> str:
    text = f"{part(header)}.{part(claims)}"
    return f"{text}.{part(hmac.digest(key, text.encode(), 'sha256'))}"


def test_claims_are_those_of_kubernetes() -> None:
    token = tokens.issue(CLAIMS, KEY)
    header, claims, _ = (base64.urlsafe_b64decode(p + "==") for p in token.split("."))
    assert json.loads(header) == {"alg": "HS256", "typ": "JWT"}
    assert json.loads(claims) == {
        "aud": ["https://kubernetes.default.svc.cluster.local"],
        "exp": 2000,
        "iat": 1000,
        "iss": "https://kubernetes.default.svc.cluster.local",
        "jti": "id",
        "kubernetes.io": {
            "namespace": "shop",
            "pod": {"name": "web", "uid": "uid-2"},
            "serviceaccount": {"name": "robot", "uid": "uid-1"},
            "warnafter": 9,
        },
        "nbf": 1000,
        "sub": "system:serviceaccount:shop:robot",
    }
    assert tokens.verify(token, KEY) == CLAIMS


def test_claims_of_a_token_in_a_secret() -> None:
    claims = Claims(
        iss=tokens.LEGACY_ISSUER,
        sub="system:serviceaccount:shop:robot",
        namespace="shop",
        secret="s",
        account="robot",
        uid="u",
    )
    token = tokens.issue(claims, KEY)
    assert json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "==")) == {
        "iss": "kubernetes/serviceaccount",
        "kubernetes.io/serviceaccount/namespace": "shop",
        "kubernetes.io/serviceaccount/secret.name": "s",
        "kubernetes.io/serviceaccount/service-account.name": "robot",
        "kubernetes.io/serviceaccount/service-account.uid": "u",
        "sub": "system:serviceaccount:shop:robot",
    }
    assert tokens.verify(token, KEY) == claims


GOOD = tokens.issue(CLAIMS, KEY)
HEADER, BODY, SIGNATURE = GOOD.split(".")
HS256 = {"alg": "HS256", "typ": "JWT"}


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="nothing"),
        pytest.param("x", id="a word"),
        pytest.param(".", id="a dot"),
        pytest.param("..", id="dots"),
        pytest.param("...", id="more dots"),
        pytest.param("é.ü.ß", id="no ASCII"),
        pytest.param("a.b.\x00", id="a zero byte"),
        pytest.param("A" * 100_000, id="long"),
        pytest.param(f"{HEADER}.{BODY}.", id="no signature"),
        pytest.param(f"{HEADER}.{BODY}", id="two parts"),
        pytest.param(f"{HEADER}.{BODY}.{SIGNATURE}.", id="four parts"),
        pytest.param(f"{GOOD}=", id="padded"),
        pytest.param(f"{GOOD} ", id="a space after it"),
        pytest.param(f" {GOOD}", id="a space before it"),
        pytest.param(f"{HEADER}.{BODY}.{SIGNATURE[:-1]}", id="signature cut"),
        pytest.param(
            f"{HEADER}.{BODY}.{SIGNATURE[:-1]}{'AB'[SIGNATURE[-1] == 'A']}", id="signature changed"
        ),
        pytest.param(f"{HEADER}.{part({'iss': 'x'})}.{SIGNATURE}", id="other claims"),
        pytest.param(f"{part({'alg': 'none'})}.{BODY}.", id="alg none"),
        pytest.param(f"{part({'alg': 'None'})}.{BODY}.{SIGNATURE}", id="alg None"),
        pytest.param(signed({"alg": "none"}, {"iss": "x", "sub": "y"}), id="alg none, signed"),
        pytest.param(signed({"alg": "HS512"}, {"iss": "x", "sub": "y"}), id="another alg"),
        pytest.param(
            signed({**HS256, "crit": ["b64"]}, {"iss": "x", "sub": "y"}), id="crit that is unknown"
        ),
        pytest.param(signed(HS256, {"iss": "x", "sub": "y"}, b"another key, as long"), id="key"),
        pytest.param(signed(HS256, {"iss": "x", "sub": "y"}, b""), id="empty key"),
        pytest.param(signed(HS256, [1]), id="claims are a list"),
        pytest.param(signed(HS256, b"{"), id="claims are no JSON"),
        pytest.param(signed(HS256, {"iss": 1, "sub": "y"}), id="issuer is a number"),
        pytest.param(signed(HS256, {"iss": "x", "sub": "y", "exp": "never"}), id="exp is a text"),
        pytest.param(signed(HS256, b"[" * 5000), id="deep"),
        pytest.param(signed(b"null", {"iss": "x", "sub": "y"}), id="header is null"),
    ],
)
def test_what_is_not_ours(token: str) -> None:
    with pytest.raises(NotOurs):
        tokens.verify(token, KEY)


@pytest.mark.parametrize("place", range(0, len(GOOD), 7))
def test_no_character_may_differ(place: int) -> None:
    other = "A" if GOOD[place] != "A" else "B"
    with pytest.raises(NotOurs):
        tokens.verify(GOOD[:place] + other + GOOD[place + 1 :], KEY)


@pytest.mark.parametrize("key", [b"", b"short", hashlib.sha256(b"other").digest()])
def test_another_key_is_another_cluster(key: bytes) -> None:
    with pytest.raises(NotOurs):
        tokens.verify(GOOD, key)


@pytest.mark.parametrize("key", [b"", b"guessed"])
def test_a_short_key_signs_nothing(key: bytes) -> None:
    with pytest.raises(ValueError, match="bytes signs nothing"):
        tokens.issue(CLAIMS, key)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (999, Refusal("service account token is not valid yet")),
        (1000, None),
        (1999.9, None),
        (2000, Refusal("service account token has expired")),
        (10**12, Refusal("service account token has expired")),
    ],
)
def test_times(now: float, expected: Refusal | None) -> None:
    assert tokens.timely(CLAIMS, now) == expected


def test_the_key_is_the_clusters_and_survives_a_restart() -> None:
    made = certificates.for_cluster("one")
    again = credentials.decode(credentials.encode(made))
    assert credentials.token_key(again) == credentials.token_key(made)
    assert len(credentials.token_key(made)) == 32
    assert credentials.token_key(certificates.for_cluster("one")) != credentials.token_key(made)
