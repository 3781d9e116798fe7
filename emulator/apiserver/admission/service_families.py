"""Pure: clusterIPs, ipFamilies and ipFamilyPolicy of a Service, in a cluster of IPv4 alone.

Source: pkg/registry/core/service/storage/alloc.go (initIPFamilyFields) and
pkg/apis/core/validation (ValidateServiceClusterIPsRelatedFields) of Kubernetes 1.32.
"""

from typing import Any

from podwire.emulator.apiserver.admission.field_errors import (
    FieldError,
    Unquoted,
    duplicate,
    go_list,
    invalid,
    not_supported,
    required,
)
from podwire.emulator.apiserver.admission.service_types import is_headless, needs_address
from podwire.emulator.apiserver.admission.validate_endpoints import FAMILIES
from podwire.emulator.apiserver.admission.validate_meta import check
from podwire.emulator.apiserver.types.fields import many
from podwire.kube import syntax

Json = dict[str, Any]

OF_THE_CLUSTER = ("IPv4",)

_IPS, _FAMILIES, _POLICY = "spec.clusterIPs", "spec.ipFamilies", "spec.ipFamilyPolicy"
_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_ONCE = "may not change once set"
_MOST = 2


def settle(spec: Json, old: Json | None) -> list[FieldError]:
    """Fill in the policy and the families; return why they cannot be had.

    *old* is the spec before, None for a new Service. Addresses are not given here.
    """
    if not needs_address(spec) or _still_prefers_two(spec, old):
        return []
    if not spec.get("ipFamilyPolicy"):
        spec["ipFamilyPolicy"] = _usual_policy(spec, old)
    problems = related(spec)
    if problems:
        return problems
    if old is not None:
        problems += _released(spec, old)
    problems += _too_many_for_one(spec) + _families_of_addresses(spec)
    if problems:
        return problems
    families: list[str] = many(spec, "ipFamilies")
    if _is_alone(spec):
        # Nobody but the writer of the endpoints knows their families: any are taken.
        families = families or [OF_THE_CLUSTER[0]]
        if len(families) < _MOST and spec["ipFamilyPolicy"] != "SingleStack":
            families = [*families, "IPv4" if families[0] == "IPv6" else "IPv6"]
        spec["ipFamilies"] = families
        return []
    if spec["ipFamilyPolicy"] == "RequireDualStack":
        message = "this cluster is not configured for dual-stack services"
        problems.append(invalid(_POLICY, "RequireDualStack", message))
    problems += [
        invalid(f"{_FAMILIES}[{index}]", family, "not configured on this cluster")
        for index, family in enumerate(families)
        if family not in OF_THE_CLUSTER
    ]
    if not problems:
        spec["ipFamilies"] = families or [OF_THE_CLUSTER[0]]
    return problems


def related(spec: Json) -> list[FieldError]:
    """Check the three fields against each other."""
    if not needs_address(spec):
        return []
    addresses: list[str] = many(spec, "clusterIPs")
    families: list[str] = many(spec, "ipFamilies")
    problems = _first_of(spec.get("clusterIP", ""), addresses)
    for index, family in enumerate(families):
        if family not in FAMILIES:
            problems.append(not_supported(f"{_FAMILIES}[{index}]", family, FAMILIES))
        if family in families[:index]:
            problems.append(duplicate(f"{_FAMILIES}[{index}]", family))
    policy = spec.get("ipFamilyPolicy")
    if policy and policy not in _POLICIES:
        problems.append(not_supported(_POLICY, policy, _POLICIES))
    wrong = _addresses(addresses)
    problems += wrong
    if len(addresses) > _MOST:
        problems.append(invalid(_IPS, _shown(addresses), "may only hold up to 2 values"))
    if wrong:
        return problems
    if len(addresses) > 1 and (len(addresses) > _MOST or len({_family(a) for a in addresses}) < 2):
        message = "may specify no more than one IP for each IP family"
        problems.append(invalid(_IPS, _shown(addresses), message))
    if is_headless(spec):
        return problems
    for index, (address, family) in enumerate(zip(addresses, families, strict=False)):
        if family in FAMILIES and _family(address) != family:
            message = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
            problems.append(invalid(f"{_IPS}[{index}]", address, message))
    return problems


