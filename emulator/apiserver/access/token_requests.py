"""Pure: TokenRequests: POST on serviceaccounts/NAME/token.

Source: pkg/registry/core/serviceaccount/storage/token.go and pkg/apis/authentication/validation.
"""

from dataclasses import replace
from typing import Any
from uuid import UUID

import msgspec

from podwire.emulator.apiserver import bodies, statuses
from podwire.emulator.apiserver.access import tokens
from podwire.emulator.apiserver.access.authorize import ACCOUNT_PREFIX
from podwire.emulator.apiserver.access.tokens import Claims, Private, Reference
from podwire.emulator.apiserver.admission import field_errors
from podwire.emulator.apiserver.admission.field_errors import FieldError
from podwire.emulator.apiserver.request import Api, Dice, Plain, Request
from podwire.emulator.apiserver.resources import Resource
from podwire.emulator.apiserver.store import Stored
from podwire.emulator.apiserver.types.fields import struct, text
from podwire.kube.names import Key
from podwire.kube.times import rfc3339

Json = dict[str, Any]

_TOKEN_REQUEST = Resource(
    "authentication.k8s.io", "v1", "tokenrequests", "tokenrequest", "TokenRequest"
)
_DEFAULT_SECONDS = 3600
_SHORTEST_SECONDS = 600
# What kubelets ask for. Programs that read their token once, at their start, shall live longer than
# an hour: such tokens are good for a year (KEP-1205).
_KUBELET_SECONDS = 3607
_EXTENDED_SECONDS = 365 * 24 * 3600


def token(api: Api, request: Request) -> Plain:
    """Answer a TokenRequest: POST on serviceaccounts/NAME/token."""
    inner = replace(request, resource=_TOKEN_REQUEST, subresource="")
    asked, warnings = bodies.as_object(inner, bodies.read(request.body))
    account = api.store.get("serviceaccounts", request.key)
    if account is None:
        raise statuses.not_found(request.resource, request.name)
    named = text(asked["metadata"], "name") if asked.get("metadata") else ""
    if named and named != request.name:
        why = "must match the service account name if specified"
        raise _invalid(named, field_errors.invalid("metadata.name", named, why))
    spec: Json = asked.setdefault("spec", {})
    if spec.get("expirationSeconds") is None:
        spec["expirationSeconds"] = _DEFAULT_SECONDS
    seconds: int = spec["expirationSeconds"]
    _check_lifetime(seconds)
    if not spec.get("audiences"):
        spec["audiences"] = list(tokens.AUDIENCES)
    private = _private(api, request, account, struct(spec, "boundObjectRef"))
    now, lifetime = int(request.now), seconds
    own = tuple(spec["audiences"]) == tokens.AUDIENCES
    if private.pod is not None and own and seconds == _KUBELET_SECONDS:
        lifetime = _EXTENDED_SECONDS
        private = msgspec.structs.replace(private, warnafter=now + seconds)
    claims = Claims(
        iss=tokens.ISSUER,
        sub=f"{ACCOUNT_PREFIX}{request.namespace}:{request.name}",
        aud=tuple(spec["audiences"]),
        exp=now + lifetime,
        iat=now,
        nbf=now,
        jti=_id(api.dice),
        private=private,
    )
    spec.setdefault("boundObjectRef", None)
    asked["metadata"] = {
        "name": request.name,
        "namespace": request.namespace,
        "creationTimestamp": rfc3339(request.now),
    }
    asked["status"] = {
        "token": tokens.issue(claims, api.token_key),
        "expirationTimestamp": rfc3339(now + seconds),
    }
    return Plain(asked, 201, warnings)


def _private(api: Api, request: Request, account: Stored, reference: Json) -> Private:
    """Return the claim of *account* and of the object to which its token is to be bound."""
    private = Private(request.namespace, Reference(request.name, _uid(account)))
    if not reference:
        return private
    kind, name = text(reference, "kind"), text(reference, "name")
    group, _, version = text(reference, "apiVersion").rpartition("/")
    resource = None if group else api.kinds.of_kind("", "v1", kind)
    if resource is None or kind not in ("Pod", "Secret", "Node"):
        what = f"{group}/{version}, Kind={kind}"
        raise statuses.bad_request(f"cannot bind token to object of type {what}")
    found = api.store.get(
        resource.collection, Key(request.namespace if resource.namespaced else "", name)
    )
    if found is None:
        raise statuses.not_found(resource, name)
    asked, uid = text(reference, "uid"), _uid(found)
    if asked and asked != uid:
        raise statuses.refused(
            409,
            "Conflict",
            f'Operation cannot be fulfilled on {kind} "{name}": the UID in the bound object '
            f"reference ({asked}) does not match the UID in record ({uid}). The object might have "
            "been deleted and then recreated",
            details={"name": name, "kind": kind},
        )
    bound = Reference(name, uid)
    if kind == "Secret":
        return msgspec.structs.replace(private, secret=bound)
    if kind == "Node":
        return msgspec.structs.replace(private, node=bound)
    spec = struct(found.object, "spec")
    runs_as = text(spec, "serviceAccountName")
    if runs_as != request.name:
        raise statuses.bad_request(
            f'cannot bind token for serviceaccount "{request.name}" to pod running with '
            f'serviceaccount "{runs_as}"'
        )
    node = api.store.get("nodes", Key("", text(spec, "nodeName")))
    at = None if node is None else Reference(node.key.name, _uid(node))
    return msgspec.structs.replace(private, pod=bound, node=at)


def _check_lifetime(seconds: int) -> None:
    why = ""
    if seconds < _SHORTEST_SECONDS:
        why = "may not specify a duration less than 10 minutes"
    elif seconds > 1 << 32:
        why = "may not specify a duration larger than 2^32 seconds"
    if why:
        raise _invalid("", field_errors.invalid("spec.expirationSeconds", seconds, why))


def _invalid(name: str, problem: FieldError) -> statuses.Refused:
    return statuses.invalid(_TOKEN_REQUEST, name, [problem])


def _uid(stored: Stored) -> str:
    return str(stored.object["metadata"]["uid"])


def _id(dice: Dice) -> str:
    return str(UUID(int=dice.getrandbits(128), version=4))
