"""Pure: rules for the dnsConfig of pods and pod templates.

Source: validatePodDNSConfig of pkg/apis/core/validation/validation.go; search domains as KEP-4427
has them, which is stable since Kubernetes 1.34.
"""

from podwire.emulator.apiserver.admission.field_errors import FieldError, invalid, required
from podwire.emulator.apiserver.admission.validate_meta import Json, check
from podwire.emulator.apiserver.types.fields import many
from podwire.kube import syntax

_MOST_NAMESERVERS = 3
_MOST_SEARCHES = 32
_LONGEST_SEARCH_LINE = 2048


def config(spec: Json) -> list[FieldError]:
    """Check what a pod's spec says of its resolver; fields begin with ``spec``."""
    said: Json | None = spec.get("dnsConfig")
    field = "spec.dnsConfig"
    if spec.get("dnsPolicy") == "None":
        if said is None:
            return [required(field, "must provide `dnsConfig` when `dnsPolicy` is None")]
        if not said.get("nameservers"):
            message = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            return [required(f"{field}.nameservers", message)]
    if said is None:
        return []
    return [
        *_nameservers(f"{field}.nameservers", said.get("nameservers") or []),
        *_searches(f"{field}.searches", said.get("searches") or []),
        *(
            required(f"{field}.options[{index}]", "must not be empty")
            for index, option in enumerate(many(said, "options"))
            if not option.get("name")
        ),
    ]


def _nameservers(field: str, servers: list[str]) -> list[FieldError]:
    problems: list[FieldError] = []
    if len(servers) > _MOST_NAMESERVERS:
        message = f"must not have more than {_MOST_NAMESERVERS} nameservers"
        problems.append(invalid(field, servers, message))
    for index, server in enumerate(servers):
        problems += check(f"{field}[{index}]", server, syntax.address)
    return problems


def _searches(field: str, domains: list[str]) -> list[FieldError]:
    problems: list[FieldError] = []
    if len(domains) > _MOST_SEARCHES:
        message = f"must not have more than {_MOST_SEARCHES} search paths"
        problems.append(invalid(field, domains, message))
    if len(" ".join(domains)) > _LONGEST_SEARCH_LINE:
        message = (
            f"must not have more than {_LONGEST_SEARCH_LINE} characters (including spaces) "
            "in the search list"
        )
        problems.append(invalid(field, domains, message))
    for index, domain in enumerate(domains):
        if domain != ".":
            name = domain.removesuffix(".")
            problems += check(f"{field}[{index}]", name, syntax.search_domain)
    return problems