def changed(spec: Json, old: Json) -> list[FieldError]:
    """Return why the addresses and families of *old* may not become those of *spec*."""
    if not (needs_address(spec) and needs_address(old)):
        return []
    headless = is_headless(spec), is_headless(old)
    if all(headless):
        return []
    problems = _kept(_IPS, many(old, "clusterIPs"), many(spec, "clusterIPs"), "string")
    if any(headless):
        return problems
    before, after = many(old, "ipFamilies"), many(spec, "ipFamilies")
    return problems + _kept(_FAMILIES, before, after, "core.IPFamily")


def _kept(field: str, before: list[str], after: list[str], go: str) -> list[FieldError]:
    shown = Unquoted(go_list(after).replace("[]string", f"[]{go}", 1))
    if len(before) == len(after):
        return [
            invalid(f"{field}[{index}]", shown, _ONCE)
            for index, (one, other) in enumerate(zip(before, after, strict=True))
            if one != other
        ]
    if before and after and before[0] != after[0]:
        return [invalid(f"{field}[0]", shown, _ONCE)]
    return []


def _usual_policy(spec: Json, old: Json | None) -> str:
    if old is not None and old.get("ipFamilyPolicy"):
        return str(old["ipFamilyPolicy"])
    return "RequireDualStack" if _is_alone(spec) else "SingleStack"


def _is_alone(spec: Json) -> bool:
    """Tell whether the Service has neither an address nor pods that it selects."""
    return spec.get("clusterIP") == "None" and not spec.get("selector")


def _still_prefers_two(spec: Json, old: Json | None) -> bool:
    # Such a Service is left as it is when a cluster gets or loses its second family.
    same = ("type", "ipFamilyPolicy", "clusterIPs", "ipFamilies")
    return (
        old is not None
        and spec.get("ipFamilyPolicy") == "PreferDualStack"
        and all(spec.get(name) == old.get(name) for name in same)
    )


def _released(spec: Json, old: Json) -> list[FieldError]:
    """Shorten what a change to SingleStack leaves behind; refuse to shorten without it."""
    problems: list[FieldError] = []
    policy: str = spec["ipFamilyPolicy"]
    for name, what in (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")):
        before, after = many(old, name), many(spec, name)
        if policy == "SingleStack":
            if before == after and len(after) > 1:
                spec[name] = after[:1]
        elif after and len(after) < len(before):
            message = f"must be 'SingleStack' to release the secondary {what}"
            problems.append(invalid(_POLICY, policy, message))
    return problems


def _too_many_for_one(spec: Json) -> list[FieldError]:
    if spec["ipFamilyPolicy"] != "SingleStack":
        return []
    return [
        invalid(
            _POLICY,
            "SingleStack",
            f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified",
        )
        for name, what in (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families"))
        if len(many(spec, name)) == _MOST
    ]


def _families_of_addresses(spec: Json) -> list[FieldError]:
    """Add the families that the addresses tell."""
    problems: list[FieldError] = []
    addresses: list[str] = many(spec, "clusterIPs")
    families: list[str] = list(many(spec, "ipFamilies"))
    for index, address in enumerate(addresses):
        if address == "None":
            break
        if index < len(families):
            continue
        family = _family(address)
        if family in OF_THE_CLUSTER:
            families.append(family)
        else:
            message = f"{family} is not configured on this cluster"
            problems.append(invalid(f"{_IPS}[{index}]", _shown(addresses), message))
    if families:
        spec["ipFamilies"] = families
    return problems


def _first_of(address: str, addresses: list[str]) -> list[FieldError]:
    if not address:
        message = "must be empty when `clusterIP` is not specified"
        return [invalid(_IPS, _shown(addresses), message)] if addresses else []
    if not addresses:
        return [required(_IPS)]
    if addresses[0] != address:
        return [invalid(_IPS, _shown(addresses), "first value must match `clusterIP`")]
    return []


def _addresses(addresses: list[str]) -> list[FieldError]:
    problems: list[FieldError] = []
    for index, address in enumerate(addresses):
        if index == 0 and address == "None":
            if len(addresses) > 1:
                message = "'None' must be the first and only value"
                problems.append(invalid(_IPS, _shown(addresses), message))
            continue
        problems += check(f"{_IPS}[{index}]", address, syntax.address)
    return problems


def _family(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


def _shown(addresses: list[str]) -> Unquoted:
    return Unquoted(go_list(addresses))
