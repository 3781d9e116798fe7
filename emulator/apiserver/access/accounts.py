"""Pure: ServiceAccounts: what they mean for pods, and the tokens that Secrets hold.

Source: plugin/pkg/admission/serviceaccount and pkg/controller/serviceaccount/tokens_controller.go.
Unlike there, no volume is written into a pod: the kubelet mounts the token all the same.
"""

import base64
from typing import Any

from podwire.emulator.apiserver import statuses
from podwire.emulator.apiserver.access import authn, tokens
from podwire.emulator.apiserver.access.authorize import ACCOUNT_PREFIX
from podwire.emulator.apiserver.access.tokens import Claims
from podwire.emulator.apiserver.request import Api, Request
from podwire.emulator.apiserver.types.fields import many, struct, text
from podwire.kube.names import Key

Json = dict[str, Any]

DEFAULT = "default"
_NAME = "kubernetes.io/service-account.name"
_UID = "kubernetes.io/service-account.uid"


def admit_pod(api: Api, request: Request, pod: Json, old: Json | None) -> None:
    """Give a new pod what its account has; raises Refused (403) if there is no such account."""
    if old is not None:
        return
    spec: Json = pod["spec"]
    name = text(spec, "serviceAccountName") or DEFAULT
    account = api.store.get("serviceaccounts", Key(request.namespace, name))
    if account is None:
        # A namespace is a moment older than its account `default`. The real server makes the
        # request wait for it; a pod that is let in sees no difference, for the account is there
        # before its kubelet asks for a token.
        if name == DEFAULT:
            return
        why = (
            f"error looking up service account {request.namespace}/{name}: "
            f'serviceaccount "{name}" not found'
        )
        raise statuses.forbidden(request.resource, _called(pod), why)
    pulls = many(account.object, "imagePullSecrets")
    if pulls and not spec.get("imagePullSecrets"):
        spec["imagePullSecrets"] = [dict(pull) for pull in pulls]


def admit_secret(api: Api, request: Request, secret: Json, old: Json | None) -> None:
    """Fill a Secret that is to hold a token, if there is its account."""
    del request, old
    if secret.get("type") == authn.TOKEN_SECRET and api.token_key:
        _fill(api, secret)


def settle(api: Api, namespace: str) -> None:
    """Give the Secrets of a namespace the tokens of accounts that are new, and end those of others.

    Kubernetes' token controller deletes a Secret that is there before its account; here it waits.
    """
    for stored in api.store.all("secrets", namespace) if api.token_key else ():
        if stored.object.get("type") != authn.TOKEN_SECRET:
            continue
        secret = stored.copy()
        if _fill(api, secret):
            if secret != stored.object:
                api.store.put("secrets", stored.key, secret)
        elif _UID in _notes(secret) and not secret["metadata"].get("finalizers"):
            api.store.remove("secrets", stored.key)


def _fill(api: Api, secret: Json) -> bool:
    """Write what a Secret with a token holds; tell whether there is the account for it."""
    meta = secret["metadata"]
    namespace, notes = meta["namespace"], _notes(secret)
    account = api.store.get("serviceaccounts", Key(namespace, text(notes, _NAME)))
    if account is None:
        return False
    uid = str(account.object["metadata"]["uid"])
    if notes.get(_UID, uid) != uid:
        return False
    meta["annotations"] = {**notes, _UID: uid}
    data: Json = dict(struct(secret, "data"))
    if not data.get("token"):
        name = account.key.name
        claims = Claims(
            iss=tokens.LEGACY_ISSUER,
            sub=f"{ACCOUNT_PREFIX}{namespace}:{name}",
            namespace=namespace,
            secret=meta["name"],
            account=name,
            uid=uid,
        )
        data["token"] = _base64(tokens.issue(claims, api.token_key))
    data["namespace"] = _base64(namespace)
    authority = api.store.get("configmaps", Key(namespace, "kube-root-ca.crt"))
    if authority is not None and not data.get("ca.crt"):
        data["ca.crt"] = _base64(text(struct(authority.object, "data"), "ca.crt"))
    secret["data"] = dict(sorted(data.items()))
    return True


def _notes(obj: Json) -> Json:
    return struct(obj["metadata"], "annotations")


def _called(pod: Json) -> str:
    """Return the name with which a pod was sent: perhaps the beginning of one."""
    meta = pod["metadata"]
    name, base = text(meta, "name"), text(meta, "generateName")
    return base if base and len(name) == len(base) + 5 and name.startswith(base) else name


def _base64(content: str) -> str:
    return base64.b64encode(content.encode()).decode()
